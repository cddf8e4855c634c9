//! A picture of a directory tree that can be compared: what `rsync -aHAX --checksum` would look at.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Everything that a version must preserve of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: NodeKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub xattrs: Xattrs,
}

/// Kind of a file with its content.
#[derive(Clone, PartialEq, Eq)]
pub enum NodeKind {
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

/// Extended attributes by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A tree by relative path; its root is the empty path.
pub type Tree = BTreeMap<PathBuf, Node>;

/// Reads the whole tree at `root`.
///
/// # Panics
/// When anything in it cannot be read.
#[track_caller]
pub fn read(root: &Path) -> Tree {
    try_read(root).unwrap_or_else(|error| panic!("reading {}: {error}", root.display()))
}

/// Reads the whole tree at `root`; an error names the path.
pub fn try_read(root: &Path) -> io::Result<Tree> {
    let mut tree = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(relative) = todo.pop() {
        let path = root.join(&relative);
        let meta = fs::symlink_metadata(&path).map_err(|error| at(&path, "stat", error))?;
        if meta.is_dir() {
            for name in fs::read_dir(&path).map_err(|error| at(&path, "list", error))? {
                todo.push(relative.join(name?.file_name()));
            }
        } else {
            // The smallest path names the group, whatever the order of the walk.
            let first = inodes.entry(meta.ino()).or_insert_with(|| relative.clone());
            if relative < *first {
                first.clone_from(&relative);
            }
        }
        let node = node(&path, &meta).map_err(|error| at(&path, "read", error))?;
        tree.insert(relative, (meta.ino(), node));
    }
    let with_group = |(path, (ino, mut node)): (PathBuf, (u64, Node))| {
        if let NodeKind::File { same_as, .. } = &mut node.kind {
            same_as.clone_from(&inodes[&ino]);
        }
        (path, node)
    };
    Ok(tree.into_iter().map(with_group).collect())
}

fn at(path: &Path, action: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{action} {}: {error}", path.display()))
}

/// One node; the caller knows which others are the same inode.
fn node(path: &Path, meta: &fs::Metadata) -> io::Result<Node> {
    let kind = meta.file_type();
    let kind = if kind.is_dir() {
        NodeKind::Directory
    } else if kind.is_symlink() {
        NodeKind::Symlink(fs::read_link(path)?)
    } else if kind.is_fifo() {
        NodeKind::Fifo
    } else if kind.is_socket() {
        NodeKind::Socket
    } else if kind.is_file() {
        let content = fs::read(path)?;
        assert_eq!(content.len() as u64, meta.len(), "size of {}", path.display());
        NodeKind::File { content, nlink: meta.nlink(), same_as: PathBuf::new() }
    } else {
        NodeKind::Device { block: kind.is_block_device(), rdev: meta.rdev() }
    };
    Ok(Node {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        xattrs: try_xattrs(path)?,
    })
}

/// All listed extended attributes of `path` itself.
///
/// # Panics
/// When they cannot be read.
#[track_caller]
pub fn xattrs(path: &Path) -> Xattrs {
    try_xattrs(path).unwrap_or_else(|error| panic!("xattrs of {}: {error}", path.display()))
}

fn try_xattrs(path: &Path) -> io::Result<Xattrs> {
    let mut list = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut list[..])?;
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let with_value = |name: &[u8]| {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(length);
        Ok((name.to_vec(), value))
    };
    names.map(with_value).collect()
}

/// The differences of two trees, one line each; empty when they are equal.
pub fn differences(expected: &Tree, found: &Tree) -> Vec<String> {
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
pub fn assert_same_below(expected: &Path, found: &Path) {
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
