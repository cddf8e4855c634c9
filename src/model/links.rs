//! Hardlink groups in trees: how a group is named, found again, and told from others.
//!
//! The names of a group are entries of one or several directories. Each says which group it is in
//! by a [`LinkGroup`]: an id, the number of names, and the *scope*, which is the lowest directory
//! that has all names at or below it. The id is a hash of the group's first path, taken from the
//! scope. So two entries name one file when they have the same scope, which is a place in the
//! version, the same id, and are the same file in everything that a user can see.
//!
//! # Why the scope
//!
//! A directory that does not change keeps its tree and with it its records, wherever it is moved and
//! however often it is used. An id has to stay right through that:
//!
//! - An id from the path in the version, which releases up to 0.1.0 wrote, is not: a directory that
//!   moves keeps its ids, a new group at the old path gets the same id, and two files become one.
//! - A random id is right after a move, but not when a version has one tree at two places (a merge
//!   of two renames of one directory, for example). And it makes two equal trees differ: an import
//!   of what is there already would be a new version each time (N6), and a root hash would not name
//!   what a version shows.
//! - A scope and an id below it depend on nothing outside of that directory. Move or use it twice: each
//!   place has its own groups. Equal directories have equal trees, in every store.
//!
//! The price is paid when a directory moves that holds some names of a group and not all: the
//! group's scope or first path may change then, so all its entries are written anew. A
//! staging area takes those groups into memory before it moves a directory.
//!
//! # Groups of earlier releases
//!
//! Their scope is [`LinkScope::Version`], and their ids may collide. Names are never put together by
//! such an id alone: content and all attributes must be equal as well. If then there are more or
//! fewer names than the group says, nobody can tell which belong together, and each is a file of its
//! own ([`Ambiguous`]). fsck reports both.
//!
//! This module must not know where trees are stored.

use std::collections::{HashMap, HashSet};

use super::content_name::ContentName;
use super::hash::TreeHash;
use super::tree::{Attributes, Content, Entry, LinkGroup, LinkScope};
use super::tree_format::{TreeSource, entries};

#[cfg(test)]
mod tests;

/// How the names of a group record that they are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Naming {
    /// Length of the part of each path that leads to the scope, the slash included.
    scope_bytes: usize,
    id: u128,
    nlink: u32,
}

impl Naming {
    /// Names a group by all its paths, in byte order. `None` when these are fewer than two.
    pub fn of(paths: &[Vec<u8>]) -> Option<Self> {
        let (first, last) = (paths.first()?, paths.last()?);
        if paths.len() < 2 {
            return None;
        }
        // In byte order, what the first and the last path have in common, all between them have as
        // well.
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let slash = first[..common].iter().rposition(|byte| *byte == b'/');
        let scope_bytes = slash.map_or(0, |slash| slash + 1);
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(&first[scope_bytes..]).as_bytes()[..16]);
        Some(Self {
            scope_bytes,
            id: u128::from_le_bytes(id),
            nlink: u32::try_from(paths.len()).unwrap_or(u32::MAX),
        })
    }

    /// What the entry at `path`, which is one of the group's, records.
    pub fn group(&self, path: &[u8]) -> LinkGroup {
        let below = path.get(self.scope_bytes..).unwrap_or_default();
        let levels = below.iter().filter(|byte| **byte == b'/').count();
        let scope = LinkScope::Above(u32::try_from(levels).unwrap_or(u32::MAX));
        LinkGroup { id: self.id, nlink: self.nlink, scope }
    }
}

/// The path of the directory within which the group of the entry at `path` counts. `None` when it
/// would be above the top, which no tree of ours says.
pub fn scope_of(path: &[u8], group: LinkGroup) -> Option<&[u8]> {
    let LinkScope::Above(levels) = group.scope else {
        return Some(&[]);
    };
    let mut rest = path;
    for _ in 0..=levels {
        if rest.is_empty() {
            return None;
        }
        let slash = rest.iter().rposition(|byte| *byte == b'/');
        rest = &rest[..slash.unwrap_or(0)];
    }
    Some(rest)
}

