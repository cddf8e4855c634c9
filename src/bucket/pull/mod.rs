//! Pull: a version of a bucket becomes one of the local store.
//!
//! In this order, so that whatever is killed in between leaves only what nobody names: the indexes of the version, its tree, the contents
//! that are missing, the pages. The caller publishes after that, and the next pull finds what came.
//!
//! Where contents are to come when they are read, only their places are noted instead ([`Depth::Names`]). These are hints
//! of the indexes (H51), so whoever fetches compares what comes ([`fetch_entries`], [`fetch_whole`]).
//!
//! Everything is compared with its name before it is kept: contents and pages by BLAKE3, contents of a declared name by
//! SHA-256 as well, lengths and totals by what names them. This room must not know how a store keeps them.

mod content;
mod fetch;
mod tree;

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::content::{Entries, GAP_BYTES, fetch_entries, fetch_range, fetch_whole};
use self::fetch::{Fetcher, Receiver};
use self::tree::Tree;
use super::index::{Index, Indexes, Location};
use super::key::{ObjectKey, ObjectKind};
use super::store::ObjectStore;
use super::transfer::{TransferError, Watch, add, format_error, get, read_uses};
use crate::model::content_name::ContentName;
use crate::model::digest::{Sha256, Sha256Hasher};
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::tree::Root;
use crate::model::tree_format::{TreeError, TreePage};
use crate::store::catalog::PlacesOf;
use crate::store::durable;

/// Contents that are looked up at a time.
const LOOKED_UP_MAX: usize = 4096;

/// Places that are noted at a time.
const PLACES_MAX: usize = 4096;

/// Pages, and bytes of pages, that are handed over at a time.
const PAGES_MAX: usize = 256;
const PAGE_BYTES: usize = 1 << 20;

/// How much of a version comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// All of it.
    #[default]
    Whole,
    /// Its tree, and where its contents are.
    Names,
}

/// Where the bucket has a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The name that a tree has for it.
    pub name: ContentName,
    /// The blob that is said to be its.
    pub blob: BlobHash,
    /// Its length.
    pub bytes: u64,
    /// Where it is.
    pub location: Location,
}

/// The local store, as a pull sees it. What it holds stays until the version is published or given up.
pub trait Destination: Sync {
    /// A file for a large content that comes in pieces.
    type Large: Write + Send;

    /// Holds those of the trees that are there with all that they name, the contents too.
    ///
    /// # Errors
    /// The store's.
    fn hold_trees(&self, trees: &[TreeHash]) -> Result<Vec<bool>, TransferError>;

    /// A page, if it is there.
    ///
    /// # Errors
    /// The store's.
    fn page(&self, hash: &TreeHash) -> Result<Option<Arc<TreePage>>, TransferError>;

    /// The blob of a declared digest, if it is stored.
    ///
    /// # Errors
    /// The store's.
    fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>, TransferError>;

    /// Holds those of the contents that are stored, and says how long they are.
    ///
    /// # Errors
    /// The store's.
    fn hold(&self, blobs: Vec<BlobHash>) -> Result<Vec<Option<u64>>, TransferError>;

    /// Makes a file for a large content.
    ///
    /// # Errors
    /// The disk's.
    fn large(&self) -> Result<Self::Large, TransferError>;

    /// Stores and holds the content of such a file, which has that name.
    ///
    /// # Errors
    /// The store's.
    fn keep_large(
        &self,
        name: &BlobHash,
        bytes: u64,
        file: Self::Large,
    ) -> Result<(), TransferError>;

    /// Stores and holds a small content, which has that name; perhaps not before [`Destination::settle`].
    ///
    /// # Errors
    /// The store's.
    fn keep(&self, name: &BlobHash, content: &[u8]) -> Result<(), TransferError>;

    /// Stores all that was given to [`Destination::keep`].
    ///
    /// # Errors
    /// The store's.
    fn settle(&self) -> Result<(), TransferError>;

    /// Notes where contents are.
    ///
    /// # Errors
    /// The store's.
    fn note_places(&self, places: &[Placed], of: PlacesOf) -> Result<(), TransferError>;

