//! Prefetch: the absent content of a version is fetched before somebody reads it (L12).
//!
//! A walk over the tree asks for what is absent, some contents ahead of what came. All reads come before these
//! fetches (H39, `lazy`). When the command that asked for a prefetch ends, the prefetch ends, too; what it has fetched by
//! then stays in the store.

use super::errors::{control_error, store_error};
use super::fetching::{Fetching, Wanted};
use super::rights::{ENTER, Owned, READ, READ_FILE, User};
use super::{Answer, StoreService};
use crate::control::prefetch::{PrefetchReply, PrefetchRequest};
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::engine::error::EngineError;
use crate::model::content_name::ContentName;
use crate::model::hash::TreeHash;
use crate::model::name::RepoName;
use crate::model::raw::RawPath;
use crate::model::tree::{Attributes, Content, Entry};
use crate::model::tree_format;
use crate::model::version::Version;
use crate::store::error::StoreError;
use crate::store::tree_cache::TreeCache;

/// What is prefetched.
enum Top {
    Directory { tree: TreeHash, bytes: u64 },
    File { size: u64, name: Option<ContentName> },
}

impl Top {
    fn bytes(&self) -> u64 {
        match self {
            Self::Directory { bytes, .. } => *bytes,
            Self::File { size, .. } => *size,
        }
    }
}

/// Whether the caller has rights on something.
type May<'a> = &'a dyn Fn(&Attributes, u32) -> bool;

impl StoreService {
    /// Fetches what `user` may read; `None` is somebody who may read everything.
    pub(super) fn prefetch(
        &self,
        caller: Caller,
        request: &PrefetchRequest,
        user: Option<&User>,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        if self.engine.is_read_only() {
            return Err(control_error(EngineError::ReadOnly));
        }
        let (repository, version) = self.version(&request.repository, &request.version)?;
        self.keep(caller, &repository, version.number)?;
        let may = |attributes: &Attributes, wanted| {
            user.is_none_or(|user| user.may(wanted, Owned::of_entry(attributes)))
        };
        let tops = self.tops_of_prefetch(&version, request, &may)?;
        let missing = match request.only.len() {
            0 => 0,
            only => only.saturating_sub(tops.len()) as u64,
        };
        let total = tops.iter().map(|(_, top)| top.bytes()).sum();
        let mut fetching = Fetching::begin(self, self.asker(caller), "file", total);
        fetching.hides_reasons = user.is_some();
        for (path, top) in tops {
            let label = path.as_bytes().to_vec();
            match top {
                Top::File { size, name } => {
                    fetching.want(Wanted { label, size, name }, progress)?;
                }
                Top::Directory { tree, .. } => {
                    for found in Walk::new(&self.engine.trees, &may, label, &tree) {
                        fetching.want(found.map_err(store_error)?, progress)?;
                    }
                }
            }
        }
        let tally = fetching.finish(progress)?;
        Ok(Reply::Prefetch(PrefetchReply {
            repository: repository.name.clone(),
            number: version.number,
            path: request.path.clone(),
            files: tally.wanted,
            present: tally.present,
            fetched: tally.fetched,
            fetched_bytes: tally.fetched_bytes,
            failed: tally.failed,
            missing,
        }))
    }

    /// What is at the path that was named, or the files that alone are wanted.
    fn tops_of_prefetch<'a>(
        &self,
        version: &Version,
        request: &'a PrefetchRequest,
        may: May<'_>,
    ) -> Result<Vec<(&'a RawPath, Top)>, ControlError> {
        let top = |path| self.top_of_prefetch(version, &request.repository, path, may);
        if request.only.is_empty() {
            return Ok(vec![(&request.path, top(&request.path)?)]);
        }
        let mut files = Vec::with_capacity(request.only.len());
        for path in &request.only {
            match top(path) {
                Ok(file @ Top::File { .. }) => files.push((path, file)),
                Ok(Top::Directory { .. }) => {}
                Err(error) => match error.kind {
                    ErrorKind::NotFound | ErrorKind::Permission | ErrorKind::Usage => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(files)
    }

    /// What is at the path, if the caller may know.
    fn top_of_prefetch(
        &self,
        version: &Version,
        repository: &RepoName,
        path: &RawPath,
        may: May<'_>,
    ) -> Result<Top, ControlError> {
        let error = |kind, what: &str| {
            ControlError::new(
                kind,
                format!("{path:?} in `{repository}/{}`: {what}", version.number),
            )
        };
        let names =
            path.components().map_err(|wrong| error(ErrorKind::Usage, &wrong.to_string()))?;
        let root = &version.root;
        let (mut attributes, mut bytes) = (root.attributes.clone(), root.summary.bytes);
        let mut tree = root.tree;
        for (index, name) in names.iter().enumerate() {
            if !may(&attributes, ENTER) {
                return Err(error(ErrorKind::Permission, "permission denied"));
            }
            let entry = tree_format::lookup(&*self.engine.trees, &tree, name.as_bytes());
            let entry = entry.map_err(store_error)?;
            let entry = entry.ok_or_else(|| error(ErrorKind::NotFound, "no such file"))?;
            attributes = entry.attributes;
            match entry.content {
                Content::Directory { tree: below, summary } => {
                    (tree, bytes) = (below, summary.bytes)
                }
                Content::File { size, blob } if index + 1 == names.len() => {
                    let file = Top::File { size, name: blob };
                    let denied = error(ErrorKind::Permission, "permission denied");
                    return if may(&attributes, READ_FILE) { Ok(file) } else { Err(denied) };
                }
                Content::Symlink { .. } => {
                    let hint = "name what it leads to: symbolic links are not followed";
                    return Err(error(ErrorKind::Usage, "is a symbolic link").with_hint(hint));
                }
                _ if index + 1 < names.len() => {
                    return Err(error(ErrorKind::NotFound, "no such file"));
                }
                _ => return Err(error(ErrorKind::Usage, "is neither a file nor a directory")),
            }
        }
        if !may(&attributes, READ) {
            return Err(error(ErrorKind::Permission, "permission denied"));
        }
        Ok(Top::Directory { tree, bytes })
    }
}

/// All regular files below a directory that the caller may read, in the order of their names.
struct Walk<'a> {
    trees: &'a TreeCache,
    may: May<'a>,
    levels: Vec<Level<'a>>,
}

struct Level<'a> {
    path: Vec<u8>,
    entries: Box<dyn Iterator<Item = Result<Entry, StoreError>> + 'a>,
}

impl<'a> Walk<'a> {
    fn new(trees: &'a TreeCache, may: May<'a>, path: Vec<u8>, tree: &TreeHash) -> Self {
        let mut walk = Self { trees, may, levels: Vec::new() };
        walk.enter(path, tree);
        walk
    }

    fn enter(&mut self, path: Vec<u8>, tree: &TreeHash) {
        let entries = Box::new(tree_format::entries(self.trees, tree, 0));
        self.levels.push(Level { path, entries });
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Wanted, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.levels.last_mut()?;
            let entry = match level.entries.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    self.levels.clear();
                    return Some(Err(error));
                }
                None => {
                    self.levels.pop();
                    continue;
                }
            };
            let mut path = level.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.name.as_bytes());
            match entry.content {
                Content::File { size, blob: name } if (self.may)(&entry.attributes, READ_FILE) => {
                    return Some(Ok(Wanted { label: path, size, name }));
                }
                Content::Directory { tree, .. } if (self.may)(&entry.attributes, READ) => {
                    self.enter(path, &tree);
                }
                _ => {}
            }
        }
    }
}
