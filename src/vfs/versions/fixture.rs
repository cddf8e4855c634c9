//! Versions for tests: trees in memory, blobs in temporary files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rpds::RedBlackTreeMapSync;

use crate::engine::fetcher::{NotFetched, OnFetched};
use crate::engine::pins::Pins;
use crate::engine::registry::{Registry, Repository, Tags, Versions};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::id::{Ino, RepoId, VersionNumber};
use crate::model::links::Naming;
use crate::model::name::EntryName;
use crate::model::policy::PolicyState;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Content, Entry, LinkGroup, LinkScope, Root, Xattrs};
use crate::model::tree_format::{MemoryTrees, build, root_hash};
use crate::model::version::Version;
use crate::sys::FsSpace;
use crate::vfs::attr::Attr;

use super::{Blobs, Numbering, ROOT, RootOwner, Sources, VersionFs, repository_ino};

pub(crate) const REPOSITORY: RepoId = RepoId(3);
pub(crate) const TIME: Timestamp = Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 };

/// Blobs as files of a temporary directory.
pub(crate) struct TemporaryBlobs {
    directory: tempfile::TempDir,
    /// The blobs of declared names.
    declared: BTreeMap<Sha256, BlobHash>,
    pub(crate) damaged: AtomicUsize,
    /// How often a use was noted.
    pub(crate) uses: AtomicUsize,
}

impl TemporaryBlobs {
    pub(crate) fn path(&self, hash: &BlobHash) -> std::path::PathBuf {
        self.directory.path().join(hash.to_string())
    }
}

impl Blobs for TemporaryBlobs {
    type Error = io::Error;
    fn resolve(&self, name: &ContentName) -> io::Result<BlobHash> {
        match name {
            ContentName::Blake3(blob) => Ok(*blob),
            ContentName::Sha256(digest) => self
                .declared
                .get(digest)
                .copied()
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)),
        }
    }
    fn note_use(&self, _: &ContentName, _: &BlobHash) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }
    fn fetch(&self, _: ContentName, _: Range<u64>, then: OnFetched) {
        then(Err(NotFetched("nobody fetches here".to_owned())));
    }
    fn read_part(&self, _: &ContentName, _: u64, _: &mut [u8]) -> bool {
        false
    }
    fn absent(_: &ContentName, _: &io::Error) -> Option<ContentName> {
        None
    }
    fn sha256(&self, name: &ContentName) -> Option<Sha256> {
        name.sha256().copied()
    }
    fn open(&self, hash: &BlobHash) -> io::Result<Arc<File>> {
        File::open(self.path(hash)).map(Arc::new)
    }
    fn allocated_blocks(&self, hash: &BlobHash) -> Option<u64> {
        std::fs::metadata(self.path(hash)).ok().map(|found| found.blocks())
    }
    fn space(&self) -> io::Result<FsSpace> {
        Ok(FsSpace {
            block_size: 4096,
            blocks: 1000,
            blocks_free: 500,
            blocks_available: 400,
            files: 100,
            files_free: 50,
        })
    }
    fn read_failed(&self, _: &BlobHash, _: &Arc<File>, _: &io::Error) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }
}

/// A version to be: entries by path, directories made as needed.
#[derive(Default, Clone)]
pub(crate) struct Draft {
    entries: BTreeMap<String, Entry>,
}

pub(crate) fn attributes(mode: u16) -> Attributes {
    Attributes { mode, uid: 1000, gid: 100, mtime: TIME, xattrs: Xattrs::new() }
}

pub(crate) fn text(content: &str) -> Content {
    Content::File {
        size: content.len() as u64,
        blob: (!content.is_empty()).then(|| BlobHash::of(content.as_bytes()).into()),
    }
}

/// The one content whose declared name has a blob.
pub(crate) const DECLARED: &[u8] = b"declared by a remote";

/// A file whose content is named by what a remote declared.
pub(crate) fn declared(content: &[u8]) -> Content {
    Content::File { size: content.len() as u64, blob: Some(Sha256::of(content).into()) }
}

impl Draft {
    pub(crate) fn with(mut self, path: &str, content: Content) -> Self {
        let name = path.rsplit('/').next().unwrap();
        let entry = Entry {
            name: EntryName::new(name.as_bytes()).unwrap(),
            attributes: attributes(0o644),
            link_group: None,
            content,
        };
        self.entries.insert(path.to_owned(), entry);
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.with(path, text(content))
    }

    pub(crate) fn change(mut self, path: &str, change: impl FnOnce(&mut Entry)) -> Self {
        change(self.entries.get_mut(path).unwrap());
        self
    }

    /// Makes a file with several names, as a commit records it.
    pub(crate) fn link(self, paths: &[&str], content: &str) -> Self {
        let mut sorted: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        sorted.sort();
        let naming = Naming::of(&sorted).unwrap();
        paths.iter().fold(self, |draft, path| {
            let group = naming.group(path.as_bytes());
            draft.file(path, content).change(path, |e| e.link_group = Some(group))
        })
    }

    /// The same as releases up to 0.1.0 recorded it, under any id.
    pub(crate) fn link_of_version(self, id: u128, paths: &[&str], content: &str) -> Self {
        let nlink = u32::try_from(paths.len()).unwrap();
        let group = LinkGroup { id, nlink, scope: LinkScope::Version };
        paths.iter().fold(self, |draft, path| {
            draft.file(path, content).change(path, |e| e.link_group = Some(group))
        })
    }

