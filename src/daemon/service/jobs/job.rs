//! One job: how far it is, the lines of progress that commands waiting for it have still to be sent, and how it ended.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::bucket::transfer::TransferTally;
use crate::control::jobs::{JobInfo, JobKind, JobState};
use crate::control::protocol::{
    CHANGES_MAX, ControlError, DETAIL_PATHS_MAX, ErrorKind, UnreadableFile,
};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::control::sync::{SyncChange, SyncEvent, SyncReply, SyncRequest};
use crate::control::transfer::{Direction, TransferReply, TransferRequest};
use crate::control::utc::{Began, Ended};
use crate::daemon::service::commit::user_name;
use crate::model::id::{JobId, VersionNumber};
use crate::model::raw::RawPath;
use crate::model::time::Timestamp;
use crate::sync::{Failure, Tally};

/// Failures of a job that its followers may not have read yet. Of more, they miss the oldest.
const FAILURES_MAX: usize = 10_000;

/// What a job was asked for.
pub(in crate::daemon::service) enum JobRequest {
    Sync(SyncRequest),
    Transfer(TransferRequest),
}

impl JobRequest {
    /// Whether nothing is to be changed.
    pub(super) fn is_dry_run(&self) -> bool {
        match self {
            Self::Sync(request) => request.dry_run,
            Self::Transfer(request) => request.dry_run,
        }
    }

    /// As the log of changes has it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Sync(request) => {
                let how = if request.mirror { "mirror" } else { "add" };
                format!("sync {} with {} ({how})", request.repository, request.remote)
            }
            Self::Transfer(TransferRequest { direction, repository, remote, delete, .. }) => {
                match (direction, delete) {
                    (Direction::Push, true) => format!("delete of {repository} in {remote}"),
                    (Direction::Push, false) => format!("push {repository} to {remote}"),
                    (Direction::Pull, _) => format!("pull {repository} from {remote}"),
                }
            }
        }
    }
}

/// What a job is answered with.
#[derive(Debug, Clone)]
pub(in crate::daemon::service) enum JobReply {
    Sync(SyncReply),
    Transfer(TransferReply),
}

impl JobReply {
    /// The version that was made, or the last one that was published elsewhere.
    fn number(&self) -> Option<VersionNumber> {
        match self {
            Self::Sync(reply) if reply.changed => {
                reply.version.as_ref().map(|version| version.number)
            }
            Self::Sync(_) => None,
            Self::Transfer(reply) => reply.numbers.last().copied(),
        }
    }
}

impl From<JobReply> for Reply {
    fn from(reply: JobReply) -> Self {
        match reply {
            JobReply::Sync(reply) => Self::Sync(Box::new(reply)),
            JobReply::Transfer(reply) => Self::Transfer(Box::new(reply)),
        }
    }
}

/// A job.
pub(in crate::daemon::service) struct Job {
    pub(super) id: JobId,
    pub(super) request: JobRequest,
    pub(in crate::daemon::service) caller: Caller,
    pub(in crate::daemon::service) user: String,
    began: Timestamp,
    /// Read by all that the job does.
    pub(in crate::daemon::service) stop: AtomicBool,
    pub(in crate::daemon::service) tally: Tally,
    /// How far a push or a pull is.
    pub(in crate::daemon::service) transfer: TransferTally,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    cancelled: Option<Cancelled>,
    /// The first files that could not be had, for the error that the job ends with.
    first_failures: Vec<SyncEvent>,
    /// The failures that followers may still want to read, and how many went before these.
    failures: VecDeque<SyncEvent>,
    passed: u64,
    followers: u32,
    end: Option<End>,
}

struct End {
    at: Timestamp,
    result: Result<JobReply, ControlError>,
}

/// Why a job is to end before it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// This user asked for it.
    By(String),
    /// The command that it belongs to has gone.
    Gone,
    /// The daemon stops.
    Stop,
}

impl Cancelled {
    pub(super) fn error(&self) -> ControlError {
        let kept = "what came is kept for a while";
        match self {
            Self::By(user) => {
                ControlError::new(ErrorKind::Failed, format!("cancelled by {user}")).with_hint(kept)
            }
            Self::Gone => ControlError::new(ErrorKind::Busy, "the command that began it has gone")
                .with_hint(format!("`--detach` has it go on by itself; {kept}")),
            Self::Stop => ControlError::new(ErrorKind::Busy, "the daemon stopped meanwhile")
                .with_hint(format!("start it, and try again: {kept}")),
        }
    }
}

