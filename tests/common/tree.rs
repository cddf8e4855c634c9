//! A picture of a directory tree that can be compared: what `rsync -aHAX --checksum` would look at.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Everything that a version must preserve of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Kind of a file with its content.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// Content, number of links, and the first path in order that is the same inode.
    File {
        content: Vec<u8>,
        nlink: u64,
        same_as: PathBuf,
    },
    Directory,
    Symlink(PathBuf),
    Fifo,
    Socket,
    Device {
        block: bool,
        rdev: u64,
    },
}

impl std::fmt::Debug for NodeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { content, nlink, same_as } => {
                let hash = blake3::hash(content).to_hex();
                let (length, hash) = (content.len(), &hash[..8]);
                write!(f, "file of {length} bytes ({hash}), nlink {nlink}, same as {same_as:?}")
            }
            Self::Directory => f.write_str("directory"),
            Self::Symlink(target) => write!(f, "symlink to {target:?}"),
            Self::Fifo => f.write_str("fifo"),
            Self::Socket => f.write_str("socket"),
            Self::Device { block, rdev } => write!(f, "device {rdev:#x}, block {block}"),
        }
    }
}

/// A tree by relative path; its root is the empty path.
pub(crate) type Tree = BTreeMap<PathBuf, Node>;

/// Reads the whole tree at `root`.
pub(crate) fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut inodes = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(relative) = todo.pop() {
        let path = root.join(&relative);
        let meta = fs::symlink_metadata(&path)
            .unwrap_or_else(|error| panic!("stat {}: {error}", path.display()));
        if meta.is_dir() {
            let names = fs::read_dir(&path)
                .unwrap_or_else(|error| panic!("list {}: {error}", path.display()));
            todo.extend(names.map(|name| relative.join(name.expect("an entry").file_name())));
        } else {
            // The smallest path names the group, whatever the order of the walk.
            let first = inodes.entry(meta.ino()).or_insert_with(|| relative.clone());
            if relative < *first {
                first.clone_from(&relative);
            }
        }
        let node = node(&path, &meta, relative.clone());
        tree.insert(relative, node);
    }
    for (relative, node) in &mut tree {
        if let NodeKind::File { same_as, .. } = &mut node.kind {
            let ino = fs::symlink_metadata(root.join(relative)).expect("stat").ino();
            same_as.clone_from(&inodes[&ino]);
        }
    }
    tree
}

fn node(path: &Path, meta: &fs::Metadata, same_as: PathBuf) -> Node {
    let kind = meta.file_type();
    let kind = if kind.is_dir() {
        NodeKind::Directory
    } else if kind.is_symlink() {
        NodeKind::Symlink(fs::read_link(path).expect("readlink"))
    } else if kind.is_fifo() {
        NodeKind::Fifo
    } else if kind.is_socket() {
        NodeKind::Socket
    } else if kind.is_file() {
        let content =
            fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        assert_eq!(content.len() as u64, meta.len(), "size of {}", path.display());
        NodeKind::File { content, nlink: meta.nlink(), same_as }
    } else {
        NodeKind::Device { block: kind.is_block_device(), rdev: meta.rdev() }
    };
    Node {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        xattrs: xattrs(path),
    }
}

/// All listed extended attributes of `path` itself.
pub(crate) fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut list[..])
        .unwrap_or_else(|error| panic!("listxattr {}: {error}", path.display()));
    list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let os_name = std::ffi::OsStr::from_bytes(name);
            let length =
                rustix::fs::lgetxattr(path, os_name, &mut value[..]).expect("a listed xattr");
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}

/// The differences of two trees, one line each; empty when they are equal.
pub(crate) fn differences(expected: &Tree, found: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, node) in expected {
        match found.get(path) {
            None => lines.push(format!("{path:?} is missing, expected {node:?}")),
            Some(other) if other != node => {
                lines.push(format!("{path:?}:\n  expected {node:?}\n  found    {other:?}"));
            }
            Some(_) => {}
        }
    }
    let unknown = found.keys().filter(|path| !expected.contains_key(*path));
    lines.extend(unknown.map(|path| format!("{path:?} should not be there")));
    lines
}

/// Asserts that two trees are equal but for the attributes of their roots.
#[track_caller]
pub(crate) fn assert_same_below(expected: &Path, found: &Path) {
    let (mut left, mut right) = (read(expected), read(found));
    left.remove(Path::new(""));
    right.remove(Path::new(""));
    let lines = differences(&left, &right);
    assert!(
        lines.is_empty(),
        "{} differs from {}:\n{}",
        found.display(),
        expected.display(),
        lines.join("\n")
    );
}
