//! Mounting, serving and stopping, with two toy filesystems instead of cairn's own.
//!
//! Needs /dev/fuse, and root but for the last part; without them each test says so and ends. A test that
//! needs a process of its own starts this program again with `--exact` and a variable; without the
//! variable such a test (`child_…`) ends at once.
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::print_stderr, reason = "the test runner shows it when the test fails")]

mod dead;
mod start;
mod stop;
mod toy;
mod unprivileged;
