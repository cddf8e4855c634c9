//! Canned answers about syncs, pushes, pulls and other jobs.

use cairn::control::jobs::{JobInfo, JobKind, JobState, JobsRequest};
use cairn::control::protocol::{ControlError, ErrorDetail, ErrorKind, Progress, UnreadableFile};
use cairn::control::reply::Reply;
use cairn::control::sync::{SyncChange, SyncEvent, SyncReply, SyncRequest};
use cairn::control::transfer::{Direction, TransferReply, TransferRequest};
use cairn::control::utc::{Began, Ended};
use cairn::model::id::{JobId, VersionNumber};
use cairn::model::raw::RawPath;
use cairn::model::sync::{SyncCounts, SyncProgress};
use cairn::model::transfer::{TransferCounts, TransferProgress};

use crate::fake::version;

/// A sync, or the job that does it.
pub(crate) fn synced(request: &SyncRequest, progress: &mut dyn FnMut(Progress)) -> Reply {
    if request.detach {
        return Reply::Jobs(vec![job(JobState::Running)]);
    }
    ended_sync(progress)
}

fn ended_sync(progress: &mut dyn FnMut(Progress)) -> Reply {
    progress(Progress::Job(Box::new(job(JobState::Running))));
    progress(Progress::Sync(SyncProgress::default()));
    progress(Progress::SyncEvents(vec![SyncEvent {
        path: RawPath::from(&b"a/b"[..]),
        change: SyncChange::Failed,
        reason: Some("404 Not Found".to_owned()),
    }]));
    Reply::Sync(Box::new(SyncReply {
        changed: true,
        version: Some(version(8)),
        tag: None,
        unchanged_remote: false,
        warnings: vec!["the signature was not checked".to_owned()],
        counts: SyncCounts { declared: 3, added: 2, failed: 1, ..SyncCounts::default() },
    }))
}

/// The job of a push or a pull.
fn transfer_job(request: &TransferRequest, state: JobState) -> JobInfo {
    let kind = match request.direction {
        Direction::Push => JobKind::Push,
        Direction::Pull => JobKind::Pull,
    };
    let transfer = Some(TransferProgress { counts: TRANSFERRED, ..TransferProgress::default() });
    let (progress, error) = (None, None);
    JobInfo { kind, dry_run: request.dry_run, progress, transfer, error, ..job(state) }
}

const TRANSFERRED: TransferCounts = TransferCounts {
    versions: 2,
    present: 3,
    contents: 4,
    content_bytes: 5000,
    moved: 4,
    moved_bytes: 3000,
};

/// A push or a pull, or the job that does it.
pub(crate) fn transferred(request: &TransferRequest, progress: &mut dyn FnMut(Progress)) -> Reply {
    let job = transfer_job(request, JobState::Running);
    if request.detach {
        return Reply::Jobs(vec![job]);
    }
    progress(Progress::Job(Box::new(job)));
    progress(Progress::Transfer(TransferProgress::default()));
    let deleted_numbers = if request.delete { vec![VersionNumber(6)] } else { Vec::new() };
    let numbers =
        if request.delete { Vec::new() } else { vec![VersionNumber(7), VersionNumber(8)] };
    Reply::Transfer(Box::new(TransferReply {
        changed: true,
        numbers,
        deleted_numbers,
        flagged_numbers: vec![VersionNumber(7)],
        changed_tags: vec!["stable".parse().unwrap()],
        warnings: vec!["tag old was changed in the bucket as well".to_owned()],
        counts: TRANSFERRED,
    }))
}

/// A job; one that failed names its files.
fn job(state: JobState) -> JobInfo {
    let detail = ErrorDetail::FailedFiles {
        files: vec![UnreadableFile {
            path: RawPath::from(&b"a/b"[..]),
            reason: "404 Not Found".to_owned(),
        }],
        total: 1,
    };
    let error = ControlError::new(ErrorKind::Failed, "1 file could not be fetched");
    JobInfo {
        job: JobId(3),
        kind: JobKind::Sync,
        state,
        repository: "web".parse().unwrap(),
        remote: "origin".parse().unwrap(),
        path: RawPath::default(),
        dry_run: false,
        detached: true,
        user: "ann".to_owned(),
        pid: 77,
        began: Began::at(1_000_000_000),
        ended: (state != JobState::Running).then(|| Ended::at(1_000_000_060)),
        progress: Some(SyncProgress {
            retry: Some("try 1 of 5".to_owned()),
            ..SyncProgress::default()
        }),
        transfer: None,
        number: None,
        error: (state == JobState::Failed).then(|| error.with_detail(detail)),
    }
}

/// What is asked about jobs.
pub(crate) fn answer(
    request: JobsRequest,
    progress: &mut dyn FnMut(Progress),
) -> Result<Reply, ControlError> {
    Ok(match request {
        JobsRequest::List => Reply::Jobs(vec![job(JobState::Failed), job(JobState::Running)]),
        JobsRequest::Cancel { .. } => Reply::Jobs(vec![job(JobState::Cancelled)]),
        JobsRequest::Follow { job: JobId(13), .. } => return Err(changed_meanwhile()),
        JobsRequest::Follow { .. } => ended_sync(progress),
    })
}

fn changed_meanwhile() -> ControlError {
    let detail = ErrorDetail::RemoteChanged { remote: "origin".parse().unwrap() };
    ControlError::new(ErrorKind::Busy, "what it declares changed").with_detail(detail)
}