    fn build(&self, trees: &mut MemoryTrees, below: &str) -> Root {
        let mut children: BTreeMap<EntryName, Entry> = BTreeMap::new();
        for (path, entry) in &self.entries {
            let Some(rest) = path.strip_prefix(below) else {
                continue;
            };
            let Some((name, _)) = rest.split_once('/') else {
                children.insert(entry.name.clone(), entry.clone());
                continue;
            };
            let name = EntryName::new(name.as_bytes()).unwrap();
            if children.contains_key(&name) {
                continue;
            }
            let sub = self.build(trees, &format!("{below}{name}/"));
            let entry = Entry {
                name: name.clone(),
                attributes: sub.attributes,
                link_group: None,
                content: Content::Directory { tree: sub.tree, summary: sub.summary },
            };
            children.insert(name, entry);
        }
        let built = build(children.into_values()).unwrap();
        let summary = built.summary;
        Root { attributes: attributes(0o755), tree: trees.add(built).unwrap(), summary }
    }
}

/// A filesystem over what was published.
pub(crate) struct Fixture {
    pub(crate) registry: Arc<Registry>,
    pub(crate) pins: Arc<Pins>,
    pub(crate) blobs: Arc<TemporaryBlobs>,
    pub(crate) fs: Arc<VersionFs<MemoryTrees, TemporaryBlobs>>,
}

impl Fixture {
    /// One repository, `repo`, with these versions from 1 on.
    pub(crate) fn new(drafts: &[Draft]) -> Self {
        Self::numbered(drafts, Numbering::Hashed)
    }

    /// The same with inode numbers of that kind.
    pub(crate) fn numbered(drafts: &[Draft], numbering: Numbering) -> Self {
        let mut trees = MemoryTrees::default();
        let blobs = TemporaryBlobs {
            directory: tempfile::tempdir().unwrap(),
            declared: [(Sha256::of(DECLARED), BlobHash::of(DECLARED))].into(),
            damaged: AtomicUsize::new(0),
            uses: AtomicUsize::new(0),
        };
        let mut versions = BTreeMap::new();
        for (number, draft) in (1..).map(VersionNumber).zip(drafts) {
            let root = draft.build(&mut trees, "");
            let version = Version {
                number,
                hash: root_hash(&root),
                root,
                created: TIME,
                base: (number.0 > 1).then(|| VersionNumber(number.0 - 1)),
                name: None,
                author: "someone".to_owned(),
                message: format!("number {number}"),
                released: false,
                locked: true,
            };
            versions.insert(number, Arc::new(version));
        }
        let registry = Arc::new(Registry::default());
        registry.put(repository(REPOSITORY, "repo", versions));
        let (pins, blobs) = (Arc::new(Pins::default()), Arc::new(blobs));
        let sources = Sources {
            registry: Arc::clone(&registry),
            trees: Arc::new(trees),
            blobs: Arc::clone(&blobs),
            pins: Arc::clone(&pins),
        };
        let fs = Arc::new(VersionFs::new(sources, RootOwner { uid: 0, gid: 0 }, TIME, numbering));
        Self { registry, pins, blobs, fs }
    }

    /// Stores the content of a blob.
    pub(crate) fn store(&self, content: &str) -> BlobHash {
        let hash = BlobHash::of(content.as_bytes());
        std::fs::write(self.blobs.path(&hash), content).unwrap();
        hash
    }

    /// Deletes a version, as the metadata thread does.
    pub(crate) fn remove(&self, number: u64) -> Arc<Version> {
        let mut removed = None;
        self.registry.update(REPOSITORY, |repository| {
            removed = repository.versions.remove(VersionNumber(number));
            repository.changed.nanoseconds += 1;
        });
        removed.unwrap()
    }

    /// Publishes a version, as the metadata thread does.
    pub(crate) fn publish(&self, version: Arc<Version>) {
        self.registry.update(REPOSITORY, |repository| {
            repository.versions.insert(version);
            repository.changed.nanoseconds += 1;
        });
    }

    /// Walks down from the root; each step is a lookup that stays counted.
    pub(crate) fn walk(&self, path: &str) -> Attr {
        let mut ino = ROOT;
        let mut attr = None;
        for name in path.split('/') {
            let found = self.fs.lookup(ino, name.as_bytes()).unwrap().unwrap();
            assert_eq!(self.fs.getattr(found.ino), Ok(found), "{path}");
            ino = found.ino;
            attr = Some(found);
        }
        attr.unwrap()
    }

    pub(crate) fn ino(&self, path: &str) -> Ino {
        self.walk(path).ino
    }

    pub(crate) fn read(&self, ino: Ino) -> String {
        let mut buffer = [0; 4096];
        let length = self.fs.read(ino, 0, &mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

pub(crate) fn repository(
    id: RepoId,
    name: &str,
    published: BTreeMap<VersionNumber, Arc<Version>>,
) -> Repository {
    let mut versions = Versions::default();
    published.into_values().for_each(|version| versions.insert(version));
    Repository {
        id,
        name: name.parse().unwrap(),
        mode: 0o750,
        uid: 7,
        gid: 8,
        created: TIME,
        changed: TIME,
        next_number: VersionNumber(versions.size() as u64 + 1),
        versions,
        tags: Tags::default(),
        areas: RedBlackTreeMapSync::default(),
        policy: PolicyState::None,
        account: Arc::default(),
        deleted: RedBlackTreeMapSync::default(),
    }
}

/// The repository that every fixture has, as a directory.
pub(crate) fn repository_directory() -> Ino {
    repository_ino(REPOSITORY)
}
