//! Garbage collection on request.

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind, GcRequest};
use crate::control::reply::{GcReply, Reply};
use crate::engine::PROTECT_SECONDS;
use crate::engine::request::Request;

impl StoreService {
    pub(super) fn gc(&self, request: &GcRequest) -> Answer {
        if request.dry_run {
            // Retention policies are not there yet, and what is unreferenced is no decision.
            return Err(ControlError::new(
                ErrorKind::Failed,
                "there is no retention policy to try: a run only removes unreferenced content",
            ));
        }
        let protect_seconds = request.protect_seconds.unwrap_or(PROTECT_SECONDS);
        if !request.wait {
            let reply = Box::new(|result| match result {
                Ok(report) => log::info!("collection: {report:?}"),
                Err(error) => log::error!("collection failed: {error}"),
            });
            self.engine
                .submit(Request::Collect { protect_seconds, reply })
                .map_err(control_error)?;
            return Ok(Reply::Gc(GcReply::default()));
        }
        let report = self
            .engine
            .call(|reply| Request::Collect { protect_seconds, reply })
            .map_err(control_error)?;
        Ok(Reply::Gc(GcReply {
            finished: true,
            blobs: report.blobs,
            freed_bytes: report.bytes,
            trees: report.trees,
            ..GcReply::default()
        }))
    }
}
