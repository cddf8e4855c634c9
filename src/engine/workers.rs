//! What the threads get that work for the metadata thread: those that build trees, compute usage and
//! search for leftovers.
//!
//! They are started for one task and end with it. They know the metadata thread only as somebody who
//! is told one kind of thing.

use std::sync::Arc;

use super::error::Result;
use super::stop_point::StopPoints;
use crate::store::tree_cache::TreeCache;

/// Tells the metadata thread something; an error when that has ended.
pub(super) type Tell<T> = Arc<dyn Fn(T) -> Result<()> + Send + Sync>;

/// What such a thread gets.
pub(super) struct Workers<T> {
    pub(super) trees: Arc<TreeCache>,
    /// Where it tells what it found or made.
    pub(super) tell: Tell<T>,
    pub(super) stop_points: Arc<StopPoints>,
}
