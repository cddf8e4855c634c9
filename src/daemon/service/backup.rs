//! Backups: the catalog at one instant, and a hold on the blobs that it names.

use super::errors::{control_error, store_error};
use super::{Answer, StoreService};
use crate::control::backup::BackupRequest;
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, ConnectionId};
use crate::engine::backup;
use crate::store::Store;

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
            BackupRequest::Release => Ok((self.release(caller.connection)?, Attachment::none())),
        }
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
        BackupRequest::Release => Ok((Reply::Done, Attachment::none())),
    }
}

fn show(progress: &mut dyn FnMut(Progress), done: u64, total: u64) {
    let what = "copying the catalog".to_owned();
    progress(Progress::Step { what, done, total: Some(total), is_bytes: false });
}
