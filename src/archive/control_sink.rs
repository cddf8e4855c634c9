//! Import and export through a [`Connection`]: the one place here that speaks the protocol.

use std::fs::File;

use super::{ArchiveError, Batch, EntrySink, ExportSource, ImportSink, Published};
use crate::control::client::Connection;
use crate::control::commit::CommitReply;
use crate::control::export::ExportRequest;
use crate::control::import::{ImportId, ImportRequest};
use crate::control::protocol::{ControlError, ErrorKind, HASHES_MAX, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::control::versions::VersionInfo;
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::import::ImportOptions;
use crate::model::import::WantedTree;
use crate::model::name::{BaseName, RepoName};
use crate::model::tree::Root;
use crate::model::tree_format;

const OTHER_ANSWER: ArchiveError = ArchiveError::Protocol("something that was not asked for");

/// An import that has begun.
#[derive(Debug)]
pub struct ControlImport<'a> {
    connection: &'a mut Connection,
    import: ImportId,
    allow_empty: bool,
    commit: Option<CommitReply>,
}

impl<'a> ControlImport<'a> {
    /// Begins an import; with `allow_empty` it makes a version even when nothing changed.
    ///
    /// # Errors
    /// Why the store refuses.
    pub fn begin(
        connection: &'a mut Connection,
        options: ImportOptions,
        allow_empty: bool,
    ) -> Result<Self, ControlError> {
        match connection.ask(Request::Import(ImportRequest::Begin(options)))? {
            Reply::ImportBegun(import) => {
                Ok(Self { connection, import, allow_empty, commit: None })
            }
            _ => Err(other_answer()),
        }
    }

    /// What the store said when it published; `None` before.
    pub fn into_commit(self) -> Option<CommitReply> {
        self.commit
    }

    fn call(&mut self, request: ImportRequest) -> Result<Reply, ArchiveError> {
        Ok(self.connection.ask(Request::Import(request))?)
    }
}

impl EntrySink for ControlImport<'_> {
    fn known(&mut self, hashes: &[BlobHash]) -> Result<Vec<bool>, ArchiveError> {
        let mut known = Vec::with_capacity(hashes.len());
        for some in hashes.chunks(HASHES_MAX) {
            let request = ImportRequest::Known { import: self.import, hashes: some.to_vec() };
            match self.call(request)? {
                Reply::Known(flags) => known.extend(flags),
                _ => return Err(OTHER_ANSWER),
            }
        }
        Ok(known)
    }

    fn known_trees(&mut self, wanted: &[WantedTree]) -> Result<Vec<bool>, ArchiveError> {
        let mut known = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(HASHES_MAX) {
            let request = ImportRequest::KnownTrees { import: self.import, trees: some.to_vec() };
            match self.call(request)? {
                Reply::Known(flags) => known.extend(flags),
                _ => return Err(OTHER_ANSWER),
            }
        }
        Ok(known)
    }

    fn put(&mut self, batch: Batch) -> Result<(), ArchiveError> {
        let Batch { entries, payload, files } = batch;
        let request = Request::Import(ImportRequest::Put { import: self.import, entries });
        match self.connection.send(request, &payload.slices(), files)? {
            Reply::Done => Ok(()),
            _ => Err(OTHER_ANSWER),
        }
    }
}

impl ImportSink for ControlImport<'_> {
    fn finish(&mut self) -> Result<Published, ArchiveError> {
        let request = ImportRequest::Finish { import: self.import, allow_empty: self.allow_empty };
        match self.call(request)? {
            Reply::Commit(commit) => {
                let published =
                    Published { version: commit.version.number, unchanged: !commit.changed };
                self.commit = Some(commit);
                Ok(published)
            }
            _ => Err(OTHER_ANSWER),
        }
    }

    fn abort(&mut self) -> Result<(), ArchiveError> {
        let request = ImportRequest::Abort { import: self.import };
        match self.call(request)? {
            Reply::Done => Ok(()),
            _ => Err(OTHER_ANSWER),
        }
    }
}

/// A version being exported.
#[derive(Debug)]
pub struct ControlExport<'a> {
    connection: &'a mut Connection,
    version: VersionInfo,
    root: Root,
    no_fetch: bool,
}

impl<'a> ControlExport<'a> {
    /// Finds the version, which then stays readable until the connection ends.
    ///
    /// # Errors
    /// Why the store refuses.
    pub fn begin(
        connection: &'a mut Connection,
        repository: RepoName,
        version: BaseName,
    ) -> Result<Self, ControlError> {
        let request = Request::Export(ExportRequest::Root { repository, version });
        let (reply, attachment) = connection.call(request, Attachment::none(), &mut |_| {})?;
        let Reply::Root(version) = reply else {
            return Err(other_answer());
        };
        let root = tree_format::decode_root(&attachment.payload)
            .map_err(|error| ControlError::new(ErrorKind::Failed, error.to_string()))?;
        Ok(Self { connection, version, root, no_fetch: false })
    }

    /// With `true`, content that was not fetched from its remote yet is an error, and is not fetched.
    #[must_use]
    pub fn without_fetching(self, no_fetch: bool) -> Self {
        Self { no_fetch, ..self }
    }

    /// The version as the store describes it.
    pub fn version(&self) -> &VersionInfo {
        &self.version
    }

    fn call(&mut self, request: ExportRequest) -> Result<(Reply, Attachment), ArchiveError> {
        let request = Request::Export(request);
        Ok(self.connection.call(request, Attachment::none(), &mut |_| {})?)
    }
}

impl ExportSource for ControlExport<'_> {
    fn root(&mut self) -> Result<Root, ArchiveError> {
        Ok(self.root.clone())
    }

    fn pages(&mut self, hashes: &[TreeHash]) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let (reply, attachment) = self.call(ExportRequest::Pages { hashes: hashes.to_vec() })?;
        let Reply::Pages(lengths) = reply else {
            return Err(OTHER_ANSWER);
        };
        let mut rest = &attachment.payload[..];
        let mut pages = Vec::with_capacity(lengths.len());
        for length in lengths {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some((page, tail)) = rest.split_at_checked(length) else {
                return Err(ArchiveError::Protocol("shorter tree pages than it says"));
            };
            pages.push(page.to_vec());
            rest = tail;
        }
        Ok(pages)
    }

    fn open(&mut self, names: &[ContentName]) -> Result<Vec<File>, ArchiveError> {
        match self.call(ExportRequest::Open { names: names.to_vec(), no_fetch: self.no_fetch })? {
            (Reply::Opened, attachment) => Ok(attachment.files),
            _ => Err(OTHER_ANSWER),
        }
    }
}

fn other_answer() -> ControlError {
    ControlError::new(ErrorKind::Failed, OTHER_ANSWER.to_string())
}
