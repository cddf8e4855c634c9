//! One content from its sources, tried in turn, verified, and put into the store.

use std::io::Seek;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::{FETCHES_PER_REMOTE_MAX, Lazy};
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::fetcher::NotFetched;
use crate::model::digest::Sha256;
use crate::model::name::RemoteName;
use crate::model::remote::RemoteSettings;
use crate::net::Client;
use crate::store::catalog::SourceRow;
use crate::sync::{Bytes, Download, NotHad, Waiter, Wanted};

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

/// A source, and how it is asked.
struct Reachable {
    source: SourceRow,
    client: Arc<Client>,
    settings: RemoteSettings,
}

impl Lazy {
    /// Has the store keep a content that it lacks. `None` when all remotes that may have it are busy, or when it made way for
    /// a reader: it is begun again later.
    pub(super) fn fetch_one(
        &self,
        engine: &Arc<Engine>,
        digest: Sha256,
    ) -> Option<Result<(), NotFetched>> {
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
            let Err(reason) = self.fetch_from(engine, digest, &found, (&stop, was_reached)) else {
                return Some(Ok(()));
            };
            drop(place);
            if stop.load(Ordering::SeqCst) {
                continue;
            }
            self.flights.lock().note_tried(&digest, found.source, reason);
        }
    }

    /// What ends before it is done is begun again, unless the daemon stops.
    fn put_back(&self, digest: Sha256) -> Option<Result<(), NotFetched>> {
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
    ) -> Result<(), NotFetched> {
        let Reachable { source, client, settings } = found;
        let patience = settings.idle_timeout();
        let came = self.flights.lock().came(&digest);
        let wanted = Wanted {
            client,
            url: settings.files().file(&source.locator),
            sha256: digest,
            size_bytes: Some(source.size),
            stop,
            watcher: &(),
            came: &|bytes| {
                came.fetch_add(bytes, Ordering::Relaxed);
            },
        };
        let from = settings.url.to_string();
        let waiter = Waiter { from: &from, patience, stop };
        let turn = self.partial_files.turn(digest, waiter);
        let turn = turn.ok_or_else(|| NotFetched("the daemon is stopping".to_owned()))?;
        // Whoever had the turn before, a sync perhaps, has stored it.
        if engine.is_stored(&digest).map_err(failed)? {
            return Ok(());
        }
        let downloaded = wanted.download(&turn, None);
        if let Err(NotHad::Net(error)) = &downloaded {
            *was_reached = !error.is_temporary();
        }
        let Download { bytes, length, blob } = downloaded.map_err(failed)?;
        let kept = match bytes {
            Bytes::Memory(bytes) => engine.keep_fetched(digest, blob, length, &mut &bytes[..]),
            Bytes::File(mut file) => {
                file.rewind().map_err(failed)?;
                engine.keep_fetched(digest, blob, length, &mut file)
            }
        };
        // What came stays for the next try, but a disk that is full needs the space more.
        if kept.is_ok() || kept.as_ref().is_err_and(EngineError::is_full) {
            turn.remove().map_err(failed)?;
        }
        kept.map_err(failed)
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
