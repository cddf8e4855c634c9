//! Remotes in the catalog, and what syncs note there.

use super::blobs::Blobs;
use super::error::{EngineError, Result};
use super::event::Event;
use super::now::Now;
use super::writer::StoreWriter;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::id::RepoId;
use crate::model::name::RemoteName;
use crate::store::catalog::{BucketPlace, PlacesOf, SourceRow};

/// What is noted about content and remotes, by syncs, pulls, lazy reads and manifests of the web face.
#[derive(Debug)]
pub enum RemoteNote {
    /// Digests of blobs.
    Digests(Vec<(Sha256, BlobHash)>),
    /// Blobs that were absent and have just been stored: their rows are written now, and not with what names them.
    Stored(Vec<BlobHash>),
    /// When blobs were last read, in seconds since 1970.
    Uses(Vec<(BlobHash, i64)>),
    /// Where content can be had.
    Sources(Vec<(Sha256, SourceRow)>),
    /// Where a bucket has blobs, with their lengths.
    InBucket {
        /// The remote.
        remote: RemoteName,
        /// The places.
        places: Vec<(BucketPlace, u64)>,
        /// What is known of the blobs.
        of: PlacesOf,
    },
    /// What the remote declared when the newest version was made, as JSON.
    Seen {
        /// The repository.
        repo: RepoId,
        /// The remote.
        remote: RemoteName,
        /// What was seen.
        state: String,
    },
}

impl StoreWriter {
    /// Adds a remote or gives it other settings (`Some`), or removes it.
    pub(super) fn put_remote(
        &mut self,
        name: &RemoteName,
        settings: Option<&str>,
        keeps_seen: bool,
    ) -> Result<Vec<Event>> {
        let was_there = self.write(|tx| match settings {
            Some(settings) => {
                if !keeps_seen {
                    tx.forget_seen(name)?;
                }
                tx.put_remote(name, settings).map(|()| true)
            }
            None => tx.delete_remote(name),
        })?;
        if was_there { Ok(Vec::new()) } else { Err(EngineError::NoRemote(name.clone())) }
    }

    /// Keeps what a sync or a pull found out.
    pub(super) fn note(&mut self, blobs: &mut Blobs, note: &RemoteNote, now: Now) -> Result<()> {
        match note {
            RemoteNote::Digests(digests) => blobs.note_digests(self, digests, now),
            RemoteNote::Stored(hashes) => blobs.write_rows(self, hashes, now),
            RemoteNote::Uses(uses) => self.write(|tx| {
                uses.iter().try_for_each(|(blob, seconds)| tx.note_use(blob, *seconds))
            }),
            RemoteNote::Sources(sources) => self.write(|tx| {
                sources.iter().try_for_each(|(digest, source)| tx.put_source(digest, source))
            }),
            RemoteNote::InBucket { remote, places, of } => {
                blobs.note_in_bucket(self, remote, (places, *of), now)
            }
            RemoteNote::Seen { repo, remote, state } => {
                self.write(|tx| tx.put_sync(*repo, remote, state))
            }
        }
    }
}
