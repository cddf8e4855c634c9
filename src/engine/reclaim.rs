//! Reclaim: content that a remote can give back becomes absent again (L12).
//!
//! ```text
//!  client's thread: chooses contents ─▶ metadata thread: hides their names, looks at the pins, makes rows absent, shows the names
//!                                      │ the WAL is made durable
//!                     metadata thread: looks at the pins once more, unlinks the files
//! ```
//!
//! Nothing is lost at any instant: as long as the file may be needed after a power loss it is there, and afterwards it is
//! a leftover that no row knows (H1, H2). While names are hidden whoever resolves one finds it absent, so a reader either
//! has pinned it before, and then the content stays, or has it fetched. What the kernel holds is pinned (G16), so nothing
//! goes away under a mapping (H42).

use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::durability::{DurabilityJob, Then};
use super::error::{EngineError, Result};
use super::gc::FILES_PER_SLICE;
use super::handle::Engine;
use super::remotes::RemoteNote;
use super::request::Request;
use crate::model::content_name::ContentName;
use crate::store::catalog::{Reader, ReclaimScope, ReclaimableRow};

/// Contents that become absent between two flushes.
const CONTENTS_PER_FLUSH: usize = 4096;

/// Contents that are listed at a time to trim the cache.
const CONTENTS_PER_PAGE: u32 = 4096;

/// Uses that are noted in one transaction: a few milliseconds.
const USES_PER_BATCH: usize = 512;

/// Time between two looks whether the filesystem has freed the space of the removed files.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The kernel tells of each inode that it forgets. When it has told of none for this long, the content that is still
/// pinned is taken to be in use, and stays.
const FORGET_TIME: Duration = Duration::from_millis(200);

/// What became of contents.
#[derive(Debug, Default)]
pub struct Reclaimed {
    /// Contents that are absent now.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that stay since somebody has them open, or is about to use them.
    pub held: Vec<ReclaimableRow>,
    /// Those that stay since something else needs them by now.
    pub needed: Vec<ReclaimableRow>,
}

impl AddAssign for Reclaimed {
    fn add_assign(&mut self, other: Self) {
        self.contents += other.contents;
        self.bytes += other.bytes;
        self.held.extend(other.held);
        self.needed.extend(other.needed);
    }
}

impl Engine {
    /// Makes contents absent that a remote can give back. Returns once their space is free. Not for threads that serve the
    /// kernel.
    ///
    /// # Errors
    /// When the store takes no changes. What was done by then stays done.
    pub fn reclaim(&self, contents: Vec<ReclaimableRow>) -> Result<Reclaimed> {
        let mut reclaimed = Reclaimed::default();
        for some in contents.chunks(CONTENTS_PER_FLUSH) {
            let mut absent = Vec::new();
            for slice in some.chunks(FILES_PER_SLICE) {
                let contents = slice.to_vec();
                let made = self.call(|reply| Request::MakeAbsent { contents, reply })?;
                absent.extend(made.absent);
                reclaimed.held.extend(made.held);
                reclaimed.needed.extend(made.needed);
            }
            if absent.is_empty() {
                continue;
            }
            self.flush_rows()?;
            for slice in absent.chunks(FILES_PER_SLICE) {
                self.remove_absent(slice.to_vec())?;
            }
            reclaimed.contents += absent.len() as u64;
            reclaimed.bytes += absent.iter().map(|content| content.size).sum::<u64>();
        }
        Ok(reclaimed)
    }

    /// The same, also of content that nobody has open and the kernel only caches.
    ///
    /// # Errors
    /// When the store takes no changes. What was done by then stays done.
    pub fn reclaim_unless_open(&self, contents: Vec<ReclaimableRow>) -> Result<Reclaimed> {
        let mut done = self.reclaim(contents)?;
        if !done.held.is_empty() {
            let (free, open) = self.release_cached(std::mem::take(&mut done.held))?;
            done.held = open;
            done += self.reclaim(free)?;
        }
        Ok(done)
    }

