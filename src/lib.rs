#![doc = include_str!("ARCHITECTURE.md")]
#![allow(rustdoc::private_intra_doc_links, reason = "read beside the code, private items included")]

pub mod archive;
pub mod backup;
#[cfg(feature = "net")]
pub mod bucket;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod fuse;
#[cfg(feature = "net")]
pub mod lazy;
pub(crate) mod metrics;
pub mod model;
#[cfg(feature = "net")]
pub mod net;
pub mod store;
#[cfg(feature = "net")]
pub mod sync;
pub mod sys;
pub mod vfs;
#[cfg(feature = "net")]
pub mod web;
