//! Who is asked to fetch content that trees name and the store does not have.
//!
//! The engine fetches nothing itself, and must not know how it is done: the daemon gives it a [`Fetcher`] (`lazy`) once,
//! after the start. Everybody who needs such content asks there, and is called back.

use crate::model::digest::Sha256;

/// Why content cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotFetched(pub String);

/// Is called once, on a thread of whoever fetches: the store has the content now, or it cannot be had.
pub type OnFetched = Box<dyn FnOnce(std::result::Result<(), NotFetched>) + Send>;

/// Fetches content that is absent.
pub trait Fetcher: Send + Sync {
    /// Fetches a content, once however many ask, and then calls back. Returns at once; may call back before.
    fn fetch(&self, digest: Sha256, then: OnFetched);
}
