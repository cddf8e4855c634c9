//! What a bucket has already, so that a push uploads only what is missing.
//!
//! Three places say it: the indexes that live versions name, indexes that a killed push left, and the lists in packs that no
//! index names, which it left too. What they name is used only where a listing that was made after the last look at the marks
//! shows the object, as long as it should be (H46), and where no mark names it (H47). Where an index lies about a place (H51),
//! nobody notices here: a pull does, by the content's name. So where events have to be signed, only indexes count that
//! they lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::bucket::index::{Index, IndexBuilder, Indexes, Location};
use crate::bucket::key::{ObjectKey, ObjectKind};
use crate::bucket::pack::{PackEntry, PackKind, list, tail_bytes};
use crate::bucket::store::{GET_BYTES_MAX, Listed, ObjectStore};
use crate::bucket::transfer::{TransferError, Watch, format_error, get, store_error};
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;

/// Bytes at the end of a pack that are read first: the lists of most packs are shorter.
const TAIL_BYTES: u64 = 64 << 10;

/// Packs of fewer bytes are small. Those of trees are not, unless they were the last of their version.
const SMALL_PACK_BYTES: u64 = 1 << 20;

/// Indexes that a version names: where they are as many, what they say of it is written into its own.
pub(super) const INDEXES_MAX: usize = 8;

/// Where something is that the bucket has.
pub(super) enum Found {
    /// An index that is in the bucket says so.
    Indexed {
        /// Key of the index.
        index: ObjectKey,
        /// Key of the object.
        object: ObjectKey,
    },
    /// It is in a pack or an object that no usable index names. The index that this push uploads has to.
    Unindexed(Unindexed),
}

/// An object that no usable index names.
#[derive(Clone)]
pub(super) struct Unindexed {
    /// Its key.
    pub(super) key: ObjectKey,
    /// Its length.
    pub(super) object_bytes: u64,
    /// What it holds, if it is a pack.
    pub(super) entries: Vec<PackEntry>,
}

/// What a bucket has.
#[derive(Default)]
pub(super) struct Have {
    indexes: Indexes,
    /// Objects that may be named: all that are listed and not marked, with their lengths.
    usable: BTreeMap<ObjectKey, u64>,
    left: Vec<Unindexed>,
    left_names: BTreeMap<BlobHash, usize>,
}

impl Have {
    /// Looks. `live` are indexes that live versions name, `refused` says which keys a mark names. Of indexes, only the `trusted` ones
    /// are believed; without that, all, and the lists in packs.
    pub(super) fn look(
        store: &dyn ObjectStore,
        watch: &Watch<'_>,
        live: &BTreeSet<ObjectKey>,
        trusted: Option<&BTreeSet<ObjectKey>>,
        refused: &dyn Fn(&ObjectKey) -> bool,
    ) -> Result<Self, TransferError> {
        let mut have = Self { usable: listed(store, watch, refused)?, ..Self::default() };
        let all: Vec<ObjectKey> = have.usable.keys().copied().collect();
        let of = |kind| all.iter().filter(move |key| key.kind == kind);
        let is_trusted = |key: &&ObjectKey| trusted.is_none_or(|trusted| trusted.contains(*key));
        // Those that live versions name come first: there are readers who have them already.
        for is_live in [true, false] {
            let indexes = of(ObjectKind::Index).filter(is_trusted);
            for key in indexes.filter(|key| live.contains(*key) == is_live) {
                watch.check()?;
                have.add_index(store, watch, *key)?;
            }
        }
        if trusted.is_some() {
            return Ok(have);
        }
        let named: BTreeSet<ObjectKey> = have
            .indexes
            .iter()
            .flat_map(|(_, index)| index.objects())
            .map(|(key, _)| key)
            .collect();
        for key in of(ObjectKind::Pack).chain(of(ObjectKind::Blob)) {
            if !named.contains(key) {
                watch.check()?;
                have.add_left(store, watch, *key)?;
            }
        }
        Ok(have)
    }

    /// Has small packs that live versions name uploaded anew where they make a full one (H50). The contents are in the local store,
    /// and older versions go on to name the small packs.
    pub(super) fn merge_small(&mut self, live: &BTreeSet<ObjectKey>) {
        let is_small = |key: &&ObjectKey| {
            key.kind == ObjectKind::Pack
                && self.usable.get(key).is_some_and(|bytes| *bytes < SMALL_PACK_BYTES)
        };
        let small: Vec<ObjectKey> = live.iter().filter(is_small).copied().collect();
        let bytes: u64 = small.iter().map(|key| self.usable[key]).sum();
        if bytes >= PackKind::Content.pack_bytes_max() as u64 {
            self.usable.retain(|key, _| !small.contains(key));
        }
    }

    /// What these indexes say of these objects: for an index that takes their place.
    pub(super) fn merge_indexes(&self, builder: &mut IndexBuilder, needs: &BTreeSet<ObjectKey>) {
        for (_, index) in self.indexes.iter().filter(|(key, _)| needs.contains(key)) {
            for (name, location) in index.entries() {
                if needs.contains(&location.key) {
                    builder.add_location(name, &location);
                }
            }
            index.digests().for_each(|(digest, blob)| builder.add_digest(digest, blob));
        }
    }

