//! Removing what no log of a bucket needs (D6), beside publishers, readers and other collectors, without a lock (H47).
//!
//! 1. *Candidates* are the listed keys that no version, draft or list needs; young ones are left out.
//! 2. A *mark* in the bucket's own log names them.
//! 3. A *barrier* that names the mark goes into the log of each repository that was made before it. Who publishes there
//!    honours the barriers that come before their event, and the marks that were made before the repository was: of
//!    their keys none is used ([`Condemned`]).
//! 4. The first *decision* counts: a sentence on the candidates that nothing needs which was published before the
//!    barriers, or the end of the mark. All collectors come to the same sentence.
//! 5. When readers had their grace, by the store's clock, anybody deletes what is sentenced.
//!
//! Each step is an event or can be done again, so a collector may be killed anywhere, and whoever finds a mark without
//! a decision goes on with it. No key is written twice, so what is gone once is gone for ever.

mod candidates;
mod condemned;
mod decide;
mod delete;
mod needs;

pub use condemned::{Condemned, KeyLists};

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};

use super::event::BucketId;
use super::fields::FormatError;
use super::fold::BucketState;
use super::key::{Key, LogName, Nonce, ObjectKey};
use super::log::{Cursor, Intent, Log, LogError, Retry};
use super::signature::Signatures;
use super::store::{ObjectStore, StoreError, StoreErrorKind};
use crate::model::name::RepoName;
use crate::model::time::Timestamp;

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Times that a collector keeps, all by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Younger objects are no candidates: a push may be about to name them.
    pub young: Duration,
    /// How long after the sentence readers may still want what is sentenced.
    pub grace: Duration,
    /// A draft that is older belongs to a push that died.
    pub draft: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { young: DAY * 7, grace: DAY * 7, draft: DAY * 30 }
    }
}

/// Why a collection ended early. What it began goes on with the next one.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object that is needed is not there.
    #[error(
        "{0} is missing, and nothing else says what it said: `cairn remote fsck` tells which versions are concerned"
    )]
    Missing(ObjectKey),
    /// An object that is needed cannot be read.
    #[error("{key} is damaged: {error}. `cairn remote fsck` tells which versions are concerned")]
    Damaged {
        /// Which.
        key: ObjectKey,
        /// The rule that it breaks.
        error: FormatError,
    },
    /// Somebody wants to publish in a repository that the bucket does not have.
    #[error(
        "{0} is not among the repositories of the bucket: it must be made there before anything is published in it"
    )]
    Unmade(RepoName),
    /// The store's clock cannot be read.
    #[error(
        "what was written just now is not there: the store cannot be trusted with a collection"
    )]
    NoClock,
    /// It was asked to stop.
    #[error("stopped; the next collection goes on")]
    Stopped,
    /// No randomness.
    #[error("the system has no randomness to offer: {0}")]
    Random(io::Error),
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Objects that were listed.
    pub objects: u64,
    /// Things that are no objects of a bucket, which nobody touches.
    pub strangers: u64,
    /// Objects that were asked to be given up.
    pub candidates: u64,
    /// Objects that were sentenced by this run.
    pub condemned: u64,
    /// Sentenced objects that wait for the readers' grace to end.
    pub waiting: u64,
    /// Objects that were deleted.
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
}

/// An object as it was listed.
#[derive(Debug, Clone, Copy)]
struct Found {
    size: u64,
    modified: SystemTime,
}

/// Collects one bucket.
pub struct Collector<'a> {
    store: &'a dyn ObjectStore,
    bucket: BucketId,
    retry: &'a Retry,
    nonce: &'a dyn Fn() -> io::Result<Nonce>,
    patience: Patience,
    signatures: &'a Signatures,
    /// By this machine's clock, for people to read.
    now: Timestamp,
    is_stopped: &'a dyn Fn() -> bool,
}

impl<'a> Collector<'a> {
    /// Of that bucket. `nonce` draws random numbers.
    pub fn new(
        store: &'a dyn ObjectStore,
        bucket: BucketId,
        retry: &'a Retry,
        nonce: &'a dyn Fn() -> io::Result<Nonce>,
        now: Timestamp,
    ) -> Self {
        let patience = Patience::default();
        let signatures = Signatures::NONE;
        Self { store, bucket, retry, nonce, patience, signatures, now, is_stopped: &|| false }
    }

