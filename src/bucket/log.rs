//! Reading a log, and publishing an event in it.
//!
//! A log is followed number by number from where a reader is. Each event names the hash of the one before it, so what
//! was read once can never become something else unnoticed: an older log is a rollback, another event at the same
//! number a fork, and an event that cannot be read or that breaks a rule ends the reading. None is skipped.
//!
//! To publish, the caller says what is to happen in view of all that is there; the event is created at the next number
//! if that is free. After a lost answer *the same bytes* are put there again until the number is occupied, and then
//! the nonce says whose event it is (H45): only an event of somebody else is a reason to look at everything anew.
//!
//! Of what a log is known to have (it was seen, or the head says so) several events are asked for at a time. What lies
//! beyond is asked for one by one: a cache keeps the answer that a number is missing, and would hide that event later.
//!
//! Signatures are compared of what is new to a reader. What was seen before is held by the chain of hashes that leads to
//! it, so it is read without asking who signed it.

mod ahead;
mod error;

pub use error::LogError;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use self::ahead::Ahead;
use super::event::{BucketId, EVENT_BYTES_MAX, Event, Payload};
use super::fold::Refusal;
use super::key::{LogName, Nonce, Seq};
use super::rules::{self, Rule};
use super::signature::Signatures;
use super::store::{Created, ObjectStore, StoreError, StoreErrorKind};
use crate::model::hash::ObjectHash;
use crate::model::time::Timestamp;

/// An event by its number and hash: all of the log up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Its number; [`Seq::NONE`] before the first.
    pub seq: Seq,
    /// The hash of its bytes; zeros before the first.
    pub hash: ObjectHash,
}

impl Position {
    /// Before the first event.
    pub const START: Self = Self { seq: Seq::NONE, hash: ObjectHash::from_bytes([0; 32]) };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position in a log is NUMBER:HASH, as in 7:af13…, with 64 hexadecimal digits")]
pub struct PositionError;

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (seq, hash) = text.split_once(':').ok_or(PositionError)?;
        let seq = seq.parse().ok().and_then(Seq::new).ok_or(PositionError)?;
        Ok(Self { seq, hash: hash.parse().map_err(|_| PositionError)? })
    }
}

/// What a log is folded into.
pub trait Fold {
    /// Whether that event may come next.
    ///
    /// # Errors
    /// The rule that it breaks.
    fn check(&self, event: &Event) -> Result<(), Refusal>;

    /// Takes in an event that was checked. `at` is where it is.
    fn apply(&mut self, event: &Event, at: Position);
}

/// How far a log was read, and what it says up to there.
#[derive(Debug, Clone)]
pub struct Cursor<F> {
    position: Position,
    state: F,
    /// Where the event of each nonce is.
    nonces: BTreeMap<Nonce, Position>,
}

impl<F: Default> Default for Cursor<F> {
    fn default() -> Self {
        Self::of(F::default())
    }
}

impl<F> Cursor<F> {
    /// Before the first event, with what is known then.
    pub fn of(state: F) -> Self {
        Self { position: Position::START, state, nonces: BTreeMap::new() }
    }

    /// The last event that was read.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What the log says up to there.
    pub fn state(&self) -> &F {
        &self.state
    }

    /// Where the event with that nonce is, if it was published.
    pub fn published(&self, nonce: Nonce) -> Option<Position> {
        self.nonces.get(&nonce).copied()
    }
}

/// What is told before a try is repeated: how many there were. Waits, and says whether to go on.
pub type Retry = dyn Fn(u32) -> bool + Send + Sync;

/// What names an event over all tries, and its time.
#[derive(Debug, Clone, Copy)]
pub struct Intent {
    /// Drawn once for what is to be published, and kept over tries, also over those of another process.
    pub nonce: Nonce,
    /// The time by the author's clock.
    pub time: Timestamp,
}

/// What is to be published in view of a log, if anything is.
pub type Decide<'a, F, E> = dyn FnMut(&Cursor<F>) -> Result<Option<Payload>, E> + 'a;

/// A log of a bucket.
pub struct Log<'a> {
    store: &'a dyn ObjectStore,
    bucket: BucketId,
    name: LogName,
    seen: Position,
    /// How far it is said to go.
    promised: Seq,
    signatures: &'a Signatures,
    retry: &'a Retry,
}

impl<'a> Log<'a> {
    /// A log of which nothing was seen yet.
    pub fn new(
        store: &'a dyn ObjectStore,
        bucket: BucketId,
        name: LogName,
        retry: &'a Retry,
    ) -> Self {
        let (seen, promised, signatures) = (Position::START, Seq::NONE, Signatures::NONE);
        Self { store, bucket, name, seen, promised, signatures, retry }
    }

    /// The same log, with those whose events are believed, and who signs what is published.
    #[must_use]
    pub fn signatures(self, signatures: &'a Signatures) -> Self {
        Self { signatures, ..self }
    }