    /// Reads an index of the bucket. One that is missing or damaged is passed over, with a warning: what it names is uploaded again.
    fn add_index(
        &mut self,
        store: &dyn ObjectStore,
        watch: &Watch<'_>,
        key: ObjectKey,
    ) -> Result<(), TransferError> {
        if self.usable.get(&key).is_none_or(|bytes| *bytes > GET_BYTES_MAX) {
            return Ok(());
        }
        let index = get(store, watch, &key)
            .and_then(|bytes| Index::parse(&bytes).map_err(|error| format_error(&key, error)));
        match index {
            Ok(index) => self.indexes.add(key, index),
            Err(error @ (TransferError::Format { .. } | TransferError::MissingObject(_))) => {
                log::warn!("{error}; it is not used");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Looks into an object that no index names.
    fn add_left(
        &mut self,
        store: &dyn ObjectStore,
        watch: &Watch<'_>,
        key: ObjectKey,
    ) -> Result<(), TransferError> {
        let object_bytes = self.usable[&key];
        let entries = match key.kind {
            ObjectKind::Pack => match read_list(store, watch, &key, object_bytes)? {
                Some(entries) => entries,
                None => return Ok(()),
            },
            _ => Vec::new(),
        };
        let number = self.left.len();
        if key.kind == ObjectKind::Blob {
            // The object is the content, so it has its hash.
            let name = BlobHash::from_bytes(*key.hash.as_bytes());
            self.left_names.entry(name).or_insert(number);
        }
        for entry in &entries {
            self.left_names.entry(entry.name).or_insert(number);
        }
        self.left.push(Unindexed { key, object_bytes, entries });
        Ok(())
    }

    /// Where a content or a page is.
    pub(super) fn find(&self, name: &BlobHash) -> Option<Found> {
        let is_usable = |location: &Location| {
            self.usable.get(&location.key).is_some_and(|bytes| *bytes == location.object_bytes)
        };
        let indexed = self.indexes.find(name).find(|(_, location)| is_usable(location));
        if let Some((index, location)) = indexed {
            return Some(Found::Indexed { index, object: location.key });
        }
        let left = self.left_names.get(name)?;
        Some(Found::Unindexed(self.left[*left].clone()))
    }

    /// The blob of a declared digest that the bucket has, as the indexes say.
    pub(super) fn blob_of(&self, digest: &Sha256) -> Option<BlobHash> {
        self.indexes.blobs_of(digest).find(|blob| self.find(blob).is_some())
    }

    /// Whether one of the indexes among `needs` says that this is the blob of a digest.
    pub(super) fn knows_digest(
        &self,
        needs: &BTreeSet<ObjectKey>,
        digest: &Sha256,
        blob: &BlobHash,
    ) -> bool {
        let mut needed = self.indexes.iter().filter(|(key, _)| needs.contains(key));
        needed.any(|(_, index)| index.blob_of(digest) == Some(*blob))
    }

    /// Adds an index that was uploaded, with what it names.
    pub(super) fn add_uploaded(&mut self, key: ObjectKey, bytes: &[u8]) {
        let Ok(index) = Index::parse(bytes) else {
            unreachable!("an index that was just made can be read");
        };
        self.usable.extend(index.objects());
        self.indexes.add(key, index);
    }
}

/// The objects of a bucket that no mark names, with their lengths.
fn listed(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    refused: &dyn Fn(&ObjectKey) -> bool,
) -> Result<BTreeMap<ObjectKey, u64>, TransferError> {
    let mut usable = BTreeMap::new();
    for kind in [ObjectKind::Pack, ObjectKind::Blob, ObjectKind::Index] {
        let prefix = format!("{}/", kind.directory());
        let mut each = |listed: Listed| {
            // What is no key of ours is a stranger's.
            if let Ok(key) = listed.key.parse::<ObjectKey>()
                && !refused(&key)
            {
                usable.insert(key, listed.size);
            }
            if watch.check().is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.list(&prefix, &mut each).map_err(|error| store_error(watch, error))?;
        watch.check()?;
    }
    Ok(usable)
}

/// What a pack holds; `None` when it cannot be used.
fn read_list(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    key: &ObjectKey,
    pack_bytes: u64,
) -> Result<Option<Vec<PackEntry>>, TransferError> {
    let read = |bytes: u64| {
        let range = pack_bytes.saturating_sub(bytes)..pack_bytes;
        let tail = store.get_range(&key.to_string(), range);
        tail.map_err(|error| store_error(watch, error))
    };
    if pack_bytes == 0 {
        return Ok(None);
    }
    let Some(mut tail) = read(TAIL_BYTES)? else { return Ok(None) };
    let wanted = match tail_bytes(&tail, pack_bytes) {
        Ok(wanted) => wanted,
        Err(error) => {
            log::warn!("{key}: {error}; it is not used");
            return Ok(None);
        }
    };
    if wanted > tail.len() {
        match read(wanted as u64)? {
            Some(longer) => tail = longer,
            None => return Ok(None),
        }
    }
    match list(&tail, pack_bytes) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) => {
            log::warn!("{key}: {error}; it is not used");
            Ok(None)
        }
    }
}

/// Adds an object that no index names to an index. If it has one content, that has `bytes`.
pub(super) fn index_left(builder: &mut IndexBuilder, left: &Unindexed, bytes: u64) {
    if left.key.kind == ObjectKind::Blob {
        let name = BlobHash::from_bytes(*left.key.hash.as_bytes());
        builder.add_own(left.key, name, left.object_bytes, bytes);
    } else {
        builder.add_pack(left.key, left.object_bytes, &left.entries);
    }
}