    /// Notes digests of contents that are held.
    ///
    /// # Errors
    /// The store's.
    fn note_digests(&self, digests: Vec<(Sha256, BlobHash)>) -> Result<(), TransferError>;

    /// Stores and holds pages, those below before those above. What they name is held.
    ///
    /// # Errors
    /// The store's.
    fn keep_pages(&self, pages: Vec<(TreeHash, Vec<u8>)>) -> Result<(), TransferError>;
}

/// The indexes of a bucket, each read once.
pub struct Catalog<'a> {
    store: &'a dyn ObjectStore,
    watch: &'a Watch<'a>,
    indexes: Indexes,
    read: BTreeSet<ObjectKey>,
    /// The objects that the version needs whose indexes were read last. The bucket keeps these as long as it has the version.
    needed: BTreeSet<ObjectKey>,
}

impl std::fmt::Debug for Catalog<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("indexes", &self.indexes.len()).finish_non_exhaustive()
    }
}

impl<'a> Catalog<'a> {
    /// No index was read so far.
    pub fn new(store: &'a dyn ObjectStore, watch: &'a Watch<'a>) -> Self {
        let (read, needed) = (BTreeSet::new(), BTreeSet::new());
        Self { store, watch, indexes: Indexes::default(), read, needed }
    }

    /// Reads the indexes of a version. One that cannot be read is only an error if something is found in no other.
    fn read(&mut self, uses: &ObjectKey) -> Result<(), TransferError> {
        let uses = read_uses(self.store, self.watch, uses)?;
        for key in uses.keys.iter().filter(|key| key.kind == ObjectKind::Index) {
            if !self.read.insert(*key) {
                continue;
            }
            match get(self.store, self.watch, key)
                .and_then(|bytes| Index::parse(&bytes).map_err(|error| format_error(key, error)))
            {
                Ok(index) => self.indexes.add(*key, index),
                Err(error @ (TransferError::Format { .. } | TransferError::MissingObject(_))) => {
                    log::warn!("{error}");
                }
                Err(error) => return Err(error),
            }
        }
        self.needed = uses.keys;
        Ok(())
    }

