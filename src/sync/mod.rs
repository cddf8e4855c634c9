//! Sync: a version made of what a remote declares.
//!
//! A pipeline of stages, each on a thread of its own ([`pipeline`]): what is declared, sorted and checked ([`declare`],
//! [`sort`]), is compared with the newest version ([`difference`]), looked for in the store ([`query`]), fetched and
//! verified ([`fetch`]), and put into an area that becomes the version ([`save`]). Queues between stages are bounded, so
//! memory is, whatever the size of the set.
//!
//! This room must not know how a sync was asked for, nor the metadata thread: a [`Destination`] stands for the store.

mod debian;
mod declare;
mod difference;
mod document;
mod download;
mod fetch;
mod gathered;
mod list;
mod partial;
pub mod pipeline;
mod probe;
mod query;
mod run;
mod save;
mod sniff;
mod sort;
mod tally;
mod walk;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::model::content_name::ContentName;
use crate::model::debian::DebianSettings;
use crate::model::digest::Sha256;
use crate::model::fetch_policy::FetchPolicy;
use crate::model::hash::BlobHash;
use crate::model::import::ImportEntry;
use crate::model::manifest::{DeclaredPath, LineError, OverlapError};
use crate::model::remote::{RemoteKind, RemoteSettings, RemoteUrl};
use crate::model::sync::RemovalLimit;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Root};
use crate::net::{Client, NetError};
use crate::store::error::StoreError;

pub use debian::{DebianError, SignatureError};
pub use document::Document;
pub use download::{Bytes, Download, NotHad, SMALL_BYTES, Wanted};
pub use partial::{PartialFiles, PartialUsage, Turn, Waiter};
pub use probe::probe;
pub use run::{Outcome, Plan, run};
pub use sniff::Other;
pub use tally::Tally;
pub use walk::{BaseEntry, Walk};

pub(crate) use tally::add;

/// What went wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub path: DeclaredPath,
    /// Why.
    pub reason: String,
}

/// Why there is no new version.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// What declares the content could not be fetched.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A line is not one of a manifest.
    #[error("line {line} of {url}: {error}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// Of the manifest.
        url: String,
        /// What is wrong with it.
        error: LineError,
    },
    /// Two entries exclude each other.
    #[error("line {line} of {url}: {error}")]
    Overlap {
        /// The later of the two lines, counted from 1.
        line: u64,
        /// Of the manifest.
        url: String,
        /// How.
        error: OverlapError,
    },
    /// It is no list.
    #[error("{url} is no list of files: {other}")]
    NoList {
        /// Of what came.
        url: String,
        /// What it is.
        other: Other,
    },
    /// A Debian archive.
    #[error(transparent)]
    Debian(Box<DebianError>),
    /// It declares nothing at all.
    #[error("{0} declares no file{1}")]
    Nothing(String, String),
    /// A mirror would remove more than is allowed.
    #[error("this would remove {removed} of the {there} files of the newest version")]
    TooManyRemoved {
        /// How many.
        removed: u64,
        /// Of how many.
        there: u64,
    },
    /// Files could not be had.
    #[error("{} could not be fetched", crate::model::text::count(*.0, "file"))]
    Failed(u64),
    /// A file could not be had, and something else has its place in the newest version.
    #[error("{0} could not be fetched, and something else is at its place in the newest version")]
    Lost(String),
    /// The remote fails all the time.
    #[error("gave up after {0} failures in a row: {1}")]
    GaveUp(u32, NetError),
    /// What declares the content changed while it was fetched.
    #[error("what {0} declares changed while it was fetched")]
    Changed(String),
    /// A temporary file.
    #[error("cannot {action}: {error}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
    /// The next stage takes no more: why is said there.
    #[error("the next stage has ended")]
    Ended,
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl SyncError {
    fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { action, error }
    }
}

/// Something that is to be known about a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Something that works less well than it could.
    Warning(String),
    /// Anything else.
    Fact(String),
}

/// What was seen of a remote, by which the next sync knows that nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Seen {
    /// The documents that declare the content.
    pub documents: Vec<Document>,
    /// All that was asked for besides: subpath, mirror or not.
    pub asked: String,
    /// The version that has what it declared.
    pub version: u64,
}

/// Where declared content comes from.
#[derive(Debug)]
pub struct Origin<'a> {
    /// Asks it.
    pub client: &'a Client,
    /// How the content is declared.
    pub kind: RemoteKind,
    /// Where: files lie beside it.
    pub url: RemoteUrl,
    /// What is wanted of a Debian archive.
    pub debian: Option<&'a DebianSettings>,
    /// Only what lies below, and as if that was the root.
    pub subpath: Option<&'a DeclaredPath>,
    /// When content is fetched.
    pub policy: FetchPolicy,
    /// Files that are fetched at a time.
    pub connections: usize,
    /// How long to look on while another sync fetches a content slowly.
    pub patience: Duration,
}

