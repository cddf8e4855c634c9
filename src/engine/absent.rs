//! Content that trees name and the store does not have: is asked of the [`Fetcher`], and kept.

use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::{EngineError, Result};
use super::fetcher::{
    Fetched, Fetcher, NotFetched, OnFetched, PrefetchId, Purpose, READER_PATIENCE,
};
use super::handle::Engine;
use super::pins::BlobPin;
use super::request::{IncomingBlob, RemoteNote, Request};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;
use crate::store::catalog::Reader;
use crate::store::error::StoreError;
use crate::store::pool::Incoming;

/// Why a read-only store has nothing fetched.
const READ_ONLY: &str = "the store is open for reading only, so nothing can be fetched into it";

/// How often a content is fetched for one who needs a blob of it.
const FETCH_TRIES: u32 = 3;

impl Engine {
    /// From now on absent content is asked of `fetcher`.
    pub fn set_fetcher(&self, fetcher: Arc<dyn Fetcher>) {
        if self.fetcher.set(fetcher).is_err() {
            log::error!("content is fetched by somebody else already");
        }
    }

    /// Has a content fetched for a reader; returns at once.
    pub fn fetch(&self, digest: Sha256, then: OnFetched) {
        self.fetch_within(digest, READER_PATIENCE, then);
    }

    /// The same for who waits no longer than `patience`.
    pub fn fetch_within(&self, digest: Sha256, patience: Duration, then: OnFetched) {
        self.fetch_for(digest, Purpose::Read(patience), then);
    }

    /// Has a content fetched that is read later, perhaps. Until [`Engine::end_prefetch`] it is waited for.
    pub fn prefetch(&self, digest: Sha256, prefetch: PrefetchId, then: OnFetched) {
        self.fetch_for(digest, Purpose::Prefetch(prefetch), then);
    }

    /// Bytes that have come of what is being fetched for a prefetch.
    pub fn prefetched_bytes(&self, prefetch: PrefetchId) -> u64 {
        self.fetcher.get().map_or(0, |fetcher| fetcher.came(prefetch))
    }

    /// Nothing more is fetched for a prefetch.
    pub fn end_prefetch(&self, prefetch: PrefetchId) {
        if let Some(fetcher) = self.fetcher.get() {
            fetcher.abandon(prefetch);
        }
    }

    fn fetch_for(&self, digest: Sha256, purpose: Purpose, then: OnFetched) {
        match self.fetcher.get() {
            // Nothing may be written into the store, not even a part of it on its way.
            _ if self.is_read_only() => then(Err(NotFetched(READ_ONLY.to_owned()))),
            Some(fetcher) => fetcher.fetch(digest, purpose, then),
            None => then(Err(NotFetched("this daemon cannot fetch from remotes".to_owned()))),
        }
    }

    /// The blob of a content, which is fetched first if it is absent. Not for threads that serve the kernel.
    ///
    /// # Errors
    /// When it cannot be had; when it cannot be looked up.
    pub fn blob_or_fetch(&self, name: &ContentName) -> Result<BlobHash> {
        // A small cache may have let it go again before it is looked up.
        for _ in 0..FETCH_TRIES {
            let digest = match self.trees.blob_names().resolve(name) {
                Err(StoreError::AbsentContent(digest)) => digest,
                resolved => return Ok(resolved?),
            };
            let (send, receive) = crossbeam_channel::bounded(1);
            // Who went away meanwhile does not need the answer.
            self.fetch(digest, Box::new(move |fetched| drop(send.send(fetched))));
            let fetched = receive.recv().map_err(|_| EngineError::Stopping)?;
            let kept = fetched.and_then(Fetched::kept);
            kept.map_err(|reason| EngineError::NotFetched { digest, reason })?;
        }
        Ok(self.trees.blob_names().resolve(name)?)
    }

    /// Notes that somebody reads a content which has a blob: what was read last is reclaimed last.
    pub fn note_use(&self, name: &ContentName, blob: &BlobHash) {
        if let ContentName::Sha256(_) = name {
            self.uses.note(blob, Timestamp::now());
        }
    }

    /// Whether the store has a declared content.
    ///
    /// # Errors
    /// When that cannot be looked up.
    pub fn is_stored(&self, digest: &Sha256) -> Result<bool> {
        // What is about to be reclaimed is hidden there.
        if self.trees.blob_names().blob_of(digest)?.is_none() {
            return Ok(false);
        }
        self.query(|reader| is_stored(reader, digest))
    }

    /// How many bytes have to be freed until the disk has room to keep a content of `bytes` that can be had again (H37).
    pub fn lacks_room_to_keep(&self, bytes: u64) -> u64 {
        self.pool.room().lacking_above_floor(bytes)
    }

    /// Stores a content that was fetched: `length` bytes. The caller has hashed them: they have both digests.
    /// From then on readers of files with either name get them.
    ///
    /// # Errors
    /// When the store cannot keep it.
    pub fn keep_fetched(
        &self,
        digest: Sha256,
        blob: BlobHash,
        length: u64,
        content: FetchedContent<'_>,
    ) -> Result<()> {
        if length > 0 {
            let pin = BlobPin::new(&self.pins, blob);
            let file = match content {
                FetchedContent::Memory(bytes) => self.pool.write_incoming(bytes, &blob)?,
                FetchedContent::File(file, path) => self.take_over(file, path)?,
            };
            let incoming = IncomingBlob { file, pin, size: length };
            let pins = self.call(|reply| Request::AdoptBlobs { blobs: vec![incoming], reply })?;
            let note = RemoteNote::Digests(vec![(digest, blob)]);
            self.call(|reply| Request::NoteRemote { note, reply })?;
            drop(pins);
            // The store was written to anyway.
            self.note_some_uses()?;
        }
        Ok(())
    }

    /// Makes a file one on its way into the pool: moved if it has a name in the store, else copied.
    fn take_over(&self, mut file: File, path: Option<&Path>) -> Result<Incoming> {
        if let Some(path) = path
            && let Some(moved) = self.pool.take_over(path)?
        {
            return Ok(Incoming::Named(moved));
        }
        let (named, mut copy) = self.pool.incoming_file()?;
        file.rewind()
            .and_then(|()| io::copy(&mut file, &mut copy))
            .map_err(StoreError::io("write", named.path()))?;
        Ok(Incoming::Named(named))
    }
}

/// Content that was fetched and is to be kept.
#[derive(Debug)]
pub enum FetchedContent<'a> {
    /// Its bytes.
    Memory(&'a [u8]),
    /// A file of it, and its name in the store if it has one, which nobody else uses.
    File(File, Option<&'a Path>),
}

/// Whether the store has a declared content, by the catalog as `reader` sees it.
///
/// # Errors
/// The database's.
pub fn is_stored(reader: &Reader, digest: &Sha256) -> std::result::Result<bool, StoreError> {
    let row = match reader.blob_of(digest)? {
        Some(blob) => reader.blob(&blob)?,
        None => None,
    };
    Ok(row.is_some_and(|row| !row.is_damaged()))
}
