//! The right that each request needs when a user asks who does not own the store.
//!
//! The store's owner and root may ask everything. Everybody else is measured by the owner and the mode
//! of the repository, as the kernel does it for the mount. One table says for each request which of
//! these rights it needs; who adds a request adds it here.

use super::find::FindRequest;
use super::jobs::JobsRequest;
use super::log::LogRequest;
use super::names::NamesOf;
use super::protocol::Request;
use crate::model::name::{AreaName, RepoName};

/// A right to ask something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right<'a> {
    /// Only the store's owner and root have it.
    StoreOwner,
    /// Everybody has it, and is told only of repositories that they may read.
    Listing,
    /// To list and enter the repository's directory.
    Read(&'a RepoName),
    /// To own both repositories. A comparison names paths of all directories, also of those that only
    /// their owners can read, and so does a search.
    Own(&'a RepoName, &'a RepoName),
    /// To take the area out of the repository's directory, as `mv` does: to write to that directory
    /// and to the area, and where the directory is sticky, to own one of them. The owner of the
    /// repository has it for each area.
    Publish(&'a RepoName, &'a AreaName),
}

/// The right that a request needs.
pub(crate) fn required(request: &Request) -> Right<'_> {
    match request {
        Request::Repositories
        | Request::Jobs(JobsRequest::List)
        | Request::Areas { repository: None }
        | Request::Names { of: NamesOf::Repositories, .. } => Right::Listing,
        Request::Names {
            of: NamesOf::Versions(name) | NamesOf::Areas(name) | NamesOf::Tags(name),
            ..
        } => Right::Read(name),
        Request::Areas { repository: Some(repository) }
        | Request::Versions { repository, .. }
        | Request::Show { repository, .. }
        | Request::Tags { repository }
        | Request::Wait { repository, .. } => Right::Read(repository),
        Request::Prefetch(prefetch) => Right::Read(&prefetch.repository),
        Request::Diff { repository, other_repository, .. } => {
            Right::Own(repository, other_repository)
        }
        Request::Log(log) if log.path.as_bytes().is_empty() => Right::Read(&log.repository),
        // That a path is there is told as well.
        Request::Log(LogRequest { repository, .. })
        | Request::Find(FindRequest { repository, .. }) => Right::Own(repository, repository),
        Request::Commit(commit) => Right::Publish(&commit.repository, &commit.area),
        Request::Status
        | Request::Metrics
        | Request::Names { of: NamesOf::Deleted(_), .. }
        | Request::CreateRepository { .. }
        | Request::DeleteRepository { .. }
        | Request::Stage { .. }
        | Request::Discard { .. }
        | Request::SetTag { .. }
        | Request::DeleteTag { .. }
        | Request::Delete { .. }
        | Request::Gc(_)
        | Request::Fsck(_)
        | Request::Backup(_)
        | Request::Upkeep(_)
        | Request::Import(_)
        | Request::Export(_)
        | Request::Save { .. }
        | Request::Remount { .. }
        | Request::Reclaim(_)
        | Request::Remote(_)
        | Request::Sync(_)
        | Request::Transfer(_)
        | Request::Refresh { .. }
        | Request::Jobs(JobsRequest::Follow { .. } | JobsRequest::Cancel { .. })
        | Request::Shutdown => Right::StoreOwner,
    }
}
