//! Content that a bucket has: an entry of a pack with what is near it. What has an object of its own is in [`super::object`].
//!
//! What a bucket says of a place need not be so (H51): `bucket::pull` compares what comes with its name, and here the
//! SHA-256 of a declared name is compared as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::fetch::{NotKept, Reachable, failed, unless_full};
use super::windows::BYTES_MAX;
use super::{Lazy, UNKEPT_BYTES_MAX};
use crate::bucket::index::{Location, Place};
use crate::bucket::key::ObjectKey;
use crate::bucket::pull::{GAP_BYTES, fetch_entries};
use crate::bucket::remote;
use crate::bucket::store::{ObjectStore, StoreErrorKind};
use crate::bucket::transfer::{TransferError, TransferTally, Watch};
use crate::engine::Engine;
use crate::engine::absent::FetchedContent;
use crate::engine::fetcher::{FetchOutcome, Fetched, NO_ROOM, NotFetched};
use crate::metrics::COUNTERS;
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::fetch_policy::FetchPolicy;
use crate::model::hash::BlobHash;
use crate::model::remote::RemoteSettings;
use crate::net::{NetError, Pace, RequestWatch};
use crate::store::catalog::{BucketPlace, Source, SourceAt};

/// Contents that come along with one, and their bytes.
const NEAR_MAX: u32 = 1024;
const NEAR_BYTES_MAX: u64 = 16 << 20;

/// Of those, how many are put into the pool at a time, so that who waits for the first does not wait for all.
const KEPT_AT_ONCE: usize = 32;

/// A bucket that is asked.
pub(super) struct Bucket {
    objects: remote::Opened,
    pace: Arc<Pace>,
}

impl Bucket {
    pub(super) fn open(settings: &RemoteSettings) -> Result<Self, NetError> {
        let pace = Arc::new(Pace::new(settings.rate_bytes_per_second));
        Ok(Self { objects: remote::Opened::of(settings)?, pace })
    }

    pub(super) fn objects(&self, watch: RequestWatch) -> Box<dyn ObjectStore> {
        self.objects.watched(watch)
    }
}

/// A place as the bucket's own formats have it.
fn location(place: &BucketPlace, size: u64) -> Option<Location> {
    let key = ObjectKey::from_bytes(place.key.as_ref().try_into().ok()?)?;
    let place_in_it = match place.entry {
        None if place.object_bytes < size => return None,
        None => Place::Own { bytes: size },
        Some((offset, stored)) => Place::Entry {
            offset: offset.try_into().ok()?,
            stored_bytes: stored.try_into().ok()?,
            bytes: size.try_into().ok()?,
        },
    };
    Some(Location { key, object_bytes: place.object_bytes, place: place_in_it })
}

/// What a fetch works with.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) engine: &'a Engine,
    pub(super) content: ContentName,
    pub(super) found: &'a Reachable,
    pub(super) place: &'a BucketPlace,
    pub(super) bucket: &'a Bucket,
    /// Its objects, past caches or not.
    pub(super) objects: &'a dyn ObjectStore,
    pub(super) stop: &'a AtomicBool,
}

impl Asked<'_> {
    pub(super) fn digest(&self) -> Option<Sha256> {
        self.content.sha256().copied()
    }

    pub(super) fn check(&self, found: impl FnOnce() -> Sha256) -> Result<(), NotFetched> {
        match self.digest() {
            Some(digest) if digest != found() => {
                Err(failed(TransferError::WrongDigest(self.content)))
            }
            _ => Ok(()),
        }
    }
}

/// Claimed contents, given back when dropped unless they came.
struct Ride<'a> {
    lazy: &'a Lazy,
    claimed: Vec<ContentName>,
}

impl Ride<'_> {
    /// One of them is in the store.
    fn came(&self, name: &ContentName) {
        let waiting = self.lazy.flights.lock().came_along(name, Instant::now());
        waiting.into_iter().for_each(|then| then(Ok(Fetched::Kept)));
    }
}

impl Drop for Ride<'_> {
    fn drop(&mut self) {
        self.lazy.flights.lock().give_back(self.claimed.drain(..));
        self.lazy.changed.notify_all();
    }
}

