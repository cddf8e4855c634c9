//! Several trees walked at once, against a walk of each.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::change_size::ChangeSize;

/// A tree as its paths; a path that ends in `/` is an empty directory.
type Paths = BTreeMap<String, String>;

/// Builds the trees of all directories, the top last, and returns its hash.
fn plant(trees: &mut MemoryTrees, paths: &Paths) -> TreeHash {
    let mut files = Vec::new();
    let mut below: BTreeMap<&str, Paths> = BTreeMap::new();
    for (path, content) in paths {
        match path.split_once('/') {
            None => files.push(file(path, content)),
            Some((name, rest)) => {
                let directory = below.entry(name).or_default();
                if !rest.is_empty() {
                    directory.insert(rest.to_owned(), content.clone());
                }
            }
        }
    }
    for (name, paths) in below {
        let tree = plant(trees, &paths);
        let summary = trees.page(&tree).unwrap().summary();
        let built = BuiltTree { root: tree, summary, pages: Vec::new() };
        files.push(directory(name, &built));
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let built = build(files).unwrap();
    trees.add(built).unwrap()
}

/// Each path of a tree, and whether it is a directory.
fn walk(trees: &MemoryTrees, tree: &TreeHash, path: &str, found: &mut Vec<(String, bool)>) {
    for entry in entries(trees, tree, 0) {
        let entry = entry.unwrap();
        let name = String::from_utf8(entry.name.as_bytes().to_vec()).unwrap();
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let below = match entry.content {
            Content::Directory { tree, .. } => Some(tree),
            _ => None,
        };
        found.push((path.clone(), below.is_some()));
        if let Some(below) = below {
            walk(trees, &below, &path, found);
        }
    }
}

/// A source that counts how often it is asked.
struct Counting<'a> {
    trees: &'a MemoryTrees,
    asked: Cell<usize>,
}

impl TreeSource for Counting<'_> {
    type Error = <MemoryTrees as TreeSource>::Error;

    fn page(&self, hash: &TreeHash) -> Result<std::sync::Arc<TreePage>, Self::Error> {
        self.asked.set(self.asked.get() + 1);
        self.trees.page(hash)
    }

    fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>, Self::Error> {
        self.trees.blob_of(digest)
    }
}

fn positions(members: &Members) -> Vec<usize> {
    members.ranges().iter().cloned().flatten().collect()
}

fn paths() -> impl Strategy<Value = Paths> {
    let name = prop_oneof![4 => "[a-c]", 1 => "[a-c]{1,2}"];
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let content = prop_oneof![Just("1"), Just("22")].prop_map(str::to_owned);
    prop::collection::btree_map(path, content, 0..12).prop_map(|all: Paths| {
        // A name is a file or a directory.
        let is_above = |path: &str| {
            let below = format!("{path}/");
            all.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below))
        };
        let kept = all.iter().filter(|(path, _)| !is_above(path));
        kept.map(|(path, content)| (path.clone(), content.clone())).collect()
    })
}

proptest! {
    #[test]
    fn o4_a_walk_together_meets_what_walks_alone_meet(all in prop::collection::vec(paths(), 0..6)) {
        let mut trees = MemoryTrees::default();
        let roots: Vec<_> = all.iter().map(|paths| plant(&mut trees, paths)).collect();
        let mut expected: BTreeMap<Vec<String>, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (position, root) in roots.iter().enumerate() {
            let mut found = Vec::new();
            walk(&trees, root, "", &mut found);
            for (path, is_directory) in found {
                let names = path.split('/').map(str::to_owned).collect();
                let (all, directories) = expected.entry(names).or_default();
                all.push(position);
                directories.extend(is_directory.then_some(position));
            }
        }
        let mut met = Vec::new();
        walk_together(&trees, &roots, &mut |path, having| {
            let path = std::str::from_utf8(path).unwrap();
            let names: Vec<_> = path.split('/').map(str::to_owned).collect();
            met.push((names, (positions(&having.all), positions(&having.directories))));
            Next::Below
        }).unwrap();
        // In the order of paths, name by name.
        prop_assert_eq!(met, expected.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn o4_the_size_of_a_change_is_what_a_list_of_it_would_be(first in paths(), second in paths()) {
        let mut trees = MemoryTrees::default();
        let (first, second) = (plant(&mut trees, &first), plant(&mut trees, &second));
        let mut expected = ChangeSize::default();
        let bytes = |entry: &Entry| match entry.content {
            Content::File { size, .. } => size,
            _ => 0,
        };
        diff(&trees, &first, &second, &mut |_, change| match change {
            Change::Added(entry) => {
                expected.added += 1;
                expected.added_bytes += bytes(&entry);
            }
            Change::Removed(entry) => {
                expected.removed += 1;
                expected.removed_bytes += bytes(&entry);
            }
            Change::Modified { before, after } => {
                expected.modified += 1;
                if before.content != after.content {
                    expected.added_bytes += bytes(&after);
                    expected.removed_bytes += bytes(&before);
                }
            }
        }).unwrap();
        let size = ChangeSize::of_trees(&trees, Some(&first), Some(&second)).unwrap();
        prop_assert_eq!(size, expected);
        let nothing = ChangeSize::of_trees(&trees, Some(&first), Some(&first)).unwrap();
        prop_assert!(nothing.is_none());
    }
}

#[test]
fn o4_what_trees_share_is_read_once() {
    let mut trees = MemoryTrees::default();
    // A large directory of several pages, and a hundred versions that each change one file beside it and
    // one in it.
    let large: Paths = (0..3000).map(|n| (format!("large/{n:x}-file"), "1".to_owned())).collect();
    let roots: Vec<_> = (0..100)
        .map(|version| {
            let mut paths = large.clone();
            paths.insert("beside".to_owned(), version.to_string());
            paths.insert(format!("large/{version:x}-file"), format!("changed {version}"));
            plant(&mut trees, &paths)
        })
        .collect();
    let source = Counting { trees: &trees, asked: Cell::new(0) };
    let mut paths = 0;
    walk_together(&source, &roots, &mut |_, having| {
        paths += 1;
        assert_eq!(having.all.ranges(), std::slice::from_ref(&(0..100)));
        Next::Below
    })
    .unwrap();
    assert_eq!(paths, 3002);
    let mut distinct = std::collections::BTreeSet::new();
    for root in &roots {
        let mut open = vec![*root];
        while let Some(hash) = open.pop() {
            distinct.insert(hash);
            open.extend(trees.page(&hash).unwrap().references().into_iter().filter_map(
                |reference| match reference {
                    Reference::Tree(tree) => Some(tree),
                    Reference::Blob(_) => None,
                },
            ));
        }
    }
    assert_eq!(source.asked.get(), distinct.len(), "each page is asked for once");
}

#[test]
fn o4_a_walk_skips_and_stops_where_it_is_told() {
    let mut trees = MemoryTrees::default();
    let paths = ["a/x", "b/x", "c"].map(|path| (path.to_owned(), "1".to_owned()));
    let root = plant(&mut trees, &paths.into_iter().collect());
    let walked = |stop_at: &str| {
        let mut met = Vec::new();
        walk_together(&trees, &[root], &mut |path, _| {
            let path = String::from_utf8(path.to_vec()).unwrap();
            let next = match path.as_str() {
                "a" => Next::Skip,
                path if path == stop_at => Next::Stop,
                _ => Next::Below,
            };
            met.push(path);
            next
        })
        .unwrap();
        met
    };
    assert_eq!(walked(""), ["a", "b", "b/x", "c"]);
    assert_eq!(walked("b"), ["a", "b"]);
}
