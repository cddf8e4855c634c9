//! One content from its sources, tried in turn, verified, and put into the store.

use std::io::Seek;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Lazy;
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::fetcher::NotFetched;
use crate::model::digest::Sha256;
use crate::model::name::RemoteName;
use crate::model::remote::RemoteSettings;
use crate::net::Client;
use crate::store::catalog::SourceRow;
use crate::sync::{Bytes, Download, Waiter, Wanted};

fn failed(error: impl std::fmt::Display) -> NotFetched {
    NotFetched(error.to_string())
}

impl Lazy {
    /// Has the store keep a content that it lacks.
    pub(super) fn fetch_one(&self, engine: &Arc<Engine>, digest: Sha256) -> Result<(), NotFetched> {
        let sources = engine.query(|reader| reader.sources(&digest)).map_err(failed)?;
        if sources.is_empty() {
            return Err(NotFetched("no remote is known to have it".to_owned()));
        }
        let mut reasons = Vec::new();
        for source in sources {
            match self.fetch_from(engine, digest, &source) {
                Ok(()) => return Ok(()),
                Err(NotFetched(reason)) => reasons.push(format!("{}: {reason}", source.remote)),
            }
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
        }
        Err(NotFetched(reasons.join("; ")))
    }

    fn fetch_from(
        &self,
        engine: &Arc<Engine>,
        digest: Sha256,
        source: &SourceRow,
    ) -> Result<(), NotFetched> {
        let (client, settings) = self.client(engine, &source.remote)?;
        let patience = settings.idle_timeout();
        let came = self.flights.lock().came(&digest);
        let wanted = Wanted {
            client: &client,
            url: settings.files().file(&source.locator),
            sha256: digest,
            size_bytes: Some(source.size),
            stop: &self.stop,
            watcher: &(),
            came: &|bytes| {
                came.fetch_add(bytes, Ordering::Relaxed);
            },
        };
        let from = settings.url.to_string();
        let waiter = Waiter { from: &from, patience, stop: &self.stop };
        let turn = self.partial_files.turn(digest, waiter);
        let turn = turn.ok_or_else(|| NotFetched("the daemon is stopping".to_owned()))?;
        // Whoever had the turn before, a sync perhaps, has stored it.
        if engine.is_stored(&digest).map_err(failed)? {
            return Ok(());
        }
        let Download { bytes, length, blob } = wanted.download(&turn, None).map_err(failed)?;
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
