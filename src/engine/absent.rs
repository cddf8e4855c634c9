//! Content that trees name and the store does not have: is asked of the [`Fetcher`], and kept.

use std::fs::File;
use std::io::{self, Seek};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
use crate::model::name::RemoteName;
use crate::model::time::Timestamp;
use crate::store::catalog::{BucketPlace, PlacesOf, Reader};
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
    pub fn fetch(&self, name: ContentName, then: OnFetched) {
        self.fetch_within(name, READER_PATIENCE, then);
    }

    /// The same for a reader who needs a range of its bytes, which [`Engine::read_part`] may have then.
    pub fn fetch_part(&self, name: ContentName, part: Range<u64>, then: OnFetched) {
        self.fetch_for(name, Some(part), Purpose::Read(READER_PATIENCE), then);
    }

    /// Fills the buffer with bytes of an absent content from `offset` on, if just these were fetched; says whether it did.
    pub fn read_part(&self, name: &ContentName, offset: u64, buffer: &mut [u8]) -> bool {
        self.fetcher.get().is_some_and(|fetcher| fetcher.read_part(name, offset, buffer))
    }

    /// The same for who waits no longer than `patience`.
    pub fn fetch_within(&self, name: ContentName, patience: Duration, then: OnFetched) {
        self.fetch_for(name, None, Purpose::Read(patience), then);
    }

    /// Has a content fetched that is read later, perhaps. Until [`Engine::end_prefetch`] it is waited for.
    pub fn prefetch(&self, name: ContentName, prefetch: PrefetchId, then: OnFetched) {
        self.fetch_for(name, None, Purpose::Prefetch(prefetch), then);
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

    fn fetch_for(
        &self,
        name: ContentName,
        part: Option<Range<u64>>,
        purpose: Purpose,
        then: OnFetched,
    ) {
        match self.fetcher.get() {
            // Nothing may be written into the store, not even a part of it on its way.
            _ if self.is_read_only() => then(Err(NotFetched(READ_ONLY.to_owned()))),
            Some(fetcher) => fetcher.fetch(name, part, purpose, then),
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
            let name = match self.trees.blob_names().resolve(name) {
                Err(StoreError::AbsentContent(name)) => name,
                resolved => return Ok(resolved?),
            };
            let (send, receive) = crossbeam_channel::bounded(1);
            // Who went away meanwhile does not need the answer.
            self.fetch(name, Box::new(move |fetched| drop(send.send(fetched))));
            let fetched = receive.recv().map_err(|_| EngineError::Stopping)?;
            let kept = fetched.and_then(Fetched::kept);
            kept.map_err(|reason| EngineError::NotFetched { name, reason })?;
        }
        Ok(self.trees.blob_names().resolve(name)?)
    }

    /// How many contents are absent. The cost follows their number.
    ///
    /// # Errors
    /// When that cannot be looked up.
    pub fn absent_count(&self) -> Result<u64> {
        Ok(self.query(Reader::absent_names_count)? + self.pool.absent().len() as u64)
    }

    /// Notes that somebody reads a content which has a blob: what was read last is reclaimed last. Of blobs that have no other
    /// name that is noted once a bucket was pulled from.
    pub fn note_use(&self, name: &ContentName, blob: &BlobHash) {
        if name.sha256().is_some() || self.buckets_give_back.load(Ordering::Relaxed) {
            self.uses.note(blob, Timestamp::now());
        }
    }

    /// The same for who does not know the blob.
    pub fn note_use_of(&self, name: &ContentName) {
        let counts = name.sha256().is_some() || self.buckets_give_back.load(Ordering::Relaxed);
        // One that cannot be looked up could not be read either.
        if counts && let Ok(blob) = self.trees.blob_names().resolve(name) {
            self.uses.note(&blob, Timestamp::now());
        }
    }

    /// Whether the store has a content.
    ///
    /// # Errors
    /// When that cannot be looked up.
    pub fn is_stored(&self, name: &ContentName) -> Result<bool> {
        match self.trees.blob_names().resolve(name) {
            Ok(blob) => Ok(!self.pool.is_damaged(&blob)),
            Err(StoreError::AbsentContent(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// How many bytes have to be freed until the disk has room to keep a content of `bytes` that can be had again (H37).
    pub fn lacks_room_to_keep(&self, bytes: u64) -> u64 {
        self.pool.room().lacking_above_floor(bytes)
    }

    /// Stores a content that was fetched: `length` bytes. The caller has hashed them: they have the BLAKE3, and the other
    /// digest if there is one. From then on readers of files with either name get them.
    ///
    /// # Errors
    /// When the store cannot keep it.
    pub fn keep_fetched(
        &self,
        digest: Option<Sha256>,
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
            let incoming = IncomingBlob { file, pin, size: length, is_own: false };
            let pins = self.call(|reply| Request::AdoptBlobs { blobs: vec![incoming], reply })?;
            let note = match digest {
                Some(digest) => RemoteNote::Digests(vec![(digest, blob)]),
                None => RemoteNote::Stored(vec![blob]),
            };
            self.call(|reply| Request::NoteRemote { note, reply })?;
            drop(pins);
            // The store was written to anyway.
            self.note_some_uses()?;
        }
        Ok(())
    }

    /// Stores small contents that were fetched and hashed.
    ///
    /// # Errors
    /// When the store cannot keep them.
    pub fn keep_fetched_blobs(&self, contents: &[(BlobHash, Vec<u8>)]) -> Result<()> {
        let mut blobs = Vec::with_capacity(contents.len());
        for (blob, bytes) in contents.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let pin = BlobPin::new(&self.pins, *blob);
            let file = self.pool.write_incoming(bytes, blob)?;
            blobs.push(IncomingBlob { file, pin, size: bytes.len() as u64, is_own: false });
        }
        let pins = self.call(|reply| Request::AdoptBlobs { blobs, reply })?;
        let note = RemoteNote::Stored(pins.iter().map(|pin| *pin.hash()).collect());
        self.call(|reply| Request::NoteRemote { note, reply })?;
        drop(pins);
        self.note_some_uses().map(drop)
    }

    /// Notes where a bucket has blobs, with their lengths.
    ///
    /// # Errors
    /// When the store takes no changes.
    pub fn note_in_bucket(
        &self,
        remote: RemoteName,
        places: Vec<(BucketPlace, u64)>,
        of: PlacesOf,
    ) -> Result<()> {
        self.buckets_give_back.store(true, Ordering::Relaxed);
        let note = RemoteNote::InBucket { remote, places, of };
        self.call(|reply| Request::NoteRemote { note, reply })
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
