//! Prefetch: the absent content of a version is fetched before somebody reads it (L12).
//!
//! A walk over the tree asks for what is absent, some contents ahead of what came. All reads come before these
//! fetches (H39, `lazy`). When the command that asked for a prefetch ends, the prefetch ends, too; what it has fetched by
//! then stays in the store.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::errors::{control_error, store_error};
use super::rights::{ENTER, Owned, READ, READ_FILE, User};
use super::{Answer, StoreService};
use crate::control::prefetch::{PrefetchReply, PrefetchRequest};
use crate::control::protocol::{CHANGES_MAX, ControlError, ErrorKind, Progress, UnreadableFile};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::engine::commit::Asker;
use crate::engine::error::EngineError;
use crate::engine::fetcher::{Fetched, NotFetched, PrefetchId};
use crate::model::content_name::ContentName;
use crate::model::hash::TreeHash;
use crate::model::name::RepoName;
use crate::model::raw::RawPath;
use crate::model::text::count;
use crate::model::tree::{Attributes, Content, Entry};
use crate::model::tree_format;
use crate::model::version::Version;
use crate::store::error::StoreError;
use crate::store::tree_cache::TreeCache;

/// Contents that a prefetch has asked for and that have not come yet. Many small ones come with one request to a bucket.
const AHEAD_MAX: usize = 1024;

/// How often it says how far it is, and looks whether anybody waits for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

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

/// A regular file that the caller may read.
struct Found {
    path: Vec<u8>,
    size: u64,
    name: Option<ContentName>,
}

/// What became of a content that was asked for.
type Outcome = (ContentName, Result<(), NotFetched>);

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
        let reply = PrefetchReply {
            repository: repository.name.clone(),
            number: version.number,
            path: request.path.clone(),
            files: 0,
            present: 0,
            fetched: 0,
            fetched_bytes: 0,
            failed: 0,
            missing: 0,
        };
        let mut running = Running::begin(self, self.asker(caller), reply)?;
        running.hides_reasons = user.is_some();
        running.total_bytes = tops.iter().map(|(_, top)| top.bytes()).sum();
        if !request.only.is_empty() {
            running.reply.missing = request.only.len().saturating_sub(tops.len()) as u64;
        }
        for (path, top) in tops {
            let path = path.as_bytes().to_vec();
            match top {
                Top::File { size, name } => {
                    running.look(Found { path, size, name }, progress)?;
                }
                Top::Directory { tree, .. } => {
                    for found in Walk::new(&self.engine.trees, &may, path, &tree) {
                        running.look(found.map_err(store_error)?, progress)?;
                    }
                }
            }
        }
        running.finish(progress)
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
    type Item = Result<Found, StoreError>;

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
                    return Some(Ok(Found { path, size, name }));
                }
                Content::Directory { tree, .. } if (self.may)(&entry.attributes, READ) => {
                    self.enter(path, &tree);
                }
                _ => {}
            }
        }
    }
}

/// A prefetch under way. It is abandoned when it is dropped.
struct Running<'a> {
    service: &'a StoreService,
    asker: Asker,
    id: PrefetchId,
    /// What was asked for, with the files that have it.
    asked: BTreeMap<ContentName, Vec<Found>>,
    tell: Sender<Outcome>,
    told: Receiver<Outcome>,
    reply: PrefetchReply,
    /// Reasons may name hosts and paths that are for the store's owner.
    hides_reasons: bool,
    failures: Vec<UnreadableFile>,
    done_bytes: u64,
    total_bytes: u64,
    shown: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.service.engine.end_prefetch(self.id);
    }
}

impl<'a> Running<'a> {
    fn begin(
        service: &'a StoreService,
        asker: Asker,
        reply: PrefetchReply,
    ) -> Result<Self, ControlError> {
        let id = PrefetchId(service.next_prefetch.fetch_add(1, Ordering::Relaxed));
        // Its length is that of `asked`.
        let (tell, told) = unbounded();
        Ok(Self {
            service,
            asker,
            id,
            asked: BTreeMap::new(),
            tell,
            told,
            reply,
            hides_reasons: false,
            failures: Vec::new(),
            done_bytes: 0,
            total_bytes: 0,
            shown: Instant::now(),
        })
    }

