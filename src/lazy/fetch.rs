//! One content from its sources, tried in turn, verified, and put into the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::bucket::{Asked, Bucket};
use super::flights::PASSING_TIME;
use super::{FETCHES_PER_REMOTE_MAX, Lazy, UNKEPT_BYTES_MAX, UNKEPT_MAX};
use crate::engine::Engine;
use crate::engine::absent::FetchedContent;
use crate::engine::error::EngineError;
use crate::engine::fetcher::{FetchOutcome, Fetched, NO_ROOM, NotFetched};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::fetch_policy::FetchPolicy;
use crate::model::name::RemoteName;
use crate::model::remote::{RemoteKind, RemoteSettings};
use crate::net::{Client, RequestWatch, TRIES_MAX};
use crate::store::catalog::{Source, SourceAt};
use crate::sync::{Bytes, Download, NotHad, SMALL_BYTES, Waiter, Wanted};

pub(super) fn failed(error: impl std::fmt::Display) -> NotFetched {
    NotFetched(error.to_string())
}

/// A place at a remote, given back when dropped.
struct Place<'a> {
    lazy: &'a Lazy,
    content: ContentName,
    remote: RemoteName,
    was_reached: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut flights = self.lazy.flights.lock();
        flights.leave(&self.remote, &self.content, self.was_reached, Instant::now());
        drop(flights);
        self.lazy.changed.notify_all();
    }
}

/// Why a content is not in the store.
pub(super) enum NotKept {
    Full,
    Other(NotFetched),
}

/// The digest by which remotes declare a content.
fn digest_of(engine: &Engine, content: &ContentName) -> Result<Sha256, NotFetched> {
    let blob = match content {
        ContentName::Sha256(digest) => return Ok(*digest),
        ContentName::Blake3(blob) => blob,
    };
    let digest = engine.query(|reader| reader.digest_of(blob)).map_err(failed)?;
    digest.ok_or_else(|| NotFetched("its SHA-256 is not known".to_owned()))
}

/// Tells a full disk from other reasons.
pub(super) fn unless_full(kept: Result<(), EngineError>) -> Result<(), NotKept> {
    kept.map_err(|error| match error.is_full() {
        true => NotKept::Full,
        false => NotKept::Other(failed(error)),
    })
}

/// A place among the contents that are handed over and not kept, given back when dropped.
pub(super) struct UnkeptPlace<'a>(&'a AtomicUsize);

impl Drop for UnkeptPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A source, and how it is asked.
pub(super) struct Reachable {
    pub(super) source: Source,
    access: Access,
    pub(super) settings: RemoteSettings,
}

/// How a source is asked, and what is known of the remote afterwards.
struct Ask {
    /// Whether another source is left.
    has_other: bool,
    /// Ends it.
    stop: Arc<AtomicBool>,
    /// Where bytes are counted as a request to a bucket hears them.
    heard: Arc<AtomicU64>,
    was_reached: bool,
}

/// What a remote is asked by.
#[derive(Clone)]
pub(super) enum Access {
    /// For files at paths.
    Http(Arc<Client>),
    /// For objects.
    Bucket(Arc<Bucket>),
}

impl Lazy {
    /// Has the store keep a content that it lacks. `None` when all remotes that may have it are busy, when it made way for
    /// a reader, or when it comes along with another: it is begun again later.
    pub(super) fn fetch_one(
        &self,
        engine: &Arc<Engine>,
        content: ContentName,
    ) -> Option<FetchOutcome> {
        loop {
            if self.flights.lock().stop(&content).load(Ordering::SeqCst) {
                return self.put_back(content);
            }
            let mut sources = match self.sources(engine, &content) {
                Ok(sources) => sources,
                Err(reason) => return Some(Err(reason)),
            };
            let candidate = |found: &Reachable| {
                let places = found.settings.connections().min(FETCHES_PER_REMOTE_MAX);
                (found.source.remote.clone(), places)
            };
            let candidates: Vec<_> = sources.iter().map(candidate).collect();
            let mut flights = self.flights.lock();
            let chosen = flights.enter(content, &candidates, Instant::now());
            // A place that this one was offered elsewhere may be another one's by now.
            self.wake_if_wanted(&flights);
            drop(flights);
            let chosen = chosen?;
            let found = sources.swap_remove(chosen);
            let has_other = !sources.is_empty();
            let remote = found.source.remote.clone();
            let mut place = Place { lazy: self, content, remote, was_reached: true };
            let (stop, heard) = self.flights.lock().ask(&content, has_other, Instant::now());
            let mut ask = Ask { has_other, stop, heard, was_reached: true };
            let fetched = self.fetch_from(engine, content, &found, &mut ask);
            let was_passed_over = self.flights.lock().was_passed_over(&content);
            place.was_reached = ask.was_reached && !was_passed_over;
            drop(place);
            let reason = match fetched? {
                Ok(fetched) => return Some(Ok(fetched)),
                Err(_) if was_passed_over => {
                    NotFetched(format!("no byte came for {} s", PASSING_TIME.as_secs()))
                }
                Err(_) if ask.stop.load(Ordering::SeqCst) => continue,
                Err(reason) => reason,
            };
            self.flights.lock().note_tried(&content, found.source, reason);
        }
    }

