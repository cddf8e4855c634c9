//! The thread that follows the bucket of an edge.
//!
//! It asks the bucket for news when its time has come or somebody wants them, and has jobs bring what moved: one
//! repository after the other, what is new before what is old. A job that fails is tried again, later each time; the
//! others go on meanwhile. While the bucket is out of reach, what is here is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{getgid, getuid};

use super::super::StoreService;
use super::super::bucket::signatures;
use super::super::jobs::{Job, JobReply, JobRequest, Work};
use super::super::transfer::EdgeLog;
use super::state::{EdgeState, Failing, Next, Unreached};
use super::{EdgeRemote, edge_of};
use crate::bucket::agree::Mirroring;
use crate::bucket::event::BucketId;
use crate::bucket::follow::{FollowError, Follower, Poll};
use crate::bucket::format::{self, FormatFileError};
use crate::bucket::store::ObjectStore;
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::service::{Caller, ConnectionId};
use crate::control::transfer::{Direction, TransferRequest};
use crate::engine::request::Request;
use crate::model::name::RepoName;
use crate::model::remote::{EdgeSettings, RemoteSettings};
use crate::model::time::Timestamp;
use crate::sys::panics;

/// How long the very first mount waits for the bucket.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// How long a stop waits for the thread. It may wait for a server, and then has nothing that could be lost.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The thread that follows. Dropping it ends it.
pub struct EdgeThread {
    state: Arc<EdgeState>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The bucket was never reached yet.
    is_first: bool,
}

impl EdgeThread {
    pub(super) fn start(
        service: &Arc<StoreService>,
        found: EdgeRemote,
    ) -> Result<Self, ControlError> {
        let state = Arc::clone(service.edge_state.get_or_init(Arc::default));
        state.ask();
        let is_first = found.edge.bucket_id.is_none();
        let mut following = Following {
            service: Arc::clone(service),
            state: Arc::clone(&state),
            found,
            opened: None,
            follower: None,
            moved: BTreeSet::new(),
            pending: BTreeMap::new(),
            failing: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new().name("edge".to_owned());
        let thread = thread.spawn(move || following.run()).map_err(|error| {
            ControlError::new(ErrorKind::Failed, format!("cannot start a thread: {error}"))
        })?;
        Ok(Self { state, thread: Mutex::new(Some(thread)), is_first })
    }

    /// Waits a short time for what the bucket has, if it was never reached.
    ///
    /// # Errors
    /// The bucket cannot be used, and that will not be different in a moment.
    pub fn wait_for_first(&self) -> Result<(), ControlError> {
        if !self.is_first {
            return Ok(());
        }
        self.state.wait_for_first(Instant::now() + FIRST_WAIT)
    }
}

impl Drop for EdgeThread {
    fn drop(&mut self) {
        self.stop();
    }
}

impl EdgeThread {
    /// Ends the thread and waits for it, but gives up waiting while it is held by a server that does not answer.
    pub fn stop(&self) {
        self.state.stop();
        let Some(thread) = self.thread.lock().take() else { return };
        let deadline = Instant::now() + STOP_GRACE;
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                return log::info!("the bucket does not answer, and nobody waits for it any more");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if thread.join().is_err() {
            log::error!("the thread that follows the bucket had ended by a panic");
        }
    }
}

/// A bucket that was opened, with the settings it was opened by.
struct Opened {
    settings: RemoteSettings,
    store: Arc<dyn ObjectStore>,
}

/// The work of the thread.
struct Following {
    service: Arc<StoreService>,
    state: Arc<EdgeState>,
    found: EdgeRemote,
    opened: Option<Opened>,
    follower: Option<Follower>,
    /// Repositories whose logs moved since what is new was brought.
    moved: BTreeSet<RepoName>,
    /// Repositories that are not yet what their logs say, with how many versions are missing.
    pending: BTreeMap<RepoName, usize>,
    /// Those of which that failed, with when to try again.
    failing: BTreeMap<RepoName, (Failing, Instant)>,
}

/// What a job is to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What came since; of a repository that is new here its newest version.
    Newer,
    /// The older versions as well, until there is something else to do.
    All,
}

impl Following {
    fn run(&mut self) {
        let mut served = 0;
        loop {
            let (asked, is_asked) = match self.state.wait(served) {
                Next::Stop => return,
                Next::Poll { asked, is_asked } => (asked, is_asked),
            };
            let round = panics::contain("following a bucket", || self.round(asked, is_asked));
            if let Err(panicked) = round {
                self.state.wake_at(Instant::now() + self.interval());
                log::error!("following the bucket failed: {panicked}");
                self.state.settle(asked);
            }
            served = asked;
        }
    }

