//! Pulls from buckets in memory that are whole, and from those that lie (H51, H54).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::bucket::index::IndexBuilder;
use crate::bucket::key::Nonce;
use crate::bucket::memory::Memory;
use crate::bucket::pack::{PackEntry, PackKind, PackWriter};
use crate::bucket::transfer::TransferTally;
use crate::bucket::uses::encode;
use crate::model::hash::ObjectHash;
use crate::model::name::EntryName;
use crate::model::tree::{Attributes, Content, Entry};
use crate::model::tree_format::{BuiltTree, Reference, build};

/// A store in memory.
#[derive(Default)]
struct Here {
    pages: Mutex<HashMap<TreeHash, Vec<u8>>>,
    blobs: Mutex<BTreeMap<BlobHash, Vec<u8>>>,
    digests: Mutex<Vec<(Sha256, BlobHash)>>,
    places: Mutex<Vec<Placed>>,
    depth: Depth,
}

impl Destination for Here {
    type Large = Vec<u8>;

    fn hold_trees(&self, trees: &[TreeHash]) -> Result<Vec<bool>, TransferError> {
        let pages = self.pages.lock();
        Ok(trees.iter().map(|tree| pages.contains_key(tree)).collect())
    }

    fn page(&self, hash: &TreeHash) -> Result<Option<Arc<TreePage>>, TransferError> {
        let page = self.pages.lock().get(hash).cloned();
        Ok(page.map(|bytes| Arc::new(TreePage::parse(bytes).unwrap())))
    }

    fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>, TransferError> {
        let digests = self.digests.lock();
        Ok(digests.iter().find(|(known, _)| known == digest).map(|(_, blob)| *blob))
    }

    fn hold(&self, blobs: Vec<BlobHash>) -> Result<Vec<Option<u64>>, TransferError> {
        let stored = self.blobs.lock();
        Ok(blobs.iter().map(|blob| stored.get(blob).map(|bytes| bytes.len() as u64)).collect())
    }

    fn large(&self) -> Result<Vec<u8>, TransferError> {
        Ok(Vec::new())
    }

    fn keep_large(&self, name: &BlobHash, bytes: u64, file: Vec<u8>) -> Result<(), TransferError> {
        assert_eq!(file.len() as u64, bytes);
        self.keep(name, &file)
    }

    fn keep(&self, name: &BlobHash, content: &[u8]) -> Result<(), TransferError> {
        assert_eq!(BlobHash::of(content), *name, "a wrong byte is never kept");
        self.blobs.lock().insert(*name, content.to_vec());
        Ok(())
    }

    fn settle(&self) -> Result<(), TransferError> {
        Ok(())
    }

    fn note_places(&self, places: &[Placed], of: PlacesOf) -> Result<(), TransferError> {
        if of == PlacesOf::Held {
            return Ok(());
        }
        assert_eq!(of == PlacesOf::Absent, self.depth == Depth::Names);
        self.places.lock().extend(places);
        Ok(())
    }

    fn note_digests(&self, digests: Vec<(Sha256, BlobHash)>) -> Result<(), TransferError> {
        for (digest, blob) in &digests {
            assert_eq!(Sha256::of(&self.blobs.lock()[blob]), *digest);
        }
        self.digests.lock().extend(digests);
        Ok(())
    }

    fn keep_pages(&self, some: Vec<(TreeHash, Vec<u8>)>) -> Result<(), TransferError> {
        let mut pages = self.pages.lock();
        for (hash, bytes) in some {
            let page = TreePage::parse(bytes.clone()).unwrap();
            for reference in page.references() {
                let is_there = match reference {
                    Reference::Tree(tree) => pages.contains_key(&tree),
                    Reference::Blob(ContentName::Blake3(blob)) => {
                        self.blobs.lock().contains_key(&blob)
                    }
                    Reference::Blob(ContentName::Sha256(digest)) => {
                        self.blob_of(&digest).unwrap().is_some()
                    }
                };
                let is_placed = |name| self.places.lock().iter().any(|placed| placed.name == name);
                let is_absent = match reference {
                    Reference::Blob(name) => self.depth == Depth::Names && is_placed(name),
                    Reference::Tree(_) => false,
                };
                assert!(is_there || is_absent, "what a page names comes before it");
            }
            pages.insert(hash, bytes);
        }
        Ok(())
    }
}