impl Lazy {
    /// Has the store keep what a bucket has at a place. `None` when it comes along with another content.
    pub(super) fn fetch_place(
        &self,
        asked: &Asked<'_>,
        was_reached: &mut bool,
    ) -> Option<FetchOutcome> {
        let Some(location) = location(asked.place, asked.found.source.size) else {
            return Some(Err(NotFetched("what is noted of its place is damaged".to_owned())));
        };
        let tally = TransferTally::default();
        let watch = Watch::at_pace(asked.stop, &tally, Arc::clone(&asked.bucket.pace));
        let fetched = match location.place {
            Place::Entry { .. } => self.fetch_entry(asked, &location, &watch)?,
            Place::Own { .. } => match self.fetch_object(asked, &location, &watch)? {
                Err(NotHere::Transfer(error)) if error.may_be_of_cache() => {
                    self.fetch_past_caches(asked, &location, &watch, error)?
                }
                fetched => fetched,
            },
        };
        Some(fetched.map_err(|error| {
            if let NotHere::Transfer(TransferError::Store(error)) = &error {
                *was_reached = error.kind() != StoreErrorKind::Temporary;
            }
            if let NotHere::Transfer(TransferError::MissingObject(_)) = &error {
                self.note_moved(&asked.found.source.remote);
            }
            error.into()
        }))
    }

    fn fetch_entry(
        &self,
        asked: &Asked<'_>,
        location: &Location,
        watch: &Watch<'_>,
    ) -> Option<Result<Fetched, NotHere>> {
        let (engine, place) = (asked.engine, asked.place);
        let size = asked.found.source.size;
        let unkept = match self.make_room(engine, size) {
            true => None,
            false => match self.unkept_place(size) {
                Ok(unkept) => Some(unkept),
                Err(reason) => return Some(Err(reason.into())),
            },
        };
        let near = if unkept.is_none() { self.near(asked) } else { Vec::new() };
        let names: Vec<ContentName> = near.iter().map(|(blob, _)| (*blob).into()).collect();
        let claimed = self.flights.lock().claim(asked.content, &names)?;
        let all = claimed.iter().copied().chain([asked.content]).collect();
        let ride = Ride { lazy: self, claimed: all };
        // Somebody else may have had it come along a moment ago.
        match engine.is_stored(&asked.content) {
            Ok(false) => {}
            Ok(true) => return Some(Ok(Fetched::Kept)),
            Err(error) => return Some(Err(failed(error).into())),
        }
        let mut entries = vec![(place.blob, *location)];
        entries.extend(near.into_iter().filter(|(blob, _)| claimed.contains(&(*blob).into())));
        let mut came = match fetch_entries(asked.objects, watch, &entries) {
            Ok(came) => came.into_iter(),
            Err(error) => return Some(Err(error.into())),
        };
        COUNTERS.fetched_bytes.add(watch.tally().progress().counts.moved_bytes);
        let own = match came.next() {
            Some(Ok(own)) => own,
            Some(Err(error)) => return Some(Err(error.into())),
            None => return Some(Err(NotFetched("nothing came".to_owned()).into())),
        };
        self.flights.lock().came(&asked.content).fetch_add(own.len() as u64, Ordering::Relaxed);
        let fetched = self.keep_entry(asked, own, unkept.is_some());
        if matches!(fetched, Ok(Fetched::Kept)) {
            ride.came(&asked.content);
            let near = entries[1..].iter().map(|(blob, _)| *blob).zip(came);
            self.keep_near(asked, near, &ride);
        }
        Some(fetched)
    }

    /// Puts the content of an entry into the store, or hands it over.
    pub(super) fn keep_entry(
        &self,
        asked: &Asked<'_>,
        bytes: Vec<u8>,
        is_full: bool,
    ) -> Result<Fetched, NotHere> {
        asked.check(|| Sha256::of(&bytes))?;
        let length = bytes.len() as u64;
        let kept = match is_full {
            true => Err(NotKept::Full),
            false => {
                let content = FetchedContent::Memory(&bytes);
                let blob = asked.place.blob;
                unless_full(asked.engine.keep_fetched(asked.digest(), blob, length, content))
            }
        };
        match kept {
            Ok(()) => {
                self.note_kept(asked, length);
                Ok(Fetched::Kept)
            }
            Err(NotKept::Full) if bytes.len() <= UNKEPT_BYTES_MAX => {
                Ok(Fetched::Unkept(bytes.into()))
            }
            Err(NotKept::Full) => Err(NotFetched(NO_ROOM.to_owned()).into()),
            Err(NotKept::Other(reason)) => Err(reason.into()),
        }
    }

