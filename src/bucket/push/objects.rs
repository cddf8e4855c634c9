//! The objects of one version: what the bucket lacks of its contents and trees, in the order of paths, then an index of that.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Local;
use super::have::{Found, Have, INDEXES_MAX, Unindexed, index_left};
use super::upload::{Body, Uploads, new_key, upload};
use crate::bucket::groups::{GroupHasher, GroupValues, trailer_bytes};
use crate::bucket::index::IndexBuilder;
use crate::bucket::key::{ObjectKey, ObjectKind};
use crate::bucket::pack::{OWN_OBJECT_BYTES, PackKind, PackWriter};
use crate::bucket::store::ObjectStore;
use crate::bucket::transfer::{TransferError, Watch, add};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, ObjectHash, TreeHash};
use crate::model::tree::Root;
use crate::model::tree_format::{ContentRef, TreePage};

/// Bytes of a large content that are hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Has everything in the bucket that a version needs. Returns the keys.
pub(super) fn push_objects(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    local: &dyn Local,
    have: &mut Have,
    root: &Root,
) -> Result<BTreeSet<ObjectKey>, TransferError> {
    let (index, digests, mut needs) = std::thread::scope(|scope| {
        let uploads = Uploads::start(scope, store, watch)?;
        let mut version = Version {
            watch,
            local,
            have,
            uploads: &uploads,
            needs: BTreeSet::new(),
            index: IndexBuilder::default(),
            digests: Vec::new(),
            left: HashSet::new(),
            seen: HashSet::new(),
            named: HashSet::new(),
            trees: PackWriter::new(PackKind::Trees),
            contents: PackWriter::new(PackKind::Content),
        };
        let walked = version.walk(root);
        let Version { index, digests, needs, .. } = version;
        // Once an upload has failed the walk is stopped: the reason is that of the upload.
        match (walked, uploads.finish()) {
            (Err(TransferError::Stopped) | Ok(()), Err(failed)) => Err(failed),
            (Err(failed), _) => Err(failed),
            (Ok(()), Ok(())) => Ok((index, digests, needs)),
        }
    })?;
    let mut index = complete(index, digests, have, &needs);
    if needs.iter().filter(|key| key.kind == ObjectKind::Index).count() >= INDEXES_MAX {
        // A reader has one index to read instead of one for each version before it (H50).
        have.merge_indexes(&mut index, &needs);
        needs.retain(|key| key.kind != ObjectKind::Index);
    }
    for bytes in index.finish() {
        let key = new_key(ObjectKind::Index, ObjectHash::of(&bytes))?;
        let body = Body::Memory(bytes);
        upload(store, watch, key, &body)?;
        if let Body::Memory(bytes) = &body {
            have.add_uploaded(key, bytes);
        }
        needs.insert(key);
    }
    Ok(needs)
}

/// Adds the digests that no index says which the version needs anyway.
fn complete(
    mut index: IndexBuilder,
    digests: Vec<(Sha256, BlobHash)>,
    have: &Have,
    needs: &BTreeSet<ObjectKey>,
) -> IndexBuilder {
    for (digest, blob) in digests {
        if !have.knows_digest(needs, &digest, &blob) {
            index.add_digest(digest, blob);
        }
    }
    index
}

struct Version<'a, 'scope> {
    watch: &'a Watch<'a>,
    local: &'a dyn Local,
    have: &'a Have,
    uploads: &'a Uploads<'scope>,
    needs: BTreeSet<ObjectKey>,
    index: IndexBuilder,
    digests: Vec<(Sha256, BlobHash)>,
    /// Objects that no index named before, and that the new one names.
    left: HashSet<ObjectKey>,
    /// Pages and contents that were dealt with.
    seen: HashSet<BlobHash>,
    named: HashSet<ContentName>,
    trees: PackWriter,
    contents: PackWriter,
}

impl Version<'_, '_> {
    fn walk(&mut self, root: &Root) -> Result<(), TransferError> {
        // A stack: the page that comes next in the order of paths is the last one.
        let mut waiting = vec![root.tree];
        while let Some(hash) = waiting.pop() {
            self.watch.check()?;
            if !self.seen.insert(object_name(&hash)) {
                continue;
            }
            let page = self.local.page(&hash)?;
            self.take_page(&hash, page.bytes())?;
            self.take_contents(&page)?;
            let first = waiting.len();
            for index in 0..page.len() {
                waiting.extend(page.child(index).map(|child| child.page));
                if let Some(ContentRef::Directory { tree, .. }) =
                    page.entry_ref(index).map(|entry| entry.content)
                {
                    waiting.push(tree);
                }
            }
            waiting[first..].reverse();
        }
        self.end_pack(PackKind::Content)?;
        self.end_pack(PackKind::Trees)
    }

    fn take_page(&mut self, hash: &TreeHash, bytes: &[u8]) -> Result<(), TransferError> {
        let name = object_name(hash);
        if self.is_there(&name, bytes.len() as u64) {
            return Ok(());
        }
        self.put(PackKind::Trees, name, bytes)
    }

    fn take_contents(&mut self, page: &TreePage) -> Result<(), TransferError> {
        for index in 0..page.len() {
            if let Some(ContentRef::File { size, blob: Some(name) }) =
                page.entry_ref(index).map(|entry| entry.content)
                && self.named.insert(name)
            {
                self.take_content(&name, size)?;
            }
        }
        Ok(())
    }