fn attributes() -> Attributes {
    Attributes { mode: 0o755, uid: 1, gid: 2, mtime: Default::default(), xattrs: BTreeMap::new() }
}

fn entry(name: &str, content: Content) -> Entry {
    let name = EntryName::new(name.as_bytes()).unwrap();
    Entry { name, attributes: attributes(), link_group: None, content }
}

fn file(name: &str, size: usize, content: impl Into<ContentName>) -> Entry {
    entry(name, Content::File { size: size as u64, blob: Some(content.into()) })
}

fn directory(name: &str, built: &BuiltTree) -> Entry {
    entry(name, Content::Directory { tree: built.root, summary: built.summary })
}

fn root(built: &BuiltTree) -> Root {
    Root { attributes: attributes(), tree: built.root, summary: built.summary }
}

fn key(kind: ObjectKind, bytes: &[u8], nonce: u8) -> ObjectKey {
    ObjectKey { kind, hash: ObjectHash::of(bytes), nonce: Nonce::from_bytes([nonce; 16]) }
}

/// A bucket being made by hand.
#[derive(Default)]
struct Maker {
    store: Memory,
    uses: BTreeSet<ObjectKey>,
    nonce: u8,
}

impl Maker {
    fn put(&mut self, kind: ObjectKind, bytes: &[u8]) -> ObjectKey {
        self.nonce += 1;
        let key = key(kind, bytes, self.nonce);
        self.store.put(&key.to_string(), bytes).unwrap();
        if kind != ObjectKind::Uses {
            self.uses.insert(key);
        }
        key
    }

    /// Uploads a pack, and adds to the index what `lie` makes of its entries.
    fn pack<'a>(
        &mut self,
        index: &mut IndexBuilder,
        kind: PackKind,
        contents: impl IntoIterator<Item = &'a [u8]>,
        lie: impl Fn(&mut PackEntry),
    ) -> ObjectKey {
        let mut writer = PackWriter::new(kind);
        contents.into_iter().for_each(|bytes| writer.add(BlobHash::of(bytes), bytes));
        let pack = writer.finish();
        let key = self.put(ObjectKind::Pack, &pack.bytes);
        let mut entries = pack.entries;
        entries.iter_mut().for_each(lie);
        index.add_pack(key, pack.bytes.len() as u64, &entries);
        key
    }

    fn trees(&mut self, index: &mut IndexBuilder, trees: &[&BuiltTree]) {
        let pages = trees.iter().flat_map(|tree| &tree.pages).map(|(_, bytes)| bytes.as_slice());
        let pages: BTreeSet<&[u8]> = pages.collect();
        self.pack(index, PackKind::Trees, pages, |_| ());
    }

    fn index(&mut self, index: IndexBuilder) {
        for bytes in index.finish() {
            self.put(ObjectKind::Index, &bytes);
        }
    }

    fn pull_into(&mut self, here: &Here, root: &Root) -> Result<(), TransferError> {
        let (bytes, _) = encode(&self.uses, None);
        let uses = self.put(ObjectKind::Uses, &bytes);
        let (stop, tally) = (AtomicBool::new(false), TransferTally::default());
        let watch = Watch::new(&stop, &tally, None);
        Catalog::new(&self.store, &watch).fetch(here, &uses, root, here.depth)
    }

    /// What a pull is refused with; it keeps no page.
    fn refused(&mut self, root: &Root) -> String {
        let here = Here::default();
        let error = self.pull_into(&here, root).unwrap_err();
        assert!(here.pages.lock().is_empty(), "no page names what is not there");
        error.to_string()
    }
}