    /// Puts what came along into the store. What did not come as it should is left to whoever wants it.
    fn keep_near(
        &self,
        asked: &Asked<'_>,
        near: impl Iterator<Item = (BlobHash, Result<Vec<u8>, TransferError>)>,
        ride: &Ride<'_>,
    ) {
        let right = |(blob, came): (BlobHash, Result<Vec<u8>, TransferError>)| match came {
            Ok(bytes) => Some((blob, bytes)),
            Err(error) => {
                log::warn!("{}: {error}", asked.found.source.remote);
                None
            }
        };
        let right: Vec<(BlobHash, Vec<u8>)> = near.filter_map(right).collect();
        for some in right.chunks(KEPT_AT_ONCE) {
            let bytes: u64 = some.iter().map(|(_, bytes)| bytes.len() as u64).sum();
            if !self.make_room(asked.engine, bytes) {
                return;
            }
            if let Err(error) = asked.engine.keep_fetched_blobs(some) {
                return log::warn!("what came along is not kept: {error}");
            }
            self.note_kept(asked, bytes);
            some.iter().for_each(|(blob, _)| ride.came(&(*blob).into()));
        }
    }

    pub(super) fn note_kept(&self, asked: &Asked<'_>, bytes: u64) {
        if asked.found.settings.policy == FetchPolicy::Streamed {
            self.note_cached(bytes);
        }
    }

    /// What is absent and near in the same pack.
    fn near(&self, asked: &Asked<'_>) -> Vec<(BlobHash, Location)> {
        let (source, place) = (&asked.found.source, asked.place);
        let (ContentName::Blake3(_), Some((at, stored))) = (asked.content, place.entry) else {
            return Vec::new();
        };
        let is_prefetch = self.flights.lock().is_prefetch(&asked.content);
        let window = match is_prefetch {
            true => BYTES_MAX,
            false => self.windows.lock().open(&source.remote, &place.key, at),
        };
        let (start, limit) = (at.saturating_add(stored), at.saturating_add(window));
        let found = asked.engine.query(|reader| {
            reader.absent_neighbours(&source.remote, &place.key, (start, limit), NEAR_MAX)
        });
        let found = found.unwrap_or_else(|error| {
            log::warn!("what is near in a pack cannot be looked up: {error}");
            Vec::new()
        });
        let (mut near, mut end, mut bytes) = (Vec::new(), start, source.size);
        for Source { at, size, .. } in found {
            let SourceAt::Bucket(other) = at else { continue };
            let (Some((from, stored)), Some(location)) = (other.entry, location(&other, size))
            else {
                continue;
            };
            bytes = bytes.saturating_add(size);
            let to = from.saturating_add(stored);
            let is_near = from <= end.saturating_add(GAP_BYTES);
            if !is_near || to > limit.max(start) || bytes > NEAR_BYTES_MAX {
                break;
            }
            end = end.max(to);
            near.push((other.blob, location));
        }
        if !is_prefetch {
            self.windows.lock().close(&source.remote, &place.key, end);
        }
        near
    }
}

/// Why a content is not here.
pub(super) enum NotHere {
    Transfer(TransferError),
    Other(NotFetched),
}

impl From<TransferError> for NotHere {
    fn from(error: TransferError) -> Self {
        Self::Transfer(error)
    }
}

impl From<NotFetched> for NotHere {
    fn from(reason: NotFetched) -> Self {
        Self::Other(reason)
    }
}

impl From<NotHere> for NotFetched {
    fn from(reason: NotHere) -> Self {
        match reason {
            NotHere::Other(reason) => reason,
            NotHere::Transfer(error @ TransferError::MissingObject(_)) => {
                Self(format!("{error}; `cairn pull` learns whether it is elsewhere now"))
            }
            NotHere::Transfer(error) => failed(error),
        }
    }
}
