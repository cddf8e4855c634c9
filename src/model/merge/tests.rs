//! Rules one by one, and agreement with a merge of flat lists of paths.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::hash::BlobHash;
use crate::model::links::{GroupKey, Naming, walk};
use crate::model::time::Timestamp;
use crate::model::tree::{LinkGroup, Xattrs};
use crate::model::tree_format::{Change, MemoryTrees, build, diff, is_canonical};

/// Paths and what is there, spelled for tests: `a/b` → `text` a file of that content,
/// `d/` → `mode` a directory with that mode (others: 755). Directories come with their files.
type Flat = BTreeMap<String, String>;

fn flat(items: &[(&str, &str)]) -> Flat {
    items.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect()
}

fn attributes(mode: u16) -> Attributes {
    Attributes { mode, uid: 1, gid: 2, mtime: Timestamp::new(5, 0).unwrap(), xattrs: Xattrs::new() }
}

fn file(name: &str, text: &str) -> Entry {
    // `text#7` is one file with all others of that kind, `text@9` has the time 9.
    let (text, time) = text.split_once('@').unwrap_or((text, "5"));
    let text = text.split_once('#').map_or(text, |(text, _)| text);
    let mut attributes = attributes(0o644);
    attributes.mtime.seconds = time.parse().unwrap();
    Entry {
        name: EntryName::new(name.as_bytes()).unwrap(),
        attributes,
        link_group: None,
        content: Content::File { size: 9, blob: Some(BlobHash::of(text.as_bytes()).into()) },
    }
}

fn store(source: &mut MemoryTrees, items: &Flat) -> Root {
    let (mode, tree) = directory(source, items, "");
    Root { attributes: attributes(mode), tree: tree.root, summary: tree.summary }
}

/// The group of a name as a commit records it.
fn group(items: &Flat, path: &str, name: &str, what: &str) -> Option<LinkGroup> {
    let same = items.iter().filter(|(_, other)| *other == what);
    let paths: Vec<_> = same.map(|(path, _)| path.as_bytes().to_vec()).collect();
    let path = [path, name].concat();
    Naming::of(&paths).map(|naming| naming.group(path.as_bytes()))
}

fn directory(source: &mut MemoryTrees, items: &Flat, path: &str) -> (u16, BuiltTree) {
    let mut all = BTreeMap::new();
    let mut mode = 0o755;
    let below: Vec<_> =
        items.iter().filter_map(|(key, what)| Some((key.strip_prefix(path)?, what))).collect();
    for (rest, what) in below {
        let (name, deeper) = match rest.split_once('/') {
            Some((name, _)) => (name, true),
            None => (rest, false),
        };
        if name.is_empty() {
            mode = u16::from_str_radix(what, 8).unwrap();
            continue;
        }
        let mut entry = file(name, if deeper { "" } else { what });
        entry.link_group = what.contains('#').then(|| group(items, path, name, what)).flatten();
        if deeper {
            let (mode, built) = directory(source, items, &format!("{path}{name}/"));
            entry.attributes = attributes(mode);
            entry.link_group = None;
            entry.content = Content::Directory { tree: built.root, summary: built.summary };
        }
        all.insert(entry.name.clone(), entry);
    }
    let built = build(all.into_values()).unwrap();
    source.add(built.clone()).unwrap();
    (mode, built)
}

struct Outcome {
    source: MemoryTrees,
    merge: Merge,
}

fn merged(base: &Flat, ours: &Flat, theirs: &Flat) -> Outcome {
    let mut source = MemoryTrees::default();
    let roots = [base, ours, theirs].map(|items| store(&mut source, items));
    let merge = merge(&source, &roots[0], &roots[1], &roots[2]).unwrap();
    if let Merge::Merged(merged) = &merge {
        for (_, page) in &merged.pages {
            source.add_page(page.clone()).unwrap();
        }
        assert!(is_canonical(&source, &merged.root.tree).unwrap());
    }
    Outcome { source, merge }
}