    /// The same log, of which that much was seen before: an older or another one is an error.
    #[must_use]
    pub fn seen(self, seen: Position) -> Self {
        Self { seen, ..self }
    }

    /// The same log, which the head says to go that far. It is a hint at what to ask for together, and no more.
    #[must_use]
    pub fn promised(self, promised: Option<Seq>) -> Self {
        Self { promised: promised.unwrap_or(Seq::NONE), ..self }
    }

    /// Which log it is.
    pub fn name(&self) -> &LogName {
        &self.name
    }

    /// Reads what came since, up to the end.
    ///
    /// # Errors
    /// The store's; that an event cannot be read or is not allowed; a rollback; a fork. What was read before the failure
    /// stays read.
    pub fn follow<F: Fold>(&self, cursor: &mut Cursor<F>) -> Result<(), LogError> {
        self.follow_to(cursor, Seq::MAX)
    }

    /// Reads what came since, up to that number at most.
    ///
    /// # Errors
    /// Those of [`Log::follow`].
    pub fn follow_to<F: Fold>(&self, cursor: &mut Cursor<F>, end: Seq) -> Result<(), LogError> {
        loop {
            let Err(error) = self.read_on(cursor, end) else { return Ok(()) };
            // A cache may keep a damaged event, or that one is missing: that one event is asked for past it.
            let is_of_store = matches!(error, LogError::Store { .. });
            let Some(fresh) = self.store.past_caches().filter(|_| !is_of_store) else {
                return Err(error);
            };
            let before = cursor.position.seq;
            self.of(&*fresh).read_on(cursor, before.next().min(end))?;
            if cursor.position.seq == before {
                return Err(error);
            }
        }
    }

