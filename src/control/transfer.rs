//! Import and export as requests: how trees enter and leave a store without a mount.
//!
//! The command walks and writes with its caller's credentials (H24); the store's owner sees bytes
//! and open files, never a path of the caller's. What arrives here is hostile until checked:
//! paths are any bytes, see [`RawPath::components`].

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::hash::{BlobHash, TreeHash};
use crate::model::name::{BaseName, EntryName, NameError, RepoName, TagName};
use crate::model::time::Timestamp;
use crate::model::tree::Attributes;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BytesForm<'a> {
    Text(Cow<'a, str>),
    Raw { bytes: Cow<'a, [u8]> },
}

macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// In JSON a string when it is UTF-8, otherwise `{"bytes":[…]}`.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub Box<[u8]>);

        impl $name {
            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> Self {
                Self(bytes.into())
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                Self(bytes.into())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", String::from_utf8_lossy(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match std::str::from_utf8(&self.0) {
                    Ok(text) => serializer.serialize_str(text),
                    Err(_) => BytesForm::Raw {
                        bytes: Cow::Borrowed(&self.0),
                    }
                    .serialize(serializer),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(match BytesForm::deserialize(deserializer)? {
                    BytesForm::Text(text) => Self(text.into_owned().into_bytes().into()),
                    BytesForm::Raw { bytes } => Self(bytes.into_owned().into()),
                })
            }
        }
    };
}

bytes_type! {
    /// Any bytes: a symlink's target, an extended attribute.
    RawBytes
}
bytes_type! {
    /// A path relative to the root of a tree, `/`-separated, without a leading or trailing `/`;
    /// empty for the root itself. Not validated: see [`RawPath::components`].
    RawPath
}

impl RawPath {
    /// Splits into validated names; none for the root.
    ///
    /// # Errors
    /// The rule that a component breaks: empty (a leading, trailing or double `/`), `.`, `..`,
    /// too long, NUL.
    pub fn components(&self) -> Result<Vec<EntryName>, NameError> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        self.0.split(|b| *b == b'/').map(EntryName::new).collect()
    }
}

/// A running import. It ends with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImportId(pub u64);

/// One step of an import. An import that is not finished when its connection ends is aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportRequest {
    /// Starts. Replies [`Reply::ImportBegun`](super::reply::Reply::ImportBegun).
    Begin {
        /// The repository.
        repository: RepoName,
        /// Makes the repository when it does not exist.
        create: bool,
        /// The new version holds exactly what is put; otherwise it is put on top of the newest.
        mirror: bool,
        /// Free text of the version.
        message: String,
        /// Who imports; `None` for the caller's user name.
        author: Option<String>,
        /// Name of the version.
        tag: Option<TagName>,
    },
    /// Asks which contents are there; those are touched and pinned for this import. Replies
    /// [`Reply::Known`](super::reply::Reply::Known).
    Known {
        /// The import.
        import: ImportId,
        /// At most [`HASHES_MAX`].
        hashes: Vec<BlobHash>,
    },
    /// Asks which directories are there with all that is below them, and can be put whole where
    /// they are wanted; those are pinned for this import. Replies
    /// [`Reply::Known`](super::reply::Reply::Known).
    KnownTrees {
        /// The import.
        import: ImportId,
        /// At most [`HASHES_MAX`].
        trees: Vec<WantedTree>,
    },
    /// Adds entries; parents come before children, or are made with default attributes. Replies
    /// [`Reply::Done`](super::reply::Reply::Done) when they have arrived; a failure to store them
    /// answers a later request. With open files, or with no entries at all, it replies when all
    /// that was put is stored.
    Put {
        /// The import.
        import: ImportId,
        /// The entries, in the order to apply them.
        entries: Vec<ImportEntry>,
    },
    /// Publishes. Replies [`Reply::Commit`](super::reply::Reply::Commit).
    Finish {
        /// The import.
        import: ImportId,
        /// Makes a version even when nothing changed.
        allow_empty: bool,
    },
    /// Throws everything away. Replies [`Reply::Done`](super::reply::Reply::Done).
    Abort {
        /// The import.
        import: ImportId,
    },
}

/// A directory that an import would like to put whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedTree {
    /// Where.
    pub path: RawPath,
    /// What it holds.
    pub tree: TreeHash,
}

/// The most hashes in one [`ImportRequest::Known`], [`ImportRequest::KnownTrees`] or
/// [`ExportRequest::Pages`].
pub const HASHES_MAX: usize = 10_000;

/// The most hashes in one [`ExportRequest::Open`], as a message carries so many files at most.
pub const OPEN_MAX: usize = 64;

/// One entry of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportEntry {
    /// Where; empty for the attributes of the root directory.
    pub path: RawPath,
    /// Mode, owner, time, extended attributes. Ignored for [`ImportContent::Hardlink`].
    pub attributes: WireAttributes,
    /// Kind and content.
    pub content: ImportContent,
}

/// [`Attributes`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WireAttributes {
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

impl From<&Attributes> for WireAttributes {
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

impl WireAttributes {
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
    /// A directory with all that is below it: [`ImportRequest::KnownTrees`] said that it is there.
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
    /// In the pool already: [`ImportRequest::Known`] said so.
    Known(BlobHash),
    /// In the message's payload.
    Inline {
        /// First byte.
        offset: u32,
        /// Number of bytes.
        len: u32,
    },
    /// In an open file that the message carries; copied, never linked (H24).
    Attached {
        /// Index into the message's files.
        index: u32,
    },
}

/// One step of an export. The version asked by `Root` stays readable until the connection ends,
/// even when it is deleted meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportRequest {
    /// Replies [`Reply::Root`](super::reply::Reply::Root).
    Root {
        /// The repository.
        repository: RepoName,
        /// The version.
        version: BaseName,
    },
    /// Replies [`Reply::Pages`](super::reply::Reply::Pages).
    Pages {
        /// At most [`HASHES_MAX`]; the answer must fit a payload.
        hashes: Vec<TreeHash>,
    },
    /// Replies [`Reply::Opened`](super::reply::Reply::Opened).
    Open {
        /// At most [`OPEN_MAX`].
        hashes: Vec<BlobHash>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let cases: [(&[u8], &str); 3] = [
            (b"a/b", r#""a/b""#),
            (b"\xff", r#"{"bytes":[255]}"#),
            ("\u{e9}\n".as_bytes(), "\"\u{e9}\\n\""),
        ];
        for (bytes, json) in cases {
            let path = RawPath::from(bytes);
            assert_eq!(serde_json::to_string(&path).unwrap(), json);
            assert_eq!(serde_json::from_str::<RawPath>(json).unwrap(), path);
        }
        assert!(serde_json::from_str::<RawPath>(r#"{"bytes":[256]}"#).is_err());
    }

    #[test]
    fn components_refuse_what_leads_elsewhere() {
        assert_eq!(RawPath::default().components(), Ok(Vec::new()));
        for bad in ["/a", "a/", "a//b", "..", "a/../b", "./a", "a\0"] {
            assert!(RawPath::from(bad.as_bytes()).components().is_err(), "{bad}");
        }
        let good = RawPath::from(&b"a/\xff"[..]).components().unwrap();
        assert_eq!(good.len(), 2);
    }
}
