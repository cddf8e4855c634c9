//! What requests are answered with. The same values are what `--json` prints, field by field.
//!
//! Each name means one thing and has one type over all of them: the rules are in `docs/json.md`, and
//! a test holds every command to them. Fields may be added; to rename one is to change
//! [`PROTOCOL`](super::protocol::PROTOCOL), and breaks the scripts that read it.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::remote::RemoteTest;

use super::areas::AreaInfo;
use super::backup::BackupFetched;
use super::commit::CommitReply;
use super::delete::DeleteReply;
use super::diff::DiffReply;
use super::du::DuReply;
use super::edge::EdgeInfo;
use super::fsck::FsckReply;
use super::gc::GcReply;
use super::import::ImportId;
use super::jobs::JobInfo;
use super::metrics::MetricsReply;
use super::policy::PolicyReply;
use super::prefetch::PrefetchReply;
use super::quota::QuotaInfo;
use super::reclaim::ReclaimReply;
use super::remote::{BucketCheck, BucketCollection, RemoteInfo};
use super::repositories::RepositoryInfo;
use super::status::StatusReply;
use super::sync::SyncReply;
use super::tags::TagInfo;
use super::transfer::TransferReply;
use super::undelete::DeletedInfo;
use super::versions::VersionInfo;
use super::wait::WaitReply;
use super::why::WhyReply;

/// The successful end of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, and there is nothing to tell.
    Done,
    /// Answers `Status`.
    Status(Box<StatusReply>),
    /// Answers [`RemoteRequest`](super::remote::RemoteRequest), but for tests and removals.
    Remotes(Vec<RemoteInfo>),
    /// Answers `RemoteRequest::Test`.
    RemoteTest(RemoteTest),
    /// Answers `RemoteRequest::Fsck`.
    BucketCheck(Box<BucketCheck>),
    /// Answers `RemoteRequest::Gc`.
    BucketCollection(Box<BucketCollection>),
    /// Answers `Sync`.
    Sync(Box<SyncReply>),
    /// Answers `Transfer`.
    Transfer(Box<TransferReply>),
    /// Answers `Refresh`.
    Edge(Box<EdgeInfo>),
    /// Answers [`JobsRequest`](super::jobs::JobsRequest), and a `Sync` or `Transfer` that goes on by itself.
    Jobs(Vec<JobInfo>),
    /// Answers `CreateRepository`.
    Repository(RepositoryInfo),
    /// Answers `Repositories`.
    Repositories(Vec<RepositoryInfo>),
    /// Answers `Versions`.
    Versions(Vec<VersionInfo>),
    /// Answers `Show`.
    Version(VersionInfo),
    /// Answers `Diff`, after the differences themselves.
    Diff(DiffReply),
    /// Answers `Metrics`.
    Metrics(Box<MetricsReply>),
    /// Answers `Areas`.
    Areas(Vec<AreaInfo>),
    /// Answers `Names`.
    Names(Vec<String>),
    /// Answers `Stage`.
    Area(AreaInfo),
    /// Answers `Commit` and the finish of an import.
    Commit(CommitReply),
    /// Answers `Tags`.
    Tags(Vec<TagInfo>),
    /// Answers `SetTag`.
    Tag(TagInfo),
    /// Answers `Delete`.
    Deleted(DeleteReply),
    /// Answers `Gc`.
    Gc(GcReply),
    /// Answers `Prefetch`.
    Prefetch(PrefetchReply),
    /// Answers `Reclaim`.
    Reclaim(ReclaimReply),
    /// Answers `Fsck`.
    Fsck(FsckReply),
    /// Answers the catalog of a backup, which is the attachment's file.
    Catalog,
    /// Answers the fetches for a backup.
    BackupFetched(BackupFetched),
    /// Answers `Flag` and `Undelete`: the versions concerned, ascending.
    Numbers(Vec<VersionNumber>),
    /// Answers `Deleted`.
    DeletedVersions(Vec<DeletedInfo>),
    /// Answers `Policy`, after the decisions themselves.
    Policy(PolicyReply),
    /// Answers `Quota` and `SetQuota`.
    Quota(QuotaInfo),
    /// Answers `Du`, after the versions themselves.
    Du(DuReply),
    /// Answers `Why`.
    Why(WhyReply),
    /// Answers `Wait`.
    Waited(WaitReply),
    /// Answers the begin of an import.
    ImportBegun(ImportId),
    /// Answers which hashes are known, one flag per hash asked, in the order asked.
    Known(Vec<bool>),
    /// Answers the root of an export. The attachment's payload is
    /// [`encode_root`](crate::model::tree_format::encode_root).
    Root(VersionInfo),
    /// Answers `Pages`: the length in bytes of each page asked, in the order asked; the pages
    /// themselves follow each other in the attachment's payload.
    Pages(Vec<u32>),
    /// Answers `Open`: the attachment's files are the blobs asked, in the order asked.
    Opened,
}
