//! What an edge refuses: all that only its bucket may change.
//!
//! Its mount refuses changes by itself, since it is read-only. The daemon changes the store by itself as well, when
//! it follows the bucket; this is about what others ask for.

use super::super::StoreService;
use super::only_read;
use crate::control::import::ImportRequest;
use crate::control::protocol::{ControlError, Request};
use crate::control::remote::{RemoteInfo, RemoteRequest};
use crate::control::transfer::Direction;
use crate::control::upkeep::UpkeepRequest;

impl StoreService {
    /// Refuses what would make an edge another thing than its bucket is.
    pub(in crate::daemon::service) fn refuse_at_edge(
        &self,
        request: &Request,
    ) -> Result<(), ControlError> {
        if !is_change(request) {
            return Ok(());
        }
        match self.edge()? {
            Some(edge) if !is_of_edge(request, &edge.remote) => Err(only_read(&edge.remote)),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether settings of the edge's own remote are changed and it stays an edge, or that remote is tried without a write.
fn is_of_edge(request: &Request, edge: &RemoteInfo) -> bool {
    let Request::Remote(request) = request else { return false };
    match request {
        RemoteRequest::Put { name, settings, .. } => *name == edge.name && settings.edge.is_some(),
        RemoteRequest::Test { name } => *name == edge.name && edge.settings.is_read_only(),
        _ => false,
    }
}

/// Whether a request changes what only the bucket of an edge may change, or that bucket. What keeps the store in
/// order is none of it: collections, repairs, reclaims.
fn is_change(request: &Request) -> bool {
    match request {
        Request::CreateRepository { .. }
        | Request::DeleteRepository { .. }
        | Request::Stage { .. }
        | Request::Commit(_)
        | Request::Discard { .. }
        | Request::SetTag { .. }
        | Request::DeleteTag { .. }
        | Request::Delete { .. }
        | Request::Import(ImportRequest::Begin(_))
        | Request::Sync(_) => true,
        Request::Transfer(transfer) => match transfer.direction {
            Direction::Push => true,
            Direction::Pull => !transfer.dry_run,
        },
        Request::Remote(remote) => match remote {
            RemoteRequest::Put { .. } | RemoteRequest::Remove { .. } => true,
            // Both write into the bucket.
            RemoteRequest::Test { .. } | RemoteRequest::Gc { dry_run: false, .. } => true,
            RemoteRequest::List
            | RemoteRequest::Show { .. }
            | RemoteRequest::Accept { .. }
            | RemoteRequest::Fsck { .. }
            | RemoteRequest::Gc { dry_run: true, .. } => false,
        },
        Request::Upkeep(upkeep) => match upkeep {
            UpkeepRequest::Flag { .. }
            | UpkeepRequest::Undelete { .. }
            | UpkeepRequest::UndeleteRepository { .. }
            | UpkeepRequest::SetPolicy { .. }
            | UpkeepRequest::ChangePolicy { .. }
            | UpkeepRequest::SetQuota { .. } => true,
            UpkeepRequest::Deleted { .. }
            | UpkeepRequest::Policy { .. }
            | UpkeepRequest::Quota { .. }
            | UpkeepRequest::Du { .. }
            | UpkeepRequest::Why(_) => false,
        },
        Request::Status
        | Request::Repositories
        | Request::Versions { .. }
        | Request::Show { .. }
        | Request::Diff { .. }
        | Request::Log(_)
        | Request::Find(_)
        | Request::Metrics
        | Request::Areas { .. }
        | Request::Names { .. }
        | Request::Tags { .. }
        | Request::Gc(_)
        | Request::Fsck(_)
        | Request::Backup(_)
        | Request::Wait { .. }
        | Request::Import(_)
        | Request::Export(_)
        | Request::Prefetch(_)
        | Request::Reclaim(_)
        | Request::Jobs(_)
        | Request::Refresh { .. }
        | Request::Save { .. }
        | Request::Remount { .. }
        | Request::Shutdown => false,
    }
}
