//! A store in memory that takes an import, asserts that each entry may be believed, and hands the
//! result out again.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;

use cairn::archive::{ArchiveError, Batch, EntrySink, ExportSource, ImportSink, Published};
use cairn::model::content_name::ContentName;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::id::VersionNumber;
use cairn::model::import::{FileSource, ImportContent, ImportEntry};
use cairn::model::name::EntryName;
use cairn::model::time::Timestamp;
use cairn::model::tree::{Attributes, Content, Entry, LinkGroup, LinkScope, Root, Xattrs};
use cairn::model::tree_format::{build, check_attributes};

use super::path::assert_safe;

/// What a path is.
#[derive(Clone)]
enum Node {
    /// Not named itself, but above something.
    Implied,
    Directory(Attributes),
    /// The number is that of the inode.
    Other(Attributes, Content, usize),
}

#[derive(Default)]
pub(crate) struct Sink {
    nodes: BTreeMap<Vec<u8>, Node>,
    blobs: HashMap<BlobHash, Vec<u8>>,
    pages: HashMap<TreeHash, Vec<u8>>,
    root: Option<Root>,
    inodes: usize,
    /// Whether content was attached, which is not kept here.
    pub(crate) attached: bool,
    pub(crate) published: u32,
    pub(crate) aborted: u32,
}

fn default_directory() -> Attributes {
    Attributes { mode: 0o755, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Xattrs::new() }
}

