//! A backup: a whole store copied into a directory that is a store itself, on the client's side
//! (H25). It runs in the caller's process and writes with the caller's rights (H24); the daemon, or
//! whoever has the store open, hands out the catalog and leaves the blobs in place.
//!
//! ```text
//! catalog at one instant ──▶ draft: areas left out ──▶ blobs that the backup lacks, each hashed
//!   ──▶ all on disk ──▶ the draft takes the catalog's place ──▶ blobs that it does not name go
//! ```
//!
//! Content that only remotes have is not copied, and the report says how much that is. If it is asked for, the daemon
//! fetches it into the store first, and the catalog is copied again after that.
//!
//! Invariants:
//! - The directory is the old backup until one rename, and the new one from it on. What an
//!   interrupted run leaves are blobs that no row names, and a draft: the next run uses the first
//!   and removes the second.
//! - A blob in the directory is believed where the catalog that is in place there, and so is on
//!   disk with all that it names, has it as sound. Any other one is hashed first (H1).
//! - The first copy of a catalog needs no hold: what the collector removes meanwhile is missed, and
//!   then a second one is made with every blob held. That one has little left to copy, so the
//!   collector is not kept for long, and what is missing then is lost.
//!
//! The module knows the form of a store and nothing of the engine.

mod content;
mod draft;
pub mod error;
mod lineage;
mod target;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::control::backup::{BackupReport, BackupRequest, UNFETCHED_MAX, UnfetchedContent};
use crate::control::client::Connection;
use crate::control::protocol::{Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::store::error::StoreError;
use crate::store::format;
use crate::store::layout::Layout;
pub use crate::sys::priority::Priority;
use content::BlobCopier;
use error::{BackupError, Result};
use target::Target;

/// Hears how far it is.
pub type Watch<'a> = &'a mut dyn FnMut(Progress);

/// How a backup is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How much of a busy processor and disk it takes.
    pub priority: Priority,
    /// Content that only remotes have is fetched into the store first.
    pub fetch: bool,
}

/// Makes `directory` a backup of `store`, or brings the one there up to date. `connection` leads to
/// whoever has the store open, and ends before the backup is put in place.
///
/// # Errors
/// Why there is no new backup; one that was there before is whole.
pub fn run(
    mut connection: Connection,
    store: &Path,
    directory: &Path,
    options: Options,
    watch: Watch<'_>,
) -> Result<BackupReport> {
    let began = Instant::now();
    if let Err(error) = options.priority.apply() {
        log::debug!("the backup runs with ordinary priority: {error}");
    }
    check_apart(store, directory)?;
    let source = Layout::new(store);
    let uuid = format::uuid(&source)?;
    let target = Target::open(directory, &uuid)?;

    let mut draft = target.draft(1, &catalog(&mut connection, false, watch)?)?;
    lineage::check(&target, &draft)?;
    let mut content = BlobCopier::new(&source, &target);
    if options.fetch && draft.lacks_content()? {
        fetch(&mut connection, &mut content.report, watch)?;
        draft = target.draft(2, &catalog(&mut connection, false, watch)?)?;
        lineage::check(&target, &draft)?;
    }
    content.copy(&mut draft, None, watch)?;
    if content.report.damaged > 0 {
        let first = draft;
        draft = target.draft(3, &catalog(&mut connection, true, watch)?)?;
        content.copy(&mut draft, Some(&first), watch)?;
        if content.report.damaged > 0 {
            // That they are lost is known only if they were held all the time.
            connection.ask(Request::Backup(BackupRequest::Release))?;
        }
    }
    drop(connection);
    let mut report = content.report;
    draft.describe(&mut report)?;
    report.removed = target.put_in_place(draft, &uuid)?;
    report.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Has the daemon fetch what only remotes have.
fn fetch(connection: &mut Connection, report: &mut BackupReport, watch: Watch<'_>) -> Result<()> {
    let unfetched = &mut report.unfetched_contents;
    let mut on_progress = |progress: Progress| match progress {
        Progress::Failures(some) => {
            let room = UNFETCHED_MAX.saturating_sub(unfetched.len());
            unfetched.extend(some.into_iter().take(room).map(|failure| UnfetchedContent {
                content: String::from_utf8_lossy(failure.path.as_bytes()).into_owned(),
                reason: failure.reason,
            }));
        }
        other => watch(other),
    };
    let request = Request::Backup(BackupRequest::Fetch);
    match connection.call(request, Attachment::none(), &mut on_progress)? {
        (Reply::BackupFetched(fetched), _) => report.fetch = fetched,
        _ => return Err(BackupError::OtherAnswer),
    }
    Ok(())
}

/// Asks for the catalog as it is now.
fn catalog(connection: &mut Connection, hold: bool, watch: Watch<'_>) -> Result<File> {
    let request = Request::Backup(BackupRequest::Catalog { hold });
    let (reply, attachment) = connection.call(request, Attachment::none(), watch)?;
    match (reply, attachment.files.into_iter().next()) {
        (Reply::Catalog, Some(file)) => Ok(file),
        _ => Err(BackupError::OtherAnswer),
    }
}

/// A store has no room for its backup.
fn check_apart(store: &Path, directory: &Path) -> Result<()> {
    let real = |path: &Path| {
        std::fs::canonicalize(path).map_err(StoreError::io("find the directory", path))
    };
    let place = match std::fs::symlink_metadata(directory) {
        Ok(_) => real(directory)?,
        Err(_) => real(&parent(directory))?,
    };
    if place.starts_with(real(store)?) {
        return Err(BackupError::Inside { path: directory.to_owned() });
    }
    Ok(())
}

/// The directory that a path is in.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
