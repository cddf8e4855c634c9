//! Pushes into buckets in memory: what is named, what is uploaded again, and what is merged (H46, H47, H50, H52).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::bucket::groups::GroupValues;
use crate::bucket::index::Index;
use crate::bucket::memory::{Fault, Memory, Operation};
use crate::bucket::transfer::TransferTally;
use crate::model::digest::Sha256;
use crate::model::name::EntryName;
use crate::model::tree::{Attributes, Content, Entry};
use crate::model::tree_format::build;

/// A store in memory. Content whose bytes are not there is absent.
#[derive(Default)]
struct Here {
    pages: BTreeMap<TreeHash, Arc<TreePage>>,
    blobs: BTreeMap<BlobHash, Arc<File>>,
    digests: BTreeMap<Sha256, BlobHash>,
}

impl Local for Here {
    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, TransferError> {
        Ok(Arc::clone(&self.pages[hash]))
    }

    fn blob(&self, name: &ContentName) -> Result<Option<BlobHash>, TransferError> {
        Ok(match name {
            ContentName::Blake3(blob) => Some(*blob),
            ContentName::Sha256(digest) => self.digests.get(digest).copied(),
        })
    }

    fn fetch(&self, name: &ContentName) -> Result<BlobHash, TransferError> {
        Err(TransferError::NotIndexed(*name))
    }

    fn open(&self, _: &ContentName, blob: &BlobHash) -> Result<Arc<File>, TransferError> {
        Ok(Arc::clone(&self.blobs[blob]))
    }

    fn damaged(&self, _blob: &BlobHash) -> TransferError {
        TransferError::Local("damaged".into())
    }
}

fn attributes() -> Attributes {
    Attributes { mode: 0o755, uid: 1, gid: 2, mtime: Default::default(), xattrs: BTreeMap::new() }
}

