//! Reclaim: drops stored content that a remote can give back, the least recently used first (L12).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::errors::{control_error, store_error};
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::reclaim::{LeftContent, LeftReason, ReclaimReply, ReclaimRequest};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::engine::commit::Asker;
use crate::engine::error::EngineError;
use crate::model::content_name::ContentName;
use crate::model::hash::TreeHash;
use crate::model::id::RepoId;
use crate::model::name::RepoName;
use crate::model::tree::Content;
use crate::model::tree_format;
use crate::store::catalog::{Reader, ReclaimScope, ReclaimableRow, Unreclaimable};

/// Contents that are listed at a time.
const ROWS_PER_PAGE: u32 = 10_000;

/// Contents that are reclaimed before it is looked whether anybody waits for the answer.
const CONTENTS_PER_STEP: usize = 4096;

impl StoreService {
    pub(super) fn reclaim(
        &self,
        caller: Caller,
        request: &ReclaimRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        if !request.dry_run {
            if self.engine.is_read_only() {
                return Err(control_error(EngineError::ReadOnly));
            }
            self.engine.note_uses().map_err(control_error)?;
        }
        let reader = self.engine.open_reader().map_err(control_error)?;
        let own = match request.repositories.is_empty() {
            true => None,
            false => Some(self.own_contents(&request.repositories)?),
        };
        let mut run = Run {
            service: self,
            asker: self.asker(caller),
            request,
            reader,
            own,
            left: BTreeMap::new(),
            contents: 0,
            bytes: 0,
            excess_bytes: 0,
            total_bytes: 0,
        };
        run.count()?;
        run.pass(progress)?;
        self.look_at_cache();
        Ok(Reply::Reclaim(run.reply()))
    }

    /// What the versions of these repositories have, deleted ones among them, and those of no other repository.
    fn own_contents(
        &self,
        repositories: &[RepoName],
    ) -> Result<HashSet<ContentName>, ControlError> {
        let chosen = repositories
            .iter()
            .map(|name| self.repository(name).map(|found| found.id))
            .collect::<Result<BTreeSet<RepoId>, _>>()?;
        let (mut own, mut seen) = (HashSet::new(), HashSet::new());
        self.visit(|id| chosen.contains(&id), &mut seen, &mut |name| {
            own.insert(*name);
        })?;
        seen.clear();
        self.visit(|id| !chosen.contains(&id), &mut seen, &mut |name| {
            own.remove(name);
        })?;
        Ok(own)
    }