    /// Brings everything that a version needs into the local store, or notes where the bucket has it, and keeps both from being
    /// collected until the version is committed.
    ///
    /// # Errors
    /// The stores', and that something in the bucket is missing or is not what it should be.
    pub fn fetch<D: Destination>(
        &mut self,
        destination: &D,
        uses: &ObjectKey,
        root: &Root,
        depth: Depth,
    ) -> Result<(), TransferError> {
        self.read(uses)?;
        let tree = Tree::fetch(self.store, self.watch, &self.indexes, destination, root)?;
        let (missing, held) = self.missing(destination, &tree)?;
        // Who drops one of these later has to know that it can be had here as well (L8).
        note_places(destination, self.watch, held, PlacesOf::Held)?;
        let of = match depth {
            Depth::Whole => PlacesOf::Fetched,
            Depth::Names => PlacesOf::Absent,
        };
        if depth == Depth::Whole {
            self.fetch_contents(destination, &missing)?;
        }
        note_places(destination, self.watch, self.places(&missing), of)?;
        step("pull: contents are stored")?;
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (hash, page) in tree.pages() {
            self.watch.check()?;
            bytes += page.bytes().len();
            batch.push((hash, page.bytes().to_vec()));
            if batch.len() >= PAGES_MAX || bytes >= PAGE_BYTES {
                destination.keep_pages(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            destination.keep_pages(batch)?;
        }
        step("pull: pages are stored")
    }

    /// Reads the indexes of a version, so that [`Catalog::placed`] knows what they say.
    ///
    /// # Errors
    /// As of [`Catalog::fetch`].
    pub fn look_into(&mut self, uses: &ObjectKey) -> Result<(), TransferError> {
        self.read(uses)
    }

    /// Where a content is in the version that was looked into last, by the indexes that were read.
    pub fn placed(&self, name: ContentName) -> Option<Placed> {
        let is_needed = |found: &Location| self.needed.contains(&found.key);
        let find = |blob: BlobHash| Some((blob, self.find(&blob).filter(is_needed)?));
        let (blob, location) = match &name {
            ContentName::Blake3(blob) => find(*blob),
            ContentName::Sha256(digest) => self.indexes.blobs_of(digest).find_map(find),
        }?;
        Some(Placed { name, blob, bytes: location.content_bytes(), location })
    }

    /// Where a blob is: as far as is known in an object that the version needs.
    fn find(&self, blob: &BlobHash) -> Option<Location> {
        let places = || self.indexes.find(blob).map(|(_, location)| location);
        places().find(|location| self.needed.contains(&location.key)).or_else(|| places().next())
    }

    fn fetch_contents<D: Destination>(
        &self,
        destination: &D,
        missing: &HashMap<BlobHash, Wanted>,
    ) -> Result<(), TransferError> {
        let digests = Mutex::default();
        let contents = Contents { destination, wanted: missing, watch: self.watch, digests };
        let (store, watch, indexes) = (self.store, self.watch, &self.indexes);
        let fetcher = Fetcher { store, watch, indexes, receiver: &contents };
        let not_indexed = |blob| TransferError::NotIndexed(ContentName::Blake3(blob));
        fetcher.run(missing.keys().copied(), not_indexed)?;
        destination.settle()?;
        let digests = contents.digests.into_inner();
        if digests.is_empty() { Ok(()) } else { destination.note_digests(digests) }
    }

    /// Where contents are.
    fn places(&self, contents: &HashMap<BlobHash, Wanted>) -> Vec<Placed> {
        let mut places = Vec::with_capacity(contents.len());
        #[expect(clippy::iter_over_hash_type, reason = "they are sorted before they are noted")]
        for (blob, wanted) in contents {
            let own = wanted.is_named.then_some(ContentName::Blake3(*blob));
            let names = own.into_iter().chain(wanted.digests.iter().map(|name| (*name).into()));
            places.extend(names.filter_map(|name| self.place(name, *blob, wanted.bytes)));
        }
        places
    }

    /// Where a blob of that length is, if any index has it.
    fn place(&self, name: ContentName, blob: BlobHash, bytes: u64) -> Option<Placed> {
        let location = self.find(&blob).filter(|location| location.content_bytes() == bytes)?;
        Some(Placed { name, blob, bytes, location })
    }

    /// The contents of a tree that the store lacks, by their blobs, and where those are that it has.
    fn missing<D: Destination>(
        &self,
        destination: &D,
        tree: &Tree,
    ) -> Result<(HashMap<BlobHash, Wanted>, Vec<Placed>), TransferError> {
        let mut missing: HashMap<BlobHash, Wanted> = HashMap::new();
        let mut present = 0;
        let mut places = Vec::new();
        let all: Vec<(&ContentName, &u64)> = tree.contents.iter().collect();
        for some in all.chunks(LOOKED_UP_MAX) {
            self.watch.check()?;
            let stored = |(name, _): &(&ContentName, &u64)| match name {
                ContentName::Blake3(blob) => Ok(Some(*blob)),
                ContentName::Sha256(digest) => destination.blob_of(digest),
            };
            let blobs: Vec<Option<BlobHash>> = some.iter().map(stored).collect::<Result<_, _>>()?;
            let held = destination.hold(blobs.iter().copied().flatten().collect())?;
            let mut held = held.into_iter();
            for ((name, size), blob) in some.iter().zip(blobs) {
                let held = blob.and_then(|blob| Some((blob, held.next().flatten()?)));
                if let Some((blob, bytes)) = held {
                    check_length(name, bytes, **size)?;
                    places.extend(self.place(**name, blob, bytes));
                    present += 1;
                    continue;
                }
                let (blob, bytes) = self.look_up(name)?;
                check_length(name, bytes, **size)?;
                let wanted = missing.entry(blob).or_default();
                wanted.digests.extend(name.sha256().copied());
                wanted.is_named |= name.sha256().is_none();
                wanted.bytes = bytes;
            }
        }
        let tally = self.watch.tally();
        add(&tally.present, present);
        add(&tally.contents, missing.len() as u64);
        add(&tally.content_bytes, missing.values().map(|wanted| wanted.bytes).sum());
        Ok((missing, places))
    }

    /// The blob of a content, and how long it is, as the indexes say.
    fn look_up(&self, name: &ContentName) -> Result<(BlobHash, u64), TransferError> {
        let length = |blob: &BlobHash| {
            let (_, location) = self.indexes.find(blob).next()?;
            Some((*blob, location.content_bytes()))
        };
        let found = match name {
            ContentName::Blake3(blob) => length(blob),
            ContentName::Sha256(digest) => {
                self.indexes.blobs_of(digest).find_map(|blob| length(&blob))
            }
        };
        found.ok_or(TransferError::NotIndexed(*name))
    }
}

/// Has the store note where contents are, in the order of their places.
fn note_places<D: Destination>(
    destination: &D,
    watch: &Watch<'_>,
    mut places: Vec<Placed>,
    of: PlacesOf,
) -> Result<(), TransferError> {
    places.sort_unstable_by_key(|placed| (placed.location.key, content::span(&placed.location)));
    places.chunks(PLACES_MAX).try_for_each(|some| {
        watch.check()?;
        destination.note_places(some, of)
    })
}

/// What is wanted of a content.
#[derive(Debug, Default)]
struct Wanted {
    /// The names by which trees declare it.
    digests: BTreeSet<Sha256>,
    /// Trees name it by its BLAKE3.
    is_named: bool,
    bytes: u64,
}

fn check_length(name: &ContentName, found: u64, declared: u64) -> Result<(), TransferError> {
    if found == declared {
        return Ok(());
    }
    let rule = format!("content {name} has {found} bytes, and a directory says {declared}");
    Err(TreeError(rule).into())
}

/// Takes contents for the store, and compares them with their declared names.
struct Contents<'a, D> {
    destination: &'a D,
    wanted: &'a HashMap<BlobHash, Wanted>,
    watch: &'a Watch<'a>,
    digests: Mutex<Vec<(Sha256, BlobHash)>>,
}

impl<D> Contents<'_, D> {
    fn has_digests(&self, name: &BlobHash) -> bool {
        self.wanted.get(name).is_some_and(|wanted| !wanted.digests.is_empty())
    }