/// A version of two small files, one of which was declared by its SHA-256.
fn version() -> (BuiltTree, [Vec<u8>; 2]) {
    let contents = [b"one".to_vec(), b"two".repeat(1000)];
    let below = build([file("b", contents[1].len(), Sha256::of(&contents[1]))]).unwrap();
    let top = [file("a", 3, BlobHash::of(&contents[0])), directory("d", &below)];
    let mut top = build(top).unwrap();
    top.pages.splice(0..0, below.pages);
    (top, contents)
}

#[test]
fn d4_a_version_is_pulled_whole_and_once() {
    let (tree, contents) = version();
    let mut bucket = Maker::default();
    let mut index = IndexBuilder::default();
    bucket.trees(&mut index, &[&tree]);
    bucket.pack(&mut index, PackKind::Content, contents.iter().map(Vec::as_slice), |_| ());
    index.add_digest(Sha256::of(&contents[1]), BlobHash::of(&contents[1]));
    bucket.index(index);
    let here = Here::default();
    bucket.pull_into(&here, &root(&tree)).unwrap();
    assert_eq!((here.pages.lock().len(), here.blobs.lock().len()), (2, 2));
    // Nothing is asked for again but lists.
    bucket.uses.retain(|key| key.kind == ObjectKind::Index);
    let keys = bucket.store.keys().into_iter();
    let packs: Vec<_> = keys.filter(|key| key.starts_with("packs/")).collect();
    bucket.store.delete(&packs).unwrap();
    bucket.pull_into(&here, &root(&tree)).unwrap();
}

#[test]
fn l3_where_contents_are_is_noted_and_none_of_them_is_fetched() {
    let (tree, contents) = version();
    let mut bucket = Maker::default();
    let mut index = IndexBuilder::default();
    bucket.trees(&mut index, &[&tree]);
    let bytes = contents.iter().map(Vec::as_slice);
    let pack = bucket.pack(&mut index, PackKind::Content, bytes, |_| ());
    index.add_digest(Sha256::of(&contents[1]), BlobHash::of(&contents[1]));
    bucket.index(index);
    let packed = bucket.store.get(&pack.to_string()).unwrap().unwrap();
    bucket.store.delete(&[pack.to_string()]).unwrap();
    let here = Here { depth: Depth::Names, ..Here::default() };
    bucket.pull_into(&here, &root(&tree)).unwrap();
    assert_eq!((here.pages.lock().len(), here.blobs.lock().len()), (2, 0));
    bucket.store.put(&pack.to_string(), &packed).unwrap();
    let places = here.places.lock();
    let names: Vec<ContentName> = places.iter().map(|placed| placed.name).collect();
    assert_eq!(names, [BlobHash::of(&contents[0]).into(), Sha256::of(&contents[1]).into()]);
    let entries: Vec<_> = places.iter().map(|placed| (placed.blob, placed.location)).collect();
    let (stop, tally) = (AtomicBool::new(false), TransferTally::default());
    let watch = Watch::new(&stop, &tally, None);
    let fetched = fetch_entries(&bucket.store, &watch, &entries).unwrap();
    let fetched: Vec<_> = fetched.into_iter().map(|content| content.unwrap()).collect();
    assert_eq!(fetched, contents, "one request brings both");
}

#[test]
fn h51_a_place_that_is_a_lie_is_refused_unless_another_index_knows_better() {
    let (tree, contents) = version();
    let mut bucket = Maker::default();
    let mut index = IndexBuilder::default();
    bucket.trees(&mut index, &[&tree]);
    let lie = |entry: &mut PackEntry| entry.offset += 1;
    bucket.pack(&mut index, PackKind::Content, contents.iter().map(Vec::as_slice), lie);
    index.add_digest(Sha256::of(&contents[1]), BlobHash::of(&contents[1]));
    bucket.index(index);
    let refused = bucket.refused(&root(&tree));
    assert!(refused.contains("does not have what an index says of"), "{refused}");
    let mut right = IndexBuilder::default();
    bucket.pack(&mut right, PackKind::Content, contents.iter().map(Vec::as_slice), |_| ());
    bucket.index(right);
    bucket.pull_into(&Here::default(), &root(&tree)).unwrap();
}

