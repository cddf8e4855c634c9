//! Import and export through a connection, answered by the store in memory.

use std::fs;

use parking_lot::Mutex;

use super::compare::{describe, fill};
use super::memory::MemoryStore;
use crate::archive::control_sink::{ControlExport, ControlImport};
use crate::archive::export::{LinkMode, export_directory};
use crate::archive::import::{DirectoryImport, import_directory};
use crate::archive::observer::Unobserved;
use crate::archive::tar_import::import_archive;
use crate::archive::{Batch, EntrySink, ExportSource, ImportSink, Payload};
use crate::control::client::Connection;
use crate::control::commit::CommitReply;
use crate::control::export::ExportRequest;
use crate::control::import::{ImportId, ImportRequest};
use crate::control::protocol::{ControlError, ErrorKind, Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, Service};
use crate::control::utc::Created;
use crate::control::versions::VersionInfo;
use crate::model::hash::TreeHash;
use crate::model::id::VersionNumber;
use crate::model::import::ImportOptions;
use crate::model::time::Timestamp;
use crate::model::tree_format;

struct MemoryService {
    store: &'static Mutex<MemoryStore>,
}

fn version() -> VersionInfo {
    VersionInfo {
        repository: "web".parse().unwrap(),
        number: VersionNumber(1),
        hash: TreeHash::of(b""),
        name: None,
        tags: Vec::new(),
        base: None,
        author: String::new(),
        message: String::new(),
        released: false,
        locked: false,
        files: 0,
        directories: 0,
        size_bytes: 0,
        created: Created::from(Timestamp::default()),
    }
}

impl MemoryService {
    fn import(&self, request: ImportRequest, attachment: Attachment) -> Reply {
        let mut store = self.store.lock();
        match request {
            ImportRequest::Begin(options) => {
                assert!(options.create);
                Reply::ImportBegun(ImportId(7))
            }
            ImportRequest::Known { import, hashes } => {
                assert_eq!(import, ImportId(7));
                Reply::Known(store.known(&hashes).unwrap())
            }
            ImportRequest::KnownTrees { trees, .. } => Reply::Known(vec![false; trees.len()]),
            ImportRequest::Put { entries, .. } => {
                let Attachment { payload, files } = attachment;
                let payload = Payload::from(&payload[..]);
                store.put(Batch { entries, payload, files }).unwrap();
                Reply::Done
            }
            ImportRequest::Finish { .. } => {
                store.finish().unwrap();
                let version = version();
                Reply::Commit(CommitReply {
                    changed: true,
                    version,
                    tag: None,
                    skipped: Vec::new(),
                })
            }
            ImportRequest::Abort { .. } => {
                store.abort().unwrap();
                Reply::Done
            }
        }
    }

    fn export(&self, request: &ExportRequest) -> (Reply, Attachment) {
        let mut store = self.store.lock();
        match request {
            ExportRequest::Root { .. } => {
                let root = store.root().unwrap();
                let payload = tree_format::encode_root(&root);
                (Reply::Root(version()), Attachment::of_payload(payload))
            }
            ExportRequest::Pages { hashes } => {
                let pages = store.pages(hashes).unwrap();
                let lengths = pages.iter().map(|page| page.len() as u32).collect();
                (Reply::Pages(lengths), Attachment::of_payload(pages.concat()))
            }
            ExportRequest::Open { names, .. } => {
                (Reply::Opened, Attachment::of_files(store.open(names).unwrap()))
            }
        }
    }
}

impl Service for MemoryService {
    fn call(
        &self,
        _caller: Caller,
        request: Request,
        attachment: Attachment,
        _progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        // What crosses a socket is JSON: whatever is lost there is lost here.
        let json = serde_json::to_string(&request).unwrap();
        match serde_json::from_str(&json).unwrap() {
            Request::Import(request) => Ok((self.import(request, attachment), Attachment::none())),
            Request::Export(request) => Ok(self.export(&request)),
            _ => Err(ControlError::new(ErrorKind::Usage, "not here")),
        }
    }
}

fn connect() -> (&'static Mutex<MemoryStore>, Connection) {
    let store: &'static Mutex<MemoryStore> = Box::leak(Box::default());
    (store, Connection::local(Box::new(MemoryService { store })))
}

fn options() -> ImportOptions {
    ImportOptions {
        repository: "web".parse().unwrap(),
        create: true,
        mirror: true,
        message: String::new(),
        author: None,
        tag: None,
    }
}

#[test]
fn a_tree_survives_the_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fill(&from);
    let (_, mut connection) = connect();
    let mut sink = ControlImport::begin(&mut connection, options(), false).unwrap();
    import_directory(&from, DirectoryImport::default(), &mut sink, &mut Unobserved).unwrap();
    assert!(sink.into_commit().unwrap().changed);
    let (repository, version) = ("web".parse().unwrap(), "latest".parse().unwrap());
    let mut source = ControlExport::begin(&mut connection, repository, version).unwrap();
    export_directory(&mut source, &to, LinkMode::Copy, &mut |_| {}).unwrap();
    assert_eq!(describe(&from), describe(&to));
}

#[test]
fn a_failed_import_is_aborted() {
    let (store, mut connection) = connect();
    let mut sink = ControlImport::begin(&mut connection, options(), false).unwrap();
    import_archive(&b"no archive"[..], &mut sink, &mut Unobserved).unwrap_err();
    assert!(sink.into_commit().is_none());
    assert!(store.lock().aborted && store.lock().published == 0);
}