fn conflicts(outcome: &Outcome) -> Vec<(String, Reason)> {
    match &outcome.merge {
        Merge::Merged(_) => Vec::new(),
        Merge::Conflicts(all) => all
            .iter()
            .map(|one| (String::from_utf8(one.path.clone()).unwrap(), one.reason))
            .collect(),
    }
}

#[track_caller]
fn assert_merges(
    base: &[(&str, &str)],
    ours: &[(&str, &str)],
    theirs: &[(&str, &str)],
    to: &[(&str, &str)],
) {
    for (ours, theirs) in [(ours, theirs), (theirs, ours)] {
        let mut outcome = merged(&flat(base), &flat(ours), &flat(theirs));
        assert_eq!(conflicts(&outcome), []);
        let expected = store(&mut outcome.source, &flat(to));
        let Merge::Merged(merged) = outcome.merge else { unreachable!("no conflicts") };
        assert_eq!(merged.root, expected);
    }
}

#[track_caller]
fn assert_conflicts(
    base: &[(&str, &str)],
    ours: &[(&str, &str)],
    theirs: &[(&str, &str)],
    expected: &[(&str, Reason)],
) {
    let outcome = merged(&flat(base), &flat(ours), &flat(theirs));
    let expected: Vec<_> =
        expected.iter().map(|(path, reason)| ((*path).to_owned(), *reason)).collect();
    assert_eq!(conflicts(&outcome), expected);
    // Whatever is a conflict is one from the other side as well.
    let exchanged = merged(&flat(base), &flat(theirs), &flat(ours));
    assert_eq!(conflicts(&exchanged).len(), expected.len());
}

#[test]
fn what_one_side_changed_wins() {
    let base = [("a", "1"), ("d/x", "1"), ("d/y", "1"), ("e/z", "1")];
    let same = &base[..];
    assert_merges(same, same, same, same);
    let added = [&base[..], &[("new/f", "2"), ("d/n", "2")]].concat();
    assert_merges(same, &added, same, &added);
    let removed = [("a", "1"), ("d/y", "1")];
    assert_merges(same, &removed, same, &removed);
    assert_merges(
        same,
        &[("a", "2"), ("d/x", "1"), ("d/y", "1"), ("e/z", "1")],
        &[("a", "1"), ("d/x", "3"), ("d/y", "1")],
        &[("a", "2"), ("d/x", "3"), ("d/y", "1")],
    );
    assert_merges(
        same,
        &[("a/was", "file"), ("d/x", "1"), ("d/y", "1"), ("e/z", "1")],
        &[("a", "1"), ("d/x", "3"), ("d/y", "1"), ("e", "file")],
        &[("a/was", "file"), ("d/x", "3"), ("d/y", "1"), ("e", "file")],
    );
}

#[test]
fn the_same_change_on_both_sides_is_no_conflict() {
    let base = [("a", "1"), ("d/x", "1")];
    assert_merges(
        &base,
        &[("a", "2"), ("n", "2")],
        &[("a", "2"), ("n", "2")],
        &[("a", "2"), ("n", "2")],
    );
    assert_merges(
        &base,
        &[("a", "2@7"), ("d/x", "1")],
        &[("a", "2@8"), ("d/x", "1")],
        &[("a", "2@8"), ("d/x", "1")],
    );
    assert_merges(&base, &[("a", "1")], &[("a", "1")], &[("a", "1")]);
    assert_merges(
        &base,
        &[("a", "1"), ("n/one", "1"), ("d/x", "1")],
        &[("a", "1"), ("n/two", "1"), ("d/x", "1")],
        &[("a", "1"), ("n/one", "1"), ("n/two", "1"), ("d/x", "1")],
    );
}

#[test]
fn directories_merge_their_attributes() {
    let base = [("d/", "755"), ("d/x", "1"), ("/", "755")];
    assert_merges(
        &base,
        &[("d/", "700"), ("d/x", "1"), ("/", "755")],
        &[("d/", "755"), ("d/x", "2"), ("/", "711")],
        &[("d/", "700"), ("d/x", "2"), ("/", "711")],
    );
    assert_conflicts(
        &base,
        &[("d/", "700"), ("d/x", "1"), ("/", "700")],
        &[("d/", "711"), ("d/x", "2"), ("/", "711")],
        &[("", Reason::DirectoryAttributes), ("d", Reason::DirectoryAttributes)],
    );
    assert_conflicts(
        &[],
        &[("n/", "700"), ("n/x", "1")],
        &[("n/", "755"), ("n/x", "2")],
        &[("n", Reason::DirectoryAttributes), ("n/x", Reason::BothAdded)],
    );
}

