//! The daemon is killed, or its disk fails, at each durable step of a history. The next start needs no
//! repair, and what was acknowledged is there (R1, R3, R4). Neither does a thread that panics, a
//! daemon that is stopped or a disk that is gone make anybody wait for ever (R8).
//!
//! `CAIRN_TEST_CRASHES` says at how many of the steps (evenly spread); `0` means at each.
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]
#![allow(clippy::print_stderr, reason = "how many steps there were is worth knowing")]

mod backup;
mod disk;
mod full;
mod history;
mod import;
#[cfg(feature = "net")]
mod lazy_full;
mod migrate;
mod panic;
mod promises;
mod rsync;
mod step;
mod stopped;
