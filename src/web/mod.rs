//! The web face: files of versions over HTTP, and pages to look at them (feature `net`).
//!
//! It only reads, and it only shows what the modes of repositories, directories and files give to others: see
//! [`look`], through which everything here goes. The network is answered by async code on a runtime of its own,
//! which never touches the disk: what asks the store runs on a bounded number of threads that may block. A
//! client costs a bounded amount of memory, and one that does nothing ends when others need its place
//! ([`connection`]).
//!
//! This module must not know FUSE, nor change the store. (The SHA-256 of content that it computes for a manifest is
//! kept by the engine like that of a sync.)

mod address;
mod answer;
mod archive;
mod body;
mod conditional;
mod connection;
mod digests;
mod error;
mod file;
mod listing;
mod look;
mod manifest;
mod metrics;
mod pages;
mod response;
mod server;
mod streams;
mod style;
mod totals;
mod walk;

pub use error::WebError;
pub use server::WebServer;