#[test]
fn a_removed_directory_stays_removed_unless_the_other_side_used_it() {
    let base = [("d/x", "1"), ("d/s/y", "1"), ("k", "1")];
    assert_merges(&base, &[("k", "1")], &[("d/x", "1"), ("k", "1")], &[("k", "1")]);
    assert_conflicts(
        &base,
        &[("k", "1")],
        &[("d/x", "1"), ("d/s/y", "2"), ("d/s/n/m", "1"), ("k", "2")],
        &[("d/s/n", Reason::DirectoryRemoved(Side::Ours)), ("d/s/y", Reason::Removed(Side::Ours))],
    );
    assert_conflicts(
        &base,
        &[("d/x", "2"), ("d/n", "1"), ("d/s/y", "1"), ("k", "1")],
        &[("k", "1")],
        &[("d/n", Reason::DirectoryRemoved(Side::Theirs)), ("d/x", Reason::Removed(Side::Theirs))],
    );
    assert_conflicts(
        &base,
        &[("k", "1")],
        &[("d/", "700"), ("d/x", "1"), ("d/s/y", "1"), ("k", "1")],
        &[("d", Reason::Removed(Side::Ours))],
    );
}

#[test]
fn different_changes_of_a_name_are_conflicts() {
    let base = [("a", "1"), ("b", "1"), ("d/x", "1")];
    assert_conflicts(
        &base,
        &[("a", "2"), ("d/x", "1"), ("n", "2")],
        &[("a", "3"), ("b", "2"), ("d/x", "1"), ("n", "3")],
        &[("a", Reason::BothChanged), ("b", Reason::Removed(Side::Ours)), ("n", Reason::BothAdded)],
    );
    assert_conflicts(
        &base,
        &[("a/new", "1"), ("b", "1"), ("d", "file")],
        &[("a", "2"), ("b", "1"), ("d/x", "2")],
        &[("a", Reason::DirectoryOnly(Side::Ours)), ("d", Reason::DirectoryOnly(Side::Theirs))],
    );
}

/// The paths of each group; asserts that they are as many as the group says, and named as a commit
/// names them.
fn groups(outcome: &Outcome) -> Vec<Vec<String>> {
    let Merge::Merged(merged) = &outcome.merge else { panic!("{:?}", outcome.merge) };
    let mut groups: BTreeMap<GroupKey, Vec<Vec<u8>>> = BTreeMap::new();
    let mut found = Vec::new();
    walk(&outcome.source, &merged.root.tree, &mut |path, entry| {
        groups.entry(GroupKey::of(path, entry).unwrap()).or_default().push(path.to_vec());
        found.push((path.to_vec(), entry.link_group));
    })
    .unwrap();
    let mut names: Vec<Vec<Vec<u8>>> = groups.into_values().collect();
    names.iter_mut().for_each(|paths| paths.sort());
    names.sort();
    for (path, group) in found {
        let paths = names.iter().find(|paths| paths.contains(&path)).unwrap();
        assert_eq!(group, Naming::of(paths).map(|naming| naming.group(&path)));
    }
    let text = |path: Vec<u8>| String::from_utf8(path).unwrap();
    names.into_iter().map(|paths| paths.into_iter().map(text).collect()).collect()
}