    /// The same log in that store.
    fn of<'b>(&self, store: &'b dyn ObjectStore) -> Log<'b>
    where
        'a: 'b,
    {
        let (seen, promised) = (self.seen, self.promised);
        let log = Log::new(store, self.bucket, self.name.clone(), self.retry);
        Log { seen, promised, ..log.signatures(self.signatures) }
    }

    fn read_on<F: Fold>(&self, cursor: &mut Cursor<F>, end: Seq) -> Result<(), LogError> {
        if cursor.position.seq > self.seen.seq {
            // What the cursor has was compared with what was seen, on the way there.
        } else if cursor.position.seq == self.seen.seq && self.seen != cursor.position {
            return Err(self.fork(self.seen, cursor.position.hash));
        }
        let mut ahead =
            Ahead::new(self.seen.seq.max(self.promised).min(end), self.store.requests_at_once());
        while cursor.position.seq < end {
            let seq = cursor.position.seq.next();
            let Some(bytes) = ahead.next(seq, |seq| self.get(seq))? else {
                if seq <= self.seen.seq {
                    return Err(LogError::Rollback { log: self.name.clone(), seen: self.seen });
                }
                return Ok(());
            };
            let event = self.read(seq, &bytes)?;
            let at = Position { seq, hash: ObjectHash::of(&bytes) };
            if event.before != cursor.position.hash {
                return Err(self.fork(cursor.position, event.before));
            }
            if seq == self.seen.seq && at != self.seen {
                return Err(self.fork(self.seen, at.hash));
            }
            if seq > self.seen.seq {
                self.signatures.check(&event).map_err(|error| LogError::Signature {
                    log: self.name.clone(),
                    seq,
                    error,
                })?;
            }
            self.take(cursor, &event, at)?;
        }
        Ok(())
    }

    /// Looks whether the log still has the event that was seen, for those who go on from there.
    ///
    /// # Errors
    /// A rollback, a fork, and the store's.
    pub fn verify_seen(&self) -> Result<(), LogError> {
        if self.seen == Position::START {
            return Ok(());
        }
        let found = self.get(self.seen.seq)?;
        let is_same = |bytes: &Vec<u8>| ObjectHash::of(bytes) == self.seen.hash;
        if !found.as_ref().is_some_and(is_same)
            && let Some(fresh) = self.store.past_caches()
        {
            return self.of(&*fresh).verify_seen();
        }
        match found {
            None => Err(LogError::Rollback { log: self.name.clone(), seen: self.seen }),
            Some(bytes) if is_same(&bytes) => Ok(()),
            Some(bytes) => Err(self.fork(self.seen, ObjectHash::of(&bytes))),
        }
    }

    /// Publishes an event, once, and returns where it is. `decide` is asked what is to happen in view of all that the log
    /// has, again whenever something of somebody else came; `None` ends without an event. If the log has an event with
    /// that nonce already, that is the answer.
    ///
    /// # Errors
    /// Those of [`Log::follow`] and of `decide`; that the event is not allowed; that it is not known whether it was
    /// published ([`LogError::Unsettled`]): then it is to be tried again with the same nonce.
    pub fn append<F: Fold, E: From<LogError>>(
        &self,
        cursor: &mut Cursor<F>,
        intent: Intent,
        decide: &mut Decide<'_, F, E>,
    ) -> Result<Option<Position>, E> {
        let mut tries = 0;
        loop {
            tries = u8::wrapping_add(tries, 1);
            self.follow(cursor)?;
            if let Some(at) = cursor.published(intent.nonce) {
                return Ok(Some(at));
            }
            let Some(payload) = decide(cursor)? else { return Ok(None) };
            let mut event = Event {
                bucket: self.bucket,
                log: self.name.clone(),
                seq: cursor.position.seq.next(),
                before: cursor.position.hash,
                nonce: rules::nonce_of_try(intent.nonce, tries),
                time: intent.time,
                payload,
                signature: Vec::new(),
            };
            let refused = |refusal| LogError::Refused { log: self.name.clone(), refusal };
            cursor.state.check(&event).map_err(refused)?;
            self.sign(&mut event)?;
            self.settle(&event)?;
        }
    }

    /// Signs an event that is to be published, and looks whether others would believe it.
    fn sign(&self, event: &mut Event) -> Result<(), LogError> {
        let log = || self.name.clone();
        match &self.signatures.signer {
            Some(signer) => {
                let signed = signer.sign(&event.signed_bytes());
                event.signature =
                    signed.map_err(|error| LogError::NotSigned { log: log(), error })?;
            }
            None if self.signatures.required => return Err(LogError::NoSigner { log: log() }),
            None => {}
        }
        let checked = self.signatures.check(event);
        checked.map_err(|error| LogError::OwnSignature { log: log(), error })
    }

    /// Puts the event until its number is occupied, by whomever.
    fn settle(&self, event: &Event) -> Result<(), LogError> {
        let unfit = |error| LogError::Unfit { log: self.name.clone(), error };
        let bytes = event.encode().map_err(unfit)?;
        let key = self.name.key(event.seq);
        let mut tries = 0;
        loop {
            let error = match self.store.create(&key, &bytes) {
                Ok(Created::Done | Created::Occupied) => return Ok(()),
                Err(error) => error,
            };
            tries += 1;
            let is_certain = tries == 1
                && matches!(error.kind(), StoreErrorKind::Refused | StoreErrorKind::Local);
            if is_certain {
                return Err(self.failed(error));
            }
            if rules::is_left_out(Rule::NonceOfIntent) {
                return Ok(());
            }
            let may_retry = error.kind() == StoreErrorKind::Temporary;
            if !may_retry || !(self.retry)(tries) {
                return Err(LogError::Unsettled { log: self.name.clone(), seq: event.seq, error });
            }
        }
    }

    /// The bytes of an event; `None` beyond the end.
    fn get(&self, seq: Seq) -> Result<Option<Vec<u8>>, LogError> {
        let end = EVENT_BYTES_MAX as u64 + 1;
        match self.store.get_range(&self.name.key(seq), 0..end) {
            Ok(found) => Ok(found),
            // Who may read objects but not list them is answered 403 for what is not there. The first event of a log that
            // is asked for tells that from a bucket that cannot be read at all.
            Err(error) if error.kind() == StoreErrorKind::Refused && seq > Seq::NONE.next() => {
                self.get_first().map(|_| None)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn get_first(&self) -> Result<(), LogError> {
        let first = self.name.key(Seq::NONE.next());
        self.store.head(&first).map(drop).map_err(|error| self.failed(error))
    }

    fn read(&self, seq: Seq, bytes: &[u8]) -> Result<Event, LogError> {
        let event = Event::decode(bytes).map_err(|error| LogError::Unreadable {
            log: self.name.clone(),
            seq,
            error,
        })?;
        if event.bucket == self.bucket && event.log == self.name && event.seq == seq {
            return Ok(event);
        }
        let found = format!("event {} of {} in bucket {}", event.seq, event.log, event.bucket);
        Err(LogError::Foreign { log: self.name.clone(), seq, found })
    }

    fn take<F: Fold>(
        &self,
        cursor: &mut Cursor<F>,
        event: &Event,
        at: Position,
    ) -> Result<(), LogError> {
        cursor.state.check(event).map_err(|refusal| LogError::NotAllowed {
            log: self.name.clone(),
            seq: event.seq,
            refusal,
        })?;
        cursor.state.apply(event, at);
        cursor.nonces.entry(event.nonce).or_insert(at);
        cursor.position = at;
        Ok(())
    }

    fn fork(&self, known: Position, found: ObjectHash) -> LogError {
        LogError::Fork { log: self.name.clone(), known, found }
    }

    fn failed(&self, error: StoreError) -> LogError {
        LogError::Store { log: self.name.clone(), error }
    }
}

#[cfg(test)]
mod tests;
