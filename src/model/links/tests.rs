//! Names, scopes, and what happens to both when directories move.

use super::*;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::name::EntryName;
use crate::model::time::Timestamp;
use crate::model::tree::Xattrs;
use crate::model::tree_format::{BuiltTree, MemoryTrees, build};

fn paths(paths: &[&str]) -> Vec<Vec<u8>> {
    paths.iter().map(|path| path.as_bytes().to_vec()).collect()
}

fn naming(names: &[&str]) -> Naming {
    Naming::of(&paths(names)).unwrap()
}

fn entry(name: &str, content: Content, link_group: Option<LinkGroup>) -> Entry {
    let attributes = Attributes {
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp::new(5, 0).unwrap(),
        xattrs: Xattrs::new(),
    };
    Entry { name: EntryName::new(name.as_bytes()).unwrap(), attributes, link_group, content }
}

fn file(name: &str, text: &str, group: Option<LinkGroup>) -> Entry {
    let blob = Some(BlobHash::of(text.as_bytes()).into());
    entry(name, Content::File { size: text.len() as u64, blob }, group)
}

fn directory(source: &mut MemoryTrees, name: &str, entries: Vec<Entry>) -> Entry {
    let BuiltTree { root: tree, summary, .. } = put(source, entries);
    entry(name, Content::Directory { tree, summary }, None)
}

fn put(source: &mut MemoryTrees, entries: Vec<Entry>) -> BuiltTree {
    let built = build(entries).unwrap();
    source.add(built.clone()).unwrap();
    built
}

#[test]
fn the_scope_is_the_lowest_directory_with_all_names() {
    let cases: [(&[&str], &[u32]); 6] = [
        (&["a", "b"], &[0, 0]),
        (&["d/a", "d/b"], &[0, 0]),
        (&["d/a", "d/e/f/b"], &[0, 2]),
        (&["d/a", "e/b"], &[1, 1]),
        // What the names have in common ends in the middle of a component.
        (&["d/x1/a", "d/x2/b"], &[1, 1]),
        (&["d-x/a", "d/a"], &[1, 1]),
    ];
    for (names, levels) in cases {
        let naming = naming(names);
        for (path, levels) in names.iter().zip(levels) {
            let group = naming.group(path.as_bytes());
            assert_eq!(group.scope, LinkScope::Above(*levels), "{path}");
            assert_eq!(group.nlink, 2);
        }
        let scopes: Vec<_> = names
            .iter()
            .map(|path| scope_of(path.as_bytes(), naming.group(path.as_bytes())))
            .collect();
        assert!(scopes[0].is_some() && scopes[0] == scopes[1], "{names:?}: {scopes:?}");
    }
    assert_eq!(Naming::of(&paths(&["a"])), None);
}

#[test]
fn a_group_that_moves_as_a_whole_is_recorded_as_before() {
    let (before, after) = (naming(&["d/a", "d/s/b"]), naming(&["x/y/a", "x/y/s/b"]));
    assert_eq!(before.group(b"d/a"), after.group(b"x/y/a"));
    assert_eq!(before.group(b"d/s/b"), after.group(b"x/y/s/b"));
    // Another first name, another id; so groups of one scope differ.
    assert_ne!(naming(&["a", "b"]).group(b"b").id, naming(&["c", "d"]).group(b"c").id);
}

#[test]
fn a_scope_above_the_top_is_none() {
    let group = |levels| LinkGroup { id: 1, nlink: 2, scope: LinkScope::Above(levels) };
    assert_eq!(scope_of(b"d/a", group(0)), Some(&b"d"[..]));
    assert_eq!(scope_of(b"d/a", group(1)), Some(&b""[..]));
    assert_eq!(scope_of(b"d/a", group(2)), None);
    assert_eq!(scope_of(b"d/a", group(u32::MAX)), None);
}