#[test]
fn h51_a_digest_that_is_a_lie_is_refused() {
    let (tree, contents) = version();
    let other = b"toe".repeat(1000);
    let mut bucket = Maker::default();
    let mut index = IndexBuilder::default();
    bucket.trees(&mut index, &[&tree]);
    let packed = [&contents[0][..], &other];
    bucket.pack(&mut index, PackKind::Content, packed, |_| ());
    index.add_digest(Sha256::of(&contents[1]), BlobHash::of(&other));
    bucket.index(index);
    let refused = bucket.refused(&root(&tree));
    assert!(refused.ends_with("have another SHA-256"), "{refused}");
}

#[test]
fn h54_a_zstd_bomb_is_refused() {
    let content = vec![7; 100_000];
    let tree = build([file("a", content.len(), BlobHash::of(&content))]).unwrap();
    let mut bucket = Maker::default();
    let mut index = IndexBuilder::default();
    bucket.trees(&mut index, &[&tree]);
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    let object = bucket.put(ObjectKind::Pack, &bomb);
    let stored_bytes = u32::try_from(bomb.len()).unwrap();
    let name = BlobHash::of(&content);
    let entry = PackEntry { name, offset: 0, stored_bytes, bytes: 100_000 };
    index.add_pack(object, bomb.len() as u64, &[entry]);
    bucket.index(index);
    let refused = bucket.refused(&root(&tree));
    assert!(refused.contains("cannot be unpacked into 100000 bytes"), "{refused}");
}

#[test]
fn h54_lengths_and_totals_that_are_lies_are_refused() {
    let content = b"content".to_vec();
    for (size, add, words) in [
        (8, 0, "has 7 bytes, and a directory says 8"),
        (7, 1, "does not hold what the page above it says"),
    ] {
        let tree = build([file("a", size, BlobHash::of(&content))]).unwrap();
        let mut bucket = Maker::default();
        let mut index = IndexBuilder::default();
        bucket.trees(&mut index, &[&tree]);
        bucket.pack(&mut index, PackKind::Content, [&content[..]], |_| ());
        bucket.index(index);
        let mut root = root(&tree);
        root.summary.bytes += add;
        let refused = bucket.refused(&root);
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn h54_directories_that_name_one_another_again_and_again_are_walked_once() {
    let content = b"x";
    let mut trees = vec![build([file("a", 1, BlobHash::of(content))]).unwrap()];
    for _ in 0..40 {
        let last = trees.last().unwrap();
        trees.push(build([directory("a", last), directory("b", last)]).unwrap());
    }
    let mut bucket = Maker::default();
    let mut index = IndexBuilder::default();
    bucket.trees(&mut index, &trees.iter().collect::<Vec<_>>());
    bucket.pack(&mut index, PackKind::Content, [&content[..]], |_| ());
    bucket.index(index);
    let here = Here::default();
    bucket.pull_into(&here, &root(trees.last().unwrap())).unwrap();
    assert_eq!(here.pages.lock().len(), 41);
}

#[test]
fn a_large_content_is_an_object_of_its_own() {
    let mut content = vec![0; 9 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    let tree = build([file("a", content.len(), Sha256::of(&content))]).unwrap();
    let mut bucket = Maker::default();
    let mut index = IndexBuilder::default();
    bucket.trees(&mut index, &[&tree]);
    let object = bucket.put(ObjectKind::Blob, &content);
    let bytes = content.len() as u64;
    index.add_own(object, BlobHash::of(&content), bytes, bytes);
    index.add_digest(Sha256::of(&content), BlobHash::of(&content));
    bucket.index(index);
    let here = Here::default();
    bucket.pull_into(&here, &root(&tree)).unwrap();
    assert_eq!(here.blobs.lock()[&BlobHash::of(&content)], content);
    let mut changed = content.clone();
    changed[8 << 20] ^= 1;
    bucket.store.put(&object.to_string(), &changed).unwrap();
    let refused = bucket.refused(&root(&tree));
    assert!(refused.ends_with("its bytes are not those of its name"), "{refused}");
}