/// Everything that the names of one file have in common, but for the scope: the group as each entry
/// records it, the content and the attributes. Entries that differ in any of it are different files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey(u128);

impl FileKey {
    /// The key of an entry; `None` when it is in no group.
    pub fn of(entry: &Entry) -> Option<Self> {
        let group = entry.link_group?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(match group.scope {
            LinkScope::Above(_) => b"scoped",
            LinkScope::Version => b"of all",
        });
        hasher.update(&group.id.to_le_bytes()).update(&group.nlink.to_le_bytes());
        hash_file(&mut hasher, &entry.attributes, &entry.content);
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Some(Self(u128::from_le_bytes(key)))
    }

    /// As bytes, to be hashed with what else makes up an identity.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

/// Hashes all that `stat`, `read` and `getxattr` show of a file. Lengths go before what varies in
/// length, so that no two inputs run together.
pub fn hash_file(hasher: &mut blake3::Hasher, attributes: &Attributes, content: &Content) {
    hasher
        .update(&attributes.mode.to_le_bytes())
        .update(&attributes.uid.to_le_bytes())
        .update(&attributes.gid.to_le_bytes())
        .update(&attributes.mtime.seconds.to_le_bytes())
        .update(&attributes.mtime.nanoseconds.to_le_bytes());
    hasher.update(&length(attributes.xattrs.len()));
    for (name, value) in &attributes.xattrs {
        hasher.update(&length(name.len())).update(name);
        hasher.update(&length(value.len())).update(value);
    }
    match content {
        Content::File { size, blob } => {
            hasher.update(b"f").update(&size.to_le_bytes());
            match blob {
                Some(ContentName::Blake3(hash)) => {
                    hasher.update(hash.as_bytes());
                }
                Some(ContentName::Sha256(digest)) => {
                    hasher.update(b"sha256").update(digest.as_bytes());
                }
                None => {}
            }
        }
        Content::Symlink { target } => {
            hasher.update(b"l").update(target);
        }
        Content::Fifo => {
            hasher.update(b"p");
        }
        Content::Socket => {
            hasher.update(b"s");
        }
        Content::CharDevice { rdev } => {
            hasher.update(b"c").update(&rdev.to_le_bytes());
        }
        Content::BlockDevice { rdev } => {
            hasher.update(b"b").update(&rdev.to_le_bytes());
        }
        Content::Directory { .. } => panic!("a directory is identified by its place"),
    }
}

fn length(length: usize) -> [u8; 8] {
    (length as u64).to_le_bytes()
}

/// A file with several names, in one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The path of the scope.
    pub scope: Box<[u8]>,
    /// The file.
    pub file: FileKey,
}

impl GroupKey {
    /// The group of the entry at `path`; `None` when it is in none.
    pub fn of(path: &[u8], entry: &Entry) -> Option<Self> {
        let scope = scope_of(path, entry.link_group?)?;
        Some(Self { scope: scope.into(), file: FileKey::of(entry)? })
    }
}

/// Visits every entry that is in a hardlink group, with its path. Directories without any below
/// them are not read.
///
/// # Errors
/// Those of the source.
pub fn walk<S: TreeSource>(
    source: &S,
    root: &TreeHash,
    visit: &mut dyn FnMut(&[u8], &Entry),
) -> Result<(), S::Error> {
    walk_unknown(source, root, &HashSet::new(), visit).map(drop)
}