    /// What ends before it is done is begun again, unless the daemon stops.
    fn put_back(&self, content: ContentName) -> Option<FetchOutcome> {
        if self.stop.load(Ordering::SeqCst) {
            return Some(Err(NotFetched("the daemon is stopping".to_owned())));
        }
        self.flights.lock().put_back(content);
        self.changed.notify_all();
        None
    }

    /// The sources that were not tried yet; never none.
    fn sources(
        &self,
        engine: &Engine,
        content: &ContentName,
    ) -> Result<Vec<Reachable>, NotFetched> {
        let sources = engine.query(|reader| reader.sources_of(content)).map_err(failed)?;
        let mut left = Vec::with_capacity(sources.len());
        for source in sources {
            if self.flights.lock().tried(content).iter().any(|(tried, _)| *tried == source) {
                continue;
            }
            match self.access(engine, &source.remote) {
                Ok((access, settings)) => left.push(Reachable { source, access, settings }),
                Err(reason) => self.flights.lock().note_tried(content, source, reason),
            }
        }
        if left.is_empty() {
            let flights = self.flights.lock();
            let reason =
                |(source, reason): &(Source, NotFetched)| format!("{}: {reason}", source.remote);
            let reasons: Vec<_> = flights.tried(content).iter().map(reason).collect();
            return Err(NotFetched(match reasons.is_empty() {
                true => "no remote is known to have it".to_owned(),
                false => reasons.join("; "),
            }));
        }
        Ok(left)
    }

    /// Fetches a content from one source. `None` when it comes along with another.
    fn fetch_from(
        &self,
        engine: &Engine,
        content: ContentName,
        found: &Reachable,
        ask: &mut Ask,
    ) -> Option<FetchOutcome> {
        match (&found.access, &found.source.at) {
            (Access::Http(client), SourceAt::Path(path)) => {
                Some(self.fetch_file(engine, content, (found, client, path), ask))
            }
            (Access::Bucket(bucket), SourceAt::Bucket(place)) => {
                let watch = RequestWatch::new(Arc::clone(&ask.stop), Arc::clone(&ask.heard));
                let objects = bucket.objects(watch);
                let asked = Asked {
                    engine,
                    content,
                    found,
                    place,
                    bucket,
                    objects: &*objects,
                    stop: &ask.stop,
                };
                self.fetch_place(&asked, &mut ask.was_reached)
            }
            (Access::Http(_), SourceAt::Bucket(_)) | (Access::Bucket(_), SourceAt::Path(_)) => {
                Some(Err(NotFetched("the remote is of another kind by now".to_owned())))
            }
        }
    }

