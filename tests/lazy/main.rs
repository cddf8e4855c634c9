//! Content that is fetched when it is first read, on a real mount (L1 to L14, H33 to H43)
#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod areas;
mod backup;
mod bucket;
mod bucket_faults;
mod equal;
mod fair;
mod faults;
mod gateway;
mod look;
mod parts;
mod prefetch;
mod profile;
mod read;
mod reclaim;
mod reclaim_crash;
mod remote;
#[allow(dead_code, reason = "the tests of buckets use all of it")]
#[path = "../bucket/server.rs"]
mod server;
mod shared;
mod streamed;
mod taken;
mod trouble;
mod unneeded;
