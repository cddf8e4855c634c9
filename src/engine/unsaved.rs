//! Content that is in memory only because it could not be saved: the disk is full, too many files are
//! open, or it failed.
//!
//! It stays in memory, and the rows that name it wait (`staging::held`), so that after a crash the files are
//! as they were before. Saving it is tried again now and then, since there may be room later. Whoever
//! syncs, publishes or unmounts meanwhile is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::poison::Blocked;
use super::staging::content::FileContent;
use super::writer::StoreWriter;
use crate::model::text;
use crate::store::catalog::Tx;
use crate::store::error::StoreError;

/// Time between two tries to save or seal what could not be.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The most paths that are named.
const NAMED_MAX: usize = 20;

/// When it is tried again.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Saving is not tried before this, after a failure that other files would meet as well.
    save_at: Option<Instant>,
    seal_at: Option<Instant>,
    /// A failure was logged, and nothing could be saved since.
    told: bool,
}

impl Unsaved {
    /// Whether a failure is to be logged: it is the first since something could be saved.
    pub(super) fn tells(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }
}

/// What could not be saved.
#[derive(Debug, Clone, Default)]
pub struct Remaining {
    /// How many files.
    pub count: usize,
    /// Paths of some of them: `REPOSITORY/AREA/PATH`.
    pub files: Vec<String>,
    /// Why one of them could not be, or the names of files that are saved; `None` when all is saved.
    pub reason: Option<String>,
}

impl Remaining {
    /// One sentence for whoever wanted everything to be saved.
    pub fn text(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        let (count, files) = (self.count, self.files.join(", "));
        let more = if count > self.files.len() { ", …" } else { "" };
        Some(match count {
            0 => format!("the latest changes are in memory only: {reason}"),
            _ => format!(
                "{} {} in memory only ({files}{more}): {reason}",
                text::count(count, "file"),
                text::is_or_are(count)
            ),
        })
    }
}

impl Unsaved {
    /// Saves buffers that have been dirty for long.
    pub(super) fn save_overdue(&mut self, writer: &StoreWriter, now: Instant) {
        if self.save_at.is_some_and(|at| now < at) {
            return;
        }
        self.save_at = None;
        for content in writer.staging().dirty_contents() {
            if !content.is_overdue(now) {
                continue;
            }
            let Err(error) = self.spill(writer, &content) else { continue };
            let concerns_all = error.is_full() || error.lacks_descriptors();
            if self.tells() {
                log::error!("files stay in memory for now: {error}");
            }
            if concerns_all {
                self.save_at = Some(now + RETRY_INTERVAL);
                return;
            }
        }
    }

    /// Brings a content into a file, so that the journal can name it.
    pub(super) fn spill(
        &mut self,
        writer: &StoreWriter,
        content: &Arc<FileContent>,
    ) -> std::result::Result<(), StoreError> {
        if content.spill()? {
            writer.staging().mark_dirty(content.node);
            self.told = false;
        }
        Ok(())
    }

    /// Queues files again that could not be sealed, and sets space aside again, in case there is room by now.
    pub(super) fn try_again(&mut self, writer: &mut StoreWriter, now: Instant) {
        if *self.seal_at.get_or_insert(now + RETRY_INTERVAL) > now {
            return;
        }
        self.seal_at = None;
        writer.fill_reserve();
        if writer.store().catalog.is_owing() && writer.poison().blocked() == Blocked::Full {
            note_start(writer);
        }
        let failed: Vec<Arc<FileContent>> = {
            let state = writer.staging().read();
            state.areas.values().flat_map(|area| area.shared.failed()).collect()
        };
        if !failed.is_empty() && writer.store().pool.room().is_open() {
            // Files for which the queue has no place are queued next time.
            failed.iter().all(|content| writer.staging().offer_seal(content));
        }
    }

    /// Brings everything that is in memory only into files; says what cannot be. The journal is to be
    /// written after that.
    pub(super) fn save_all(&mut self, writer: &StoreWriter) -> Remaining {
        let mut remaining = Remaining::default();
        let mut unsaved = Vec::new();
        for content in writer.staging().dirty_contents() {
            if let Err(error) = self.spill(writer, &content) {
                remaining.reason.get_or_insert(error.to_string());
                unsaved.push(content);
            }
        }
        remaining.count = unsaved.len();
        remaining.files =
            unsaved.iter().take(NAMED_MAX).map(|content| path(writer, content)).collect();
        remaining
    }
}

/// Writes what a start on a full disk could not; where there is room by now, changes are accepted.
fn note_start(writer: &mut StoreWriter) {
    match writer.begin().and_then(Tx::commit) {
        Ok(()) => writer.poison().has_room(),
        Err(error) if error.is_full() => log::debug!("the disk is still full: {error}"),
        Err(error) => writer.write_failed(&error),
    }
}

/// `REPOSITORY/AREA/PATH`
fn path(writer: &StoreWriter, content: &FileContent) -> String {
    let repository = writer.registry().by_id(content.area.repo);
    let repository = repository.map_or_else(String::new, |found| found.name.to_string());
    let state = writer.staging().read();
    let area = state.areas.get(&content.area.id);
    let area = area.map_or_else(String::new, |area| area.name.to_string());
    format!("{repository}/{area}/{}", String::from_utf8_lossy(&state.path(content.node)))
}
