//! Paths that match a pattern, over all versions of a repository.

use std::sync::Arc;

use super::{Answer, StoreService};
use crate::control::find::{
    FOUND_PATH_BYTES_MAX, FOUND_RANGES_MAX, FindRequest, FoundPath, VersionRange,
};
use crate::control::protocol::{CHANGES_MAX, ControlError, ErrorKind, Progress};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::model::hash::TreeHash;
use crate::model::raw::RawPath;
use crate::model::tree_format::{Having, Members, Next, walk_together};
use crate::model::version::Version;

/// After so many paths the walk looks whether its result is still wanted.
const CHECK_EVERY: u32 = 4096;

impl StoreService {
    pub(super) fn find(
        &self,
        caller: Caller,
        request: &FindRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        let FindRequest { repository: name, pattern, version } = request;
        let (repository, versions) = match version {
            Some(version) => {
                let (repository, version) = self.version(name, version)?;
                (repository, vec![version])
            }
            None => {
                let repository = self.repository(name)?;
                let versions: Vec<_> = repository.versions.values().cloned().collect();
                (repository, versions)
            }
        };
        let trees: Vec<TreeHash> = versions.iter().map(|version| version.root.tree).collect();
        let mut found = Batch::new(progress);
        let (mut seen, mut unwanted) = (0_u32, None);
        let mut visit = |path: &[u8], having: &Having| {
            seen = seen.wrapping_add(1);
            if seen.is_multiple_of(CHECK_EVERY)
                && let Err(error) = self.check_wanted(caller)
            {
                unwanted = Some(error);
                return Next::Stop;
            }
            let is_directory =
                pattern.is_of_directories() || having.directories.last() == having.all.last();
            let members =
                if pattern.is_of_directories() { &having.directories } else { &having.all };
            if !members.is_empty() && pattern.matches(path, !having.directories.is_empty()) {
                found.push(path, is_directory, ranges(members, &versions));
            }
            let may_match = !having.directories.is_empty() && pattern.may_match_below(path);
            if may_match { Next::Below } else { Next::Skip }
        };
        walk_together(&*self.engine.trees, &trees, &mut visit)
            .map_err(|error| self.version_error(&repository, versions.iter().map(Some), error))?;
        if let Some(error) = unwanted {
            return Err(error);
        }
        if found.end() {
            return Ok(Reply::Done);
        }
        let place = match version {
            Some(version) => format!("`{name}/{version}` has no path that matches `{pattern}`"),
            None => format!("no version of `{name}` has a path that matches `{pattern}`"),
        };
        Err(ControlError::new(ErrorKind::NotFound, place).with_hint(
            "a pattern with a slash is compared with whole paths, where `**` stands for any directories",
        ))
    }
}

/// The numbers of some versions.
fn ranges(members: &Members, versions: &[Arc<Version>]) -> Vec<VersionRange> {
    let number = |position: usize| versions.get(position).map(|version| version.number);
    let ranges = members.ranges().iter();
    ranges
        .filter_map(|range| {
            Some(VersionRange { from: number(range.start)?, to: number(range.end - 1)? })
        })
        .collect()
}

/// Paths on their way to whoever asked.
struct Batch<'a> {
    progress: &'a mut dyn FnMut(Progress),
    paths: Vec<FoundPath>,
    ranges: usize,
    path_bytes: usize,
    any: bool,
}

impl<'a> Batch<'a> {
    fn new(progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self { progress, paths: Vec::new(), ranges: 0, path_bytes: 0, any: false }
    }

    fn push(&mut self, path: &[u8], is_directory: bool, version_ranges: Vec<VersionRange>) {
        self.any = true;
        self.ranges += version_ranges.len();
        self.path_bytes += path.len();
        self.paths.push(FoundPath { path: RawPath::from(path), is_directory, version_ranges });
        let is_full = self.paths.len() >= CHANGES_MAX
            || self.ranges >= FOUND_RANGES_MAX
            || self.path_bytes >= FOUND_PATH_BYTES_MAX;
        if is_full {
            self.send();
        }
    }

    fn send(&mut self) {
        (self.progress)(Progress::Found(std::mem::take(&mut self.paths)));
        (self.ranges, self.path_bytes) = (0, 0);
    }

    /// Sends what is left; says whether there was anything at all.
    fn end(mut self) -> bool {
        if !self.paths.is_empty() {
            self.send();
        }
        self.any
    }
}
