//! Inode numbers and the identities behind them.
//!
//! A number is derived from what it names, so it is the same after a restart, and a file that is
//! unchanged from one version to the next keeps its number and with it the kernel's page cache:
//!
//! ```text
//! 1                        the root
//! 2^20 + repository id     a repository's directory (arithmetic, never in a table)
//! 2^62 | 61 bits           a file (or symlink, device …): hash over repository, path (of a hardlink
//!                          group: its scope's path, and its id) and everything that stat, read
//!                          and getxattr show
//! 2^62 | 2^61 | 61 bits    a directory: hash over repository, version, path
//! ```
//!
//! With `-o inode32` files and directories are counted instead, in the order in which they are first
//! listed or looked up: no two of them ever share a number, as those that are hashed to so few bits would.
//! Such a number is good for one mount.
//!
//! ```text
//! 2^30 + 30 bits           a directory
//! 2^31 + 31 bits           a file (or symlink, device …)
//! ```
//!
//! The top bit stays clear, for programs that keep inode numbers in signed integers. Two things
//! whose 61 bits collide are told apart by their full identity in [`super::inode_table`].

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::id::{Ino, RepoId, VersionNumber};
use crate::model::links::{self, FileKey};
use crate::model::tree::Entry;

/// The root of the mount.
pub(crate) const ROOT: Ino = Ino(1);

const REPOSITORY_BASE: u64 = 1 << 20;
const HASHED: u64 = 1 << 62;
const DIRECTORY: u64 = 1 << 61;
const HASH_MASK: u64 = DIRECTORY - 1;
const COUNTED_DIRECTORY: u64 = 1 << 30;
const COUNTED_FILE: u64 = 1 << 31;
const COUNTED_END: u64 = 1 << 32;

/// How inode numbers of files and directories come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// By a hash of what they stand for.
    Hashed,
    /// By counting, below 2^32. Takes some 40 bytes of memory for each file that was ever listed or
    /// looked up.
    Counted,
}

/// The inode number of a repository's directory.
pub(crate) fn repository_ino(repository: RepoId) -> Ino {
    assert!(repository.0 < COUNTED_DIRECTORY - REPOSITORY_BASE, "repository ids count up from 1");
    Ino(REPOSITORY_BASE + repository.0)
}

/// What an inode number says about what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Root,
    Repository(RepoId),
    Directory,
    File,
}

impl Class {
    /// Reads the class off a number. `None` for numbers that are never given out.
    pub(super) fn of(ino: Ino) -> Option<Self> {
        match ino {
            ROOT => Some(Self::Root),
            Ino(number) if number >= HASHED << 1 => None,
            Ino(COUNTED_DIRECTORY..COUNTED_FILE) => Some(Self::Directory),
            Ino(COUNTED_FILE..COUNTED_END) => Some(Self::File),
            Ino(number) if number & HASHED == 0 => {
                let id = number.checked_sub(REPOSITORY_BASE).filter(|_| number < COUNTED_DIRECTORY);
                id.map(|id| Self::Repository(RepoId(id)))
            }
            Ino(number) if number & DIRECTORY == 0 => Some(Self::File),
            Ino(_) => Some(Self::Directory),
        }
    }
}

/// The number that a file's hash asks for.
fn hashed_file(hash: u64) -> u64 {
    HASHED | (hash & HASH_MASK)
}

/// The number that a directory's hash asks for.
fn hashed_directory(hash: u64) -> u64 {
    HASHED | DIRECTORY | (hash & HASH_MASK)
}

/// What gives each identity of one class its number.
#[derive(Debug)]
pub(super) struct Numbers {
    /// Set when they are counted.
    counted: Option<Mutex<HashMap<Identity, u64>>>,
    /// Where they start, and how many there are.
    range: (u64, u64),
    hashed: fn(u64) -> u64,
}

impl Numbers {
    fn new(numbering: Numbering, range: (u64, u64), hashed: fn(u64) -> u64) -> Self {
        let counted = (numbering == Numbering::Counted).then(Mutex::default);
        Self { counted, range, hashed }
    }

    /// For everything but directories.
    pub(super) fn of_files(numbering: Numbering) -> Self {
        Self::new(numbering, (COUNTED_FILE, COUNTED_END - COUNTED_FILE), hashed_file)
    }

