//! Mounting, serving and stopping, with two toy filesystems instead of cairn's own; and the daemon as
//! mount(8) and the service manager start it.
//!
//! Needs /dev/fuse and root; without them each test fails and says so. A test that needs a process of
//! its own starts this program again with `--exact` and a variable; without the variable such a test
//! (`child_…`) ends at once.
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::print_stderr, reason = "the test runner shows it when the test fails")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod dead;
mod fstab;
mod guard;
mod log;
mod package;
mod readme;
mod service;
mod start;
mod stop;
mod toy;
mod unprivileged;
