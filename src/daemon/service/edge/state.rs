//! How far an edge is: what its thread found, who waits for it, and when it asks again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::bucket::follow::{Alarm, FollowError, Follower};
use crate::bucket::format::FormatFileError;
use crate::bucket::log::LogError;
use crate::bucket::store::StoreErrorKind;
use crate::control::edge::{EdgeInfo, EdgeTrouble};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::utc::{Began, Contact};
use crate::model::name::RepoName;
use crate::model::time::Timestamp;

/// The pause after a first failure; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_secs(5);

/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(900);

/// The pause between two looks whether a waiting command has been interrupted.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Failures in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    since: Timestamp,
    message: String,
    times: u32,
}

impl Failing {
    /// Another failure after those.
    pub(super) fn again(before: Option<&Self>, message: String, now: Timestamp) -> Self {
        let times = before.map_or(1, |before| before.times.saturating_add(1));
        Self { since: before.map_or(now, |before| before.since), message, times }
    }

    /// The pause before the next try.
    pub(super) fn pause(&self) -> Duration {
        let doubled = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(self.times - 1));
        doubled.min(PAUSE_MAX)
    }
}

/// Why the bucket was not reached when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreached {
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
    /// A reason that a person has to remove; waiting does not help.
    pub(super) is_certain: bool,
    /// The bucket is not what it was.
    pub(super) is_alarm: bool,
}

impl From<FollowError> for Unreached {
    fn from(error: FollowError) -> Self {
        let kind = match &error {
            FollowError::Format(FormatFileError::Store(error)) | FollowError::Store(error) => {
                Some(error.kind())
            }
            FollowError::Log(LogError::Store { error, .. }) => Some(error.kind()),
            FollowError::Format(_) | FollowError::Log(_) | FollowError::OtherBucket { .. } => None,
        };
        let is_temporary =
            matches!(kind, Some(StoreErrorKind::Temporary | StoreErrorKind::Stopped));
        let hint = match (&error, kind) {
            (FollowError::Format(FormatFileError::Missing), _) => {
                Some("`cairn push` from a machine that has versions makes it; or is the URL wrong?")
            }
            (_, Some(StoreErrorKind::Refused)) => {
                Some("see to its key: --user, and --password-file or --password-env")
            }
            _ => None,
        };
        Self {
            is_alarm: matches!(error, FollowError::OtherBucket { .. }),
            message: error.to_string(),
            hint,
            is_certain: !is_temporary,
        }
    }
}

impl Unreached {
    /// Something on this machine, not in the bucket.
    pub(super) fn here(message: String) -> Self {
        Self { message, hint: None, is_certain: true, is_alarm: false }
    }

    fn error(&self) -> ControlError {
        let kind = if self.is_certain { ErrorKind::Failed } else { ErrorKind::Busy };
        let error = ControlError::new(kind, format!("the bucket cannot be read: {}", self.message));
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

#[derive(Default)]
struct State {
    stop: bool,
    /// How often somebody asked for news. The start of the daemon counts as once.
    asked: u64,
    /// How many of those have been answered: what was new then is here now, or could not be fetched.
    settled: u64,
    /// When the next poll is due if nobody asks for one before.
    next: Option<Instant>,
    /// Why the last poll failed. `None` if it went well.
    unreached: Option<Unreached>,
    failing: Option<Failing>,
    contact: Option<Timestamp>,
    followed: u64,
    missing: u64,
    repositories: BTreeMap<RepoName, Failing>,
    /// What is here cannot have come from the log that is there.
    disagreements: BTreeMap<RepoName, Alarm>,
    /// The newest versions are here, or could not be fetched; older ones may still be missing.
    has_first: bool,
    alarms: Vec<(Option<RepoName>, Alarm)>,
}

impl State {
    fn all_alarms(&self) -> impl Iterator<Item = (Option<&RepoName>, &Alarm)> {
        let disagreements = self.disagreements.iter().map(|(name, alarm)| (Some(name), alarm));
        self.alarms.iter().map(|(name, alarm)| (name.as_ref(), alarm)).chain(disagreements)
    }
}

/// How far an edge is.
#[derive(Default)]
pub(in crate::daemon::service) struct EdgeState {
    state: Mutex<State>,
    changed: Condvar,
}

/// What a thread that follows is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// End.
    Stop,
    /// Look at the bucket. `asked` says how many have asked by now, `is_asked` whether one of them waits for it.
    Poll {
        /// How many.
        asked: u64,
        /// Whether anybody is not served yet.
        is_asked: bool,
    },
}

impl EdgeState {
    /// Has the bucket asked; returns what to wait for.
    pub(super) fn ask(&self) -> u64 {
        let mut state = self.state.lock();
        state.asked += 1;
        self.changed.notify_all();
        state.asked
    }