    fn take_content(&mut self, name: &ContentName, size: u64) -> Result<(), TransferError> {
        let tally = self.watch.tally();
        let blob = match self.local.blob(name)? {
            Some(blob) => blob,
            // What is absent here is only named, if the bucket has it (H52).
            None => match name {
                ContentName::Blake3(blob) if self.is_there(blob, size) => *blob,
                ContentName::Sha256(digest) => match self.have.blob_of(digest) {
                    Some(blob) => blob,
                    None => self.local.fetch(name)?,
                },
                ContentName::Blake3(_) => self.local.fetch(name)?,
            },
        };
        if let ContentName::Sha256(digest) = name {
            self.digests.push((*digest, blob));
        }
        if !self.seen.insert(blob) {
            return Ok(());
        }
        if self.is_there(&blob, size) {
            add(&tally.present, 1);
            return Ok(());
        }
        add(&tally.contents, 1);
        add(&tally.content_bytes, size);
        let file = self.local.open(name, &blob)?;
        if size < OWN_OBJECT_BYTES {
            let bytes = read_small(&file, size).map_err(TransferError::local)?;
            self.check(&blob, BlobHash::of(&bytes))?;
            return self.put(PackKind::Content, blob, &bytes);
        }
        // It is hashed before, so that no object ever has another name than its bytes.
        let (hash, values) = self.hash(&file, size)?;
        self.check(&blob, hash)?;
        let trailer = values.map(|values| values.to_trailer()).unwrap_or_default();
        let key = new_key(ObjectKind::Blob, ObjectHash::from_bytes(*blob.as_bytes()))?;
        self.index.add_own(key, blob, size + trailer.len() as u64, size);
        self.uploads.hand_over(key, Body::File { file, bytes: size, trailer })?;
        self.needs.insert(key);
        add(&tally.moved, 1);
        Ok(())
    }

    /// Refuses content that is not what its name says.
    fn check(&self, blob: &BlobHash, found: BlobHash) -> Result<(), TransferError> {
        if *blob == found {
            return Ok(());
        }
        Err(self.local.damaged(blob))
    }

    /// The hash of a large content of `size` bytes, and the values of its groups.
    fn hash(
        &self,
        file: &File,
        size: u64,
    ) -> Result<(BlobHash, Option<GroupValues>), TransferError> {
        let (mut hasher, mut groups) = (blake3::Hasher::new(), GroupHasher::new(size));
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut done = 0;
        loop {
            self.watch.check()?;
            let read = file.read_at(&mut chunk, done).map_err(TransferError::local)?;
            if read == 0 {
                return Ok((hasher.finalize().into(), groups.finish()));
            }
            hasher.update(&chunk[..read]);
            groups.update(&chunk[..read]);
            done += read as u64;
        }
    }

    /// Whether the bucket has it, so that it is only to be named.
    fn is_there(&mut self, name: &BlobHash, bytes: u64) -> bool {
        match self.have.find(name) {
            Some(Found::Indexed { index, object }) => {
                self.needs.extend([index, object]);
                true
            }
            Some(Found::Unindexed(left)) if is_long_enough(&left, bytes) => {
                self.needs.insert(left.key);
                if self.left.insert(left.key) {
                    index_left(&mut self.index, &left, bytes);
                }
                true
            }
            Some(Found::Unindexed(_)) | None => false,
        }
    }

    fn writer(&mut self, kind: PackKind) -> &mut PackWriter {
        match kind {
            PackKind::Content => &mut self.contents,
            PackKind::Trees => &mut self.trees,
        }
    }

    fn put(&mut self, kind: PackKind, name: BlobHash, bytes: &[u8]) -> Result<(), TransferError> {
        if !self.writer(kind).has_room(bytes.len()) {
            self.end_pack(kind)?;
        }
        self.writer(kind).add(name, bytes);
        Ok(())
    }

    fn end_pack(&mut self, kind: PackKind) -> Result<(), TransferError> {
        let ended = std::mem::replace(self.writer(kind), PackWriter::new(kind));
        if ended.is_empty() {
            return Ok(());
        }
        let pack = ended.finish();
        let key = new_key(ObjectKind::Pack, pack.hash)?;
        self.index.add_pack(key, pack.bytes.len() as u64, &pack.entries);
        self.needs.insert(key);
        self.uploads.hand_over(key, Body::Memory(pack.bytes))?;
        if kind == PackKind::Content {
            add(&self.watch.tally().moved, pack.entries.len() as u64);
        }
        Ok(())
    }
}

/// Whether an object that no index names can be used for a content of so many bytes: one of a single content must be as long, with
/// or without the values of its groups; the list of a pack was checked when it was read.
fn is_long_enough(left: &Unindexed, bytes: u64) -> bool {
    left.key.kind == ObjectKind::Pack
        || [bytes, bytes + trailer_bytes(bytes)].contains(&left.object_bytes)
}

/// A page's name among the names of all that is in a bucket.
fn object_name(hash: &TreeHash) -> BlobHash {
    BlobHash::from_bytes(*hash.as_bytes())
}

/// The first `size` bytes of a small content: all of them, or its hash will be another one.
fn read_small(file: &File, size: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
