//! Downloads that are not whole: counted for the status, freed by a collection that somebody asks for. The collector itself leaves
//! them: the next sync goes on with them (V7), and a sync removes what is older than a week.

use super::StoreService;
use crate::control::gc::{GcReply, GcRequest};
use crate::control::status::StatusReply;

#[cfg(feature = "net")]
impl StoreService {
    /// Frees downloads that nobody fetches now, and nobody has within the protection time; a dry run counts them.
    pub(super) fn free_partial_files(&self, request: &GcRequest, reply: &mut GcReply) {
        let protected = request.protect_seconds.unwrap_or(self.engine.gc_options.protect_seconds);
        let since =
            crate::engine::gc::protection_limit(crate::model::time::Timestamp::now(), protected);
        let freed = if request.dry_run {
            self.partial_files.unused(since)
        } else {
            self.partial_files.free(since)
        };
        match freed {
            Ok(freed) => {
                reply.partial_files = freed.count;
                reply.freed_partial_bytes = freed.bytes;
            }
            Err(error) => {
                log::warn!("unfinished downloads stay: {error}");
                reply.errors += 1;
                reply.failure.get_or_insert(error.to_string());
            }
        }
    }

    /// Counts what is fetched since somebody reads it.
    pub(super) fn count_fetches(&self, status: &mut StatusReply) {
        let activity = self.lazy.activity();
        status.fetching = activity.fetching;
        status.waiting_reads = activity.waiting;
        status.failed_fetches = activity.failed;
        if let Some((bytes, bytes_max)) = self.lazy.cached() {
            status.cached_bytes = Some(bytes);
            status.cache_size_bytes = Some(bytes_max);
        }
    }

    /// Counts them.
    pub(super) fn count_partial_files(&self, status: &mut StatusReply) {
        match self.partial_files.usage() {
            Ok(usage) => {
                status.partial_files = usage.count;
                status.partial_bytes = usage.bytes;
            }
            Err(error) => log::warn!("unfinished downloads are not counted: {error}"),
        }
    }
}

/// Without the network nothing is fetched; what another build left stays for that one.
#[cfg(not(feature = "net"))]
impl StoreService {
    pub(super) fn free_partial_files(&self, _request: &GcRequest, _reply: &mut GcReply) {}

    pub(super) fn count_partial_files(&self, _status: &mut StatusReply) {}
}
