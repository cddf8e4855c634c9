//! Jobs: work that goes on in the daemon on threads of its own, whoever waits for it (V7, V8).
//!
//! A job never waits for those who look on: they read how far it is, and a follower that does not read misses some of
//! it. What a command began without `--detach` ends with that command. Jobs are not kept: they end with the daemon.

mod job;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::{Condvar, Mutex};

use self::job::{Cancelled, Following};
pub(super) use self::job::{Job, JobReply, JobRequest};
use super::commit::user_name;
use super::errors::control_error;
use super::{Answer, StoreService, audit};
use crate::control::jobs::{JobInfo, JobsRequest};
use crate::control::protocol::{CHANGES_MAX, ControlError, ErrorKind, Progress};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::control::sync::SyncEvent;
use crate::engine::error::EngineError;
use crate::model::id::JobId;
use crate::model::sync::SyncProgress;
use crate::model::transfer::TransferProgress;
use crate::sys::panics;

/// Jobs that run at a time.
const RUNNING_MAX: usize = 32;

/// Jobs that have ended and can still be asked for; older ones are forgotten.
const ENDED_MAX: usize = 100;

/// How often a follower is told how far a job is.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// How long a stop of the daemon waits for jobs, which end as soon as they notice.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// All jobs of a daemon.
#[derive(Default)]
pub(super) struct Jobs {
    service: OnceLock<Weak<StoreService>>,
    table: Mutex<Table>,
    ended: Condvar,
}

#[derive(Default)]
struct Table {
    last: u64,
    running: BTreeMap<JobId, Arc<Job>>,
    ended: VecDeque<Arc<Job>>,
    /// No more begin.
    closed: bool,
}

/// What a job does, on its own thread.
pub(super) type Work =
    Box<dyn FnOnce(&StoreService, &Arc<Job>) -> Result<JobReply, ControlError> + Send>;

impl Jobs {
    /// Tells whose jobs these are.
    pub(super) fn serve(&self, service: &Arc<StoreService>) {
        // It is told once, where the service is made.
        self.service.get_or_init(|| Arc::downgrade(service));
    }

    /// Begins a job.
    pub(super) fn begin(
        self: &Arc<Self>,
        caller: Caller,
        request: JobRequest,
        work: Work,
    ) -> Result<Arc<Job>, ControlError> {
        let job = {
            let mut table = self.table.lock();
            if table.closed {
                return Err(ControlError::new(ErrorKind::Busy, "the daemon is stopping"));
            }
            if table.running.len() >= RUNNING_MAX {
                let message = format!("{RUNNING_MAX} jobs are running already");
                return Err(ControlError::new(ErrorKind::Busy, message)
                    .with_hint("`cairn jobs` lists them; try again when one has ended"));
            }
            table.last += 1;
            let job = Arc::new(Job::new(JobId(table.last), caller, request));
            table.running.insert(job.id, Arc::clone(&job));
            job
        };
        let (jobs, running) = (Arc::clone(self), Arc::clone(&job));
        let thread = std::thread::Builder::new().name(format!("job-{}", job.id));
        if let Err(error) = thread.spawn(move || jobs.run(&running, work)) {
            let message = format!("cannot start a thread: {error}");
            self.finish(&job, Err(ControlError::new(ErrorKind::Failed, message)));
        }
        Ok(job)
    }

    fn run(&self, job: &Arc<Job>, work: Work) {
        let service = self.service.get().and_then(Weak::upgrade);
        let result = match &service {
            Some(service) => {
                panics::contain("a job", || work(service, job)).unwrap_or_else(|panicked| {
                    Err(ControlError::new(ErrorKind::Failed, panicked.to_string()))
                })
            }
            None => Err(Cancelled::Stop.error()),
        };
        // Whoever waits for the job may end the process, and the store has to be closed by then.
        drop(service);
        self.finish(job, result);
    }

    fn finish(&self, job: &Arc<Job>, result: Result<JobReply, ControlError>) {
        job.end(result);
        if !job.request.is_dry_run()
            && let Some(result) = job.result()
        {
            audit::log(job.caller, &job.request.text(), result.as_ref().map(drop));
        }
        let mut table = self.table.lock();
        table.running.remove(&job.id);
        table.ended.push_back(Arc::clone(job));
        if table.ended.len() > ENDED_MAX {
            table.ended.pop_front();
        }
        self.ended.notify_all();
    }

    /// How many run.
    pub(super) fn running_count(&self) -> u64 {
        self.table.lock().running.len() as u64
    }

    fn list(&self) -> Vec<JobInfo> {
        let table = self.table.lock();
        let mut all: Vec<_> = table.ended.iter().chain(table.running.values()).cloned().collect();
        drop(table);
        all.sort_by_key(|job| job.id);
        all.iter().map(|job| job.info()).collect()
    }

