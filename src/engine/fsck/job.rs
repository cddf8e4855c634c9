//! What a check or a repair asks where all changes of a store are made.

use super::{Step, Suspicion};
use crate::model::hash::BlobHash;
use crate::store::pool::{Damage, Incoming};

/// What a check or repair asks of the metadata thread. Each is one slice of work.
#[derive(Debug)]
pub enum Job {
    /// Whether a suspicion holds.
    Confirm(Suspicion),
    /// Marks blobs that are still damaged: whether that was written. Answered once the kernel has
    /// forgotten their content.
    Mark(Vec<Damage>),
    /// One step of a repair: whether anything was to be done.
    Repair(Step),
    /// Gives a blob this file, which is a copy of its own, where that still has other names.
    Unshare(BlobHash, Incoming),
    /// Writes a note of the catalog: how far a scrub has come.
    Note(&'static str, String),
}
