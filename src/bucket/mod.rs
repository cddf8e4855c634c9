//! Buckets: repositories on an object store, which any number of machines publish to and read from (D1 to D4).
//!
//! ```text
//! cairn.json                     format and id of the bucket
//! packs/HASH.NONCE               small contents or pages of trees, back to back
//! blobs/HASH.NONCE               a large content, and what verifies parts of it
//! index/HASH.NONCE               where the contents of packs are
//! uses/HASH.NONCE                what one version needs
//! keys/HASH.NONCE                keys that a collector asks to give up, or that a sentence removes
//! probe/NONCE                    what a probe of the store wrote
//! log/REPOSITORY/NUMBER          an event of a repository
//! log/=bucket/NUMBER             an event of the bucket itself
//! head                           a hint at the newest numbers, which edges poll
//! ```
//!
//! The log is the repository: an event is published by creating the next number, if nobody else did ([`store`]). All
//! other objects but `head` are written once, under a key that ends in a random number, and never changed.
//!
//! This room must not know the engine, nor which provider keeps the objects.

pub mod agree;
mod at_once;
pub mod check;
pub mod collect;
pub mod event;
mod fields;
pub mod fold;
pub mod follow;
pub mod format;
pub mod groups;
pub mod head;
pub mod http_probe;
pub mod index;
pub mod key;
pub mod key_list;
pub mod log;
pub mod memory;
#[cfg(test)]
mod model_test;
pub mod pack;
pub mod probe;
pub mod pull;
pub mod push;
pub mod remote;
mod rules;
pub mod signature;
pub mod store;
#[cfg(test)]
mod testing;
pub mod transfer;
pub mod uses;

pub use fields::FormatError;
