//! Buckets over real stores, a directory and a server that speaks S3, and `cairn push` and `cairn pull` between stores and a
//! directory (D1, D3, D4, D6, H44 to H54)
//!
//! The server is moto, which `scripts/moto` installs. With `CAIRN_S3_ENDPOINT`, `CAIRN_S3_BUCKET` (which must be there), `CAIRN_S3_KEY` and
//! `CAIRN_S3_SECRET` it is another one: a real gateway.
#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod damaged;
mod edge;
mod edge_trouble;
mod http;
mod http_faults;
mod killed;
mod log;
mod names;
mod publishers;
mod remote;
mod server;
mod shared;
mod signed;
mod store;
mod transferred;