impl Job {
    pub(super) fn new(id: JobId, caller: Caller, request: JobRequest) -> Self {
        Self {
            id,
            request,
            caller,
            user: user_name(caller),
            began: Timestamp::now(),
            stop: AtomicBool::new(false),
            tally: Tally::default(),
            transfer: TransferTally::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Its number.
    pub(in crate::daemon::service) fn id(&self) -> JobId {
        self.id
    }

    /// What was asked for, of a job that is a sync.
    pub(in crate::daemon::service) fn sync(&self) -> &SyncRequest {
        match &self.request {
            JobRequest::Sync(request) => request,
            JobRequest::Transfer(_) => unreachable!("only the work of a sync asks for this"),
        }
    }

    /// Whether it was told to end. That it stops for a reason of its own is another matter.
    pub(in crate::daemon::service) fn is_cancelled(&self) -> bool {
        self.state.lock().cancelled.is_some()
    }

    /// Notes that a file could not be had.
    pub(in crate::daemon::service) fn note_failure(&self, failure: Failure) {
        self.note_failed(failure.path.as_bytes().into(), failure.reason);
    }

    /// Notes that what is at a path could not be had.
    pub(in crate::daemon::service) fn note_failed(&self, path: RawPath, reason: String) {
        let failure = SyncEvent { path, change: SyncChange::Failed, reason: Some(reason) };
        let mut state = self.state.lock();
        if state.first_failures.len() < DETAIL_PATHS_MAX {
            state.first_failures.push(failure.clone());
        }
        if state.failures.len() == FAILURES_MAX {
            state.failures.pop_front();
            state.passed += 1;
        }
        state.failures.push_back(failure);
        if state.failures.len() >= CHANGES_MAX {
            self.changed.notify_all();
        }
    }

    /// Forgets the failures of a try that is made again.
    pub(in crate::daemon::service) fn forget_failures(&self) {
        self.state.lock().first_failures.clear();
    }

    /// The first failures, as an error carries them.
    pub(in crate::daemon::service) fn failed_files(&self) -> Vec<UnreadableFile> {
        let state = self.state.lock();
        let failures = state.first_failures.iter().cloned();
        failures
            .map(|event| UnreadableFile {
                path: event.path,
                reason: event.reason.unwrap_or_default(),
            })
            .collect()
    }

    /// Has it end, unless it has.
    pub(super) fn cancel(&self, why: Cancelled) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.cancelled.get_or_insert(why);
            self.stop.store(true, Ordering::SeqCst);
        }
    }

    pub(super) fn end(&self, result: Result<JobReply, ControlError>) {
        let mut state = self.state.lock();
        let result = match (&state.cancelled, result) {
            (Some(cancelled), Err(_)) => Err(cancelled.error()),
            (_, result) => result,
        };
        state.end = Some(End { at: Timestamp::now(), result });
        state.trim();
        self.changed.notify_all();
    }

    pub(in crate::daemon::service) fn info(&self) -> JobInfo {
        let state = self.state.lock();
        let reply = state.end.as_ref().and_then(|end| end.result.as_ref().ok());
        let error = state.end.as_ref().and_then(|end| end.result.as_ref().err());
        let is_dry_run = self.request.is_dry_run();
        let (kind, repository, remote, path, detached) = match &self.request {
            JobRequest::Sync(SyncRequest { repository, remote, subpath, detach, .. }) => {
                (JobKind::Sync, repository, remote, subpath.clone(), *detach)
            }
            JobRequest::Transfer(TransferRequest {
                direction, repository, remote, detach, ..
            }) => {
                let kind = match direction {
                    Direction::Push => JobKind::Push,
                    Direction::Pull => JobKind::Pull,
                };
                (kind, repository, remote, RawPath::default(), *detach)
            }
        };
        let is_sync = kind == JobKind::Sync;
        JobInfo {
            job: self.id,
            kind,
            state: match &state.end {
                None => JobState::Running,
                Some(End { result: Ok(_), .. }) => JobState::Done,
                Some(_) if state.cancelled.is_some() => JobState::Cancelled,
                Some(_) => JobState::Failed,
            },
            repository: repository.clone(),
            remote: remote.clone(),
            path,
            dry_run: is_dry_run,
            detached,
            user: self.user.clone(),
            pid: self.caller.pid,
            began: Began::from(self.began),
            ended: state.end.as_ref().map(|end| Ended::from(end.at)),
            progress: is_sync.then(|| self.tally.progress()),
            transfer: (!is_sync).then(|| self.transfer.progress()),
            number: reply.filter(|_| !is_dry_run).and_then(JobReply::number),
            error: error.cloned(),
        }
    }

