//! One content from its sources, tried in turn, verified, and put into the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::{FETCHES_PER_REMOTE_MAX, Lazy, UNKEPT_BYTES_MAX, UNKEPT_MAX};
use crate::engine::Engine;
use crate::engine::absent::FetchedContent;
use crate::engine::fetcher::{FetchOutcome, Fetched, NO_ROOM, NotFetched};
use crate::model::digest::Sha256;
use crate::model::fetch_policy::FetchPolicy;
use crate::model::hash::BlobHash;
use crate::model::name::RemoteName;
use crate::model::remote::RemoteSettings;
use crate::net::Client;
use crate::store::catalog::SourceRow;
use crate::sync::{Bytes, Download, NotHad, SMALL_BYTES, Waiter, Wanted};

fn failed(error: impl std::fmt::Display) -> NotFetched {
    NotFetched(error.to_string())
}

/// A place at a remote, given back when dropped.
struct Place<'a> {
    lazy: &'a Lazy,
    digest: Sha256,
    remote: RemoteName,
    was_reached: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut flights = self.lazy.flights.lock();
        flights.leave(&self.remote, &self.digest, self.was_reached, Instant::now());
        drop(flights);
        self.lazy.changed.notify_all();
    }
}

/// Why a content is not in the store.
enum NotKept {
    Full,
    Other(NotFetched),
}

/// A place among the contents that are handed over and not kept, given back when dropped.
struct UnkeptPlace<'a>(&'a AtomicUsize);

impl Drop for UnkeptPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A source, and how it is asked.
struct Reachable {
    source: SourceRow,
    client: Arc<Client>,
    settings: RemoteSettings,
}

impl Lazy {
    /// Has the store keep a content that it lacks. `None` when all remotes that may have it are busy, or when it made way for
    /// a reader: it is begun again later.
    pub(super) fn fetch_one(&self, engine: &Arc<Engine>, digest: Sha256) -> Option<FetchOutcome> {
        let stop = self.flights.lock().stop(&digest);
        loop {
            if stop.load(Ordering::SeqCst) {
                return self.put_back(digest);
            }
            let mut sources = match self.sources(engine, &digest) {
                Ok(sources) => sources,
                Err(reason) => return Some(Err(reason)),
            };
            let candidate = |found: &Reachable| {
                let places = found.settings.connections().min(FETCHES_PER_REMOTE_MAX);
                (found.source.remote.clone(), places)
            };
            let candidates: Vec<_> = sources.iter().map(candidate).collect();
            let chosen = self.flights.lock().enter(digest, &candidates, Instant::now())?;
            let found = sources.swap_remove(chosen);
            let remote = found.source.remote.clone();
            let mut place = Place { lazy: self, digest, remote, was_reached: true };
            let was_reached = &mut place.was_reached;
            let fetched = self.fetch_from(engine, digest, &found, (&stop, was_reached));
            drop(place);
            let Err(reason) = fetched else { return Some(fetched) };
            if stop.load(Ordering::SeqCst) {
                continue;
            }
            self.flights.lock().note_tried(&digest, found.source, reason);
        }
    }

    /// What ends before it is done is begun again, unless the daemon stops.
    fn put_back(&self, digest: Sha256) -> Option<FetchOutcome> {
        if self.stop.load(Ordering::SeqCst) {
            return Some(Err(NotFetched("the daemon is stopping".to_owned())));
        }
        self.flights.lock().put_back(digest);
        self.changed.notify_all();
        None
    }

    /// The sources that were not tried yet; never none.
    fn sources(&self, engine: &Engine, digest: &Sha256) -> Result<Vec<Reachable>, NotFetched> {
        let sources = engine.query(|reader| reader.sources(digest)).map_err(failed)?;
        let mut left = Vec::with_capacity(sources.len());
        for source in sources {
            if self.flights.lock().tried(digest).iter().any(|(tried, _)| *tried == source) {
                continue;
            }
            match self.client(engine, &source.remote) {
                Ok((client, settings)) => left.push(Reachable { source, client, settings }),
                Err(reason) => self.flights.lock().note_tried(digest, source, reason),
            }
        }
        if left.is_empty() {
            let flights = self.flights.lock();
            let reason =
                |(source, reason): &(SourceRow, NotFetched)| format!("{}: {reason}", source.remote);
            let reasons: Vec<_> = flights.tried(digest).iter().map(reason).collect();
            return Err(NotFetched(match reasons.is_empty() {
                true => "no remote is known to have it".to_owned(),
                false => reasons.join("; "),
            }));
        }
        Ok(left)
    }

    fn fetch_from(
        &self,
        engine: &Engine,
        digest: Sha256,
        found: &Reachable,
        (stop, was_reached): (&AtomicBool, &mut bool),
    ) -> FetchOutcome {
        let Reachable { source, client, settings } = found;
        let from = settings.url.to_string();
        let waiter = Waiter { from: &from, patience: settings.idle_timeout(), stop };
        let turn = self.partial_files.turn(digest, waiter);
        let turn = turn.ok_or_else(|| NotFetched("the daemon is stopping".to_owned()))?;
        // Whoever had the turn before, a sync perhaps, has stored it.
        if engine.is_stored(&digest).map_err(failed)? {
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
        let came = self.flights.lock().came(&digest);
        let wanted = Wanted {
            client,
            url: settings.files().file(&source.locator),
            sha256: digest,
            size_bytes: Some(source.size),
            memory_bytes_max: if unkept.is_some() { UNKEPT_BYTES_MAX } else { SMALL_BYTES },
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
        let kept = match &bytes {
            Bytes::Memory(_) if unkept.is_some() => Err(NotKept::Full),
            Bytes::Memory(bytes) => {
                self.keep(engine, (digest, blob), length, FetchedContent::Memory(bytes))
            }
            Bytes::File(file) => {
                let file = file.try_clone().map_err(failed)?;
                let path = turn.path();
                self.keep(
                    engine,
                    (digest, blob),
                    length,
                    FetchedContent::File(file, path.as_deref()),
                )
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

    fn keep(
        &self,
        engine: &Engine,
        (digest, blob): (Sha256, BlobHash),
        length: u64,
        content: FetchedContent<'_>,
    ) -> Result<(), NotKept> {
        engine.keep_fetched(digest, blob, length, content).map_err(|error| match error.is_full() {
            true => NotKept::Full,
            false => NotKept::Other(failed(error)),
        })
    }

    /// A place for a content that is handed over and not kept.
    fn unkept_place(&self, size: u64) -> Result<UnkeptPlace<'_>, NotFetched> {
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

    /// The client of a remote, which is kept as long as the remote's settings stay the same.
    fn client(
        &self,
        engine: &Engine,
        remote: &RemoteName,
    ) -> Result<(Arc<Client>, RemoteSettings), NotFetched> {
        let text = engine.query(|reader| reader.remote(remote)).map_err(failed)?;
        let text = text.ok_or_else(|| NotFetched("the remote was removed".to_owned()))?;
        let settings: RemoteSettings = serde_json::from_str(&text).map_err(failed)?;
        if let Some((same, client)) = self.clients.lock().get(remote)
            && *same == text
        {
            return Ok((Arc::clone(client), settings));
        }
        let client = Arc::new(Client::new(&settings).map_err(failed)?);
        self.clients.lock().insert(remote.clone(), (text, Arc::clone(&client)));
        Ok((client, settings))
    }
}