impl Sink {
    /// Attributes and tree of what was published.
    pub(crate) fn root(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    fn put_entry(&mut self, entry: &ImportEntry, payload: &[u8], files: &[File]) {
        let path = entry.path.as_bytes();
        assert_safe(path);
        let depth = entry.path.components().unwrap().len();
        let attributes = entry.attributes.to_attributes().unwrap();
        check_attributes(&attributes).unwrap();
        self.imply_parents(path);
        let content = match &entry.content {
            ImportContent::Tree { .. } => panic!("nothing was said to be known"),
            ImportContent::Directory => {
                let before = self.nodes.insert(path.to_vec(), Node::Directory(attributes));
                assert!(matches!(before, None | Some(Node::Implied)), "{:?} is put twice", path);
                return;
            }
            ImportContent::Hardlink { to } => {
                let Some(Node::Other(attributes, content, inode)) = self.nodes.get(to.as_bytes())
                else {
                    panic!("a link to {to:?}, which is no file put before");
                };
                let node = Node::Other(attributes.clone(), content.clone(), *inode);
                assert!(self.nodes.insert(path.to_vec(), node).is_none());
                return;
            }
            ImportContent::File { size_bytes, source, .. } => {
                let blob = self.take(*source, *size_bytes, payload, files);
                assert_eq!(blob.is_some(), *size_bytes > 0);
                Content::File { size: *size_bytes, blob: blob.map(ContentName::from) }
            }
            ImportContent::Symlink { target } => Content::Symlink { target: target.0.clone() },
            ImportContent::Fifo => Content::Fifo,
            ImportContent::Socket => Content::Socket,
            ImportContent::CharDevice { rdev } => Content::CharDevice { rdev: *rdev },
            ImportContent::BlockDevice { rdev } => Content::BlockDevice { rdev: *rdev },
        };
        assert!(depth > 0, "the top is no directory");
        self.inodes += 1;
        let node = Node::Other(attributes, content, self.inodes);
        assert!(self.nodes.insert(path.to_vec(), node).is_none(), "{path:?} is put twice");
    }

    fn imply_parents(&mut self, path: &[u8]) {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends {
            let above = self.nodes.entry(path[..end].to_vec()).or_insert(Node::Implied);
            assert!(!matches!(above, Node::Other(..)), "{path:?} is below what is no directory");
        }
    }

    fn take(
        &mut self,
        source: FileSource,
        size: u64,
        payload: &[u8],
        files: &[File],
    ) -> Option<BlobHash> {
        match source {
            FileSource::Absent => panic!("nothing was declared"),
            FileSource::Empty => None,
            FileSource::Known(hash) => {
                assert_eq!(self.blobs[&hash].len() as u64, size);
                Some(hash)
            }
            FileSource::Inline { offset, len } => {
                assert_eq!(u64::from(len), size);
                let bytes = &payload[usize::try_from(offset).unwrap()..];
                let bytes = bytes[..usize::try_from(len).unwrap()].to_vec();
                let hash = BlobHash::of(&bytes);
                self.blobs.insert(hash, bytes);
                Some(hash)
            }
            FileSource::Attached { index } => {
                let file = &files[usize::try_from(index).unwrap()];
                assert_eq!(file.metadata().unwrap().len(), size);
                self.attached = true;
                Some(BlobHash::of(&size.to_le_bytes()))
            }
        }
    }

    /// Builds the trees, deepest first.
    fn build(&mut self) -> Root {
        let mut names: HashMap<usize, (u128, u32)> = HashMap::new();
        for node in self.nodes.values() {
            if let Node::Other(_, _, inode) = node {
                let next = names.len() as u128;
                names.entry(*inode).or_insert((next, 0)).1 += 1;
            }
        }
        let mut children: HashMap<&[u8], Vec<Entry>> = HashMap::new();
        let mut top = default_directory();
        for (path, node) in self.nodes.iter().rev() {
            let slash = path.iter().rposition(|byte| *byte == b'/');
            let (parent, name) =
                slash.map_or((&path[..0], &path[..]), |at| (&path[..at], &path[at + 1..]));
            let (attributes, content, link_group) = match node {
                Node::Implied | Node::Directory(_) => {
                    let attributes = match node {
                        Node::Directory(attributes) => attributes.clone(),
                        _ => default_directory(),
                    };
                    if path.is_empty() {
                        top = attributes;
                        continue;
                    }
                    let mut entries = children.remove(&path[..]).unwrap_or_default();
                    entries.sort_by(|a, b| a.name.cmp(&b.name));
                    let built = build(entries).unwrap();
                    self.pages.extend(built.pages);
                    (
                        attributes,
                        Content::Directory { tree: built.root, summary: built.summary },
                        None,
                    )
                }
                Node::Other(attributes, content, inode) => {
                    let (id, nlink) = names[inode];
                    let group =
                        (nlink > 1).then_some(LinkGroup { id, nlink, scope: LinkScope::Version });
                    (attributes.clone(), content.clone(), group)
                }
            };
            let name = EntryName::new(name).unwrap();
            let entry = Entry { name, attributes, link_group, content };
            children.entry(parent).or_default().push(entry);
        }
        let mut entries = children.remove(&b""[..]).unwrap_or_default();
        assert!(children.is_empty(), "something is nowhere");
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let built = build(entries).unwrap();
        self.pages.extend(built.pages);
        Root { attributes: top, tree: built.root, summary: built.summary }
    }
}

impl EntrySink for Sink {
    fn known(&mut self, hashes: &[BlobHash]) -> Result<Vec<bool>, ArchiveError> {
        Ok(hashes.iter().map(|hash| self.blobs.contains_key(hash)).collect())
    }

    fn put(&mut self, batch: Batch) -> Result<(), ArchiveError> {
        let payload = batch.payload.slices().concat();
        for entry in &batch.entries {
            self.put_entry(entry, &payload, &batch.files);
        }
        Ok(())
    }
}

impl ImportSink for Sink {
    fn finish(&mut self) -> Result<Published, ArchiveError> {
        self.root = Some(self.build());
        self.published += 1;
        Ok(Published { version: VersionNumber(1), unchanged: false })
    }

    fn abort(&mut self) -> Result<(), ArchiveError> {
        self.aborted += 1;
        Ok(())
    }
}

impl ExportSource for Sink {
    fn root(&mut self) -> Result<Root, ArchiveError> {
        Ok(self.root.clone().unwrap())
    }

    fn pages(&mut self, hashes: &[TreeHash]) -> Result<Vec<Vec<u8>>, ArchiveError> {
        Ok(hashes.iter().map(|hash| self.pages[hash].clone()).collect())
    }

    fn open(&mut self, names: &[ContentName]) -> Result<Vec<File>, ArchiveError> {
        let open = |name: &ContentName| {
            let ContentName::Blake3(hash) = name else { panic!("nothing was declared") };
            use std::os::unix::fs::FileExt;
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&self.blobs[hash], 0).unwrap();
            file
        };
        Ok(names.iter().map(open).collect())
    }
}
