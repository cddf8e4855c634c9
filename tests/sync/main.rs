//! `cairn sync` on a real mount, from servers that behave and from those that do not (V1 to V13, H26 to H32)
#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod debian;
mod declared;
mod failure;
mod interrupted;
mod jobs;
mod killed;
mod local;
mod named;
mod nginx;
mod remote;
mod shared;
mod version;
