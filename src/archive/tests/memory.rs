//! A store in memory: takes imports as the engine does and hands versions out again.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::archive::{
    ArchiveError, Batch, EntrySink, ExportSource, ImportSink, OPEN_BATCH, Published,
};
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::VersionNumber;
use crate::model::import::{FileSource, ImportContent, ImportEntry};
use crate::model::name::EntryName;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Content, Entry, LinkGroup, LinkScope, Root, Summary, Xattrs};
use crate::model::tree_format;

/// What an inode holds.
#[derive(Debug, Clone)]
enum Node {
    Directory,
    Other(Content),
}

/// A store with one repository, whose versions do not build on each other.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    pub(super) blobs: HashMap<BlobHash, Vec<u8>>,
    inodes: Vec<(Attributes, Node)>,
    names: BTreeMap<Vec<u8>, usize>,
    pages: HashMap<TreeHash, Vec<u8>>,
    root: Option<Root>,
    /// How often each method was called, and what travelled.
    pub(super) questions: usize,
    pub(super) batches: usize,
    pub(super) inline_bytes: usize,
    pub(super) attached: usize,
    pub(super) aborted: bool,
    pub(super) published: u64,
}

fn default_directory() -> Attributes {
    Attributes { mode: 0o755, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Xattrs::new() }
}

impl MemoryStore {
    /// Forgets the names, as the next import starts from nothing; keeps the content.
    pub(super) fn next_import(&mut self) {
        let blobs = std::mem::take(&mut self.blobs);
        let published = self.published;
        *self = Self { blobs, published, ..Self::default() };
    }

    /// Paths put so far.
    pub(super) fn paths(&self) -> Vec<String> {
        self.names.keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }

    fn apply(&mut self, entry: &ImportEntry, payload: &[u8], files: &[File]) {
        let path = entry.path.as_bytes().to_vec();
        entry.path.components().unwrap();
        self.make_parents(&path);
        let attributes = entry.attributes.to_attributes().unwrap();
        let node = match &entry.content {
            ImportContent::Tree { .. } => panic!("nothing was said to be known"),
            ImportContent::Directory => Node::Directory,
            ImportContent::File { size_bytes, source, .. } => {
                let blob = self.take(*source, payload, files);
                let size = blob.map_or(0, |hash| self.blobs[&hash].len() as u64);
                assert_eq!(size, *size_bytes);
                Node::Other(Content::File { size, blob: blob.map(ContentName::from) })
            }
            ImportContent::Symlink { target } => {
                Node::Other(Content::Symlink { target: target.0.clone() })
            }
            ImportContent::Hardlink { to } => {
                let inode = self.names[to.as_bytes()];
                assert_eq!(self.names.insert(path, inode), None);
                return;
            }
            ImportContent::Fifo => Node::Other(Content::Fifo),
            ImportContent::Socket => Node::Other(Content::Socket),
            ImportContent::CharDevice { rdev } => Node::Other(Content::CharDevice { rdev: *rdev }),
            ImportContent::BlockDevice { rdev } => {
                Node::Other(Content::BlockDevice { rdev: *rdev })
            }
        };
        let existing = self.names.get(&path).copied();
        match existing {
            Some(inode) if matches!(node, Node::Directory) => self.inodes[inode].0 = attributes,
            Some(_) => panic!("{path:?} put twice"),
            None => {
                self.inodes.push((attributes, node));
                self.names.insert(path, self.inodes.len() - 1);
            }
        }
    }

