//! A store of its own for each test, its engine, and the service that answers for it.
//!
//! Must not know what a test is about.

mod import;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cairn::control::commit::{CommitReply, CommitRequest};
use cairn::control::diff::{DiffEntry, DiffReply};
use cairn::control::gc::{GcReply, GcRequest};
use cairn::control::protocol::{ControlError, Progress, Request, TEXT_BYTES_MAX};
use cairn::control::reply::Reply;
use cairn::control::service::{Attachment, Caller, ConnectionId, Service};
use cairn::control::versions::VersionInfo;
use cairn::daemon::service::{DaemonFacts, StoreService};
use cairn::engine::Engine;
use cairn::engine::commit::{Asker, CommitOptions};
use cairn::engine::event::NoObserver;
use cairn::engine::gc::{GcOptions, RunKind, RunReport};
use cairn::engine::registry::Repository;
use cairn::engine::request::{Reply as EngineReply, Request as EngineRequest};
use cairn::engine::staging::content::FileContent;
use cairn::engine::staging::node::{Body, Directory, Node};
use cairn::engine::staging::state::NewNode;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::id::{AreaId, NodeId, RepoId};
use cairn::model::links::{self, GroupKey};
use cairn::model::name::{AreaName, EntryName};
use cairn::model::time::Timestamp;
use cairn::model::tree::{Attributes, Content, Entry, Xattrs};
use cairn::model::tree_format;

pub use import::{Import, attributes, begin, entry, file, inline};

/// Who asks in the tests; nobody special.
pub const OWNER: (u32, u32) = (1234, 5678);

/// A store with its engine. The fields are dropped in this order.
pub struct World {
    pub service: Arc<StoreService>,
    pub engine: Arc<Engine>,
    home: tempfile::TempDir,
}

