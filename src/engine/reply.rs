//! How an answer gets to whoever asked.
//!
//! An answer is a callback, which runs once, on whatever thread knows the answer. It must not block.

use std::sync::Arc;

use super::error::Result;

/// Runs once with the answer.
pub type Reply<T> = Box<dyn FnOnce(Result<T>) + Send>;

/// A thread's way to tell the metadata thread one kind of thing; an error when that has ended.
pub(super) type Tell<T> = Arc<dyn Fn(T) -> Result<()> + Send + Sync>;