    /// Compares a content with its declared names, and keeps these.
    fn check(&self, name: &BlobHash, found: Sha256) -> Result<(), TransferError> {
        for digest in self.wanted.get(name).iter().flat_map(|wanted| &wanted.digests) {
            if *digest != found {
                return Err(TransferError::WrongDigest((*digest).into()));
            }
            self.digests.lock().push((*digest, *name));
        }
        Ok(())
    }
}

/// A large content that comes in pieces.
struct Hashed<F> {
    file: F,
    sha256: Option<Sha256Hasher>,
}

impl<F: Write> Write for Hashed<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<D: Destination> Receiver for Contents<'_, D> {
    type Large = Hashed<D::Large>;

    fn large(&self, name: &BlobHash) -> Result<Self::Large, TransferError> {
        let sha256 = self.has_digests(name).then(Sha256Hasher::default);
        Ok(Hashed { file: self.destination.large()?, sha256 })
    }

    fn take_large(
        &self,
        name: &BlobHash,
        bytes: u64,
        file: Self::Large,
    ) -> Result<(), TransferError> {
        if let Some(sha256) = file.sha256 {
            self.check(name, sha256.finish())?;
        }
        self.destination.keep_large(name, bytes, file.file)?;
        add(&self.watch.tally().moved, 1);
        Ok(())
    }

    fn take(&self, name: &BlobHash, content: &[u8]) -> Result<(), TransferError> {
        if self.has_digests(name) {
            self.check(name, Sha256::of(content))?;
        }
        self.destination.keep(name, content)?;
        add(&self.watch.tally().moved, 1);
        Ok(())
    }
}

/// A place where tests end the process.
fn step(name: &'static str) -> Result<(), TransferError> {
    durable::step(name).map_err(TransferError::local)
}

#[cfg(test)]
mod tests;