    /// Ends the thread that follows.
    pub(in crate::daemon::service) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    /// Whether the thread is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().stop
    }

    /// Whether the thread is to end, or to look at the bucket again.
    pub(super) fn is_due(&self, served: u64, now: Instant) -> bool {
        let state = self.state.lock();
        state.stop || state.asked > served || state.next.is_some_and(|next| next <= now)
    }

    /// Waits until there is something to do. `served`: how many had asked when it was done the last time.
    pub(super) fn wait(&self, served: u64) -> Next {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return Next::Stop;
            }
            let is_asked = state.asked > served;
            let is_time = state.next.is_some_and(|next| next <= Instant::now());
            if is_asked || is_time {
                return Next::Poll { asked: state.asked, is_asked };
            }
            match state.next {
                Some(next) => drop(self.changed.wait_until(&mut state, next)),
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Asks again at that time.
    pub(super) fn wake_at(&self, next: Instant) {
        self.state.lock().next = Some(next);
    }

    /// The bucket answered.
    pub(super) fn reached(&self, follower: &Follower, now: Timestamp) {
        let mut state = self.state.lock();
        (state.unreached, state.failing, state.contact) = (None, None, Some(now));
        state.followed = follower.repository_count() as u64;
        let alarms: Vec<_> =
            follower.alarms().map(|(name, alarm)| (name.cloned(), alarm.clone())).collect();
        for (name, alarm) in alarms.iter().filter(|alarm| !state.alarms.contains(alarm)) {
            let what = name.as_ref().map_or("the bucket", |name| name.as_str());
            log::error!("{what} is not followed any more: {}", alarm.message);
        }
        state.alarms = alarms;
    }

    /// The bucket could not be read. Returns the pause before the next try.
    pub(super) fn failed(&self, why: Unreached, now: Timestamp) -> Duration {
        let mut state = self.state.lock();
        let failing = Failing::again(state.failing.as_ref(), why.message.clone(), now);
        if failing.times == 1 {
            log::warn!(
                "the bucket of this edge cannot be read, and is tried again: {}",
                why.message
            );
        }
        let pause = failing.pause();
        (state.failing, state.unreached) = (Some(failing), Some(why));
        pause
    }

    /// Notes why a repository could not be brought up to its log; it is tried again. `None` takes the note away.
    pub(super) fn note_repository(&self, name: &RepoName, failing: Option<Failing>) {
        let mut state = self.state.lock();
        match failing {
            Some(failing) => drop(state.repositories.insert(name.clone(), failing)),
            None => drop(state.repositories.remove(name)),
        }
    }

    /// Notes why the versions of a repository in this store cannot have come from the log that the bucket has now. `None` takes
    /// the note away: they agree again.
    pub(super) fn note_disagreement(&self, name: &RepoName, message: Option<String>) {
        let mut state = self.state.lock();
        let before = state.disagreements.remove(name);
        if let Some(message) = message {
            let since = before.map_or_else(Timestamp::now, |before| before.since);
            state.disagreements.insert(name.clone(), Alarm { since, message });
        }
    }

    /// The newest versions are here, or could not be fetched; older ones may still be missing.
    pub(super) fn note_first(&self) {
        self.state.lock().has_first = true;
        self.changed.notify_all();
    }

    /// How many versions are still to come.
    pub(super) fn note_missing(&self, missing: u64) {
        self.state.lock().missing = missing;
    }

    /// Wakes the commands that had asked by then: what they asked for is here, or they are told why not.
    pub(super) fn settle(&self, asked: u64) {
        self.state.lock().settled = asked;
        self.changed.notify_all();
    }

    /// Waits until what was asked for is here, or could not be had.
    ///
    /// # Errors
    /// Why it is not here.
    pub(super) fn wait_for(
        &self,
        asked: u64,
        is_gone: &dyn Fn() -> bool,
    ) -> Result<(), ControlError> {
        let mut state = self.state.lock();
        while state.settled < asked {
            if state.stop || is_gone() {
                return Err(ControlError::new(ErrorKind::Busy, "the daemon is stopping"));
            }
            self.changed.wait_for(&mut state, LOOK_INTERVAL);
        }
        if let Some(unreached) = &state.unreached {
            return Err(unreached.error());
        }
        let alarms = state.all_alarms().map(|(name, alarm)| (name, &alarm.message));
        let failing =
            state.repositories.iter().map(|(name, failing)| (Some(name), &failing.message));
        match alarms.chain(failing).next() {
            None => Ok(()),
            Some((name, message)) => {
                let what = name.map_or("the bucket", |name| name.as_str());
                Err(ControlError::new(ErrorKind::Failed, format!("{what}: {message}"))
                    .with_hint("`cairn status` lists all that is wrong"))
            }
        }
    }

    /// Waits for the first answer of the bucket and what it has, until the deadline.
    ///
    /// # Errors
    /// The bucket cannot be used, and that will not be different in a moment.
    pub(super) fn wait_for_first(&self, deadline: Instant) -> Result<(), ControlError> {
        let mut state = self.state.lock();
        while !state.has_first && state.unreached.is_none() && !state.stop {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Ok(());
            }
        }
        match &state.unreached {
            Some(unreached) if unreached.is_certain => Err(unreached.error()),
            Some(_) | None => Ok(()),
        }
    }

