//! A walk over several directory trees at once: each path is met once, with the trees that have it.
//!
//! At each path, trees that are equal are one; so a subtree that many versions share is read once. Within
//! a large directory the same holds for its pages. The walk goes in path order and keeps nothing of
//! what it has seen: in memory are the pages between the top and where it is, of which it holds
//! [`HELD_BYTES_MAX`] at most; beyond that it asks the source for a page each time.

use std::cmp::{Ordering, Reverse};
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::sync::Arc;

use super::page::TreePage;
use super::read::{child_page, root_page};
use super::{ContentRef, TreeSource};
use crate::model::hash::TreeHash;

/// Pages that the walk holds, in bytes. A repository of some thousand versions that all differ on the
/// way to a path stays below it.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Some of the trees, by their positions: ascending ranges that do not touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members(Vec<Range<usize>>);

impl Members {
    /// The positions, as ranges.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last position.
    pub fn last(&self) -> Option<usize> {
        self.0.last().map(|range| range.end - 1)
    }

    fn one(position: usize) -> Self {
        Self(std::iter::once(position..position + 1).collect())
    }

    /// The members of all of them.
    fn union(sets: impl IntoIterator<Item = Self>) -> Self {
        let mut sets = sets.into_iter();
        let mut all = sets.next().unwrap_or_default().0;
        let sorted = all.len();
        all.extend(sets.flat_map(|set| set.0));
        if all.len() > sorted {
            all.sort_unstable_by_key(|range| range.start);
        }
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(all.len());
        for range in all {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }
}

/// Who has a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Having {
    /// The trees that have anything there.
    pub all: Members,
    /// Those of them that have a directory there.
    pub directories: Members,
}

/// What to do after a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on, with what is below it first.
    Below,
    /// Go on with the next path that is not below it.
    Skip,
    /// End the walk.
    Stop,
}

/// Walks `trees` in path order. `visit` gets each path (names joined by slashes) and who has it.
///
/// # Errors
/// Those of the source.
pub fn walk_together<S: TreeSource>(
    source: &S,
    trees: &[TreeHash],
    visit: &mut dyn FnMut(&[u8], &Having) -> Next,
) -> Result<(), S::Error> {
    let mut walk = Walk { source, held_bytes: 0 };
    let mut path = Vec::new();
    // An explicit stack instead of recursion: hostile trees can be deeper than the thread's stack.
    let tops = trees.iter().enumerate().map(|(position, tree)| (*tree, Members::one(position)));
    let mut open = vec![walk.open(tops, 0)?];
    while let Some(directory) = open.last_mut() {
        path.truncate(directory.path_bytes);
        let Some(found) = walk.next_name(directory)? else {
            open.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&found.name);
        match visit(&path, &found.having) {
            Next::Stop => return Ok(()),
            Next::Skip => {}
            Next::Below => open.push(walk.open(found.trees, path.len())?),
        }
    }
    Ok(())
}

/// One name, as all trees have it that have it.
struct Found {
    name: Box<[u8]>,
    having: Having,
    /// The directories of that name.
    trees: Vec<(TreeHash, Members)>,
}

/// Directories with one path that are being walked.
struct Directory {
    /// Length of their path.
    path_bytes: usize,
    /// Places in their pages, the one with the smallest name first.
    places: BinaryHeap<Reverse<Place>>,
}

/// A page of some directories, and the record of it that is next.
struct Place {
    name: Box<[u8]>,
    /// Level of the page that the record stands for; 0 is an entry.
    below: u8,
    index: usize,
    page: Held,
    members: Members,
}

enum Held {
    Page(Arc<TreePage>, TreeHash),
    Named(TreeHash),
}

/// By name; of equal names the higher page is opened first, so that equal pages meet at their own
/// level.
impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name).then(other.below.cmp(&self.below))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

struct Walk<'s, S> {
    source: &'s S,
    held_bytes: usize,
}