impl Here {
    /// A version with these files, which are named by BLAKE3 or, where asked for, by SHA-256.
    fn version(&mut self, files: &BTreeMap<String, Vec<u8>>, declared: bool) -> Root {
        let entries = files.iter().map(|(name, bytes)| {
            let blob = BlobHash::of(bytes);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            self.blobs.insert(blob, Arc::new(file));
            self.digests.insert(Sha256::of(bytes), blob);
            let named = if declared { Sha256::of(bytes).into() } else { ContentName::from(blob) };
            let content = Content::File { size: bytes.len() as u64, blob: Some(named) };
            let name = EntryName::new(name.as_bytes()).unwrap();
            Entry { name, attributes: attributes(), link_group: None, content }
        });
        let built = build(entries.collect::<Vec<_>>()).unwrap();
        for (hash, bytes) in built.pages {
            self.pages.insert(hash, Arc::new(TreePage::parse(bytes).unwrap()));
        }
        Root { attributes: attributes(), tree: built.root, summary: built.summary }
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Pushes one version, as one command does. Returns what it needs.
fn push(
    store: &dyn ObjectStore,
    here: &Here,
    root: &Root,
    newest: Option<&Uses>,
    refused: &BTreeSet<ObjectKey>,
) -> Result<Uses, TransferError> {
    push_trusting(store, here, root, (newest, None), refused)
}

/// The same, where only indexes count that the `trusted` lists name.
fn push_trusting(
    store: &dyn ObjectStore,
    here: &Here,
    root: &Root,
    (newest, trusted): (Option<&Uses>, Option<&[ObjectKey]>),
    refused: &BTreeSet<ObjectKey>,
) -> Result<Uses, TransferError> {
    let (stop, tally) = (AtomicBool::new(false), TransferTally::default());
    let watch = Watch::new(&stop, &tally, None);
    let newest = newest.map(|uses| uses.lists[0]);
    let is_refused = |key: &ObjectKey| refused.contains(key);
    let mut push = Push::begin(store, &watch, newest.as_ref(), trusted, &is_refused)?;
    Ok(push.version(here, root)?.1)
}

fn count(uses: &Uses, kind: ObjectKind) -> usize {
    uses.keys.iter().filter(|key| key.kind == kind).count()
}

fn of_kind(store: &Memory, kind: ObjectKind) -> usize {
    store.keys().iter().filter(|key| key.starts_with(kind.directory())).count()
}

fn files(count: u64, length: usize) -> BTreeMap<String, Vec<u8>> {
    (0..count).map(|number| (format!("{number:03}"), noise(number, length))).collect()
}

#[test]
fn h46_a_push_that_fails_at_any_write_is_finished_without_writing_that_again() {
    let mut here = Here::default();
    let mut all = files(30, 1000);
    all.insert("large".to_owned(), noise(99, 9 << 20));
    let root = here.version(&all, false);
    for failing in 0.. {
        let store = Memory::default();
        let writes = AtomicUsize::new(0);
        let bad = store.with_faults(Box::new(move |operation| match operation {
            Operation::Put(_) if writes.fetch_add(1, Ordering::Relaxed) == failing => {
                Fault::AnswerLost
            }
            _ => Fault::None,
        }));
        let first = push(&bad, &here, &root, None, &BTreeSet::new());
        let uses = push(&store, &here, &root, None, &BTreeSet::new()).unwrap();
        assert_eq!((of_kind(&store, ObjectKind::Pack), of_kind(&store, ObjectKind::Blob)), (2, 1));
        assert_eq!((count(&uses, ObjectKind::Pack), count(&uses, ObjectKind::Blob)), (2, 1));
        assert!(uses.needs().all(|key| store.has(&key.to_string())));
        if first.is_ok() {
            assert_eq!(failing, 5, "two packs, a content, an index, a list");
            break;
        }
    }
}

#[test]
fn l4_a_large_content_is_uploaded_with_the_values_of_its_groups() {
    let mut here = Here::default();
    let large = noise(99, (9 << 20) + 5);
    let root = here.version(&BTreeMap::from([("large".to_owned(), large.clone())]), false);
    let store = Memory::default();
    let uses = push(&store, &here, &root, None, &BTreeSet::new()).unwrap();
    let of = |kind| uses.keys.iter().find(|key| key.kind == kind).unwrap().to_string();
    let object = store.get(&of(ObjectKind::Blob)).unwrap().unwrap();
    let (content, trailer) = object.split_at(large.len());
    assert!(content == large);
    let name = BlobHash::of(&large);
    assert!(GroupValues::parse(trailer, &name, large.len() as u64).is_ok());
    let index = Index::parse(&store.get(&of(ObjectKind::Index)).unwrap().unwrap()).unwrap();
    let found = index.find(&name).unwrap();
    assert_eq!(found.object_bytes, object.len() as u64);
    assert_eq!(found.content_bytes(), large.len() as u64);
}

#[test]
fn h47_what_a_mark_names_is_uploaded_under_another_key() {
    let mut here = Here::default();
    let root = here.version(&files(5, 1000), false);
    let store = Memory::default();
    let first = push(&store, &here, &root, None, &BTreeSet::new()).unwrap();
    let refused: BTreeSet<ObjectKey> = first.needs().copied().collect();
    let second = push(&store, &here, &root, Some(&first), &refused).unwrap();
    assert!(second.needs().all(|key| !refused.contains(key)));
    let again = push(&store, &here, &root, None, &BTreeSet::new()).unwrap();
    assert_eq!(of_kind(&store, ObjectKind::Pack), 4, "{again:?}");
}

#[test]
fn h51_where_events_are_signed_what_no_version_leads_to_is_not_used() {
    let (mut here, store) = (Here::default(), Memory::default());
    let mut all = files(5, 1000);
    let root = here.version(&all, false);
    // A stranger's: all of it could be lies.
    push(&store, &here, &root, None, &BTreeSet::new()).unwrap();
    let nobody = BTreeSet::new();
    let first = push_trusting(&store, &here, &root, (None, Some(&[])), &nobody).unwrap();
    assert_eq!(of_kind(&store, ObjectKind::Pack), 4, "uploaded again");
    let lists = [first.lists[0]];
    let trusted = Some(lists.as_slice());
    let again = push_trusting(&store, &here, &root, (Some(&first), trusted), &nobody).unwrap();
    assert_eq!(of_kind(&store, ObjectKind::Pack), 4, "it is of a version that is believed");
    assert_eq!(again.keys, first.keys);
    all.insert("more".to_owned(), noise(7, 1000));
    let root = here.version(&all, false);
    push_trusting(&store, &here, &root, (Some(&first), trusted), &nobody).unwrap();
    assert_eq!(of_kind(&store, ObjectKind::Pack), 6);
}

/// What was just uploaded is known: a push of many versions does not read their lists again.
#[test]
fn d1_a_push_of_several_versions_reads_no_list_that_it_wrote() {
    let (mut here, store) = (Here::default(), Memory::default());
    let reads = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&reads);
    let counting = store.with_faults(Box::new(move |operation| {
        let is_list = |key: &str| key.starts_with(ObjectKind::Uses.directory());
        if matches!(operation, Operation::Get(key) if is_list(key)) {
            seen.fetch_add(1, Ordering::Relaxed);
        }
        Fault::None
    }));
    let (stop, tally) = (AtomicBool::new(false), TransferTally::default());
    let watch = Watch::new(&stop, &tally, None);
    let mut push = Push::begin(&counting, &watch, None, None, &|_| false).unwrap();
    let mut all = files(30, 10_000);
    for number in 0..5 {
        all.insert("changing".to_owned(), noise(1000 + number, 1000));
        let root = here.version(&all, false);
        let (key, uses) = push.version(&here, &root).unwrap();
        let read = read_uses(&store, &watch, &key).unwrap();
        assert_eq!(uses, read, "it is what a reader finds");
        push.published(uses);
    }
    assert_eq!(reads.load(Ordering::Relaxed), 0);
}

#[test]
fn h50_many_indexes_become_one() {
    let (mut here, store) = (Here::default(), Memory::default());
    let (mut all, mut newest) = (files(3, 1000), None);
    for number in 0..20 {
        all.insert("changing".to_owned(), noise(1000 + number, 1000));
        let root = here.version(&all, false);
        let uses = push(&store, &here, &root, newest.as_ref(), &BTreeSet::new()).unwrap();
        assert!(count(&uses, ObjectKind::Index) < 8, "{number}");
        assert!(uses.needs().all(|key| store.has(&key.to_string())));
        newest = Some(uses);
    }
}

#[test]
fn h50_small_packs_are_merged_once_they_make_a_full_one() {
    let (mut here, store) = (Here::default(), Memory::default());
    let (mut all, mut newest) = (BTreeMap::new(), None);
    let mut most = 0;
    for number in 0..40 {
        all.insert(format!("{number:03}"), noise(number, 1_000_000));
        let root = here.version(&all, false);
        let uses = push(&store, &here, &root, newest.as_ref(), &BTreeSet::new()).unwrap();
        most = most.max(count(&uses, ObjectKind::Pack));
        newest = Some(uses);
    }
    let packs = count(&newest.unwrap(), ObjectKind::Pack);
    assert!(most > 30 && packs < 20, "{packs} packs, {most} before");
}

#[test]
fn h52_what_is_absent_here_is_named_if_the_bucket_has_it() {
    let store = Memory::default();
    let (mut whole, mut lazy) = (Here::default(), Here::default());
    let all = files(5, 1000);
    let root = whole.version(&all, true);
    lazy.version(&all, true);
    lazy.digests.clear();
    lazy.blobs.clear();
    let missing = push(&store, &lazy, &root, None, &BTreeSet::new()).unwrap_err();
    assert!(matches!(missing, TransferError::NotIndexed(_)), "it would be fetched: {missing}");
    let first = push(&store, &whole, &root, None, &BTreeSet::new()).unwrap();
    let second = push(&store, &lazy, &root, None, &BTreeSet::new()).unwrap();
    assert_eq!(second.keys, first.keys);
}

#[test]
fn r6_content_that_is_damaged_here_is_not_uploaded() {
    for length in [1000, 9 << 20] {
        let (mut here, store) = (Here::default(), Memory::default());
        let root = here.version(&[("a".to_owned(), noise(1, length))].into(), false);
        let mut wrong = tempfile::tempfile().unwrap();
        wrong.write_all(&noise(2, length)).unwrap();
        here.blobs.insert(BlobHash::of(&noise(1, length)), Arc::new(wrong));
        let refused = push(&store, &here, &root, None, &BTreeSet::new()).unwrap_err();
        assert_eq!(refused.to_string(), "damaged");
        assert_eq!(of_kind(&store, ObjectKind::Blob), 0);
        assert_eq!(of_kind(&store, ObjectKind::Uses), 0);
    }
}