    fn find(&self, id: JobId) -> Result<Arc<Job>, ControlError> {
        let table = self.table.lock();
        let found = table.running.get(&id).or_else(|| table.ended.iter().find(|job| job.id == id));
        found.cloned().ok_or_else(|| {
            ControlError::new(ErrorKind::NotFound, format!("no job {id}")).with_hint(format!(
                "`cairn jobs` lists those that run and the last {ENDED_MAX} that ended; a restart of the daemon \
                 forgets them"
            ))
        })
    }

    /// Has all jobs end, and lets no more begin.
    pub(super) fn stop(&self) {
        let mut table = self.table.lock();
        table.closed = true;
        for job in table.running.values() {
            log::info!("ending job {}: the daemon stops", job.id);
            job.cancel(Cancelled::Stop);
        }
    }

    /// Waits until none runs, for a while.
    pub(super) fn wait(&self) {
        let deadline = Instant::now() + STOP_GRACE;
        let mut table = self.table.lock();
        while !table.running.is_empty() {
            if self.ended.wait_until(&mut table, deadline).timed_out() {
                log::warn!("{} jobs do not end", table.running.len());
                return;
            }
        }
    }
}

impl StoreService {
    /// Refuses a job that would change a store which takes no changes, and one that is to go on where no daemon is.
    pub(super) fn check_job(&self, detach: bool) -> Result<(), ControlError> {
        if self.engine.is_read_only() {
            return Err(control_error(EngineError::ReadOnly));
        }
        if detach && self.owned {
            let message = "no daemon is running that could go on with it";
            return Err(ControlError::new(ErrorKind::Failed, message)
                .with_hint("start one with `cairn mount`, or leave out --detach"));
        }
        Ok(())
    }

    pub(super) fn jobs(
        &self,
        caller: Caller,
        request: JobsRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        let asker = self.asker(caller);
        match request {
            JobsRequest::List => Ok(Reply::Jobs(self.jobs.list())),
            JobsRequest::Follow { job, seconds } => {
                let job = self.jobs.find(job)?;
                let deadline = seconds
                    .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
                let mut is_over =
                    || asker.is_gone() || deadline.is_some_and(|at| Instant::now() >= at);
                follow(&job, None, progress, &mut is_over)
            }
            JobsRequest::Cancel { job } => {
                let job = self.jobs.find(job)?;
                job.cancel(Cancelled::By(user_name(caller)));
                while !job.wait_for_end(FOLLOW_INTERVAL) && !asker.is_gone() {}
                Ok(Reply::Jobs(vec![job.info()]))
            }
        }
    }

    /// Waits for a job that ends with the command that began it. `planned` are the steps of a dry run.
    pub(super) fn attend(
        &self,
        job: &Job,
        planned: Option<&Receiver<SyncEvent>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        let asker = self.asker(job.caller);
        follow(job, planned, progress, &mut || {
            if asker.is_gone() {
                job.cancel(Cancelled::Gone);
            }
            false
        })
    }
}

/// Tells how far a job is until it has ended, or `give_up` says so. Only this follower waits where `progress` is slow.
fn follow(
    job: &Job,
    planned: Option<&Receiver<SyncEvent>>,
    progress: &mut dyn FnMut(Progress),
    give_up: &mut dyn FnMut() -> bool,
) -> Answer {
    let _following = Following::begin(job);
    progress(Progress::Job(Box::new(job.info())));
    let (mut read, mut told) = (0, SyncProgress::default());
    let mut moved = TransferProgress::default();
    if let Some(planned) = planned {
        pass_on(planned, progress, give_up);
    }
    loop {
        let (events, has_ended) = job.wait(&mut read, FOLLOW_INTERVAL);
        if !events.is_empty() {
            progress(Progress::SyncEvents(events));
        }
        let now = job.tally.progress();
        if now != told {
            progress(Progress::Sync(now.clone()));
            told = now;
        }
        let now = job.transfer.progress();
        if now != moved {
            progress(Progress::Transfer(now));
            moved = now;
        }
        if has_ended && let Some(result) = job.result() {
            return result.map(Reply::from);
        }
        if give_up() {
            return Err(ControlError::new(ErrorKind::Busy, format!("job {} goes on", job.id)));
        }
    }
}

/// Hands the steps of a dry run on, all of them: it waits until they are taken.
fn pass_on(
    planned: &Receiver<SyncEvent>,
    progress: &mut dyn FnMut(Progress),
    give_up: &mut dyn FnMut() -> bool,
) {
    loop {
        match planned.recv_timeout(FOLLOW_INTERVAL) {
            Ok(first) => {
                let mut some = vec![first];
                some.extend(planned.try_iter().take(CHANGES_MAX - 1));
                progress(Progress::SyncEvents(some));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if give_up() {
            return;
        }
    }
}