impl World {
    /// A new, empty store.
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        cairn::store::init(&home.path().join("store")).unwrap();
        Self::open(home)
    }

    /// A store with the empty repository `web`.
    pub fn with_repository() -> Self {
        let world = Self::new();
        world.ask(create("web")).unwrap();
        world
    }

    /// As [`World::with_repository`], with settings of the collector.
    pub fn with_gc(options: GcOptions) -> Self {
        let home = tempfile::tempdir().unwrap();
        cairn::store::init(&home.path().join("store")).unwrap();
        let world = Self::open_with(home, options);
        world.ask(create("web")).unwrap();
        world
    }

    fn open(home: tempfile::TempDir) -> Self {
        Self::open_with(home, GcOptions::default())
    }

    fn open_with(home: tempfile::TempDir, options: GcOptions) -> Self {
        let store = home.path().join("store");
        let engine = Engine::start_with(&store, Arc::new(NoObserver), options).unwrap();
        let service = StoreService::new(Arc::clone(&engine), || {}, DaemonFacts::default());
        Self { service, engine, home }
    }

    /// Stops the engine and opens the store again.
    pub fn reopen(self) -> Self {
        self.engine.stop().unwrap();
        let Self { service, engine, home } = self;
        let options = engine.gc_options;
        drop((service, engine));
        Self::open_with(home, options)
    }

    /// Stops the engine and opens the store again for reading.
    pub fn reopen_read_only(self) -> Self {
        self.close().open_read_only()
    }

    /// Stops the engine, has `change` done to the closed store, and opens it again.
    pub fn reopen_changed(self, change: impl FnOnce(&Path)) -> Self {
        self.engine.stop().unwrap();
        let Self { service, engine, home } = self;
        let options = engine.gc_options;
        drop((service, engine));
        change(&home.path().join("store"));
        Self::open_with(home, options)
    }

    /// Asks the engine itself about `web`.
    pub fn engine_call<T: Send + 'static>(
        &self,
        make: impl FnOnce(RepoId, EngineReply<T>) -> EngineRequest,
    ) -> cairn::engine::error::Result<T> {
        let repo = self.repository().id;
        self.engine.call(|reply| make(repo, reply))
    }

    /// The repository `web` as readers see it.
    pub fn repository(&self) -> Arc<Repository> {
        self.engine.registry.by_name("web").unwrap()
    }

    /// The numbers of the versions of `web`.
    pub fn numbers(&self) -> Vec<u64> {
        self.repository().versions.keys().map(|number| number.0).collect()
    }

    /// A run, waited for.
    pub fn run(&self, full: bool, protect_seconds: u64) -> RunReport {
        self.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
        let kind = RunKind { full, protect_seconds: Some(protect_seconds) };
        self.engine.call(|reply| EngineRequest::Collect { kind, reply }).unwrap()
    }

    /// Stops the engine. [`Closed::open`] opens the store again.
    pub fn close(self) -> Closed {
        self.engine.stop().unwrap();
        let Self { service, engine, home } = self;
        drop((service, engine));
        Closed { home }
    }

    /// Asks on the first connection.
    pub fn ask(&self, request: Request) -> Result<Reply, ControlError> {
        self.ask_as(1, request, Attachment::none()).map(|(reply, _)| reply)
    }

    /// Asks on a connection of the caller's choice.
    pub fn ask_as(
        &self,
        connection: u64,
        request: Request,
        attachment: Attachment,
    ) -> Result<(Reply, Attachment), ControlError> {
        self.service.call(caller(connection), request, attachment, &mut |_| {})
    }

    /// Opens an area: `work`, or `work@1` to start from a version.
    pub fn stage(&self, name: &str) -> AreaId {
        let (label, from) = name.split_once('@').map_or((name, None), |(l, b)| (l, Some(b)));
        let request = Request::Stage {
            repository: "web".parse().unwrap(),
            name: label.parse().unwrap(),
            from: from.map(|base| base.parse().unwrap()),
        };
        assert!(matches!(self.ask(request).unwrap(), Reply::Area(_)));
        self.area(name)
    }

    /// The id of an open area.
    pub fn area(&self, name: &str) -> AreaId {
        let repository = self.engine.registry.by_name("web").unwrap();
        *repository.areas.get(&name.parse::<AreaName>().unwrap()).unwrap()
    }

    /// Writes a whole file as a worker of the mount does: open, write, close.
    pub fn write(&self, area: AreaId, path: &str, bytes: &[u8]) {
        let content = self.open_writer(area, path);
        let now = Timestamp::now();
        content.truncate(0, now).unwrap();
        content.write(0, bytes, now).unwrap();
        self.engine.staging.content_modified(&content);
        self.close_writer(&content);
    }

    /// Opens a file for writing; it is made when it is not there.
    pub fn open_writer(&self, area: AreaId, path: &str) -> Arc<FileContent> {
        let (parent, name) = self.place(area, path);
        let found = self.engine.resolve(parent, name.as_bytes()).unwrap();
        let node = found.unwrap_or_else(|| {
            self.make(area, (parent, &name), |id, shared, now| {
                let store = &self.engine.staging.store;
                Body::File(Arc::new(FileContent::new(store, shared, id, now)))
            })
        });
        self.engine.complete_links(node).unwrap();
        let state = self.engine.staging.read();
        let content = state.node(node).and_then(Node::content).unwrap();
        content.open_writer();
        Arc::clone(content)
    }

    /// Closes what [`World::open_writer`] opened.
    pub fn close_writer(&self, content: &Arc<FileContent>) {
        let after = content.close_writer();
        self.engine.staging.after_close(content, after);
    }

    /// Waits until a closed file is a blob.
    pub fn wait_sealed(&self, area: AreaId, path: &str) {
        let (parent, name) = self.place(area, path);
        let node = self.engine.resolve(parent, name.as_bytes()).unwrap().unwrap();
        crate::wait::until("the file is sealed", || {
            let state = self.engine.staging.read();
            state.node(node).and_then(Node::content).is_some_and(|content| content.blob().is_ok())
        });
    }

    /// Takes a name away.
    pub fn remove(&self, area: AreaId, path: &str) {
        let (parent, name) = self.place(area, path);
        let node = self.engine.resolve(parent, name.as_bytes()).unwrap();
        self.engine.complete_links(node.unwrap_or_else(|| panic!("no {path}"))).unwrap();
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| state.unlink(dirty, parent, &name, now));
    }

    /// Gives a file one more name.
    pub fn link(&self, area: AreaId, from: &str, to: &str) {
        let (parent, name) = self.place(area, from);
        let node = self.engine.resolve(parent, name.as_bytes()).unwrap().unwrap();
        self.engine.complete_links(node).unwrap();
        let (parent, name) = self.place(area, to);
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| state.link(dirty, node, parent, &name, now));
    }

    /// Gives a file or directory another name.
    pub fn rename(&self, area: AreaId, from: &str, to: &str) {
        let (from, name) = self.place(area, from);
        let node = self.engine.resolve(from, name.as_bytes()).unwrap().unwrap();
        let reaching_out = self.engine.prepare_move(node).unwrap();
        let (to, new) = self.place(area, to);
        assert_eq!(self.engine.resolve(to, new.as_bytes()).unwrap(), None);
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| {
            state.mark_all_changed(dirty, reaching_out);
            state.rename(dirty, (from, &name), (to, &new), now);
        });
    }

    /// The tree of a version.
    pub fn tree(&self, version: &str) -> TreeHash {
        let repository = self.engine.registry.by_name("web").unwrap();
        repository.resolve(&version.parse().unwrap()).unwrap().root.tree
    }

    /// The paths of each hardlink group of a version; asserts that there are as many as it says.
    pub fn links(&self, version: &str) -> Vec<Vec<String>> {
        let mut groups: BTreeMap<GroupKey, (u32, Vec<String>)> = BTreeMap::new();
        links::walk(&*self.engine.trees, &self.tree(version), &mut |path, entry| {
            let key = GroupKey::of(path, entry).unwrap();
            let nlink = entry.link_group.unwrap().nlink;
            let paths = &mut groups.entry(key).or_insert((nlink, Vec::new())).1;
            paths.push(String::from_utf8(path.to_vec()).unwrap());
        })
        .unwrap();
        let names = groups.into_values().map(|(nlink, paths)| {
            assert_eq!(nlink as usize, paths.len(), "{version}: {paths:?}");
            paths
        });
        let mut names: Vec<Vec<String>> = names.collect();
        names.sort();
        names
    }

    /// The directory and name of a path; directories on the way are made.
    fn place(&self, area: AreaId, path: &str) -> (NodeId, EntryName) {
        self.engine.load_area(area).unwrap();
        let mut names = path.split('/').map(|name| EntryName::new(name.as_bytes()).unwrap());
        let mut name = names.next().unwrap();
        let mut parent = NodeId(area.0);
        for next in names {
            let found = self.engine.resolve(parent, name.as_bytes()).unwrap();
            parent = found.unwrap_or_else(|| {
                self.make(area, (parent, &name), |_, _, _| Body::Directory(Directory::new(None)))
            });
            name = next;
        }
        (parent, name)
    }

    fn make(
        &self,
        area: AreaId,
        (parent, name): (NodeId, &EntryName),
        body: impl FnOnce(NodeId, &Arc<cairn::engine::staging::area::AreaShared>, Timestamp) -> Body,
    ) -> NodeId {
        let (staging, now) = (&self.engine.staging, Timestamp::now());
        let shared = Arc::clone(&staging.read().areas[&area].shared);
        let id = NodeId(staging.store.new_id());
        let body = body(id, &shared, now);
        let attributes =
            Attributes { mode: 0o644, uid: 0, gid: 0, mtime: now, xattrs: Xattrs::new() };
        staging.change(|state, dirty| {
            state.insert(id, shared, NewNode { body, attributes, ctime: now }, false);
            state.link(dirty, id, parent, name, now);
        });
        id
    }

    /// Publishes an area, which must succeed.
    pub fn commit(&self, area: &str) -> CommitReply {
        committed(self.ask(Request::Commit(commit(area))))
    }

    /// Makes a version that holds exactly these files, by an area called `label`.
    pub fn publish(&self, label: &str, files: &[(&str, &[u8])]) -> CommitReply {
        let area = self.stage(label);
        for (path, bytes) in files {
            self.write(area, path, bytes);
        }
        self.commit(label)
    }

    /// What is at a path of a version; `None` when nothing is.
    pub fn entry(&self, version: &str, path: &str) -> Option<Entry> {
        let repository = self.engine.registry.by_name("web").unwrap();
        let version = repository.resolve(&version.parse().unwrap()).unwrap();
        let mut tree = version.root.tree;
        let mut found = None;
        for name in path.split('/') {
            let entry =
                tree_format::lookup(&*self.engine.trees, &tree, name.as_bytes()).unwrap()?;
            if let Content::Directory { tree: below, .. } = &entry.content {
                tree = *below;
            }
            found = Some(entry);
        }
        found
    }

    /// The bytes of a file of a version, as they are in the pool.
    pub fn bytes(&self, version: &str, path: &str) -> Vec<u8> {
        let entry = self.entry(version, path).unwrap_or_else(|| panic!("no {version}:{path}"));
        let Content::File { size, blob } = entry.content else { panic!("{path} is no file") };
        let names = self.engine.trees.blob_names();
        let bytes =
            blob.map_or_else(Vec::new, |name| self.blob(&names.resolve(&name).unwrap()).unwrap());
        assert_eq!(bytes.len() as u64, size, "{version}:{path}");
        bytes
    }

    /// The bytes of a blob; `None` when the pool has none.
    pub fn blob(&self, hash: &BlobHash) -> Option<Vec<u8>> {
        std::fs::read(self.engine.layout.blob(hash)).ok()
    }

    /// Describes a version.
    pub fn show(&self, version: &str) -> Result<VersionInfo, ControlError> {
        let (repository, version) = ("web".parse().unwrap(), version.parse().unwrap());
        match self.ask(Request::Show { repository, version })? {
            Reply::Version(version) => Ok(version),
            other => panic!("{other:?}"),
        }
    }

    /// Deletes versions.
    pub fn delete(&self, versions: &[&str], force: bool) -> Result<Reply, ControlError> {
        let versions = versions.iter().map(|version| version.parse().unwrap()).collect();
        self.ask(Request::Delete { repository: "web".parse().unwrap(), versions, force })
    }

    /// Collects everything unreferenced, however young. What the journal has not written yet is
    /// left to a later run, so it is written first.
    pub fn collect(&self) -> GcReply {
        self.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
        let request =
            GcRequest { full: false, dry_run: false, wait: true, protect_seconds: Some(0) };
        match self.ask(Request::Gc(request)).unwrap() {
            Reply::Gc(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// The differences of two versions, in the batches that they came in.
    pub fn diff(&self, first: &str, second: &str) -> (Vec<Vec<DiffEntry>>, DiffReply) {
        let mut batches = Vec::new();
        let request = Request::Diff {
            repository: "web".parse().unwrap(),
            first: first.parse().unwrap(),
            other_repository: "web".parse().unwrap(),
            second: second.parse().unwrap(),
        };
        let mut progress = |progress| match progress {
            Progress::Changes(changes) => batches.push(changes),
            other => panic!("{other:?}"),
        };
        let answer = self.service.call(caller(1), request, Attachment::none(), &mut progress);
        match answer.unwrap().0 {
            Reply::Diff(totals) => (batches, totals),
            other => panic!("{other:?}"),
        }
    }
}

/// A commit without a name, as nobody in particular asks for it.
pub fn commit_options() -> CommitOptions {
    CommitOptions {
        tag: None,
        number: None,
        message: None,
        author: None,
        caller: String::new(),
        wait: false,
        in_rename: false,
        on_stale: None,
        allow_empty: false,
        asker: Asker::default(),
        now: Timestamp::now(),
        copy: None,
    }
}

/// A store that nobody has open.
pub struct Closed {
    home: tempfile::TempDir,
}

impl Closed {
    /// The store that is `store` in this directory.
    #[allow(dead_code, reason = "for the other tests that use this world")]
    pub fn of(home: tempfile::TempDir) -> Self {
        Self { home }
    }

    /// Its directory.
    pub fn path(&self) -> std::path::PathBuf {
        self.home.path().join("store")
    }

    /// Opens it again.
    pub fn open(self) -> World {
        World::open(self.home)
    }

    /// Opens it again for reading.
    pub fn open_read_only(self) -> World {
        let observer = Arc::new(NoObserver);
        let options = GcOptions { protect_seconds: 0, period_seconds: Some(1) };
        let engine = Engine::start_read_only(&self.path(), observer, options).unwrap();
        let service = StoreService::new(Arc::clone(&engine), || {}, DaemonFacts::default());
        World { service, engine, home: self.home }
    }
}

/// A request to make a repository.
pub fn create(name: &str) -> Request {
    Request::CreateRepository { name: name.parse().unwrap(), mode: None }
}

/// A request to publish an area of `web` as plainly as can be.
pub fn commit(area: &str) -> CommitRequest {
    CommitRequest {
        repository: "web".parse().unwrap(),
        area: area.parse().unwrap(),
        tag: None,
        untagged: false,
        message: None,
        author: None,
        wait: false,
        force: false,
        onto_latest: false,
        allow_empty: false,
    }
}

/// The answer to a commit or to the end of an import.
#[track_caller]
pub fn committed(answer: Result<Reply, ControlError>) -> CommitReply {
    match answer.unwrap() {
        Reply::Commit(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// Who asks through a connection.
pub fn caller(connection: u64) -> Caller {
    let (uid, gid) = OWNER;
    Caller { uid, gid, pid: 1, connection: ConnectionId(connection) }
}

/// A text that is longer than a version keeps.
pub fn long_text() -> String {
    "x".repeat(TEXT_BYTES_MAX + 1)
}