    fn interval(&self) -> Duration {
        self.found.edge.poll()
    }

    /// Looks at the bucket once, and brings what is new.
    fn round(&mut self, asked: u64, is_asked: bool) {
        if let Err(why) = self.poll(is_asked) {
            let pause = self.state.failed(why, Timestamp::now());
            self.state.wake_at(Instant::now() + jittered(pause));
            return self.state.settle(asked);
        }
        let next = Instant::now() + jittered(self.interval());
        self.state.wake_at(next);
        for name in self.moved.clone() {
            if is_asked || !self.rests(&name) {
                self.bring(&name, Part::Newer, asked);
            }
            if self.state.is_stopped() {
                return;
            }
        }
        self.state.note_first();
        let pending: Vec<_> = self.pending.keys().cloned().collect();
        for name in pending {
            if !self.rests(&name) {
                self.bring(&name, Part::All, asked);
            }
            if self.state.is_due(asked, Instant::now()) {
                return;
            }
        }
        let retry = self.failing.values().map(|(_, again)| *again).min();
        self.state.wake_at(retry.map_or(next, |retry| retry.min(next)));
        self.state.settle(asked);
    }

    /// Whether a repository failed a short time ago.
    fn rests(&self, name: &RepoName) -> bool {
        self.failing.get(name).is_some_and(|(_, again)| *again > Instant::now())
    }

    /// Reads the logs that have moved.
    fn poll(&mut self, is_asked: bool) -> Result<(), Unreached> {
        let found = edge_of(&self.service.engine).map_err(|error| unreached(&error))?;
        self.found = found.ok_or_else(|| unreached(&super::no_edge()))?;
        let store = self.open()?;
        let bucket = self.bucket(&*store)?;
        let signatures = signatures(&self.found.remote.settings, None);
        let signatures = signatures.map_err(|error| unreached(&error))?;
        let follower = self.follower.get_or_insert_with(|| Follower::new(bucket));
        let (service, remote) = (&self.service, &self.found.remote.name);
        follower.poll(&Poll {
            store: &*store,
            signatures: &signatures,
            is_asked,
            now: Timestamp::now(),
            is_wanted: &|name| self.found.edge.follows(name),
            seen: &|name| service.seen_position(name, remote),
            seen_own: &|| service.seen_own_position(remote),
            is_urgent: &|name| self.failing.contains_key(name),
        })?;
        let moved = follower.take_moved();
        self.state.reached(follower, Timestamp::now());
        let edge = &self.found.edge;
        self.moved.retain(|name| edge.follows(name));
        self.pending.retain(|name, _| edge.follows(name));
        for name in moved {
            self.note_missing(&name);
            self.moved.insert(name);
        }
        Ok(())
    }

    /// The store of the bucket, opened anew when its settings have changed.
    fn open(&mut self) -> Result<Arc<dyn ObjectStore>, Unreached> {
        let settings = &self.found.remote.settings;
        if let Some(path) = settings.url.local_path() {
            // Opening a directory that does not exist would create it, and an edge must not write into its bucket.
            let found = self.service.has_directory(&path);
            let found = found.map_err(|error| {
                Unreached::here(format!("cannot use {}: {error}", path.display()))
            });
            if !found? {
                return Err(Unreached::here(format!("there is no directory {}", path.display())));
            }
        }
        if let Some(opened) = self.opened.as_ref().filter(|opened| opened.settings == *settings) {
            return Ok(Arc::clone(&opened.store));
        }
        self.opened = None;
        let store = self.service.open_bucket(settings).map_err(|error| unreached(&error))?;
        let (settings, kept) = (settings.clone(), Arc::clone(&store));
        self.opened = Some(Opened { settings, store: kept });
        Ok(store)
    }

    /// The id of the bucket, which is noted when it is seen for the first time: another one at the same place is not
    /// followed.
    fn bucket(&mut self, store: &dyn ObjectStore) -> Result<BucketId, Unreached> {
        let known = self.follower.as_ref().map(Follower::bucket);
        if let Some(known) = known {
            return Ok(known);
        }
        let noted = self.found.edge.bucket_id.as_deref();
        if let Some(noted) = noted.and_then(|text| text.parse().ok()).map(BucketId) {
            return Ok(noted);
        }
        let found = format::read_id(store).map_err(FollowError::from)?;
        let found = found.ok_or(FollowError::Format(FormatFileError::Missing))?;
        let remote = &mut self.found.remote;
        let edge = EdgeSettings { bucket_id: Some(found.to_string()), ..self.found.edge.clone() };
        remote.settings.edge = Some(edge);
        let (name, settings) = (remote.name.clone(), serde_json::to_string(&remote.settings).ok());
        let keeps_seen = true;
        let put = |reply| Request::PutRemote { name, settings, keeps_seen, reply };
        let noted = self.service.engine.call(put);
        noted.map_err(|error| Unreached::here(error.to_string()))?;
        Ok(found)
    }

