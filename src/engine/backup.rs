//! What a backup needs of a store that an engine runs on.
//!
//! The catalog is copied on the caller's thread; the metadata thread only makes the hold, which is one
//! short request. The WAL is synced before the copy is handed out. Otherwise a power loss could take back
//! a version that the backup has, and its number could then be given to another one.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use super::durability::{DurabilityJob, Then};
use super::error::{EngineError, Result};
use super::handle::Engine;
use super::pins::BlobsHold;
use super::request::Request;
use crate::store::Store;
use crate::store::catalog::Snapshots;
use crate::store::durable;
use crate::store::error::StoreError;
use crate::store::pool::Pool;

impl Engine {
    /// Keeps every blob for as long as the hold is kept.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn hold_blobs(&self) -> Result<BlobsHold> {
        self.call(|reply| Request::HoldBlobs { reply })
    }

    /// The catalog as it is now, in a file without a name. `go_on` is told how many
    /// pages of how many are copied, and ends the copy by returning `false`.
    ///
    /// # Errors
    /// The disk failed, or `go_on` ended it.
    pub fn copy_catalog(&self, go_on: &mut dyn FnMut(u64, u64) -> bool) -> Result<File> {
        let file = copy(&self.subject.snapshots(), &self.pool, go_on)?;
        let file = file.ok_or(EngineError::Stopping)?;
        let (send, receive) = crossbeam_channel::bounded(1);
        let then = Then::new(move |result| drop(send.send(result)));
        self.sync(DurabilityJob::Rows { then });
        receive.recv().map_err(|_| self.gone())??;
        Ok(file)
    }
}

/// The catalog of a store that no engine runs on, in a file without a name; `None` when `go_on`
/// ended it.
///
/// # Errors
/// The disk's.
pub fn copy_catalog(
    store: &Store,
    go_on: &mut dyn FnMut(u64, u64) -> bool,
) -> std::result::Result<Option<File>, StoreError> {
    let file = copy(&store.catalog.snapshots(), &store.pool, go_on)?;
    durable::sync_file(&store.layout.wal())?;
    Ok(file)
}

fn copy(
    snapshots: &Snapshots,
    pool: &Pool,
    go_on: &mut dyn FnMut(u64, u64) -> bool,
) -> std::result::Result<Option<File>, StoreError> {
    let path = pool.next_incoming_path();
    let copied = snapshots.copy_to(&path, go_on).and_then(|copied| match copied {
        ControlFlow::Continue(()) => {
            File::open(&path).map(Some).map_err(StoreError::io("open", &path))
        }
        ControlFlow::Break(()) => Ok(None),
    });
    // The name goes whether the copy succeeded or not: an open file needs none.
    let removed = remove(&path);
    let file = copied?;
    removed.map(|()| file)
}

fn remove(path: &Path) -> std::result::Result<(), StoreError> {
    match durable::unlink(path) {
        Err(error) if error.is_not_found() => Ok(()),
        removed => removed,
    }
}
