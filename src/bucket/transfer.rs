//! What a push and a pull share: how they fail, how far they are, and when they are to stop.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::fields::FormatError;
use super::key::ObjectKey;
use super::store::{ObjectStore, StoreError, StoreErrorKind};
use super::uses::Uses;
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, ObjectHash};
use crate::model::transfer::{TransferCounts, TransferProgress, TransferStage};
use crate::model::tree_format::TreeError;
use crate::net::Pace;

/// How long whoever keeps to a rate sleeps at a time, before it looks whether it is to stop.
const NAP: Duration = Duration::from_millis(100);

/// Bytes that are let through at a time where a rate is kept to.
const PIECE_BYTES: usize = 64 << 10;

/// Why a version was not transferred.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The object store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object of the bucket is none of its kind.
    #[error("{key}: {error}")]
    Format {
        /// Which.
        key: ObjectKey,
        /// What is wrong with it.
        error: FormatError,
    },
    /// A live version needs an object that is not there.
    #[error("{0} is not in the bucket")]
    MissingObject(ObjectKey),
    /// No index that the version names has a content.
    #[error("no index of the bucket says where {0} is")]
    NotIndexed(ContentName),
    /// No index that the version names has a page of its tree.
    #[error("no index of the bucket says where the tree page {0} is")]
    NoPage(BlobHash),
    /// What an index says of a content is not so.
    #[error("{key} does not have what an index says of {name}: {reason}")]
    Lies {
        /// The object.
        key: ObjectKey,
        /// The content or page.
        name: BlobHash,
        /// How that shows.
        reason: String,
    },
    /// Bytes of a declared name have another digest.
    #[error("the bytes that the bucket has for {0} have another SHA-256")]
    WrongDigest(ContentName),
    /// A tree is not as trees are.
    #[error("a tree of the bucket is not valid: {0}")]
    Tree(#[from] TreeError),
    /// The local store failed.
    #[error(transparent)]
    Local(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

impl TransferError {
    /// Whether a cache may be the reason, which shows something wrong, or that an object is missing.
    pub fn may_be_of_cache(&self) -> bool {
        match self {
            Self::Format { .. } | Self::MissingObject(_) | Self::Lies { .. } => true,
            Self::Store(_)
            | Self::NotIndexed(_)
            | Self::NoPage(_)
            | Self::WrongDigest(_)
            | Self::Tree(_)
            | Self::Local(_)
            | Self::Stopped => false,
        }
    }

    /// An error of the local store.
    pub fn local(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Local(Box::new(error))
    }
}

/// How far a transfer is: all its threads add to it, and whoever wants to know reads it.
#[derive(Debug, Default)]
pub struct TransferTally {
    stage: AtomicU8,
    pub(super) versions: AtomicU64,
    pub(super) present: AtomicU64,
    pub(super) contents: AtomicU64,
    pub(super) content_bytes: AtomicU64,
    pub(super) moved: AtomicU64,
    pub(super) moved_bytes: AtomicU64,
}

impl TransferTally {
    /// Notes what it is at now.
    pub fn enter(&self, stage: TransferStage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Notes that a version was published.
    pub fn note_version(&self) {
        add(&self.versions, 1);
    }

    /// How far it is.
    pub fn progress(&self) -> TransferProgress {
        let stages = [TransferStage::Look, TransferStage::Move, TransferStage::Publish];
        let stage =
            stages.into_iter().find(|stage| *stage as u8 == self.stage.load(Ordering::Relaxed));
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TransferProgress {
            stage: stage.unwrap_or_default(),
            counts: TransferCounts {
                versions: read(&self.versions),
                present: read(&self.present),
                contents: read(&self.contents),
                content_bytes: read(&self.content_bytes),
                moved: read(&self.moved),
                moved_bytes: read(&self.moved_bytes),
            },
        }
    }
}

/// Adds to one of the counts.
pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// Who looks on at a transfer, and may end it.
#[derive(Debug)]
pub struct Watch<'a> {
    stop: &'a AtomicBool,
    tally: &'a TransferTally,
    pace: Arc<Pace>,
}

impl<'a> Watch<'a> {
    /// `rate` is in bytes per second.
    pub fn new(stop: &'a AtomicBool, tally: &'a TransferTally, rate: Option<u64>) -> Self {
        Self::at_pace(stop, tally, Arc::new(Pace::new(rate)))
    }

    /// The same of one of many transfers, which keep a pace together.
    pub fn at_pace(stop: &'a AtomicBool, tally: &'a TransferTally, pace: Arc<Pace>) -> Self {
        Self { stop, tally, pace }
    }

    /// How far it is.
    pub fn tally(&self) -> &'a TransferTally {
        self.tally
    }

    /// Whether it is to stop.
    ///
    /// # Errors
    /// That it is.
    pub fn check(&self) -> Result<(), TransferError> {
        if self.stop.load(Ordering::Relaxed) { Err(TransferError::Stopped) } else { Ok(()) }
    }

    /// Waits until `bytes` more may be moved.
    pub(super) fn keep_pace(&self, bytes: usize) -> Result<(), TransferError> {
        let until = Instant::now() + self.pace.take(bytes, Instant::now());
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

/// Reads what is uploaded, no faster than is allowed, and fails when it is to stop.
pub(super) struct PacedReader<'a, R> {
    inner: R,
    watch: &'a Watch<'a>,
}

impl<'a, R> PacedReader<'a, R> {
    pub(super) fn new(inner: R, watch: &'a Watch<'a>) -> Self {
        Self { inner, watch }
    }
}

impl<R: Read> Read for PacedReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(PIECE_BYTES);
        let read = self.inner.read(&mut buffer[..most])?;
        self.watch.keep_pace(read).map_err(io::Error::other)?;
        Ok(read)
    }
}

/// The error to end with after a call of the object store failed: [`TransferError::Stopped`] if the job was cancelled, which
/// makes calls fail.
pub(super) fn store_error(watch: &Watch<'_>, error: StoreError) -> TransferError {
    match watch.check() {
        Err(stopped) => stopped,
        Ok(()) if error.kind() == StoreErrorKind::Stopped => TransferError::Stopped,
        Ok(()) => error.into(),
    }
}

/// That an object is none of its kind.
pub(super) fn format_error(key: &ObjectKey, error: FormatError) -> TransferError {
    TransferError::Format { key: *key, error }
}

/// The bytes of an object that has to be there. They are asked for once more past caches if they are not as they must be.
pub(super) fn get(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    key: &ObjectKey,
) -> Result<Vec<u8>, TransferError> {
    match get_of(store, watch, key) {
        Err(error) if error.may_be_of_cache() => match store.past_caches() {
            Some(fresh) => get_of(&*fresh, watch, key),
            None => Err(error),
        },
        got => got,
    }
}

fn get_of(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    key: &ObjectKey,
) -> Result<Vec<u8>, TransferError> {
    watch.check()?;
    let found = store.get(&key.to_string()).map_err(|error| store_error(watch, error))?;
    let bytes = found.ok_or(TransferError::MissingObject(*key))?;
    add(&watch.tally().moved_bytes, bytes.len() as u64);
    if ObjectHash::of(&bytes) != key.hash {
        let rule = "its bytes are not those of its key";
        return Err(format_error(key, FormatError::new("object", rule)));
    }
    Ok(bytes)
}

/// What a version needs, by the list that its commit names.
pub(super) fn read_uses(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    key: &ObjectKey,
) -> Result<Uses, TransferError> {
    Uses::read(*key, |key| get(store, watch, key), format_error)
}