impl<'a> Origin<'a> {
    /// The remote of these settings, which `client` asks.
    pub fn new(
        client: &'a Client,
        settings: &'a RemoteSettings,
        subpath: Option<&'a DeclaredPath>,
    ) -> Self {
        let connections = usize::try_from(settings.connections()).unwrap_or(usize::MAX);
        let patience = settings.idle_timeout();
        Self {
            client,
            kind: settings.kind,
            url: settings.files(),
            debian: settings.debian.as_ref(),
            policy: settings.policy,
            subpath,
            connections,
            patience,
        }
    }
}

impl Origin<'_> {
    /// Where a declared file is in the remote.
    fn locator(&self, path: &DeclaredPath) -> Box<[u8]> {
        match self.subpath {
            Some(subpath) => [subpath.as_bytes(), b"/", path.as_bytes()].concat().into(),
            None => path.as_bytes().into(),
        }
    }
}

/// What shall be done.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The version has what is declared and nothing else; otherwise that on top of what there is.
    pub mirror: bool,
    /// What cannot be had stays as it is in the newest version, and the rest is published.
    pub keep_going: bool,
    /// How many files may vanish.
    pub removal_limit: RemovalLimit,
}

/// Who looks on, from other threads. A sync never waits for them.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Set by whoever wants the sync to stop, and by the sync where a part of it failed.
    pub stop: &'a AtomicBool,
    /// How far it is, to be read at any time.
    pub tally: &'a Tally,
    /// Hears of each file that could not be had. Must not wait.
    pub failed: &'a (dyn Fn(Failure) + Sync),
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("tally", &self.tally).finish_non_exhaustive()
    }
}

/// A file of the newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFile {
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its content; `None` when it is empty.
    pub blob: Option<ContentName>,
    /// Whether the file has other names.
    pub is_linked: bool,
    /// Mode, owner, time.
    pub attributes: Attributes,
}

/// A content, its path in the remote, and its length in bytes.
pub type Source = (Sha256, Box<[u8]>, u64);

/// The store, as a sync sees it. All methods may be called from several threads.
pub trait Destination: Sync {
    /// The newest version; `None` when there is none.
    fn base(&self) -> Option<&Root>;

    /// Where its tree is read.
    fn trees(&self) -> &crate::store::tree_cache::TreeCache;

    /// The blob of that digest, as far as the store knows; it may be gone.
    ///
    /// # Errors
    /// The store's.
    fn blob_of(&self, sha256: &Sha256) -> Result<Option<BlobHash>, SyncError>;

    /// The digest of a blob of the newest version; its content is read when it is not known yet. `None` where that is absent
    /// or damaged.
    ///
    /// # Errors
    /// The store's.
    fn digest_of(&self, blob: &BlobHash) -> Result<Option<Sha256>, SyncError>;

    /// Pins blobs until the sync has ended; says of each how long it is, in bytes, if it is there.
    ///
    /// # Errors
    /// The store's.
    fn hold(&self, blobs: Vec<BlobHash>) -> Result<Vec<Option<u64>>, SyncError>;

    /// The content of that digest, if the store has it; it stays until the sync has ended.
    ///
    /// # Errors
    /// The store's.
    fn content(&self, sha256: &Sha256) -> Result<Option<Arc<File>>, SyncError>;

    /// Notes where contents can be had.
    ///
    /// # Errors
    /// The store's.
    fn note_sources(&self, sources: Vec<Source>) -> Result<(), SyncError>;

    /// Whether any content that a version or an area names is absent or damaged, anywhere in the store.
    ///
    /// # Errors
    /// The store's.
    fn lacks_content(&self) -> Result<bool, SyncError>;

    /// Notes digests of content.
    ///
    /// # Errors
    /// The store's.
    fn note(&self, digests: Vec<(Sha256, BlobHash)>) -> Result<(), SyncError>;

    /// Puts entries with the bytes and files that they name.
    ///
    /// # Errors
    /// The store's.
    fn put(
        &self,
        entries: Vec<ImportEntry>,
        payload: Vec<u8>,
        files: Vec<File>,
    ) -> Result<(), SyncError>;

    /// Waits until all that was put is in the store.
    ///
    /// # Errors
    /// The store's.
    fn settle(&self) -> Result<(), SyncError>;

    /// Removes a path of the newest version with all that is below it.
    ///
    /// # Errors
    /// The store's.
    fn remove(&self, path: &[u8]) -> Result<(), SyncError>;

    /// A file without a name.
    ///
    /// # Errors
    /// The disk's.
    fn temporary(&self) -> io::Result<File>;

    /// Where downloads are kept that are not whole yet.
    fn partial_files(&self) -> &PartialFiles;

    /// Who owns new files: user and group.
    fn owner(&self) -> (u32, u32);

    /// The time of the sync, for what the remote says nothing about.
    fn now(&self) -> Timestamp;
}

fn check_stop(stop: &AtomicBool) -> Result<(), SyncError> {
    if stop.load(Ordering::Relaxed) { Err(SyncError::Stopped) } else { Ok(()) }
}
