//! Checking and repairing a store that no engine runs on.
//!
//! Starting an engine changes a store: it sweeps, collects and purges, and with wrong counts that
//! may remove what is still named. So a store without a daemon is looked at as it lies there.

use super::finding::Finding;
use super::repair::{self, Step};
use super::{Options, Report, Sink, Stopped, Subject, Suspicion};
use crate::model::hash::BlobHash;
use crate::store::Store;
use crate::store::durable;
use crate::store::error::Result;
use crate::store::pool::Damage;

/// Checks a store that is open here.
///
/// # Errors
/// [`Stopped`].
pub fn check(
    store: &mut Store,
    options: Options,
    found: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(&'static str, u64, u64),
) -> std::result::Result<Report, Stopped> {
    check_and_repair(store, options, &mut |_, finding| found(finding), progress)
}

/// As [`check`]; `found` may repair what it is told of.
///
/// # Errors
/// [`Stopped`].
pub fn check_and_repair(
    store: &mut Store,
    options: Options,
    found: &mut dyn FnMut(&mut Store, Finding),
    progress: &mut dyn FnMut(&'static str, u64, u64),
) -> std::result::Result<Report, Stopped> {
    super::check(&Subject::new(store), options, &mut Alone { store, found, progress })
}

/// Does one step of a repair. Returns whether anything was to be done.
///
/// # Errors
/// The disk's or the database's.
pub fn repair(store: &mut Store, step: &Step) -> Result<bool> {
    repair::apply(step, store)
}

/// Makes repairs durable.
///
/// # Errors
/// The disk's.
pub fn finish(store: &Store) -> Result<()> {
    durable::sync_file(&store.layout.wal())?;
    store.catalog.checkpointer()?.leave_room()?;
    Ok(())
}

struct Alone<'a> {
    store: &'a mut Store,
    found: &'a mut dyn FnMut(&mut Store, Finding),
    progress: &'a mut dyn FnMut(&'static str, u64, u64),
}

impl Sink for Alone<'_> {
    fn found(&mut self, finding: Finding) {
        (self.found)(self.store, finding);
    }

    fn progress(&mut self, step: &'static str, done: u64, total: u64) {
        (self.progress)(step, done, total);
    }

    /// Nobody else is there.
    fn confirm(&mut self, _suspicion: Suspicion) -> std::result::Result<bool, Stopped> {
        Ok(true)
    }

    fn mark(&mut self, damage: Vec<Damage>) -> std::result::Result<bool, Stopped> {
        let hashes: Vec<BlobHash> = damage.iter().map(|damage| damage.hash).collect();
        let marked = mark(self.store, &hashes);
        // A full disk keeps no check from its end: the finding says that there is no mark.
        Ok(marked.inspect_err(|error| log::error!("damage cannot be marked: {error}")).is_ok())
    }
}

fn mark(store: &mut Store, hashes: &[BlobHash]) -> Result<()> {
    let tx = store.catalog.begin()?;
    for hash in hashes {
        if tx.blob(hash)?.is_some_and(|row| row.is_stored()) {
            tx.set_blob_damaged(hash, true)?;
        }
    }
    tx.commit()?;
    store.pool.mark_damaged(hashes.iter().copied());
    Ok(())
}