    /// Fetches a file that a remote has at a path.
    fn fetch_file(
        &self,
        engine: &Engine,
        content: ContentName,
        (found, client, path): (&Reachable, &Client, &[u8]),
        Ask { has_other, stop, was_reached, .. }: &mut Ask,
    ) -> FetchOutcome {
        let Reachable { source, settings, .. } = found;
        let digest = digest_of(engine, &content)?;
        let from = settings.url.to_string();
        let waiter = Waiter { from: &from, patience: settings.idle_timeout(), stop };
        let turn = self.partial_files.turn(digest.into(), waiter);
        let turn = turn.ok_or_else(|| NotFetched("the daemon is stopping".to_owned()))?;
        // Whoever had the turn before, a sync perhaps, has stored it.
        if engine.is_stored(&content).map_err(failed)? {
            return Ok(Fetched::Kept);
        }
        let unkept = match self.make_room(engine, source.size) {
            true => None,
            // What came of it before takes room that there is not.
            false => {
                turn.remove().map_err(failed)?;
                Some(self.unkept_place(source.size)?)
            }
        };
        let came = self.flights.lock().came(&content);
        let wanted = Wanted {
            client,
            url: settings.files().file(path),
            sha256: digest,
            size_bytes: Some(source.size),
            memory_bytes_max: if unkept.is_some() { UNKEPT_BYTES_MAX } else { SMALL_BYTES },
            // Another source may have it at once.
            tries_max: if *has_other { 1 } else { TRIES_MAX },
            stop,
            watcher: &(),
            came: &|bytes| {
                came.fetch_add(bytes, Ordering::Relaxed);
            },
        };
        let downloaded = wanted.download(&turn, None);
        if let Err(NotHad::Net(error)) = &downloaded {
            *was_reached = !error.is_temporary();
        }
        let Download { bytes, length, blob } = downloaded.map_err(failed)?;
        if content.sha256().is_none() && content != blob.into() {
            turn.remove().map_err(failed)?;
            return Err(NotFetched("the content has another BLAKE3".to_owned()));
        }
        let kept = match &bytes {
            Bytes::Memory(_) if unkept.is_some() => Err(NotKept::Full),
            Bytes::Memory(bytes) => {
                let content = FetchedContent::Memory(bytes);
                unless_full(engine.keep_fetched(Some(digest), blob, length, content))
            }
            Bytes::File(file) => {
                let file = file.try_clone().map_err(failed)?;
                let path = turn.path();
                let content = FetchedContent::File(file, path.as_deref());
                unless_full(engine.keep_fetched(Some(digest), blob, length, content))
            }
        };
        // What came stays for the next try, but a disk that is full needs the space more.
        if !matches!(kept, Err(NotKept::Other(_))) {
            turn.remove().map_err(failed)?;
        }
        match (kept, bytes) {
            (Ok(()), _) => {
                if settings.policy == FetchPolicy::Streamed {
                    self.note_cached(length);
                }
                Ok(Fetched::Kept)
            }
            (Err(NotKept::Full), Bytes::Memory(bytes)) => Ok(Fetched::Unkept(bytes.into())),
            (Err(NotKept::Full), Bytes::File(_)) => Err(NotFetched(NO_ROOM.to_owned())),
            (Err(NotKept::Other(reason)), _) => Err(reason),
        }
    }

    /// A place for a content that is handed over and not kept.
    pub(super) fn unkept_place(&self, size: u64) -> Result<UnkeptPlace<'_>, NotFetched> {
        let fits = usize::try_from(size).is_ok_and(|size| size <= UNKEPT_BYTES_MAX);
        let taken = fits && self.unkept.fetch_add(1, Ordering::SeqCst) < UNKEPT_MAX;
        if taken {
            return Ok(UnkeptPlace(&self.unkept));
        }
        if fits {
            self.unkept.fetch_sub(1, Ordering::SeqCst);
        }
        Err(NotFetched(NO_ROOM.to_owned()))
    }

    /// How a remote is asked, which is kept as long as the remote's settings stay the same.
    fn access(
        &self,
        engine: &Engine,
        remote: &RemoteName,
    ) -> Result<(Access, RemoteSettings), NotFetched> {
        let text = engine.query(|reader| reader.remote(remote)).map_err(failed)?;
        let text = text.ok_or_else(|| NotFetched("the remote was removed".to_owned()))?;
        let settings: RemoteSettings = serde_json::from_str(&text).map_err(failed)?;
        if let Some((same, access)) = self.accesses.lock().get(remote)
            && *same == text
        {
            return Ok((access.clone(), settings));
        }
        let access = match settings.kind {
            RemoteKind::Bucket => {
                Access::Bucket(Arc::new(Bucket::open(&settings).map_err(failed)?))
            }
            _ => Access::Http(Arc::new(Client::new(&settings).map_err(failed)?)),
        };
        self.accesses.lock().insert(remote.clone(), (text, access.clone()));
        Ok((access, settings))
    }
}