    /// Believes signed events, and signs its own.
    #[must_use]
    pub fn signatures(self, signatures: &'a Signatures) -> Self {
        Self { signatures, ..self }
    }

    /// Ends early when `is_stopped` says so.
    #[must_use]
    pub fn stopped_by(self, is_stopped: &'a dyn Fn() -> bool) -> Self {
        Self { is_stopped, ..self }
    }

    fn go_on(&self) -> Result<(), CollectError> {
        if (self.is_stopped)() { Err(CollectError::Stopped) } else { Ok(()) }
    }

    /// With other times.
    #[must_use]
    pub fn patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Goes on with marks that others left, deletes what is sentenced and had its time, and marks what nobody needs.
    ///
    /// # Errors
    /// Why it ended early.
    pub fn run(&self) -> Result<Collected, CollectError> {
        let mut collected = Collected::default();
        let now = self.store_now()?;
        let found = self.list(now, &mut collected)?;
        let mut log = Cursor::default();
        self.bucket_log().follow(&mut log)?;
        let mut lists = KeyLists::default();
        let undecided = |state: &BucketState| {
            let open = state.marks().iter().filter(|mark| mark.decision.is_none());
            open.map(|mark| mark.id).collect::<Vec<_>>()
        };
        for mark in undecided(log.state()) {
            self.decide(mark, &mut log, &mut lists, &mut collected)?;
        }
        let candidates = self.candidates(&found, now, &log, &mut lists, false)?;
        collected.candidates = candidates.keys().len() as u64;
        if !candidates.keys().is_empty() {
            let mark = self.mark(&candidates, &mut log, &mut lists)?;
            self.decide(mark, &mut log, &mut lists, &mut collected)?;
        }
        self.delete_sentenced(&found, now, log.state(), &mut lists, &mut collected)?;
        Ok(collected)
    }

    /// Says what a run would mark. It writes nothing but a small object, which it removes: to read the store's clock.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub fn dry_run(&self) -> Result<(Collected, u64), CollectError> {
        let mut collected = Collected::default();
        let now = self.store_now()?;
        let found = self.list(now, &mut collected)?;
        let mut log = Cursor::default();
        self.bucket_log().follow(&mut log)?;
        let candidates = self.candidates(&found, now, &log, &mut KeyLists::default(), true)?;
        collected.candidates = candidates.keys().len() as u64;
        let sizes = candidates.keys().iter().filter_map(|key| found.get(key));
        Ok((collected, sizes.map(|found| found.size).sum()))
    }

    fn bucket_log(&self) -> Log<'a> {
        Log::new(self.store, self.bucket, LogName::Bucket, self.retry).signatures(self.signatures)
    }

    fn repository_log(&self, name: &RepoName) -> Log<'a> {
        let name = LogName::Repository(name.clone());
        Log::new(self.store, self.bucket, name, self.retry).signatures(self.signatures)
    }

    fn new_nonce(&self) -> Result<Nonce, CollectError> {
        (self.nonce)().map_err(CollectError::Random)
    }

    fn new_intent(&self) -> Result<Intent, CollectError> {
        Ok(Intent { nonce: self.new_nonce()?, time: self.now })
    }

    /// What the store's clock shows: the time of what is written now.
    fn store_now(&self) -> Result<SystemTime, CollectError> {
        let key = Key::Probe(self.new_nonce()?).to_string();
        self.put(&key, b"")?;
        let written = self.store.head(&key)?.ok_or(CollectError::NoClock)?;
        self.store.delete(&[key])?;
        Ok(written.modified)
    }

    /// Writes an object whose key nobody else has, so that it may be tried again.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), CollectError> {
        let mut tries = 0;
        loop {
            match self.store.put(key, bytes) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tries += 1;
                    if error.kind() != StoreErrorKind::Temporary || !(self.retry)(tries) {
                        return Err(error.into());
                    }
                }
            }
        }
    }
}

type FoundKeys = BTreeMap<ObjectKey, Found>;