    /// Has a job bring what is new of a repository.
    fn bring(&mut self, name: &RepoName, part: Part, asked: u64) {
        let (Some(follower), Some(opened)) = (&self.follower, &self.opened) else { return };
        let Some(log) = follower.repository(name) else {
            // An alarm: it stays as it is.
            return self.end(name, None);
        };
        let plan = match self.service.mirroring(name, log.state()) {
            Ok(plan) => plan,
            Err(disagreement) => {
                self.state.note_disagreement(name, Some(disagreement.to_string()));
                return self.end(name, None);
            }
        };
        self.state.note_disagreement(name, None);
        if plan == Mirroring::default() && self.service.has_names(name, log.state()) {
            return self.end(name, None);
        }
        let request = self.request(name);
        let (own, repository) = (follower.own().clone(), log.clone());
        let log = EdgeLog { bucket: follower.bucket(), own, repository };
        let (store, state) = (Arc::clone(&opened.store), Arc::clone(&self.state));
        let of_job = request.clone();
        let work: Work = Box::new(move |service, job: &Arc<Job>| {
            let has_time = || !state.is_due(asked, Instant::now());
            let has_time = (part == Part::All).then_some(&has_time as &dyn Fn() -> bool);
            service.mirror(job, &of_job, &*store, log, has_time).map(JobReply::Transfer)
        });
        let begun = self.service.jobs.begin(caller(), JobRequest::Transfer(request), work);
        let done = begun.and_then(|job| self.service.attend(&job, None, &mut |_| {}));
        self.note_missing(name);
        match done {
            Err(_) if self.service.stopping.load(Ordering::SeqCst) => {}
            Err(error) => self.end(name, Some(error.message)),
            Ok(_) if self.pending.get(name) == Some(&0) => self.end(name, None),
            Ok(_) => {
                // What is older is brought in the second part.
                self.moved.remove(name);
                self.failing.remove(name);
                self.state.note_repository(name, None);
            }
        }
    }

    /// Notes how bringing a repository up to its log ended.
    fn end(&mut self, name: &RepoName, failed: Option<String>) {
        let Some(message) = failed else {
            self.moved.remove(name);
            self.pending.remove(name);
            self.state.note_missing(self.pending.values().sum::<usize>() as u64);
            self.failing.remove(name);
            return self.state.note_repository(name, None);
        };
        let before = self.failing.get(name).map(|(failing, _)| failing);
        let failing = Failing::again(before, message, Timestamp::now());
        let again = Instant::now() + jittered(failing.pause());
        self.state.note_repository(name, Some(failing.clone()));
        self.failing.insert(name.clone(), (failing, again));
    }

    fn request(&self, name: &RepoName) -> TransferRequest {
        let remote = &self.found.remote;
        TransferRequest {
            direction: Direction::Pull,
            repository: name.clone(),
            versions: Vec::new(),
            delete: false,
            remote: remote.name.clone(),
            dry_run: false,
            rate_bytes_per_second: remote.settings.rate_bytes_per_second,
            detach: true,
            sign: None,
        }
    }

    /// Counts the versions of a repository that are still to come.
    fn note_missing(&mut self, name: &RepoName) {
        let log = self.follower.as_ref().and_then(|follower| follower.repository(name));
        let plan = log.and_then(|log| self.service.mirroring(name, log.state()).ok());
        let missing = plan.map_or(0, |plan| plan.newer.len() + plan.older.len());
        self.pending.insert(name.clone(), missing);
        self.state.note_missing(self.pending.values().sum::<usize>() as u64);
    }
}

/// The daemon itself, as one who asks.
fn caller() -> Caller {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    // No client ever has this connection.
    Caller { uid, gid, pid: std::process::id(), connection: ConnectionId(u64::MAX) }
}

fn unreached(error: &ControlError) -> Unreached {
    Unreached::here(error.message.clone())
}

/// Returns the interval, a quarter longer or shorter at random. Edges that were started together would otherwise poll together
/// for ever.
fn jittered(time: Duration) -> Duration {
    let drawn = crate::sys::random_bytes().map_or(128, |[byte]: [u8; 1]| u32::from(byte));
    time * (192 + drawn / 2) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_edges_do_not_ask_together() {
        let minute = Duration::from_secs(60);
        let drawn: BTreeSet<_> = (0..200).map(|_| jittered(minute)).collect();
        assert!(drawn.len() > 20);
        assert!(drawn.iter().all(|time| (45..75).contains(&time.as_secs())), "{drawn:?}");
    }
}