    /// Calls `each` with the names of contents in all versions of the repositories that are wanted; each tree is looked at once.
    fn visit(
        &self,
        is_wanted: impl Fn(RepoId) -> bool,
        seen: &mut HashSet<TreeHash>,
        each: &mut dyn FnMut(&ContentName),
    ) -> Result<(), ControlError> {
        let retired = self.engine.registry.deleted();
        let retired = retired.iter().map(|(repository, _)| repository);
        let mut open = Vec::new();
        for repository in self.engine.registry.all().iter().chain(retired) {
            if is_wanted(repository.id) {
                open.extend(repository.versions.values().map(|version| version.root.tree));
                open.extend(repository.deleted.values().map(|gone| gone.version.root.tree));
            }
        }
        while let Some(tree) = open.pop() {
            if !seen.insert(tree) {
                continue;
            }
            for entry in tree_format::entries(&*self.engine.trees, &tree, 0) {
                match entry.map_err(store_error)?.content {
                    Content::Directory { tree, .. } => open.push(tree),
                    Content::File { blob: Some(name), .. } => each(&name),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// A reclaim under way.
struct Run<'a> {
    service: &'a StoreService,
    asker: Asker,
    request: &'a ReclaimRequest,
    reader: Reader,
    /// Only these, if they are chosen.
    own: Option<HashSet<ContentName>>,
    left: BTreeMap<LeftReason, (u64, u64)>,
    contents: u64,
    bytes: u64,
    /// Bytes that are to go beyond those that went.
    excess_bytes: u64,
    total_bytes: u64,
}

impl Run<'_> {
    fn leave(&mut self, reason: LeftReason, contents: u64, bytes: u64) {
        if contents > 0 {
            let left = self.left.entry(reason).or_default();
            *left = (left.0 + contents, left.1 + bytes);
        }
    }

    /// Finds out how much there is, and how much of it is to go.
    fn count(&mut self) -> Result<(), ControlError> {
        let mut candidates = 0;
        for (reason, contents, bytes) in self.reader.reclaimable_totals().map_err(store_error)? {
            let reason = match reason {
                None => {
                    candidates = bytes;
                    continue;
                }
                Some(Unreclaimable::NoSource) => LeftReason::NoSource,
                Some(Unreclaimable::OtherName) => LeftReason::OtherName,
                Some(Unreclaimable::Area) => LeftReason::Area,
                Some(Unreclaimable::Damaged) => LeftReason::Damaged,
            };
            // Those are of the whole store.
            if self.own.is_none() {
                self.leave(reason, contents, bytes);
            }
        }
        if self.own.is_some() {
            candidates = 0;
            let mut last = None;
            while let Some(rows) = self.page(&mut last)? {
                candidates += rows.iter().map(|row| row.size).sum::<u64>();
            }
        }
        self.excess_bytes = candidates.saturating_sub(self.request.keep_bytes);
        self.total_bytes = self.excess_bytes;
        Ok(())
    }

    /// The next contents that are chosen, the least recently used first; `None` after the last one.
    fn page(
        &self,
        last: &mut Option<ReclaimableRow>,
    ) -> Result<Option<Vec<ReclaimableRow>>, ControlError> {
        let rows = self
            .reader
            .reclaimable(ReclaimScope::All, last.as_ref(), ROWS_PER_PAGE)
            .map_err(store_error)?;
        let Some(end) = rows.last() else { return Ok(None) };
        *last = Some(*end);
        let is_chosen =
            |row: &ReclaimableRow| self.own.as_ref().is_none_or(|own| own.contains(&row.name));
        Ok(Some(rows.into_iter().filter(is_chosen).collect()))
    }

    /// Goes through all contents, and drops what is to go.
    fn pass(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), ControlError> {
        let mut last = None;
        while let Some(rows) = self.page(&mut last)? {
            let mut rows = rows.into_iter();
            while rows.len() > 0 {
                let mut chosen = Vec::new();
                let mut bytes = 0;
                while bytes < self.excess_bytes && chosen.len() < CONTENTS_PER_STEP {
                    let Some(row) = rows.next() else { break };
                    bytes += row.size;
                    chosen.push(row);
                }
                if chosen.is_empty() {
                    let (count, kept) =
                        rows.fold((0, 0), |(count, bytes), row| (count + 1, bytes + row.size));
                    self.leave(LeftReason::Kept, count, kept);
                    break;
                }
                self.drop_contents(chosen, progress)?;
            }
        }
        Ok(())
    }

    fn drop_contents(
        &mut self,
        chosen: Vec<ReclaimableRow>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ControlError> {
        if self.asker.is_gone() {
            return Err(ControlError::new(ErrorKind::Busy, "the command has gone"));
        }
        if self.request.dry_run {
            self.note(chosen.len() as u64, chosen.iter().map(|row| row.size).sum());
            return Ok(());
        }
        let done = self.service.engine.reclaim_unless_open(chosen).map_err(control_error)?;
        self.note(done.contents, done.bytes);
        for (reason, rows) in [(LeftReason::Needed, done.needed), (LeftReason::Open, done.held)] {
            self.leave(reason, rows.len() as u64, rows.iter().map(|row| row.size).sum());
        }
        let what = "reclaiming".to_owned();
        let (done, total) = (self.bytes, Some(self.total_bytes));
        progress(Progress::Step { what, done, total, is_bytes: true });
        Ok(())
    }

    fn note(&mut self, contents: u64, bytes: u64) {
        self.contents += contents;
        self.bytes += bytes;
        self.excess_bytes = self.excess_bytes.saturating_sub(bytes);
    }

    fn reply(self) -> ReclaimReply {
        let left = self.left.into_iter();
        ReclaimReply {
            dry_run: self.request.dry_run,
            contents: self.contents,
            bytes: self.bytes,
            left: left
                .map(|(reason, (contents, bytes))| LeftContent { reason, contents, bytes })
                .collect(),
        }
    }
}
