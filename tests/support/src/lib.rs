//! What the tests share: for those that need a mount a daemon of their own ([`Cairn`]), a directory to
//! run POSIX operations in ([`Area`]), and what compares trees ([`tree`]); for those that need none, an
//! engine with the service of control requests ([`world`]).
//!
//! Must not know what a test is about. Nothing here sleeps for a guessed time: [`wait::until`] polls a
//! condition up to a deadline.
#![allow(clippy::print_stderr, reason = "the test runner shows it when the test fails")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

pub mod area;
pub mod cairn;
pub mod check;
pub mod content;
pub mod fsck;
pub mod http;
pub mod mapping;
pub mod mounts;
pub mod nginx;
pub mod random;
pub mod schema;
pub mod tree;
pub mod wait;
pub mod world;

pub use {area::Area, cairn::Cairn, check::errno};

/// Reads a number that scales a test, such as its cases, from the environment.
pub fn scale(variable: &str, default: u32) -> u32 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}
