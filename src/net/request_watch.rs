//! Who looks on while a request is made: sees that bytes come, and may end it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::error::NetError;
use super::fetch::until;

/// Ends requests that it watches, and counts their bytes. The default one does neither.
#[derive(Debug, Clone, Default)]
pub struct RequestWatch {
    stop: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
}

impl RequestWatch {
    /// Requests end soon after `stop` is set; bytes are added to `heard` as they come.
    pub fn new(stop: Arc<AtomicBool>, heard: Arc<AtomicU64>) -> Self {
        Self { stop, heard }
    }

    /// Runs a request, or a wait for the next try, to its end.
    pub(super) async fn run<F: Future>(&self, request: F) -> Result<F::Output, NetError> {
        let ended = until(&self.stop, pin!(request), Duration::MAX).await?;
        ended.ok_or_else(NetError::stopped)
    }

    pub(super) fn heard(&self, bytes: usize) {
        self.heard.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