    fn make_parents(&mut self, path: &[u8]) {
        let mut ends: Vec<usize> =
            path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(i, _)| i).collect();
        if !path.is_empty() {
            ends.insert(0, 0);
        }
        for end in ends {
            if !self.names.contains_key(&path[..end]) {
                self.inodes.push((default_directory(), Node::Directory));
                self.names.insert(path[..end].to_vec(), self.inodes.len() - 1);
            }
        }
    }

    fn take(&mut self, source: FileSource, payload: &[u8], files: &[File]) -> Option<BlobHash> {
        let bytes = match source {
            FileSource::Absent => panic!("nothing was declared"),
            FileSource::Empty => return None,
            FileSource::Known(hash) => {
                assert!(self.blobs.contains_key(&hash), "unknown content called known");
                return Some(hash);
            }
            FileSource::Inline { offset, len } => {
                self.inline_bytes += len as usize;
                payload[offset as usize..][..len as usize].to_vec()
            }
            FileSource::Attached { index } => {
                self.attached += 1;
                let mut file = &files[index as usize];
                let size = file.metadata().unwrap().len();
                let mut bytes = vec![0; size as usize];
                file.read_exact_at(&mut bytes, 0).unwrap();
                assert_eq!(file.by_ref().take(0).read_to_end(&mut Vec::new()).unwrap(), 0);
                bytes
            }
        };
        assert!(!bytes.is_empty());
        let hash = BlobHash::of(&bytes);
        self.blobs.insert(hash, bytes);
        Some(hash)
    }

    /// Builds all directories, the deepest first. Not by recursion: a chain of directories may be too
    /// deep for a test's stack.
    fn build(&mut self) -> (TreeHash, Summary) {
        let is_directory = |inode: &usize| matches!(self.inodes[*inode].1, Node::Directory);
        let directories = self.names.iter().filter(|(_, inode)| is_directory(inode));
        let mut paths: Vec<Vec<u8>> = directories.map(|(path, _)| path.clone()).collect();
        paths.retain(|path| !path.is_empty());
        paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
        let mut built = BTreeMap::new();
        for path in paths {
            let directory = self.build_directory(&path, &built);
            built.insert(path, directory);
        }
        self.build_directory(b"", &built)
    }

    /// Builds a directory over those that are built.
    fn build_directory(
        &mut self,
        path: &[u8],
        built: &BTreeMap<Vec<u8>, (TreeHash, Summary)>,
    ) -> (TreeHash, Summary) {
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let mut children: Vec<(Vec<u8>, usize)> = self
            .names
            .iter()
            .filter(|(name, _)| !name.is_empty() && name.starts_with(&prefix))
            .filter(|(name, _)| !name[prefix.len()..].contains(&b'/'))
            .map(|(name, inode)| (name.clone(), *inode))
            .collect();
        children.sort();
        let mut entries = Vec::new();
        for (name, inode) in children {
            let (attributes, node) = self.inodes[inode].clone();
            let content = match node {
                Node::Directory => {
                    let (tree, summary) = built[&name];
                    Content::Directory { tree, summary }
                }
                Node::Other(content) => content,
            };
            let nlink = self.names.values().filter(|other| **other == inode).count() as u32;
            entries.push(Entry {
                name: EntryName::new(&name[prefix.len()..]).unwrap(),
                attributes,
                link_group: (nlink > 1).then_some(LinkGroup {
                    id: inode as u128,
                    nlink,
                    scope: LinkScope::Version,
                }),
                content,
            });
        }
        let built = tree_format::build(entries).unwrap();
        self.pages.extend(built.pages);
        (built.root, built.summary)
    }
}

impl EntrySink for MemoryStore {
    fn known(&mut self, hashes: &[BlobHash]) -> Result<Vec<bool>, ArchiveError> {
        self.questions += 1;
        Ok(hashes.iter().map(|hash| self.blobs.contains_key(hash)).collect())
    }

    fn put(&mut self, batch: Batch) -> Result<(), ArchiveError> {
        self.batches += 1;
        let payload = batch.payload.slices().concat();
        for entry in &batch.entries {
            self.apply(entry, &payload, &batch.files);
        }
        Ok(())
    }
}

impl ImportSink for MemoryStore {
    fn finish(&mut self) -> Result<Published, ArchiveError> {
        let (tree, summary) = self.build();
        let attributes = match self.names.get(&b""[..]) {
            Some(inode) => self.inodes[*inode].0.clone(),
            None => default_directory(),
        };
        self.root = Some(Root { attributes, tree, summary });
        self.published += 1;
        Ok(Published { version: VersionNumber(self.published), unchanged: false })
    }

    fn abort(&mut self) -> Result<(), ArchiveError> {
        self.aborted = true;
        Ok(())
    }
}

impl ExportSource for MemoryStore {
    fn root(&mut self) -> Result<Root, ArchiveError> {
        Ok(self.root.clone().expect("nothing published"))
    }

    fn pages(&mut self, hashes: &[TreeHash]) -> Result<Vec<Vec<u8>>, ArchiveError> {
        Ok(hashes.iter().map(|hash| self.pages[hash].clone()).collect())
    }

    /// Opens blobs as the pool keeps them: whole 4 KiB blocks of zeros are holes.
    fn open(&mut self, names: &[ContentName]) -> Result<Vec<File>, ArchiveError> {
        assert!(names.len() <= OPEN_BATCH);
        let open = |name: &ContentName| {
            let ContentName::Blake3(hash) = name else { panic!("nothing was declared") };
            let bytes = &self.blobs[hash];
            let file = tempfile::tempfile().unwrap();
            file.set_len(bytes.len() as u64).unwrap();
            for (index, block) in bytes.chunks(4096).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    file.write_all_at(block, index as u64 * 4096).unwrap();
                }
            }
            file
        };
        Ok(names.iter().map(open).collect())
    }
}