/// As [`walk`], but reads none of the directories in `known`. Returns the directories that it read
/// and whose groups have no name outside of them.
///
/// # Errors
/// Those of the source.
pub fn walk_unknown<S: TreeSource>(
    source: &S,
    root: &TreeHash,
    known: &HashSet<TreeHash>,
    visit: &mut dyn FnMut(&[u8], &Entry),
) -> Result<Vec<TreeHash>, S::Error> {
    let mut closed = Vec::new();
    let mut path = Vec::new();
    // An explicit stack instead of recursion: hostile trees can be deeper than the thread's stack.
    let mut open = Vec::new();
    if source.page(root)?.summary().has_links {
        open.push(Level::open(source, *root, 0)?);
    }
    while let Some(level) = open.last_mut() {
        path.truncate(level.path_bytes);
        let Some(entry) = level.entries.next() else {
            let depth = open.len() - 1;
            if let Some(done) = open.pop() {
                if done.reach >= depth {
                    closed.push(done.tree);
                }
                if let Some(above) = open.last_mut() {
                    above.reach = above.reach.min(done.reach);
                }
            }
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(entry.name.as_bytes());
        if let Some(group) = entry.link_group {
            let levels = match group.scope {
                LinkScope::Above(levels) => usize::try_from(levels).unwrap_or(usize::MAX),
                LinkScope::Version => usize::MAX,
            };
            let depth = open.len() - 1;
            if let Some(level) = open.last_mut() {
                level.reach = level.reach.min(depth.saturating_sub(levels));
            }
            visit(&path, &entry);
        } else if let Some(tree) = linked_directory(&entry)
            && !known.contains(&tree)
        {
            open.push(Level::open(source, tree, path.len())?);
        }
    }
    Ok(closed)
}

/// The tree of a directory with hardlinks below it.
pub fn linked_directory(entry: &Entry) -> Option<TreeHash> {
    match entry.content {
        Content::Directory { tree, summary } if summary.has_links => Some(tree),
        _ => None,
    }
}

/// A directory being walked.
struct Level {
    tree: TreeHash,
    path_bytes: usize,
    /// Its entries with links.
    entries: std::vec::IntoIter<Entry>,
    /// Depth of the highest scope among the groups found in it.
    reach: usize,
}

impl Level {
    fn open<S: TreeSource>(
        source: &S,
        tree: TreeHash,
        path_bytes: usize,
    ) -> Result<Self, S::Error> {
        let mut found = Vec::new();
        for entry in entries(source, &tree, 0) {
            let entry = entry?;
            if entry.link_group.is_some() || linked_directory(&entry).is_some() {
                found.push(entry);
            }
        }
        Ok(Self { tree, path_bytes, entries: found.into_iter(), reach: usize::MAX })
    }
}

/// Groups of one version that have a [`LinkScope::Version`], and not as many names as they say:
/// several groups share an id and are equal in all else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ambiguous(HashSet<FileKey>);

impl Ambiguous {
    /// Finds the ambiguous groups of a version. Reads all directories with hardlinks.
    ///
    /// # Errors
    /// Those of the source.
    pub fn of<S: TreeSource>(source: &S, root: &TreeHash) -> Result<Self, S::Error> {
        let mut counts: HashMap<FileKey, (u32, u32)> = HashMap::new();
        walk(source, root, &mut |_, entry| {
            if let Some(group) = entry.link_group.filter(|group| group.scope == LinkScope::Version)
                && let Some(key) = FileKey::of(entry)
            {
                let (names, _) = counts.entry(key).or_insert((0, group.nlink));
                *names = names.saturating_add(1);
            }
        })?;
        let wrong = counts.into_iter().filter(|(_, (names, nlink))| names != nlink);
        Ok(Self(wrong.map(|(key, _)| key).collect()))
    }

    /// Whether nobody can tell which names belong to this entry's group.
    pub fn has(&self, entry: &Entry) -> bool {
        is_of_version(entry) && FileKey::of(entry).is_some_and(|key| self.0.contains(&key))
    }

    /// Takes an entry out of such a group.
    pub fn settle(&self, entry: &mut Entry) {
        if self.has(entry) {
            entry.link_group = None;
        }
    }
}

/// Whether an entry is in a group of the kind that [`Ambiguous`] is about.
pub fn is_of_version(entry: &Entry) -> bool {
    entry.link_group.is_some_and(|group| group.scope == LinkScope::Version)
}
