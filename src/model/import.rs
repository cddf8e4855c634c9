//! What an import asks for and what it puts, as values that nobody has checked yet.
//!
//! They are the same on their way through the archive's side, the control protocol and the engine. Paths
//! are any bytes: see [`RawPath::components`]. Bytes and open files that entries name travel beside them.

use serde::{Deserialize, Serialize};

use super::digest::Sha256;
use super::hash::{BlobHash, TreeHash};
use super::name::{RepoName, TagName};
use super::raw::{RawBytes, RawPath};
use super::time::Timestamp;
use super::tree::Attributes;

/// What an import shall become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportOptions {
    /// Where to.
    pub repository: RepoName,
    /// Makes the repository when it does not exist.
    pub create: bool,
    /// The new version holds exactly what is put; otherwise it is put on top of the newest.
    pub mirror: bool,
    /// Text to keep with the version.
    pub message: String,
    /// Who imports; `None` for the caller's user name.
    pub author: Option<String>,
    /// Name of the version.
    pub tag: Option<TagName>,
}

/// A directory that an import would put as one tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedTree {
    /// Where.
    pub path: RawPath,
    /// What it holds.
    pub tree: TreeHash,
}

/// One entry of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportEntry {
    /// Where; empty for the attributes of the root directory.
    pub path: RawPath,
    /// Mode, owner, time, extended attributes. Ignored for [`ImportContent::Hardlink`].
    pub attributes: RawAttributes,
    /// Kind and content.
    pub content: ImportContent,
}

/// [`Attributes`] that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RawAttributes {
    /// Permission bits (`0o7777`).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes by full name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<(RawBytes, RawBytes)>,
}

impl From<&Attributes> for RawAttributes {
    fn from(attributes: &Attributes) -> Self {
        Self {
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime,
            xattrs: attributes
                .xattrs
                .iter()
                .map(|(name, value)| (RawBytes(name.clone()), RawBytes(value.clone())))
                .collect(),
        }
    }
}

impl RawAttributes {
    /// Converts to a tree entry's attributes. `None` when a bit outside `0o7777` is set in the
    /// mode or the nanoseconds are no fraction of a second.
    pub fn to_attributes(&self) -> Option<Attributes> {
        let mtime = Timestamp::new(self.mtime.seconds, self.mtime.nanoseconds)?;
        (self.mode & !0o7777 == 0).then(|| Attributes {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime,
            xattrs: self
                .xattrs
                .iter()
                .map(|(name, value)| (name.0.clone(), value.0.clone()))
                .collect(),
        })
    }
}

/// What an imported entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportContent {
    /// A directory; an existing one keeps its entries.
    Directory,
    /// A directory with all that is below it: the store said that it is there.
    Tree {
        /// What it holds.
        tree: TreeHash,
    },
    /// A regular file.
    File {
        /// Length in bytes.
        size_bytes: u64,
        /// Where its content is.
        source: FileSource,
        /// The name that the content gets in the version, if a remote declared it. Whoever puts the entry has
        /// checked it, and so it never comes from another process.
        #[serde(skip)]
        declared: Option<Sha256>,
    },
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: RawBytes,
    },
    /// Another name of a file put before.
    Hardlink {
        /// The file.
        to: RawPath,
    },
    /// A named pipe.
    Fifo,
    /// A unix domain socket.
    Socket,
    /// A character device.
    CharDevice {
        /// Device number in the kernel's 32-bit encoding.
        rdev: u32,
    },
    /// A block device.
    BlockDevice {
        /// Device number in the kernel's 32-bit encoding.
        rdev: u32,
    },
}

/// Where the content of an imported file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSource {
    /// There is none: the file is empty.
    Empty,
    /// In the pool already: the store said so.
    Known(BlobHash),
    /// Not here: the declared name is known, and a remote has it. Never comes from another process.
    #[serde(skip)]
    Absent,
    /// Among the bytes that come along.
    Inline {
        /// First byte.
        offset: u32,
        /// Number of bytes.
        len: u32,
    },
    /// In an open file that comes along; copied, never linked (H24).
    Attached {
        /// Which of them.
        index: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client could declare a digest that is not its content's.
    #[test]
    fn a_declared_name_does_not_come_from_another_process() {
        let declared = Some(Sha256::of(b"x"));
        let sent = ImportContent::File { size_bytes: 1, source: FileSource::Empty, declared };
        let text = serde_json::to_string(&sent).unwrap();
        let ImportContent::File { declared: None, .. } = serde_json::from_str(&text).unwrap()
        else {
            panic!("{text}");
        };
        let forged = text.replace("\"size_bytes\"", "\"declared\":[1],\"size_bytes\"");
        let read = serde_json::from_str::<ImportContent>(&forged);
        assert!(matches!(read, Err(_) | Ok(ImportContent::File { declared: None, .. })));
    }
}