    /// Asks for the content of a file, if it is absent, once not too much is on its way.
    fn look(
        &mut self,
        found: Found,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ControlError> {
        self.reply.files += 1;
        while self.asked.len() >= AHEAD_MAX {
            self.wait(progress)?;
        }
        if self.shown.elapsed() >= LOOK_INTERVAL {
            self.show(progress)?;
        }
        let Some(name) = found.name else {
            self.is_present(&found);
            return Ok(());
        };
        if let Some(files) = self.asked.get_mut(&name) {
            files.push(found);
            return Ok(());
        }
        if self.service.engine.is_stored(&name).map_err(control_error)? {
            self.is_present(&found);
            return Ok(());
        }
        self.asked.insert(name, vec![found]);
        let tell = self.tell.clone();
        // Who went away meanwhile does not need the answer.
        let then = Box::new(move |fetched: Result<Fetched, NotFetched>| {
            drop(tell.send((name, fetched.and_then(Fetched::kept))));
        });
        self.service.engine.prefetch(name, self.id, then);
        Ok(())
    }

    /// Waits for the rest.
    fn finish(mut self, progress: &mut dyn FnMut(Progress)) -> Answer {
        while !self.asked.is_empty() {
            self.wait(progress)?;
        }
        self.show(progress)?;
        Ok(Reply::Prefetch(self.reply.clone()))
    }

    /// Waits until a content came, or until there is something to show.
    fn wait(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), ControlError> {
        match self.told.recv_timeout(LOOK_INTERVAL.saturating_sub(self.shown.elapsed())) {
            Ok((name, fetched)) => self.note(&name, fetched),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.shown.elapsed() >= LOOK_INTERVAL || self.failures.len() >= CHANGES_MAX {
            self.show(progress)?;
        }
        Ok(())
    }

    fn note(&mut self, name: &ContentName, fetched: Result<(), NotFetched>) {
        let files = self.asked.remove(name).unwrap_or_default();
        for (index, file) in files.into_iter().enumerate() {
            match &fetched {
                Ok(()) if index == 0 => {
                    self.done_bytes += file.size;
                    self.reply.fetched += 1;
                    self.reply.fetched_bytes += file.size;
                }
                Ok(()) => self.is_present(&file),
                Err(reason) => {
                    self.reply.failed += 1;
                    let reason = match self.hides_reasons {
                        true => "it cannot be had now: the store's owner is told why".to_owned(),
                        false => reason.to_string(),
                    };
                    self.failures.push(UnreadableFile { path: file.path.into(), reason });
                }
            }
        }
    }

    fn is_present(&mut self, file: &Found) {
        self.reply.present += 1;
        self.done_bytes += file.size;
    }

    /// Says how far it is, and what failed. Ends it where nobody is left who waits for it.
    fn show(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), ControlError> {
        if self.service.engine.is_stopping() || self.service.stopping.load(Ordering::SeqCst) {
            return Err(ControlError::new(ErrorKind::Busy, "the daemon is stopping")
                .with_hint("what came is kept: start it, and prefetch again"));
        }
        if self.asker.is_gone() {
            return Err(ControlError::new(ErrorKind::Busy, "the command has gone"));
        }
        for some in self.failures.chunks(CHANGES_MAX) {
            progress(Progress::Failures(some.to_vec()));
        }
        self.failures.clear();
        let mut what = format!("fetched {}", count(self.reply.fetched, "file"));
        if self.reply.failed > 0 {
            what.push_str(&format!(", {} failed", self.reply.failed));
        }
        let done = self.done_bytes.saturating_add(self.service.engine.prefetched_bytes(self.id));
        let total = Some(self.total_bytes);
        progress(Progress::Step { what, done, total, is_bytes: true });
        self.shown = Instant::now();
        Ok(())
    }
}
