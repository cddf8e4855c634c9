//! A large content of a bucket, which has an object of its own.
//!
//! It comes in parts where it can ([`super::fetch_parts`]), else as a whole. What of it came stays in its partial file for the next try.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Lazy;
use super::bucket::{Asked, NotHere};
use super::fetch::{NotKept, failed, unless_full};
use crate::bucket::index::Location;
use crate::bucket::pull::fetch_whole;
use crate::bucket::transfer::{TransferError, Watch};
use crate::engine::absent::FetchedContent;
use crate::engine::fetcher::{Fetched, NO_ROOM, NotFetched};
use crate::metrics::COUNTERS;
use crate::model::digest::Sha256Hasher;
use crate::sync::{SMALL_BYTES, Turn, Waiter};

/// Bytes of a partial file that are hashed at a time.
const CHUNK_BYTES: usize = 256 << 10;

impl Lazy {
    /// Fetches an object that has one content once more, where there may be a cache that shows something wrong (H49).
    pub(super) fn fetch_past_caches(
        &self,
        asked: &Asked<'_>,
        location: &Location,
        watch: &Watch<'_>,
        error: TransferError,
    ) -> Option<Result<Fetched, NotHere>> {
        let Some(objects) = asked.objects.past_caches() else { return Some(Err(error.into())) };
        log::warn!("{}: {error}; asking again, past caches", asked.found.source.remote);
        self.fetch_object(&Asked { objects: &*objects, ..*asked }, location, watch)
    }

    /// Fetches an object that has one content, or what is wanted of it. What came of it stays for the next try. `None` when
    /// parts of it came, and those who waited for them were told.
    pub(super) fn fetch_object(
        &self,
        asked: &Asked<'_>,
        location: &Location,
        watch: &Watch<'_>,
    ) -> Option<Result<Fetched, NotHere>> {
        let Asked { engine, content, found, stop, .. } = asked;
        let from = found.settings.url.to_string();
        let waiter = Waiter { from: &from, patience: found.settings.idle_timeout(), stop };
        let Some(turn) = self.partial_files.turn(*content, waiter) else {
            return Some(Err(NotFetched("the daemon is stopping".to_owned()).into()));
        };
        // Whoever had the turn before has stored it.
        match engine.is_stored(content) {
            Ok(false) => {}
            Ok(true) => return Some(Ok(Fetched::Kept)),
            Err(error) => return Some(Err(failed(error).into())),
        }
        match self.parts(asked, location, watch, &turn) {
            Ok(Some(parts)) => self.fetch_parts(asked, location, watch, (&turn, &parts)),
            Ok(None) => Some(self.fetch_all(asked, location, watch, &turn)),
            Err(error) => Some(Err(error)),
        }
    }

    /// Fetches all of an object that has one content.
    fn fetch_all(
        &self,
        asked: &Asked<'_>,
        location: &Location,
        watch: &Watch<'_>,
        turn: &Turn<'_>,
    ) -> Result<Fetched, NotHere> {
        let Asked { engine, found, .. } = asked;
        // Whoever reads parts of the file must not see it change.
        if turn.has_name() && self.known_parts.lock().forget(&asked.content) {
            turn.remove().map_err(failed)?;
        }
        let size = found.source.size;
        let has_room = self.make_room(engine, size);
        let _unkept = match has_room {
            true => None,
            false => {
                turn.remove().map_err(failed)?;
                Some(self.unkept_place(size)?)
            }
        };
        if !has_room || size <= SMALL_BYTES as u64 && !turn.is_there() {
            let mut bytes = Vec::new();
            let start = (0, blake3::Hasher::new());
            let take = &mut |piece: &[u8]| {
                self.note_came(asked, piece.len());
                bytes.extend_from_slice(piece);
                Ok(())
            };
            let whole = (&asked.place.blob, location);
            fetch_whole(asked.objects, watch, whole, start, take)?;
            return self.keep_entry(asked, bytes, !has_room);
        }
        let (file, length) = self.fetch_into(asked, location, watch, turn)?;
        let path = turn.path();
        let whole = FetchedContent::File(file, path.as_deref());
        let kept =
            unless_full(engine.keep_fetched(asked.digest(), asked.place.blob, length, whole));
        // A disk that is full needs the space more than the next try.
        if !matches!(kept, Err(NotKept::Other(_))) {
            turn.remove().map_err(failed)?;
        }
        match kept {
            Ok(()) => {
                self.note_kept(asked, length);
                Ok(Fetched::Kept)
            }
            Err(NotKept::Full) => Err(NotFetched(NO_ROOM.to_owned()).into()),
            Err(NotKept::Other(reason)) => Err(reason.into()),
        }
    }

    pub(super) fn note_came(&self, asked: &Asked<'_>, bytes: usize) {
        COUNTERS.fetched_bytes.add(bytes as u64);
        self.flights.lock().came(&asked.content).fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Fetches an object into the file of a turn, from where an earlier try ended. What that left need not be the beginning of
    /// it: then all of it is fetched.
    fn fetch_into(
        &self,
        asked: &Asked<'_>,
        location: &Location,
        watch: &Watch<'_>,
        turn: &Turn<'_>,
    ) -> Result<(File, u64), NotHere> {
        let mut file = turn.open().map_err(failed)?;
        let mut is_new = false;
        loop {
            let mut hashes = (blake3::Hasher::new(), Sha256Hasher::default());
            let done = hash_prefix(&mut file, &mut hashes, asked.stop).map_err(failed)?;
            is_new |= done == 0;
            let (hasher, mut sha256) = hashes;
            let take = &mut |piece: &[u8]| {
                turn.note(piece.len());
                self.note_came(asked, piece.len());
                sha256.update(piece);
                file.write_all(piece)
            };
            let whole = (&asked.place.blob, location);
            let start = (done, hasher);
            let fetched = fetch_whole(asked.objects, watch, whole, start, take);
            let checked = match fetched {
                Ok(length) if length == location.content_bytes() => {
                    asked.check(|| sha256.finish()).map(|()| length).map_err(NotHere::from)
                }
                Ok(_) => Err(NotFetched("more came before than it has".to_owned()).into()),
                Err(error @ TransferError::Lies { .. }) => Err(error.into()),
                Err(error) => return Err(error.into()),
            };
            match checked {
                Ok(length) => return Ok((file, length)),
                Err(error) if is_new => {
                    turn.remove().map_err(failed)?;
                    return Err(error);
                }
                Err(_) => file.set_len(0).map_err(failed)?,
            }
        }
    }
}

/// Hashes what there is of a file, and leaves its position at the end. Ends early when it is to stop.
fn hash_prefix(
    file: &mut File,
    (blake3, sha256): &mut (blake3::Hasher, Sha256Hasher),
    stop: &AtomicBool,
) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut length = 0;
    while !stop.load(Ordering::Relaxed) {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        blake3.update(&chunk[..read]);
        sha256.update(&chunk[..read]);
        length += read as u64;
    }
    Ok(length)
}
