//! Checking and repairing a store that no engine runs on.
//!
//! Starting an engine changes a store: it sweeps, collects and purges, and with wrong counts that
//! may remove what is still named. So a store without a daemon is looked at as it lies there.

use super::finding::Finding;
use super::repair::{self, Step};
use super::{Options, Report, Sink, Stopped, Subject, Suspicion};
use crate::store::Store;
use crate::store::durable;
use crate::store::error::Result;

/// Checks a store that is open here.
///
/// # Errors
/// [`Stopped`].
pub fn check(
    store: &Store,
    options: Options,
    found: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(&'static str, u64, u64),
) -> std::result::Result<Report, Stopped> {
    super::check(&Subject::new(store), options, &mut Alone { found, progress })
}

/// As [`check`]; `found` may repair what it hears of.
///
/// # Errors
/// [`Stopped`].
pub fn check_and_repair(
    store: &mut Store,
    options: Options,
    found: &mut dyn FnMut(&mut Store, Finding),
    progress: &mut dyn FnMut(&'static str, u64, u64),
) -> std::result::Result<Report, Stopped> {
    let subject = Subject::new(store);
    let found = &mut |finding| found(store, finding);
    super::check(&subject, options, &mut Alone { found, progress })
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
    store.catalog.checkpointer()?.truncate()?;
    Ok(())
}

struct Alone<'a> {
    found: &'a mut dyn FnMut(Finding),
    progress: &'a mut dyn FnMut(&'static str, u64, u64),
}

impl Sink for Alone<'_> {
    fn found(&mut self, finding: Finding) {
        (self.found)(finding);
    }

    fn progress(&mut self, step: &'static str, done: u64, total: u64) {
        (self.progress)(step, done, total);
    }

    /// Nobody else is there.
    fn confirm(&mut self, _suspicion: Suspicion) -> std::result::Result<bool, Stopped> {
        Ok(true)
    }
}