#[test]
fn names_that_one_side_linked_stay_linked() {
    let base = flat(&[("a", "1#7"), ("b", "1#7")]);
    // The name that comes first gives the group another id, which the other side does not know.
    let ours = flat(&[("0", "1#7"), ("a", "1#7"), ("b", "1#7"), ("o", "2#8"), ("p", "2#8")]);
    let theirs = flat(&[("a", "1#7"), ("b", "1#7"), ("d/t", "1#7"), ("u", "2#8"), ("v", "2#8")]);
    let outcome = merged(&base, &ours, &theirs);
    let expected: [&[&str]; 3] = [&["0", "a", "b", "d/t"], &["o", "p"], &["u", "v"]];
    assert_eq!(groups(&outcome), expected);
}

/// Each side renamed one directory, so that the result has its tree twice.
#[test]
fn a_directory_that_both_renamed_has_files_of_its_own_in_each_place() {
    let base = flat(&[("d/a", "1#7"), ("d/b", "1#7"), ("x", "1")]);
    let ours = flat(&[("e/a", "1#7"), ("e/b", "1#7"), ("x", "1")]);
    let theirs = flat(&[("f/a", "1#7"), ("f/b", "1#7"), ("x", "1")]);
    let outcome = merged(&base, &ours, &theirs);
    let expected: [&[&str]; 2] = [&["e/a", "e/b"], &["f/a", "f/b"]];
    assert_eq!(groups(&outcome), expected);
}

/// A group that reaches out of the moved directory holds its names in both places together.
#[test]
fn a_name_outside_of_a_directory_that_both_renamed_joins_the_two() {
    let base = flat(&[("d/a", "1#7"), ("z", "1#7")]);
    let ours = flat(&[("e/a", "1#7"), ("z", "1#7")]);
    let theirs = flat(&[("f/a", "1#7"), ("z", "1#7")]);
    assert_eq!(groups(&merged(&base, &ours, &theirs)), [["e/a", "f/a", "z"]]);
}

/// Theirs made one name a file of its own, with the same content: it does not come back.
#[test]
fn a_link_that_one_side_broke_stays_broken() {
    let base = flat(&[("a", "1#7"), ("b", "1#7"), ("c", "1#7"), ("x", "1")]);
    let ours = flat(&[("a", "1#7"), ("b", "1#7"), ("c", "1#7"), ("x", "2")]);
    let theirs = flat(&[("a", "1"), ("b", "1#7"), ("c", "1#7"), ("x", "1")]);
    assert_eq!(groups(&merged(&base, &ours, &theirs)), [["b", "c"]]);
}

/// Ours touched the file, theirs gave it a name, which has the older time: it is another file then.
#[test]
fn a_group_of_one_name_is_none() {
    let base = flat(&[("a", "1#7"), ("b", "1#7")]);
    let ours = flat(&[("a", "1#7@9"), ("b", "1#7@9")]);
    let theirs = flat(&[("a", "1#7"), ("b", "1#7"), ("c", "1#7")]);
    assert_eq!(groups(&merged(&base, &ours, &theirs)), [["a", "b"]]);
}

fn arbitrary_flat() -> impl Strategy<Value = Flat> {
    prop::collection::btree_map("[ab](/[ab](/[ab])?)?", "[12]", 0..8).prop_map(without_overlaps)
}

/// Drops paths below which there are others.
fn without_overlaps(items: Flat) -> Flat {
    let keys: BTreeSet<String> = items.keys().cloned().collect();
    let is_directory = |path: &str| keys.iter().any(|key| key.starts_with(&format!("{path}/")));
    items.into_iter().filter(|(path, _)| !is_directory(path)).collect()
}

fn edited(base: &Flat, edits: &Flat, removed: &BTreeSet<String>) -> Flat {
    let mut items = base.clone();
    items.extend(edits.clone());
    items.retain(|path, _| !removed.contains(path));
    without_overlaps(items)
}

prop_compose! {
    fn histories()(
        base in arbitrary_flat(),
        edits in [arbitrary_flat(), arbitrary_flat()],
        removed in prop::array::uniform2(prop::collection::btree_set("[ab](/[ab](/[ab])?)?", 0..5)),
    ) -> (Flat, Flat, Flat) {
        let ours = edited(&base, &edits[0], &removed[0]);
        let theirs = edited(&base, &edits[1], &removed[1]);
        (base, ours, theirs)
    }
}

