//! How an answer gets to whoever asked.
//!
//! An answer is a callback, which runs once, on whatever thread knows the answer. It must not block.

use super::error::Result;

/// Runs once with the answer.
pub type Reply<T> = Box<dyn FnOnce(Result<T>) + Send>;
