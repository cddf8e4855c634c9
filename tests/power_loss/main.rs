//! The power goes, and what was acknowledged by fsync or commit is on the disk (R2), whatever the
//! disk had not been told to flush.
//!
//! The store is on ext4 and on XFS, on a disk of the test's own that loses what was not flushed.
//! This needs root, loop devices and both filesystems, and fails without them. Everything is mounted
//! in a namespace of the test's own, so that nothing stays behind.
//!
//! `CAIRN_TEST_OUTAGES` says how many images of each disk are checked, and `CAIRN_TEST_SEED`, when
//! they are taken.
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]
#![allow(clippy::print_stderr, reason = "the test runner shows it when the test fails")]

mod check;
mod disk;
mod failing;
mod history;
mod outage;
mod promises;
mod volume;
