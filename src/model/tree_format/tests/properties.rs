//! Round trips, hostile bytes, and agreement with naive versions.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn arbitrary_name() -> impl Strategy<Value = EntryName> {
    prop_oneof![
        4 => "[a-d]{1,2}".prop_map(|text| text.into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 1..=255),
    ]
    .prop_filter_map("not a name", |bytes| EntryName::new(&bytes).ok())
}

fn arbitrary_content() -> impl Strategy<Value = Content> {
    let hash = any::<[u8; 32]>();
    let totals = (0..1_u64 << 40, 0..1_u64 << 40, 0..1_u64 << 40, any::<bool>());
    prop_oneof![
        Just(Content::File { size: 0, blob: None }),
        (1..1_u64 << 50, hash).prop_map(|(size, hash)| Content::File {
            size,
            blob: Some(BlobHash::from_bytes(hash).into())
        }),
        (1..1_u64 << 50, hash).prop_map(|(size, hash)| Content::File {
            size,
            blob: Some(Sha256::from_bytes(hash).into())
        }),
        (any::<[u8; 32]>(), totals).prop_map(|(hash, (files, bytes, directories, has_links))| {
            Content::Directory {
                tree: TreeHash::from_bytes(hash),
                summary: Summary { files, bytes, directories, has_links },
            }
        }),
        prop::collection::vec(1..=255_u8, 1..60)
            .prop_map(|target| Content::Symlink { target: target.into() }),
        Just(Content::Fifo),
        Just(Content::Socket),
        any::<u32>().prop_map(|rdev| Content::CharDevice { rdev }),
        any::<u32>().prop_map(|rdev| Content::BlockDevice { rdev }),
    ]
}

prop_compose! {
    fn arbitrary_attributes()(
        mode in 0..=0o7777_u16,
        owner in any::<(u32, u32)>(),
        seconds in any::<i64>(),
        nanoseconds in 0..1_000_000_000_u32,
        xattrs in prop::collection::btree_map(
            prop::collection::vec(1..=255_u8, 1..40).prop_map(Vec::into_boxed_slice),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Vec::into_boxed_slice),
            0..3,
        ),
    ) -> Attributes {
        Attributes {
            mode,
            uid: owner.0,
            gid: owner.1,
            mtime: Timestamp::new(seconds, nanoseconds).unwrap(),
            xattrs,
        }
    }
}

fn arbitrary_group() -> impl Strategy<Value = LinkGroup> {
    let scoped = (any::<u128>(), any::<u32>().prop_map(LinkScope::Above));
    let of_version = (any::<u64>().prop_map(u128::from), Just(LinkScope::Version));
    (2..=u32::MAX, prop_oneof![scoped, of_version]).prop_map(|(nlink, (id, scope))| LinkGroup {
        id,
        nlink,
        scope,
    })
}

prop_compose! {
    fn arbitrary_entry()(
        name in arbitrary_name(),
        attributes in arbitrary_attributes(),
        content in arbitrary_content(),
        group in prop::option::of(arbitrary_group()),
    ) -> Entry {
        let directory = matches!(content, Content::Directory { .. });
        Entry {
            name,
            attributes,
            link_group: group.filter(|_| !directory),
            content,
        }
    }
}

fn arbitrary_directory() -> impl Strategy<Value = BTreeMap<EntryName, Entry>> {
    prop::collection::vec(arbitrary_entry(), 0..12)
        .prop_map(|all| all.into_iter().map(|e| (e.name.clone(), e)).collect())
}

/// Differences of two directories without subdirectories.
fn naive_diff(
    first: &BTreeMap<EntryName, Entry>,
    second: &BTreeMap<EntryName, Entry>,
) -> Vec<Change> {
    let names: BTreeSet<_> = first.keys().chain(second.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (first.get(name), second.get(name)) {
            (before, after) if before == after => None,
            (Some(before), Some(after)) => {
                Some(Change::Modified { before: before.clone(), after: after.clone() })
            }
            (Some(before), None) => Some(Change::Removed(before.clone())),
            (_, after) => after.cloned().map(Change::Added),
        })
        .collect()
}

/// Names changed in a large directory, many of them new, in small or larger runs.
fn arbitrary_changes() -> impl Strategy<Value = Vec<(usize, usize, u8)>> {
    prop::collection::vec((0..6000_usize, 1..400_usize, 0..3_u8), 0..6)
}

