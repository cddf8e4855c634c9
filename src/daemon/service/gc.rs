//! Garbage collection on request.

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind, GcRequest};
use crate::control::reply::{GcReply, Reply};
use crate::engine::gc::RunKind;
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
        let kind = RunKind { full: request.full, protect_seconds: request.protect_seconds };
        if !request.wait {
            let reply = Box::new(|result| {
                if let Err(error) = result {
                    log::error!("collection failed: {error}");
                }
            });
            self.engine.submit(Request::Collect { kind, reply }).map_err(control_error)?;
            return Ok(Reply::Gc(GcReply::default()));
        }
        let report =
            self.engine.call(|reply| Request::Collect { kind, reply }).map_err(control_error)?;
        Ok(Reply::Gc(GcReply {
            finished: true,
            versions: report.versions,
            blobs: report.blobs,
            freed_bytes: report.bytes,
            trees: report.trees,
            ..GcReply::default()
        }))
    }
}
