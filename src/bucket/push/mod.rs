//! Push: a version of the local store goes into a bucket.
//!
//! In this order, so that whatever is killed in between leaves only keys that nobody needs, which the next push finds by listing
//! and reuses (H46): packs and large contents, several at a time; an index of them; the list of all that the
//! version needs; and last, by the caller, the event that names the list. What is there already is only named ([`have`]).
//! This room must not know how a store keeps contents, nor what makes an event.

mod have;
mod objects;
pub mod publish;
mod upload;

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use self::have::Have;
use self::upload::{Body, new_key, upload};
use super::key::{ObjectKey, ObjectKind};
use super::store::ObjectStore;
use super::transfer::{TransferError, Watch, read_uses};
use super::uses::{Uses, encode};
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, ObjectHash, TreeHash};
use crate::model::tree::Root;
use crate::model::tree_format::TreePage;

/// The local store, as a push sees it. The version that is pushed is held meanwhile.
pub trait Local: Sync {
    /// A page of a tree.
    ///
    /// # Errors
    /// The store's; that there is none.
    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, TransferError>;

    /// The blob of a content; `None` when it is absent.
    ///
    /// # Errors
    /// The store's.
    fn blob(&self, name: &ContentName) -> Result<Option<BlobHash>, TransferError>;

    /// Has an absent content fetched from a remote.
    ///
    /// # Errors
    /// When it cannot be had.
    fn fetch(&self, name: &ContentName) -> Result<BlobHash, TransferError>;

    /// Opens a blob that has that name. It is fetched if it has become absent since it was looked up.
    ///
    /// # Errors
    /// The store's; that it is damaged, or cannot be had.
    fn open(&self, name: &ContentName, blob: &BlobHash) -> Result<Arc<File>, TransferError>;

    /// Notes that the bytes of a blob are not those of its name. Returns the error to end with.
    fn damaged(&self, blob: &BlobHash) -> TransferError;
}

/// A push under way: what the bucket has is looked up once, and grows with what is uploaded.
pub struct Push<'a> {
    store: &'a dyn ObjectStore,
    watch: &'a Watch<'a>,
    have: Have,
    /// What the newest version needs: the next list is written as changes of it.
    base: Option<Uses>,
}

impl std::fmt::Debug for Push<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").finish_non_exhaustive()
    }
}

impl<'a> Push<'a> {
    /// Looks what the bucket has. `newest` is the list of the newest version, if there is one; `refused` says which
    /// keys may not be named, because a mark does that is not decided, or that condemns them. Where `trusted` are lists of versions,
    /// only the indexes that these name are believed (H51): what else is in the bucket is uploaded again.
    ///
    /// # Errors
    /// The object store's.
    pub fn begin(
        store: &'a dyn ObjectStore,
        watch: &'a Watch<'a>,
        newest: Option<&ObjectKey>,
        trusted: Option<&[ObjectKey]>,
        refused: &dyn Fn(&ObjectKey) -> bool,
    ) -> Result<Self, TransferError> {
        let read = |key| match read_uses(store, watch, key) {
            // Without it the list is longer.
            Err(error @ (TransferError::Format { .. } | TransferError::MissingObject(_))) => {
                log::warn!("{error}");
                Ok(None)
            }
            uses => uses.map(Some),
        };
        let base = newest.map(read).transpose()?.flatten();
        let base = base.filter(|uses| !uses.lists.iter().any(refused));
        let live: BTreeSet<ObjectKey> = base.iter().flat_map(|uses| &uses.keys).copied().collect();
        let mut indexes = trusted.map(|_| BTreeSet::new());
        for list in trusted.unwrap_or_default() {
            let keys = read(list)?.into_iter().flat_map(|uses| uses.keys);
            indexes.get_or_insert_default().extend(keys);
        }
        let mut have = Have::look(store, watch, &live, indexes.as_ref(), refused)?;
        have.merge_small(&live);
        Ok(Self { store, watch, have, base })
    }

    /// Has everything in the bucket that a version needs. Returns the key of the list, and what is in it, with its
    /// bases: all of that must be unmarked when the event is published.
    ///
    /// # Errors
    /// The stores'.
    pub fn version(
        &mut self,
        local: &dyn Local,
        root: &Root,
    ) -> Result<(ObjectKey, Uses), TransferError> {
        let needs = objects::push_objects(self.store, self.watch, local, &mut self.have, root)?;
        let (bytes, bases) = encode(&needs, self.base.as_ref());
        let key = new_key(ObjectKind::Uses, ObjectHash::of(&bytes))?;
        upload(self.store, self.watch, key, &Body::Memory(bytes))?;
        let lists = [&[key], bases].concat();
        Ok((key, Uses { keys: needs, lists }))
    }

    /// The version with this list was published: the next one may build on it.
    pub fn published(&mut self, uses: Uses) {
        self.base = Some(uses);
    }
}

#[cfg(test)]
mod tests;