fn change_set(runs: &[(usize, usize, u8)]) -> BTreeMap<EntryName, Option<Entry>> {
    let mut changes = BTreeMap::new();
    for (start, length, action) in runs {
        for n in *start..start + length {
            let name = match action {
                2 => format!("{n:x}-new.c"),
                _ => format!("{n:x}-file.c"),
            };
            let entry = file(&name, &format!("changed {n}"));
            changes.insert(entry.name.clone(), (*action != 0).then_some(entry));
        }
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn apply_equals_build_and_diff_finds_it(size in 0..5000_usize, runs in arbitrary_changes()) {
        let before = many(size);
        let mut source = MemoryTrees::default();
        let base = source.add(build(before.values().cloned()).unwrap()).unwrap();
        let changes = change_set(&runs);
        let mut after = before.clone();
        for (name, change) in &changes {
            match change {
                Some(entry) => after.insert(name.clone(), entry.clone()),
                None => after.remove(name),
            };
        }
        let expected = build(after.values().cloned()).unwrap();
        let applied = apply(&source, Some(&base), &changes).unwrap();
        prop_assert_eq!(applied.root, expected.root);
        prop_assert_eq!(applied.summary, expected.summary);
        let fresh: Vec<_> = expected
            .pages
            .iter()
            .filter(|(hash, _)| source.page(hash).is_err())
            .cloned()
            .collect();
        prop_assert_eq!(&applied.pages, &fresh);
        let changed = source.add(applied).unwrap();
        let mut found = Vec::new();
        diff(&source, &base, &changed, &mut |path, change| {
            assert!(path.is_empty());
            found.push(change);
        })
        .unwrap();
        prop_assert_eq!(found, naive_diff(&before, &after));
    }
}

proptest! {
    #[test]
    fn entries_round_trip(map in arbitrary_directory()) {
        let built = build(map.values().cloned()).unwrap();
        let mut source = MemoryTrees::default();
        let tree = source.add(built.clone()).unwrap();
        let all: Vec<Entry> = map.into_values().collect();
        prop_assert_eq!(collect(&source, &tree, 0), all.clone());
        prop_assert_eq!(source.page(&tree).unwrap().summary(), built.summary);
        let nothing = BTreeMap::new();
        let same = apply(&source, Some(&tree), &nothing).unwrap();
        prop_assert_eq!((same.root, same.pages.len()), (tree, 0));
        let changes = all.into_iter().map(|e| (e.name.clone(), Some(e))).collect();
        prop_assert_eq!(apply(&source, None, &changes).unwrap(), built);
    }

    #[test]
    fn roots_round_trip(attributes in arbitrary_attributes(), hash in any::<[u8; 32]>()) {
        let root = Root {
            attributes,
            tree: TreeHash::from_bytes(hash),
            summary: Summary { files: 3, bytes: 4, directories: 5, has_links: hash[0] > 9 },
        };
        prop_assert_eq!(decode_root(&encode_root(&root)), Ok(root));
    }

    /// What parses is canonical: its entries encode to the same bytes, and nothing panics.
    #[test]
    fn mutated_pages_are_refused_or_canonical(
        map in arbitrary_directory(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = build(map.into_values()).unwrap().pages.remove(0).1;
        for (at, value) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(page) = TreePage::parse(bytes.clone()) {
            page.references();
            if page.is_leaf() {
                let all: Vec<Entry> = (0..page.len()).map(|n| page.entry(n).unwrap()).collect();
                prop_assert_eq!(&build(all).unwrap().pages[0].1, &bytes);
            }
        }
        prop_assert!(decode_root(&bytes).is_err());
    }

    #[test]
    fn mutated_roots_are_refused_or_canonical(
        attributes in arbitrary_attributes(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = encode_root(&Root {
            attributes,
            tree: TreeHash::of(b""),
            summary: Summary::default(),
        });
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(root) = decode_root(&bytes) {
            prop_assert_eq!(encode_root(&root), bytes);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let headed = [&b"cTRE\x01"[..], &bytes].concat();
        for bytes in [bytes, headed] {
            if let Ok(page) = TreePage::parse(bytes) {
                page.references();
            }
        }
    }
}