    /// Adds what is known to what is told of the edge.
    pub(super) fn describe(&self, info: &mut EdgeInfo) {
        let state = self.state.lock();
        info.contact = state.contact.map(Contact::from);
        (info.followed, info.missing) = (state.followed, state.missing);
        let trouble = |name: Option<&RepoName>, message: &str, since: Timestamp| EdgeTrouble {
            repository: name.cloned(),
            message: message.to_owned(),
            began: Began::from(since),
        };
        let is_alarm = state.unreached.as_ref().is_some_and(|unreached| unreached.is_alarm);
        let of_bucket =
            state.failing.iter().map(|failing| trouble(None, &failing.message, failing.since));
        let of_bucket: Vec<_> = of_bucket.collect();
        let alarms =
            state.all_alarms().map(|(name, alarm)| trouble(name, &alarm.message, alarm.since));
        info.alarms = alarms.collect();
        if is_alarm {
            info.alarms.extend(of_bucket);
        } else {
            info.failures = of_bucket;
        }
        let repositories = state.repositories.iter();
        info.failures.extend(
            repositories
                .map(|(name, failing)| trouble(Some(name), &failing.message, failing.since)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_pauses_grow_and_have_a_bound() {
        let now = Timestamp::default();
        let mut failing = Failing::again(None, "away".to_owned(), now);
        assert_eq!(failing.pause(), PAUSE_FIRST);
        for times in 2..100 {
            failing = Failing::again(Some(&failing), "away".to_owned(), Timestamp::now());
            assert_eq!((failing.times, failing.since), (times, now));
        }
        assert_eq!(failing.pause(), PAUSE_MAX);
    }

    #[test]
    fn d2_who_asks_is_served_by_a_poll_that_begins_after_that() {
        let state = EdgeState::default();
        let first = state.ask();
        assert_eq!(state.wait(0), Next::Poll { asked: 1, is_asked: true });
        let second = state.ask();
        state.settle(1);
        assert_eq!(state.wait_for(first, &|| false), Ok(()));
        assert!(state.wait_for(second, &|| true).is_err(), "nobody waits for it any more");
        assert!(state.is_due(1, Instant::now()));
        let why = FollowError::Format(FormatFileError::Missing);
        state.failed(why.into(), Timestamp::default());
        state.settle(2);
        let told = state.wait_for(second, &|| false).unwrap_err();
        assert!(told.message.contains("cairn.json") && told.hint.is_some(), "{told:?}");
        assert!(state.wait_for_first(Instant::now()).is_err());
        state.wake_at(Instant::now());
        assert_eq!(state.wait(2), Next::Poll { asked: 2, is_asked: false });
        state.stop();
        assert_eq!(state.wait(2), Next::Stop);
    }
}
