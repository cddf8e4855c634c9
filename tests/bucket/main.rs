//! `cairn push` and `cairn pull` between stores and a directory bucket (D1, D3, D4, H44 to H54)
#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod damaged;
mod killed;
mod names;
mod publishers;
mod shared;
mod transferred;