#[test]
fn entries_that_differ_in_anything_are_different_files() {
    let group = naming(&["a", "b"]).group(b"a");
    let one = file("a", "text", Some(group));
    let key = FileKey::of(&one);
    assert_eq!(key, FileKey::of(&Entry { name: EntryName::new(b"b").unwrap(), ..one.clone() }));
    let changes: [fn(&mut Entry); 8] = [
        |e| e.attributes.mode = 0o600,
        |e| e.attributes.uid = 1,
        |e| e.attributes.gid = 1,
        |e| e.attributes.mtime.nanoseconds = 1,
        |e| drop(e.attributes.xattrs.insert(b"user.a"[..].into(), b"b"[..].into())),
        |e| e.content = Content::Fifo,
        |e| e.link_group.as_mut().unwrap().nlink = 3,
        |e| e.link_group.as_mut().unwrap().id += 1,
    ];
    for change in changes {
        let mut other = one.clone();
        change(&mut other);
        assert_ne!(key, FileKey::of(&other), "{other:?}");
    }
    assert_eq!(FileKey::of(&file("a", "text", None)), None);
}

/// A group has an id and a number of names, which two groups of one version may have in common.
#[test]
fn n5_files_of_every_kind_with_other_content_are_different_files() {
    let group = naming(&["a", "b"]).group(b"a");
    let key = |content| FileKey::of(&entry("a", content, Some(group))).unwrap();
    let link = |target: &str| Content::Symlink { target: target.as_bytes().into() };
    let file = |size, blob| Content::File { size, blob };
    let blob = |text: &str| Some(BlobHash::of(text.as_bytes()).into());
    let declared = |text: &str| Some(Sha256::of(text.as_bytes()).into());
    let contents = [
        link("one"),
        link("two"),
        link("one/"),
        file(0, None),
        file(1, None),
        file(3, blob("one")),
        file(3, blob("two")),
        file(4, blob("one")),
        file(3, declared("one")),
        file(3, declared("two")),
        Content::Fifo,
        Content::Socket,
        Content::CharDevice { rdev: 1 },
        Content::CharDevice { rdev: 2 },
        Content::BlockDevice { rdev: 1 },
        Content::BlockDevice { rdev: 2 },
    ];
    let keys: std::collections::BTreeSet<_> = contents.iter().cloned().map(key).collect();
    assert_eq!(keys.len(), contents.len());
    assert_eq!(key(link("one")), key(link("one")));
}

#[test]
fn a_walk_finds_the_directories_whose_groups_end_in_them() {
    let mut source = MemoryTrees::default();
    let inner = naming(&["d/a", "d/b"]);
    let outer = naming(&["e/c", "f"]);
    let d = directory(
        &mut source,
        "d",
        vec![file("a", "1", Some(inner.group(b"d/a"))), file("b", "1", Some(inner.group(b"d/b")))],
    );
    let e = directory(&mut source, "e", vec![file("c", "2", Some(outer.group(b"e/c")))]);
    let closed_tree = linked_directory(&d).unwrap();
    let root = put(&mut source, vec![d, e, file("f", "2", Some(outer.group(b"f")))]).root;
    let mut found = Vec::new();
    let mut visit = |path: &[u8], _: &Entry| found.push(String::from_utf8(path.to_vec()).unwrap());
    let closed = walk_unknown(&source, &root, &HashSet::new(), &mut visit).unwrap();
    assert_eq!(found, ["d/a", "d/b", "e/c", "f"]);
    assert_eq!(closed, [closed_tree, root]);
    let mut again = 0;
    let known = HashSet::from([closed_tree]);
    walk_unknown(&source, &root, &known, &mut |_, _| again += 1).unwrap();
    assert_eq!(again, 2);
}

#[test]
fn groups_of_earlier_releases_are_ambiguous_when_the_count_is_wrong() {
    let mut source = MemoryTrees::default();
    let group = |id| Some(LinkGroup { id, nlink: 2, scope: LinkScope::Version });
    let entries = vec![
        file("a", "1", group(7)),
        file("b", "1", group(7)),
        file("c", "2", group(7)),
        file("d", "2", group(7)),
        file("e", "3", group(8)),
        file("f", "3", group(8)),
        file("g", "3", group(8)),
        file("h", "3", group(8)),
        file("i", "3", group(9)),
    ];
    let root = put(&mut source, entries.clone()).root;
    let ambiguous = Ambiguous::of(&source, &root).unwrap();
    let wrong: Vec<_> =
        entries.iter().filter(|entry| ambiguous.has(entry)).map(|e| e.name.to_string()).collect();
    assert_eq!(wrong, ["e", "f", "g", "h", "i"]);
}
