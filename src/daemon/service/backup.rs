//! Backups: the catalog at one instant, a hold on the blobs that it names, and before both, content that only remotes have.

use super::errors::{control_error, store_error};
use super::fetching::{Fetching, Wanted};
use super::{Answer, StoreService};
use crate::control::backup::{BackupFetched, BackupRequest};
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, ConnectionId};
use crate::engine::backup;
use crate::engine::error::EngineError;
use crate::store::Store;

/// Names of absent contents that are read at once.
const NAMES_PER_STEP: u32 = 1024;

impl StoreService {
    pub(super) fn backup(
        &self,
        caller: Caller,
        request: BackupRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        match request {
            BackupRequest::Catalog { hold } => {
                if hold {
                    let hold = self.engine.hold_blobs().map_err(control_error)?;
                    self.holds.lock().insert(caller.connection, hold);
                }
                let file = self.engine.copy_catalog(&mut |done, total| {
                    show(progress, done, total);
                    !self.engine.is_stopping()
                });
                let file = file.map_err(control_error)?;
                Ok((Reply::Catalog, Attachment::of_files(vec![file])))
            }
            BackupRequest::Fetch => Ok((self.fetch_absent(caller, progress)?, Attachment::none())),
            BackupRequest::Release => Ok((self.release(caller.connection)?, Attachment::none())),
        }
    }

    /// Has everything fetched that is absent and named. What becomes absent meanwhile may be passed over.
    fn fetch_absent(&self, caller: Caller, progress: &mut dyn FnMut(Progress)) -> Answer {
        if self.engine.is_read_only() {
            return Err(control_error(EngineError::ReadOnly));
        }
        let total = self.engine.query(|reader| reader.absent_totals()).map_err(control_error)?;
        let mut fetching = Fetching::begin(self, self.asker(caller), "content", total.bytes);
        let mut after = None;
        loop {
            let some = self
                .engine
                .query(|reader| reader.absent_contents_after(after.as_ref(), NAMES_PER_STEP))
                .map_err(control_error)?;
            let Some((last, _)) = some.last() else { break };
            after = Some(*last);
            for (name, size) in some {
                let label = name.to_string().into_bytes();
                fetching.want(Wanted { label, size, name: Some(name) }, progress)?;
            }
        }
        let tally = fetching.finish(progress)?;
        Ok(Reply::BackupFetched(BackupFetched {
            fetched: tally.fetched,
            fetched_bytes: tally.fetched_bytes,
            failed: tally.failed,
        }))
    }

    fn release(&self, connection: ConnectionId) -> Answer {
        let held = self.holds.lock().remove(&connection);
        match held {
            Some(_) => Ok(Reply::Done),
            None => Err(ControlError::new(ErrorKind::Failed, "nothing was held")),
        }
    }

    /// Lets go of what a connection that is gone held.
    pub(super) fn end_hold(&self, connection: ConnectionId) {
        self.holds.lock().remove(&connection);
    }
}

/// As [`StoreService::backup`], on a store that nobody else has open: all is held.
pub(super) fn bare(
    store: &Store,
    request: BackupRequest,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Reply, Attachment), ControlError> {
    match request {
        BackupRequest::Catalog { hold: _ } => {
            let file = backup::copy_catalog(store, &mut |done, total| {
                show(progress, done, total);
                true
            });
            let files = file.map_err(store_error)?.into_iter().collect();
            Ok((Reply::Catalog, Attachment::of_files(files)))
        }
        BackupRequest::Fetch => {
            let message = "the store is not mounted, so nothing can be fetched into it";
            Err(ControlError::new(ErrorKind::Failed, message)
                .with_hint("mount it with `cairn mount`, or back it up without --fetch"))
        }
        BackupRequest::Release => Ok((Reply::Done, Attachment::none())),
    }
}

fn show(progress: &mut dyn FnMut(Progress), done: u64, total: u64) {
    let what = "copying the catalog".to_owned();
    progress(Progress::Step { what, done, total: Some(total), is_bytes: false });
}
