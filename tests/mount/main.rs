//! Tests on a real mount: one file per operation.
//!
//! `posix` asks of a staging area what any local filesystem does, and runs on a plain directory too
//! (`CAIRN_TEST_NATIVE=DIRECTORY`, with the filter `posix::`). `namespace` is about what only cairn does.
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod namespace;
mod posix;
