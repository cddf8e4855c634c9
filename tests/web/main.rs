//! The web face of a real daemon, over real connections (W1, W2, W4, D5, H55 to H57)
#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod archive;
mod client;
mod connections;
mod files;
mod lazy;
mod manifest;
mod metrics;
mod pages;
mod programs;
mod rights;
mod serve;
