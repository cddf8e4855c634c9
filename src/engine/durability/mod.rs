//! Durability: what has to be on disk before somebody may hear of it.
//!
//! The metadata thread never waits for the disk. It hands a [`DurabilityJob`] to a thread of its own,
//! which brings content to disk, then the WAL, and then runs what was to happen [`Then`].

mod names;
mod obsolete;
mod thread;
mod to_disk;

pub(super) use obsolete::Obsolete;
pub use thread::Then;
pub(super) use thread::{
    DurabilityJob, DurabilityThread, JOB_QUEUE_MAX, Jobs, SYNC_ONE_BY_ONE_MAX, Scope, has_room,
};
pub(super) use to_disk::ToDisk;
