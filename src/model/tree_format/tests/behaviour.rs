//! What is refused, and what reading, changing and comparing give.

use super::*;

#[test]
fn invalid_entries_are_refused() {
    type Spoil = fn(&mut Entry);
    let cases: [(&str, Spoil); 10] = [
        ("mode", |e| e.attributes.mode = 0o10000),
        ("time", |e| e.attributes.mtime.nanoseconds = 1_000_000_000),
        ("nlink", |e| {
            e.link_group = Some(LinkGroup { id: 1, nlink: 1, scope: LinkScope::Above(0) })
        }),
        ("long id of a version's group", |e| {
            let scope = LinkScope::Version;
            e.link_group = Some(LinkGroup { id: 1 << 64, nlink: 2, scope });
        }),
        ("no blob", |e| {
            e.content = Content::File { size: 1, blob: None };
        }),
        ("blob", |e| {
            e.content = Content::File { size: 0, blob: Some(BlobHash::of(b"").into()) };
        }),
        ("target", |e| {
            e.content = Content::Symlink { target: Box::default() };
        }),
        ("linked directory", |e| {
            e.content = Content::Directory { tree: TreeHash::of(b""), summary: Summary::default() };
            e.link_group = Some(LinkGroup { id: 1, nlink: 2, scope: LinkScope::Above(0) });
        }),
        ("xattr name", |e| {
            e.attributes.xattrs.insert(Box::default(), Box::default());
        }),
        ("xattr size", |e| {
            let value = vec![0; XATTR_VALUE_BYTES_MAX + 1];
            e.attributes.xattrs.insert(b"user.k"[..].into(), value.into());
        }),
    ];
    for (case, spoil) in cases {
        let mut entry = file("a", "x");
        spoil(&mut entry);
        assert!(build([entry]).is_err(), "{case}");
    }
    assert!(build([file("b", ""), file("a", "")]).is_err(), "order");
    assert!(build([file("a", ""), file("a", "")]).is_err(), "twice");
}

#[test]
fn entries_of_the_greatest_size_fit_a_page() {
    let mut all = many(400);
    for entry in all.values_mut() {
        for (name, bytes) in [("user.1", 1 << 16), ("user.2", (1 << 16) - 22)] {
            let value = vec![7; bytes].into_boxed_slice();
            entry.attributes.xattrs.insert(name.as_bytes().into(), value);
        }
    }
    let built = build(all.values().cloned()).unwrap();
    for (_, bytes) in &built.pages {
        assert!(bytes.len() < PAGE_BYTES_MAX, "{}", bytes.len());
    }
    let mut source = MemoryTrees::default();
    let tree = source.add(built).unwrap();
    assert_eq!(collect(&source, &tree, 0), all.into_values().collect::<Vec<_>>());
    assert!(is_canonical(&source, &tree).unwrap());
}

#[test]
fn reading_agrees_with_a_map_at_all_sizes() {
    for count in [0, 1, 2, 127, 128, 129, 500, 1024, 1025, 5000] {
        let map = many(count);
        let built = build(map.values().cloned()).unwrap();
        assert_eq!(built.summary.files, count as u64);
        let mut source = MemoryTrees::default();
        let tree = source.add(built).unwrap();
        let all: Vec<Entry> = map.values().cloned().collect();
        assert_eq!(entry_count(&source, &tree).unwrap(), count as u64);
        assert_eq!(collect(&source, &tree, 0), all);
        assert!(is_canonical(&source, &tree).unwrap());
        for from in (0..=count + 1).step_by(97).chain([count]) {
            let rest = &all[from.min(count)..];
            assert_eq!(collect(&source, &tree, from as u64), rest);
            assert_eq!(entry_at(&source, &tree, from as u64).unwrap().as_ref(), rest.first());
        }
        for (position, entry) in all.iter().enumerate().step_by(13) {
            let name = entry.name.as_bytes();
            assert_eq!(lookup(&source, &tree, name).unwrap().as_ref(), Some(entry));
            for absent in [[name, b"!"].concat(), name[..name.len() - 1].to_vec()] {
                assert_eq!(lookup(&source, &tree, &absent).unwrap(), None);
            }
            let after: Vec<_> =
                entries_after(&source, &tree, name).take(3).map(Result::unwrap).collect();
            assert_eq!(after, all.iter().skip(position + 1).take(3).cloned().collect::<Vec<_>>());
        }
        let before = entries_after(&source, &tree, b"!").next().transpose().unwrap();
        assert_eq!(before.as_ref(), all.first());
    }
}