impl<S: TreeSource> Walk<'_, S> {
    fn open(
        &mut self,
        trees: impl IntoIterator<Item = (TreeHash, Members)>,
        path_bytes: usize,
    ) -> Result<Directory, S::Error> {
        let mut directory = Directory { path_bytes, places: BinaryHeap::new() };
        for (tree, members) in grouped(trees) {
            let page = root_page(self.source, &tree)?;
            self.put(&mut directory, (tree, page), 0, members);
        }
        Ok(directory)
    }

    /// Puts record `index` of a page among the places, if there is one.
    fn put(
        &mut self,
        directory: &mut Directory,
        (hash, page): (TreeHash, Arc<TreePage>),
        index: usize,
        members: Members,
    ) {
        let Some(name) = page.name(index).map(Box::from) else { return };
        // The level of an entry is 0, that of a record of a page above the leaves at least 1.
        let below = page.level();
        let page = match self.held_bytes + page.memory_bytes() {
            bytes if bytes <= HELD_BYTES_MAX => {
                self.held_bytes = bytes;
                Held::Page(page, hash)
            }
            _ => Held::Named(hash),
        };
        directory.places.push(Reverse(Place { name, below, index, page, members }));
    }

    fn take(&mut self, held: Held) -> Result<(TreeHash, Arc<TreePage>), S::Error> {
        match held {
            Held::Named(hash) => Ok((hash, self.source.page(&hash)?)),
            Held::Page(page, hash) => {
                self.held_bytes -= page.memory_bytes();
                Ok((hash, page))
            }
        }
    }

    /// The next name of these directories.
    fn next_name(&mut self, directory: &mut Directory) -> Result<Option<Found>, S::Error> {
        while let Some(Reverse(first)) = directory.places.pop() {
            let (name, below) = (first.name.clone(), first.below);
            let mut places = vec![first];
            while let Some(Reverse(next)) = directory.places.peek()
                && (&next.name, next.below) == (&name, below)
            {
                places.extend(directory.places.pop().map(|Reverse(place)| place));
            }
            if below == 0 {
                return self.gather(directory, name, places).map(Some);
            }
            self.descend(directory, places)?;
        }
        Ok(None)
    }

    /// Opens the pages that these records stand for, each once.
    fn descend(&mut self, directory: &mut Directory, places: Vec<Place>) -> Result<(), S::Error> {
        let mut children: BTreeMap<TreeHash, (Arc<TreePage>, Vec<Members>)> = BTreeMap::new();
        for Place { index, page, members, .. } in places {
            let (hash, page) = self.take(page)?;
            if let Some(child) = page.child(index).map(|child| child.page) {
                let (_, sets) = match children.entry(child) {
                    Slot::Occupied(opened) => opened.into_mut(),
                    // Records of the same level, with the same first name, that name the same page: it
                    // fits all of them if it fits one.
                    Slot::Vacant(none) => {
                        none.insert((child_page(self.source, &page, index)?, Vec::new()))
                    }
                };
                sets.push(members.clone());
            }
            self.put(directory, (hash, page), index + 1, members);
        }
        for (hash, (page, sets)) in children {
            self.put(directory, (hash, page), 0, Members::union(sets));
        }
        Ok(())
    }

    fn gather(
        &mut self,
        directory: &mut Directory,
        name: Box<[u8]>,
        places: Vec<Place>,
    ) -> Result<Found, S::Error> {
        let (mut all, mut trees) = (Vec::with_capacity(places.len()), Vec::new());
        for Place { index, page, members, .. } in places {
            let (hash, page) = self.take(page)?;
            let content = page.entry_ref(index).map(|entry| entry.content);
            if let Some(ContentRef::Directory { tree, .. }) = content {
                trees.push((tree, members.clone()));
            }
            all.push(members.clone());
            self.put(directory, (hash, page), index + 1, members);
        }
        let directories = Members::union(trees.iter().map(|(_, members)| members.clone()));
        let having = Having { all: Members::union(all), directories };
        Ok(Found { name, having, trees: grouped(trees) })
    }
}

/// Each tree once, with all who have it.
fn grouped(trees: impl IntoIterator<Item = (TreeHash, Members)>) -> Vec<(TreeHash, Members)> {
    let mut groups: BTreeMap<TreeHash, Vec<Members>> = BTreeMap::new();
    for (tree, members) in trees {
        groups.entry(tree).or_default().push(members);
    }
    groups.into_iter().map(|(tree, sets)| (tree, Members::union(sets))).collect()
}