    /// Frees so many bytes of content that is kept as a cache only, the least recently used first; returns how many it
    /// were. What somebody has open stays.
    ///
    /// # Errors
    /// When the store takes no changes. What was done by then stays done.
    pub fn trim_cache(&self, bytes: u64) -> Result<u64> {
        self.note_uses()?;
        let reader = self.open_reader()?;
        let (mut freed, mut last) = (0, None);
        while freed < bytes && !self.is_stopping() {
            let rows =
                reader.reclaimable(ReclaimScope::Cached, last.as_ref(), CONTENTS_PER_PAGE)?;
            let mut chosen_bytes = 0;
            let fits = |row: &ReclaimableRow| {
                let is_wanted = freed + chosen_bytes < bytes;
                chosen_bytes += row.size;
                is_wanted
            };
            let chosen: Vec<_> = rows.into_iter().take_while(fits).collect();
            let Some(end) = chosen.last() else { break };
            last = Some(*end);
            freed += self.reclaim_unless_open(chosen)?.bytes;
        }
        Ok(freed)
    }

    /// Bytes of content that is kept as a cache only.
    ///
    /// # Errors
    /// When that cannot be looked up.
    pub fn cached_bytes(&self) -> Result<u64> {
        self.query(Reader::cached_bytes)
    }

    /// Brings all rows written so far to disk.
    fn flush_rows(&self) -> Result<()> {
        let (send, receive) = crossbeam_channel::bounded(1);
        // Who waits is this thread.
        self.sync(DurabilityJob::Rows { then: Then::new(move |result| drop(send.send(result))) });
        receive.recv().map_err(|_| EngineError::Stopping)?
    }

    /// Removes files, and waits until their space is free.
    fn remove_absent(&self, contents: Vec<ReclaimableRow>) -> Result<()> {
        let remove = |contents| self.call(|reply| Request::RemoveAbsent { contents, reply });
        let mut is_free = remove(contents)?;
        while !is_free {
            std::thread::sleep(LOOK_INTERVAL);
            is_free = remove(Vec::new())?;
        }
        Ok(())
    }

    /// Has the kernel forget what it only caches of contents, and waits for that. Returns those that nobody holds then, and
    /// the others.
    ///
    /// # Errors
    /// When the engine ends.
    fn release_cached(
        &self,
        held: Vec<ReclaimableRow>,
    ) -> Result<(Vec<ReclaimableRow>, Vec<ReclaimableRow>)> {
        let both = |content: &ReclaimableRow| [content.blob.into(), content.name];
        let names: Arc<BTreeSet<ContentName>> = Arc::new(held.iter().flat_map(both).collect());
        self.call(|reply| Request::ForgetCached { names, reply })?;
        let (mut free, mut left) = (Vec::new(), held);
        let mut last = Instant::now();
        // The kernel says what it forgot in requests of its own, one after the other.
        while !left.is_empty() && last.elapsed() < FORGET_TIME && !self.is_stopping() {
            let before = left.len();
            free.extend(left.extract_if(.., |content| !self.is_held(content)));
            if left.len() < before {
                last = Instant::now();
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok((free, left))
    }

    /// Whether somebody holds a content: has it open, has the kernel cache it, or is about to use it.
    pub fn is_held(&self, content: &ReclaimableRow) -> bool {
        self.pins.is_pinned(&content.blob.into()) || self.pins.is_pinned(&content.name)
    }

    /// Notes in the catalog when contents were last read.
    ///
    /// # Errors
    /// When the store takes no changes.
    pub fn note_uses(&self) -> Result<()> {
        while self.note_some_uses()? {}
        Ok(())
    }

    /// The same for a few of them. Says whether there may be more.
    pub(super) fn note_some_uses(&self) -> Result<bool> {
        let uses = self.uses.take(USES_PER_BATCH);
        let is_full = uses.len() == USES_PER_BATCH;
        if !uses.is_empty() {
            let note = RemoteNote::Uses(uses);
            self.call(|reply| Request::NoteRemote { note, reply })?;
        }
        Ok(is_full)
    }
}