/// All that is in a tree, by path.
fn listing(source: &MemoryTrees, tree: &TreeHash) -> BTreeMap<Vec<u8>, Entry> {
    let mut source = Overlay::new(source);
    let empty = source.add(build([]).unwrap()).unwrap();
    let mut all = BTreeMap::new();
    let list = &mut |directory: &[u8], change| {
        let Change::Added(entry) = change else { panic!("the first tree is empty") };
        let mut path = directory.to_vec();
        push_name(&mut path, &entry.name);
        all.insert(path, entry);
    };
    diff(&source, &empty, tree, list).unwrap();
    all
}

/// The files of a tree, by path.
fn files(source: &MemoryTrees, tree: &TreeHash) -> BTreeMap<Vec<u8>, Entry> {
    let mut all = listing(source, tree);
    all.retain(|_, entry| tree_of(Some(entry)).is_none());
    all
}

proptest! {
    #[test]
    fn merging_with_the_base_gives_the_other_side(history in histories()) {
        let (base, ours, _) = history;
        for (a, b) in [(&base, &ours), (&ours, &base), (&ours, &ours)] {
            let outcome = merged(&base, a, b);
            let mut source = MemoryTrees::default();
            let expected = store(&mut source, &ours);
            match outcome.merge {
                Merge::Merged(merged) => prop_assert_eq!(merged.root, expected),
                Merge::Conflicts(all) => prop_assert!(false, "{all:?}"),
            }
        }
    }

    #[test]
    fn a_merge_agrees_with_one_of_flat_lists(history in histories()) {
        let (base, ours, theirs) = history;
        let outcome = merged(&base, &ours, &theirs);
        let names: BTreeSet<_> = base.keys().chain(ours.keys()).chain(theirs.keys()).collect();
        let mut expected = Flat::new();
        let mut conflict = false;
        for name in names {
            let (b, o, t) = (base.get(name), ours.get(name), theirs.get(name));
            conflict |= o != b && t != b && o != t;
            if let Some(text) = if o == b { t } else { o } {
                expected.insert(name.clone(), text.clone());
            }
        }
        let exchanged = merged(&base, &theirs, &ours);
        match outcome.merge {
            Merge::Merged(merged) => {
                prop_assert!(!conflict);
                let mut other = MemoryTrees::default();
                let flat_root = store(&mut other, &expected);
                prop_assert_eq!(
                    files(&outcome.source, &merged.root.tree),
                    files(&other, &flat_root.tree)
                );
                let Merge::Merged(exchanged) = exchanged.merge else {
                    panic!("a conflict from the other side only")
                };
                prop_assert_eq!(&exchanged.root, &merged.root);
            }
            Merge::Conflicts(_) => {
                let paths = |outcome: &Outcome| -> Vec<String> {
                    conflicts(outcome).into_iter().map(|(path, _)| path).collect()
                };
                prop_assert_eq!(paths(&outcome), paths(&exchanged));
            }
        }
    }
}

#[test]
fn a_file_is_not_the_same_where_one_side_alone_has_more_names_of_it() {
    assert_conflicts(
        &[],
        &[("a", "1#k"), ("b", "1#k")],
        &[("a", "1")],
        &[("a", Reason::BothAdded)],
    );
}

#[test]
fn the_time_of_a_directory_is_that_of_the_side_that_set_it() {
    let at =
        |seconds| Attributes { mtime: Timestamp::new(seconds, 0).unwrap(), ..attributes(0o755) };
    let merged = |base: Option<i64>, ours, theirs| {
        let base = base.map(at);
        merge_attributes(base.as_ref(), &at(ours), &at(theirs)).unwrap().mtime.seconds
    };
    // Also where it was set back, as a copy that keeps times does.
    assert_eq!((merged(Some(5), 3, 5), merged(Some(5), 5, 3)), (3, 3));
    assert_eq!((merged(Some(5), 9, 5), merged(Some(5), 5, 9)), (9, 9));
    assert_eq!((merged(Some(5), 3, 4), merged(Some(5), 4, 3), merged(None, 7, 6)), (4, 4, 7));
}
