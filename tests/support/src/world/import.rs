//! Imports as a client sends them, one request at a time.

use cairn::control::import::{ImportId, ImportRequest};
use cairn::control::protocol::{ControlError, Request};
use cairn::control::reply::Reply;
use cairn::control::service::Attachment;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::import::{
    FileSource, ImportContent, ImportEntry, ImportOptions, RawAttributes, WantedTree,
};
use cairn::model::time::Timestamp;

use super::World;

/// An import that has begun.
pub struct Import<'a> {
    world: &'a World,
    connection: u64,
    pub id: ImportId,
}

impl<'a> Import<'a> {
    /// Begins to add to the newest version of `web`.
    pub fn additive(world: &'a World) -> Self {
        Self::begin(world, 1, begin(false)).unwrap()
    }

    /// Begins to say what the next version of `web` shall be.
    pub fn mirror(world: &'a World) -> Self {
        Self::begin(world, 1, begin(true)).unwrap()
    }

    /// Begins on a connection of the caller's choice.
    pub fn begin(
        world: &'a World,
        connection: u64,
        begin: ImportRequest,
    ) -> Result<Self, ControlError> {
        let request = Request::Import(begin);
        match world.ask_as(connection, request, Attachment::none())?.0 {
            Reply::ImportBegun(id) => Ok(Self { world, connection, id }),
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, request: ImportRequest, attachment: Attachment) -> Result<Reply, ControlError> {
        let request = Request::Import(request);
        Ok(self.world.ask_as(self.connection, request, attachment)?.0)
    }

    /// Which contents are there.
    pub fn known(&self, hashes: &[BlobHash]) -> Vec<bool> {
        let request = ImportRequest::Known { import: self.id, hashes: hashes.to_vec() };
        match self.ask(request, Attachment::none()).unwrap() {
            Reply::Known(known) => known,
            other => panic!("{other:?}"),
        }
    }

    /// Which directories can be put whole.
    pub fn known_trees(&self, wanted: &[(&str, TreeHash)]) -> Vec<bool> {
        let wanted = wanted
            .iter()
            .map(|(path, tree)| WantedTree { path: path.as_bytes().into(), tree: *tree });
        let request = ImportRequest::KnownTrees { import: self.id, trees: wanted.collect() };
        match self.ask(request, Attachment::none()).unwrap() {
            Reply::Known(known) => known,
            other => panic!("{other:?}"),
        }
    }

    /// Puts entries that need nothing attached.
    pub fn put(&self, entries: Vec<ImportEntry>) -> Result<Reply, ControlError> {
        self.put_with(entries, Attachment::none())
    }

    /// Puts entries.
    pub fn put_with(
        &self,
        entries: Vec<ImportEntry>,
        attachment: Attachment,
    ) -> Result<Reply, ControlError> {
        self.send(entries, attachment)?;
        self.send(Vec::new(), Attachment::none())
    }

    /// Puts entries without waiting until they are stored.
    pub fn send(
        &self,
        entries: Vec<ImportEntry>,
        attachment: Attachment,
    ) -> Result<Reply, ControlError> {
        self.ask(ImportRequest::Put { import: self.id, entries }, attachment)
    }

    /// Puts one file with its bytes.
    pub fn put_file(&self, path: &str, bytes: &[u8]) {
        self.try_put_file(path, bytes).unwrap();
    }

    /// Puts one file with its bytes, which may be refused.
    pub fn try_put_file(&self, path: &str, bytes: &[u8]) -> Result<Reply, ControlError> {
        let entries = vec![inline(path, 0, bytes.len())];
        self.put_with(entries, Attachment::of_payload(bytes.to_vec()))
    }

    /// Publishes.
    pub fn finish(&self) -> Result<Reply, ControlError> {
        let request = ImportRequest::Finish { import: self.id, allow_empty: false };
        self.ask(request, Attachment::none())
    }

    /// Throws everything away.
    pub fn abort(&self) -> Result<Reply, ControlError> {
        self.ask(ImportRequest::Abort { import: self.id }, Attachment::none())
    }
}

/// The begin of an import into `web`.
pub fn begin(mirror: bool) -> ImportRequest {
    ImportRequest::Begin(ImportOptions {
        repository: "web".parse().unwrap(),
        create: false,
        mirror,
        message: String::new(),
        author: None,
        tag: None,
    })
}

/// Attributes that do not change from one import to the next.
pub fn attributes(mode: u16) -> RawAttributes {
    let mtime = Timestamp::new(1_000_000_000, 7).unwrap();
    RawAttributes { mode, uid: 1, gid: 2, mtime, xattrs: Vec::new() }
}

/// One entry.
pub fn entry(path: &str, content: ImportContent) -> ImportEntry {
    let mode = if content == ImportContent::Directory { 0o755 } else { 0o644 };
    ImportEntry { path: path.as_bytes().into(), attributes: attributes(mode), content }
}

/// A file.
pub fn file(path: &str, size_bytes: u64, source: FileSource) -> ImportEntry {
    entry(path, ImportContent::File { size_bytes, source, declared: None })
}

/// A file whose bytes are in the payload.
pub fn inline(path: &str, offset: u32, len: usize) -> ImportEntry {
    let len = u32::try_from(len).unwrap();
    file(path, u64::from(len), FileSource::Inline { offset, len })
}