#[test]
fn one_change_rewrites_one_path_of_pages() {
    let mut map = many(60_000);
    let built = build(map.values().cloned()).unwrap();
    let mut source = MemoryTrees::default();
    let tree = source.add(built).unwrap();
    let total = source.len();
    assert!(total > 100, "{total}");
    for name in ["7000-file.c", "0-file.c", "new", "!", "zzz"] {
        let entry = file(name, "changed");
        let changes = BTreeMap::from([(entry.name.clone(), Some(entry.clone()))]);
        let applied = apply(&source, Some(&tree), &changes).unwrap();
        assert!(applied.pages.len() < 8, "{name}: {}", applied.pages.len());
        let previous = map.insert(entry.name.clone(), entry.clone());
        assert_eq!(applied.root, build(map.values().cloned()).unwrap().root);
        match previous {
            Some(previous) => map.insert(entry.name.clone(), previous),
            None => map.remove(&entry.name),
        };
    }
}

#[test]
fn references_are_counted_once_per_name() {
    let below = build([file("x", "same")]).unwrap();
    let built = build([
        directory("d", &below),
        directory("e", &below),
        file("f", "same"),
        file("g", "same"),
        file("h", ""),
    ])
    .unwrap();
    assert_eq!(built.summary.files, 5);
    assert_eq!(built.summary.directories, 2);
    let page = TreePage::parse(built.pages[0].1.clone()).unwrap();
    let blob = Reference::Blob(BlobHash::of(b"same").into());
    let tree = Reference::Tree(below.root);
    assert_eq!(page.references(), [tree, tree, blob, blob]);
}

#[test]
fn pages_that_do_not_fit_each_other_are_errors() {
    let built = build(many(3000).into_values()).unwrap();
    let mut source = MemoryTrees::default();
    let tree = source.add(built).unwrap();
    let root = source.page(&tree).unwrap();
    // Another page in the place of the first child.
    let other = build([file("other", "")]).unwrap().pages.remove(0).1;
    let mut bytes = root.bytes().to_vec();
    let child = root.child(0).unwrap().page;
    let at = bytes.windows(32).position(|window| window == child.as_bytes()).unwrap();
    let other = source.add_page(other).unwrap();
    bytes[at..at + 32].copy_from_slice(other.as_bytes());
    let bad = source.add_page(bytes).unwrap();
    assert!(lookup(&source, &bad, b"0-file.c").is_err());
    assert!(entries(&source, &bad, 0).any(|entry| entry.is_err()));
    assert!(is_canonical(&source, &bad).is_err());
    assert!(diff(&source, &tree, &bad, &mut |_, _| {}).is_err());
    let change = file("0", "");
    let changes = BTreeMap::from([(change.name.clone(), Some(change))]);
    assert!(apply(&source, Some(&bad), &changes).is_err());
}

#[test]
fn deep_trees_do_not_exhaust_the_stack() {
    let mut source = MemoryTrees::default();
    let mut top = build([file("f", "x")]).unwrap();
    for _ in 0..20_000 {
        let above = build([directory("d", &top)]).unwrap();
        source.add(std::mem::replace(&mut top, above)).unwrap();
    }
    let deep = source.add(top).unwrap();
    let empty = source.add(build([]).unwrap()).unwrap();
    let mut changes = 0;
    diff(&source, &empty, &deep, &mut |_, _| changes += 1).unwrap();
    assert_eq!(changes, 20_001);
}