    /// For directories.
    pub(super) fn of_directories(numbering: Numbering) -> Self {
        let range = (COUNTED_DIRECTORY, COUNTED_FILE - COUNTED_DIRECTORY);
        Self::new(numbering, range, hashed_directory)
    }

    /// The number of an identity, the same each time. When no short number is left, the hashed
    /// number of 62 bits.
    pub(super) fn number(&self, identity: Identity) -> u64 {
        let hashed = (self.hashed)(identity.prefix());
        let Some(counted) = &self.counted else {
            return hashed;
        };
        let (start, count) = self.range;
        let mut counted = counted.lock();
        let given = counted.len() as u64;
        match counted.get(&identity) {
            Some(number) => *number,
            None if given < count => {
                counted.insert(identity, start + given);
                start + given
            }
            None => hashed,
        }
    }
}

/// Length of an identity: 128 bits are far beyond any accidental collision.
const IDENTITY_BYTES: usize = 16;

/// Hash over a path within a version: of each directory from its parent's and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathHash([u8; IDENTITY_BYTES]);

impl PathHash {
    /// The version's root directory.
    pub(super) const ROOT: Self = Self([0; IDENTITY_BYTES]);

    /// The path one component further down.
    pub(super) fn child(self, name: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"path").update(&self.0).update(name);
        Self(truncated(&hasher))
    }
}

/// Everything that makes a file the file it is, in 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity([u8; IDENTITY_BYTES]);

impl Identity {
    /// The identity of a file (anything but a directory) at `path`. Names of one hardlink group,
    /// which are those with the same `scope`, have the same one; so `scope` is `None` exactly when
    /// the file is in no group.
    pub(super) fn of_file(
        repository: RepoId,
        path: PathHash,
        scope: Option<PathHash>,
        entry: &Entry,
    ) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"file").update(&repository.0.to_le_bytes());
        match scope.zip(FileKey::of(entry)) {
            Some((scope, key)) => hasher.update(b"g").update(&scope.0).update(&key.to_bytes()),
            None => hasher.update(b"p").update(&path.0),
        };
        links::hash_file(&mut hasher, &entry.attributes, &entry.content);
        Self(truncated(&hasher))
    }

    /// The identity of a directory.
    pub(super) fn of_directory(repository: RepoId, version: VersionNumber, path: PathHash) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(b"directory")
            .update(&repository.0.to_le_bytes())
            .update(&version.0.to_le_bytes())
            .update(&path.0);
        Self(truncated(&hasher))
    }

    /// 64 of the bits, for the inode number.
    fn prefix(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

fn truncated(hasher: &blake3::Hasher) -> [u8; IDENTITY_BYTES] {
    let mut bytes = [0; IDENTITY_BYTES];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_their_class() {
        assert_eq!(Class::of(ROOT), Some(Class::Root));
        assert_eq!(Class::of(repository_ino(RepoId(7))), Some(Class::Repository(RepoId(7))));
        assert_eq!(Class::of(Ino(hashed_file(u64::MAX))), Some(Class::File));
        assert_eq!(Class::of(Ino(hashed_directory(0))), Some(Class::Directory));
        assert_eq!(Class::of(Ino(COUNTED_DIRECTORY)), Some(Class::Directory));
        assert_eq!(Class::of(Ino(COUNTED_FILE)), Some(Class::File));
        assert_eq!(Class::of(Ino(COUNTED_END - 1)), Some(Class::File));
        assert_eq!(Class::of(Ino(COUNTED_END)), None);
        for never in [0, 2, REPOSITORY_BASE - 1, u64::MAX] {
            assert_eq!(Class::of(Ino(never)), None, "{never}");
        }
    }

    fn identity(number: u8) -> Identity {
        Identity([number; IDENTITY_BYTES])
    }

    #[test]
    fn counted_numbers_are_short_and_stay() {
        let numbers = Numbers::of_files(Numbering::Counted);
        assert_eq!([1, 2, 1].map(|n| numbers.number(identity(n)) - COUNTED_FILE), [0, 1, 0]);
    }

    #[test]
    fn when_all_are_counted_the_next_one_is_hashed() {
        let numbers = Numbers::new(Numbering::Counted, (COUNTED_FILE, 2), hashed_file);
        let found = [1, 2, 3, 2].map(|n| numbers.number(identity(n)));
        let long = hashed_file(identity(3).prefix());
        assert_eq!(found, [COUNTED_FILE, COUNTED_FILE + 1, long, COUNTED_FILE + 1]);
    }
}