    /// Waits for more failures than were read, for the end, or for a while. Returns the failures after `read`.
    pub(super) fn wait(&self, read: &mut u64, most: Duration) -> (Vec<SyncEvent>, bool) {
        let deadline = Instant::now() + most;
        let mut state = self.state.lock();
        loop {
            let have = state.passed + state.failures.len() as u64;
            let is_enough = have - state.passed.max(*read).min(have) >= CHANGES_MAX as u64;
            if is_enough
                || state.end.is_some()
                || self.changed.wait_until(&mut state, deadline).timed_out()
            {
                break;
            }
        }
        let skip = usize::try_from(read.saturating_sub(state.passed)).unwrap_or(usize::MAX);
        let next: Vec<_> = state.failures.iter().skip(skip).take(CHANGES_MAX).cloned().collect();
        *read = state.passed.max(*read) + next.len() as u64;
        let is_all = *read >= state.passed + state.failures.len() as u64;
        (next, is_all && state.end.is_some())
    }

    /// Waits for the end, for a while; says whether it came.
    pub(super) fn wait_for_end(&self, most: Duration) -> bool {
        let deadline = Instant::now() + most;
        let mut state = self.state.lock();
        while state.end.is_none() {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.end.is_some()
    }

    pub(super) fn result(&self) -> Option<Result<JobReply, ControlError>> {
        self.state.lock().end.as_ref().map(|end| end.result.clone())
    }
}

impl State {
    /// Keeps little of a job that has ended, once nobody reads it any more.
    fn trim(&mut self) {
        if self.end.is_some() && self.followers == 0 {
            self.failures = self.first_failures.iter().cloned().collect();
            self.passed = 0;
        }
    }
}

/// A follower, for as long as it reads.
pub(super) struct Following<'a>(&'a Job);

impl<'a> Following<'a> {
    pub(super) fn begin(job: &'a Job) -> Self {
        job.state.lock().followers += 1;
        Self(job)
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.followers -= 1;
        state.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::service::ConnectionId;
    use crate::model::manifest::DeclaredPath;
    use crate::model::sync::RemovalLimit;

    /// Longer than a test takes.
    const PATIENCE: Duration = Duration::from_secs(600);

    fn job() -> Job {
        let request = SyncRequest {
            repository: "lib".parse().unwrap(),
            remote: "origin".parse().unwrap(),
            subpath: Default::default(),
            mirror: false,
            dry_run: false,
            keep_going: true,
            removal_limit: RemovalLimit::DEFAULT,
            rate_bytes_per_second: None,
            policy: None,
            message: String::new(),
            author: None,
            tag: None,
            detach: true,
        };
        let caller = Caller { uid: 0, gid: 0, pid: 0, connection: ConnectionId(0) };
        Job::new(JobId(1), caller, JobRequest::Sync(request))
    }

    fn fail(job: &Job, count: usize) {
        for number in 0..count {
            let path = DeclaredPath::new(number.to_string().as_bytes()).unwrap();
            job.note_failure(Failure { path, reason: "gone".to_owned() });
        }
    }

    /// What a follower reads until there is no more for now.
    fn read(job: &Job, read: &mut u64) -> usize {
        let mut count = 0;
        loop {
            let (some, _) = job.wait(read, Duration::ZERO);
            if some.is_empty() {
                return count;
            }
            count += some.len();
        }
    }

    #[test]
    fn a_follower_reads_all_failures_unless_it_is_far_behind() {
        let job = job();
        let _following = Following::begin(&job);
        let (mut quick, mut slow) = (0, 0);
        let most = FAILURES_MAX;
        fail(&job, most);
        assert_eq!(read(&job, &mut quick), most);
        fail(&job, 7);
        assert_eq!(read(&job, &mut quick), 7);
        assert_eq!(read(&job, &mut slow), most, "the oldest are gone");
        assert_eq!(job.failed_files().len(), DETAIL_PATHS_MAX);
    }

    #[test]
    fn a_job_that_ended_keeps_little_once_nobody_reads_it() {
        let job = job();
        let following = Following::begin(&job);
        fail(&job, 500);
        job.cancel(Cancelled::By("ann".to_owned()));
        job.end(Err(ControlError::new(ErrorKind::Failed, "stopped")));
        let mut mine = 0;
        assert_eq!(read(&job, &mut mine), 500, "who reads already reads on");
        drop(following);
        assert_eq!(read(&job, &mut 0), DETAIL_PATHS_MAX);
        assert!(job.wait(&mut 0, PATIENCE).1, "it has ended, so nobody waits");
        let info = job.info();
        assert_eq!(info.state, JobState::Cancelled);
        assert_eq!(info.error.unwrap().message, "cancelled by ann");
    }

    #[test]
    fn a_job_that_failed_is_not_cancelled_afterwards() {
        let job = job();
        job.end(Err(ControlError::new(ErrorKind::Failed, "a reason of its own")));
        job.cancel(Cancelled::Stop);
        let info = job.info();
        assert_eq!(info.state, JobState::Failed);
        assert_eq!(info.error.unwrap().message, "a reason of its own");
    }
}
