//! Directories of many pages: built, changed, compared, and read when pages are not what they
//! should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn::model::digest::Sha256;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::name::EntryName;
use cairn::model::tree::Entry;
use cairn::model::tree_format::{
    BuiltTree, TreeError, TreePage, TreeSource, apply, build, diff, diff_entries, entries,
    entries_after, entry_at, entry_count, is_canonical, lookup,
};

use super::input::Input;
use super::{Target, page};

pub(crate) const TARGET: Target = Target { run, seeds };

type Directory = BTreeMap<EntryName, Entry>;

/// Pages under names that need not be their hashes.
#[derive(Default)]
struct Pages(BTreeMap<TreeHash, Arc<TreePage>>);

impl Pages {
    fn add(&mut self, built: &BuiltTree) {
        for (hash, bytes) in &built.pages {
            self.0.insert(*hash, Arc::new(TreePage::parse(bytes.clone()).unwrap()));
        }
    }
}

impl TreeSource for Pages {
    type Error = TreeError;

    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, TreeError> {
        self.0.get(hash).cloned().ok_or_else(|| TreeError("there is no such page".to_owned()))
    }

    fn blob_of(&self, _: &Sha256) -> Result<Option<BlobHash>, TreeError> {
        Ok(None)
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut directory = Directory::new();
    let size = [0, 0, 0, 3, 20, 20, 300, 600][input.below(8)];
    for entry in page::entries(size) {
        directory.insert(entry.name.clone(), entry);
    }
    for _ in 0..input.below(16) {
        let name = input.name();
        directory.insert(name.clone(), input.entry(name));
    }
    let mut changes: BTreeMap<EntryName, Option<Entry>> = BTreeMap::new();
    for _ in 0..input.below(16) {
        let old = directory.keys().nth(input.below(directory.len().max(1)));
        let name = old.cloned().filter(|_| input.byte() < 0x90).unwrap_or_else(|| input.name());
        let entry = (input.byte() < 0x90).then(|| input.entry(name.clone()));
        changes.insert(name, entry);
    }

    let mut pages = Pages::default();
    let built = build(directory.values().cloned()).unwrap();
    pages.add(&built);
    check_reading(&pages, &built.root, &directory);
    check_changes(&mut pages, &built.root, &directory, &changes);
    damage(&mut pages, &built.root, &directory, &mut input, &changes);
}

fn check_reading(pages: &Pages, tree: &TreeHash, directory: &Directory) {
    let found: Vec<Entry> = entries(pages, tree, 0).map(Result::unwrap).collect();
    assert!(found.iter().eq(directory.values()));
    assert_eq!(entry_count(pages, tree), Ok(directory.len() as u64));
    assert_eq!(is_canonical(pages, tree), Ok(true));
    for (position, (name, entry)) in directory.iter().enumerate().step_by(37) {
        assert_eq!(lookup(pages, tree, name.as_bytes()).unwrap().as_ref(), Some(entry));
        let at = entry_at(pages, tree, position as u64).unwrap();
        assert_eq!(at.as_ref(), Some(entry));
        let next = entries_after(pages, tree, name.as_bytes()).next().map(Result::unwrap);
        assert_eq!(next.as_ref(), directory.values().nth(position + 1));
    }
    assert_eq!(entry_at(pages, tree, u64::MAX), Ok(None));
}

fn check_changes(
    pages: &mut Pages,
    tree: &TreeHash,
    directory: &Directory,
    changes: &BTreeMap<EntryName, Option<Entry>>,
) {
    let mut changed = directory.clone();
    for (name, entry) in changes {
        match entry {
            Some(entry) => changed.insert(name.clone(), entry.clone()),
            None => changed.remove(name),
        };
    }
    let applied = apply(&*pages, Some(tree), changes).unwrap();
    let expected = build(changed.values().cloned()).unwrap();
    assert_eq!((applied.root, applied.summary), (expected.root, expected.summary));
    pages.add(&applied);
    check_reading(pages, &applied.root, &changed);
    let mut differences = Vec::new();
    diff_entries(pages, Some(tree), Some(&applied.root), &mut |before, after| {
        differences.push((before, after));
    })
    .unwrap();
    let names =
        directory.keys().chain(changed.keys().filter(|name| !directory.contains_key(*name)));
    let expected = names.filter(|name| directory.get(*name) != changed.get(*name)).count();
    assert_eq!(differences.len(), expected);
    for (before, after) in differences {
        let name = &before.as_ref().or(after.as_ref()).unwrap().name;
        assert_eq!((before.as_ref(), after.as_ref()), (directory.get(name), changed.get(name)));
    }
}

/// Puts other pages in the place of some, and reads on.
fn damage(
    pages: &mut Pages,
    tree: &TreeHash,
    directory: &Directory,
    input: &mut Input<'_>,
    changes: &BTreeMap<EntryName, Option<Entry>>,
) {
    let hashes: Vec<TreeHash> = pages.0.keys().copied().collect();
    let mut damaged = false;
    while !input.is_empty() {
        let hash = &hashes[input.below(hashes.len())];
        let other = &hashes[input.below(hashes.len())];
        let mut bytes = pages.0[if input.byte() < 0x40 { other } else { hash }].bytes().to_vec();
        for _ in 0..input.byte() % 4 {
            let at = input.below(bytes.len());
            bytes[at] = input.byte();
        }
        if let Ok(page) = TreePage::parse(page::with_totals(bytes)) {
            damaged |= page.bytes() != pages.0[hash].bytes();
            pages.0.insert(*hash, Arc::new(page));
        }
    }
    let Ok(count) = entry_count(pages, tree) else { return };
    let limit = usize::try_from(count).unwrap_or(usize::MAX).min(100_000);
    let found: Result<Vec<Entry>, TreeError> = entries(pages, tree, 0).take(limit + 1).collect();
    if let Ok(found) = &found {
        assert_eq!(found.len() as u64, count);
    }
    // The name of a directory stands for what it holds, even if the pages are others meanwhile.
    if is_canonical(pages, tree) == Ok(true) {
        assert!(found.unwrap().iter().eq(directory.values()));
    } else {
        assert!(damaged);
    }
    for (position, name) in directory.keys().enumerate().step_by(97) {
        let _found = lookup(pages, tree, name.as_bytes());
        let _found = entry_at(pages, tree, position as u64);
        let _found = entries_after(pages, tree, name.as_bytes()).take(3).count();
    }
    let _built = apply(&*pages, Some(tree), changes);
    for other in hashes.iter().take(4) {
        let mut seen = 0;
        let _whole = diff_entries(pages, Some(tree), Some(other), &mut |_, _| seen += 1);
        let _whole = diff(pages, other, tree, &mut |_, _| seen += 1);
    }
}

/// Random decisions of several lengths: any bytes are a history.
fn seeds() -> Vec<Vec<u8>> {
    let stream = blake3::Hasher::new().finalize_xof();
    [0, 20, 100, 400, 1000]
        .iter()
        .map(|length| {
            let mut bytes = vec![0; *length];
            stream.clone().fill(&mut bytes);
            bytes
        })
        .collect()
}
