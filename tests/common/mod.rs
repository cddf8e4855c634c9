//! What the tests share: for those that need a mount a daemon of their own ([`Cairn`]), a directory to
//! run POSIX operations in ([`Area`]), and what compares trees ([`tree`]); for those that need none, an
//! engine with the service of control requests ([`world`]).
//!
//! Must not know what a test is about. Nothing here sleeps for a guessed time: [`wait::until`] polls a
//! condition up to a deadline.
#![allow(clippy::print_stderr, reason = "the test runner shows it when the test fails")]
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

pub(crate) mod area;
pub(crate) mod cairn;
pub(crate) mod check;
pub(crate) mod content;
pub(crate) mod fsck;
#[cfg(feature = "net")]
pub(crate) mod http;
pub(crate) mod mapping;
pub(crate) mod mounts;
pub(crate) mod random;
pub(crate) mod schema;
pub(crate) mod tree;
pub(crate) mod wait;
#[allow(unused_imports, reason = "each test binary uses its own part of the harness")]
pub(crate) mod world;

#[allow(unused_imports, reason = "each test binary uses its own part of the harness")]
pub(crate) use {area::Area, cairn::Cairn, check::errno};

/// Reads a number that scales a test, such as its cases, from the environment.
pub(crate) fn scale(variable: &str, default: u32) -> u32 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}
