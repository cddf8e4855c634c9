//! Bytes as a source of decisions, for targets that make values of them. Where they end, zeros
//! follow.

use cairn::model::digest::Sha256;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::name::EntryName;
use cairn::model::time::Timestamp;
use cairn::model::tree::{Attributes, Content, Entry, LinkGroup, LinkScope, Summary, Xattrs};

pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.take(N);
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.short()) % limit
    }

    /// A name, mostly one that others have as well.
    pub(crate) fn name(&mut self) -> EntryName {
        let choice = self.byte();
        let text = if choice < 0xf0 {
            format!("{choice:02x}{:02x}", self.byte())
        } else {
            let long = usize::from(self.byte());
            String::from_utf8_lossy(self.take(long)).into_owned()
        };
        EntryName::new(text.as_bytes()).unwrap_or_else(|_| EntryName::new(b"other").unwrap())
    }

    /// An entry that has an encoding, nearly always.
    pub(crate) fn entry(&mut self, name: EntryName) -> Entry {
        let shape = self.byte();
        let content = match shape & 7 {
            0 => {
                let size = u64::from(self.short());
                let blob = (size > 0).then(|| BlobHash::of(&size.to_le_bytes()).into());
                Content::File { size, blob }
            }
            1 => {
                let size = u64::from(self.short());
                let blob = (size > 0).then(|| Sha256::of(&size.to_le_bytes()).into());
                Content::File { size, blob }
            }
            2 => Content::Directory {
                tree: TreeHash::of(&[self.byte()]),
                summary: Summary {
                    files: u64::from(self.byte()),
                    bytes: self.number() >> 16,
                    directories: u64::from(self.byte()),
                    has_links: self.byte() & 1 == 1,
                },
            },
            3 => Content::Symlink { target: [&b"t"[..], &[self.byte() | 1]].concat().into() },
            4 => Content::Fifo,
            5 => Content::Socket,
            6 => Content::CharDevice { rdev: u32::from(self.short()) },
            _ => Content::BlockDevice { rdev: u32::from(self.short()) },
        };
        let directory = matches!(content, Content::Directory { .. });
        let linked = shape & 8 != 0 && !directory;
        let scope = if shape & 32 == 0 { LinkScope::Above(1) } else { LinkScope::Version };
        let mut xattrs = Xattrs::new();
        if shape & 16 != 0 {
            let length = usize::from(self.short() & 0x3ff);
            xattrs.insert(b"user.x".as_slice().into(), vec![7; length].into());
        }
        Entry {
            name,
            attributes: Attributes {
                mode: self.short() & 0o7777,
                uid: u32::from(self.byte()),
                gid: 0,
                mtime: Timestamp::new(i64::from(self.byte()), 0).unwrap(),
                xattrs,
            },
            link_group: linked.then(|| LinkGroup { id: shape.into(), nlink: 2, scope }),
            content,
        }
    }
}
