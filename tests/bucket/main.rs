//! Buckets over real stores: a directory, and a server that speaks S3 (D1, D3, D6, H44)
//!
//! The server is moto, which `scripts/moto` installs. With `CAIRN_S3_ENDPOINT`, `CAIRN_S3_BUCKET` (which must be there), `CAIRN_S3_KEY` and
//! `CAIRN_S3_SECRET` it is another one: a real gateway.
#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod log;
mod remote;
mod server;
mod store;
