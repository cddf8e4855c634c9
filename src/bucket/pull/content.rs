//! Contents out of the objects of a bucket, compared with their names: for a pull, and for whoever reads one content later.
//!
//! Where something is said to be is only a proposal (H51). Nothing comes out of here whose bytes do not hash to its name.

use std::io;
use std::ops::Range;

use crate::bucket::index::{Location, Place};
use crate::bucket::key::ObjectKey;
use crate::bucket::pack::unpack;
use crate::bucket::store::ObjectStore;
use crate::bucket::transfer::{TransferError, Watch, add, store_error};
use crate::model::hash::BlobHash;

/// Entries that are no further apart are asked for together: the bytes between them cost less than a request.
pub const GAP_BYTES: u64 = 64 << 10;

/// Bytes of one request.
pub(super) const RANGE_BYTES_MAX: u64 = 8 << 20;

/// Entries of one pack, by their places in it.
pub type Entries = [(BlobHash, Location)];

/// What came of entries, each with its content, or with the reason why the place does not have it.
type Came = Vec<Result<Vec<u8>, TransferError>>;

/// Fetches entries of one pack with one request; with another one past caches if one of them is not as it must be. Each
/// comes with its content, or with the reason why the place does not have it.
///
/// # Errors
/// None came: the object store failed, or it was told to stop.
pub fn fetch_entries(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    entries: &Entries,
) -> Result<Came, TransferError> {
    let came = entries_of(store, watch, entries)?;
    let Some(error) = came.iter().find_map(|entry| entry.as_ref().err()) else { return Ok(came) };
    let Some(fresh) = store.past_caches() else { return Ok(came) };
    log::warn!("{error}; asking again, past caches");
    entries_of(&*fresh, watch, entries)
}

fn entries_of(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    entries: &Entries,
) -> Result<Came, TransferError> {
    let Some((_, Location { key, .. })) = entries.first() else { return Ok(Vec::new()) };
    let spans = entries.iter().filter_map(|(_, location)| span(location));
    let (start, end) =
        spans.fold((u64::MAX, 0), |(start, end), span| (start.min(span.0), end.max(span.1)));
    let came = range(store, watch, key, start, end);
    let of = |(name, location): &(BlobHash, Location)| match &came {
        Ok(bytes) => Ok(entry(name, location, start, bytes)),
        Err(TransferError::Store(error)) => Err(error.clone().into()),
        Err(TransferError::Stopped) => Err(TransferError::Stopped),
        Err(TransferError::MissingObject(key)) => Ok(Err(TransferError::MissingObject(*key))),
        Err(error) => Ok(Err(lies(key, name, error.to_string()))),
    };
    entries.iter().map(of).collect()
}

/// The first byte of an entry of a pack, and the one after its last.
pub(super) fn span(location: &Location) -> Option<(u64, u64)> {
    match location.place {
        Place::Entry { offset, stored_bytes, .. } => {
            Some((offset.into(), u64::from(offset) + u64::from(stored_bytes)))
        }
        Place::Own { .. } => None,
    }
}

/// Fetches the content of an object that has one content. An earlier try may have fetched the first `done` bytes: they are not asked
/// for again, and `hasher` has been fed with them. `take` gets the rest piece by piece, before it is verified, so the
/// caller must not use it unless this returns `Ok`.
///
/// # Errors
/// The stores', that it was told to stop, and that the bytes are not those of the name.
pub fn fetch_whole(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    (name, location): (&BlobHash, &Location),
    (mut done, mut hasher): (u64, blake3::Hasher),
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<u64, TransferError> {
    let content_bytes = location.content_bytes();
    while done < content_bytes {
        let end = content_bytes.min(done + RANGE_BYTES_MAX);
        let bytes = fetch_range(store, watch, (name, &location.key), done..end)?;
        hasher.update(&bytes);
        take(&bytes).map_err(TransferError::local)?;
        done = end;
    }
    if BlobHash::from(hasher.finalize()) != *name {
        let reason = "its bytes are not those of its name".to_owned();
        return Err(lies(&location.key, name, reason));
    }
    Ok(done)
}

/// Fetches a range of the object that has the content `name`. The bytes are not verified.
///
/// # Errors
/// The stores', that it was told to stop, and that the object is shorter.
pub fn fetch_range(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    (name, key): (&BlobHash, &ObjectKey),
    span: Range<u64>,
) -> Result<Vec<u8>, TransferError> {
    let bytes = range(store, watch, key, span.start, span.end)?;
    match bytes.len() as u64 == span.end - span.start {
        true => Ok(bytes),
        false => Err(lies(key, name, "it is shorter".to_owned())),
    }
}

fn range(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    key: &ObjectKey,
    start: u64,
    end: u64,
) -> Result<Vec<u8>, TransferError> {
    watch.check()?;
    let found = store.get_range(&key.to_string(), start..end);
    let found = found.map_err(|error| store_error(watch, error))?;
    let bytes = found.ok_or(TransferError::MissingObject(*key))?;
    add(&watch.tally().moved_bytes, bytes.len() as u64);
    watch.keep_pace(bytes.len())?;
    Ok(bytes)
}

fn lies(key: &ObjectKey, name: &BlobHash, reason: String) -> TransferError {
    TransferError::Lies { key: *key, name: *name, reason }
}

/// An entry out of the bytes of a pack from `start` on.
fn entry(
    name: &BlobHash,
    location: &Location,
    start: u64,
    bytes: &[u8],
) -> Result<Vec<u8>, TransferError> {
    let Place::Entry { offset, stored_bytes, bytes: length } = location.place else {
        return Err(lies(&location.key, name, "it is no pack".to_owned()));
    };
    let from = usize::try_from(u64::from(offset) - start).unwrap_or(usize::MAX);
    let stored = usize::try_from(stored_bytes).unwrap_or(usize::MAX);
    let to = from.saturating_add(stored);
    let stored =
        bytes.get(from..to).ok_or_else(|| lies(&location.key, name, "it is shorter".to_owned()))?;
    unpack(name, length, stored).map_err(|error| lies(&location.key, name, error.to_string()))
}
