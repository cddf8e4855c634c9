//! The writable mount: staging areas as an ordinary POSIX tree, and the directories around them.
//!
//! Operations carry the kernel's names and run on the FUSE worker that got the request. What an
//! area's commit must not overlap with waits in
//! [`Staging::park`](crate::engine::staging::Staging::park); what is durable or concerns
//! repositories, areas and tags as such is handed to the engine, which answers by callback. So no
//! operation blocks a worker on another thread.
//!
//! The kernel checks permissions (`default_permissions`, R7); here is only what it cannot know.

mod attributes;
mod audit;
mod create;
mod directory;
mod file;
mod handles;
mod lookup;
mod observe;
pub(crate) mod place;
mod places;
mod publication;
mod rename;
mod stray;
mod tag_table;
mod top;
mod xattr;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::engine::Engine;
use crate::engine::commit::{ForRename, RENAME_WAIT_MAX};
use crate::engine::error::EngineError;
use crate::engine::fetcher::{FetchOutcome, Fetched, LOCKED_PATIENCE, OnFetched, READER_PATIENCE};
use crate::engine::poison::Blocked;
use crate::engine::request::Request;
use crate::engine::resolve::ResolveError;
use crate::engine::staging::area::Phase;
use crate::engine::staging::content::FileContent;
use crate::engine::staging::node::Node;
use crate::engine::staging::state::State;
use crate::model::content_name::ContentName;
use crate::model::id::{AreaId, Ino, NodeId};
use crate::model::kind::FileKind;
use crate::model::name::EntryName;
use crate::store::error::StoreError;
use crate::vfs::attr::Attr;
use crate::vfs::error::FsError;

pub(crate) use attributes::SetAttr;
pub(crate) use directory::Listed;
pub(crate) use file::Written;
pub(crate) use handles::{Handle, OpenMode, Opened};
pub(crate) use observe::MountObserver;
pub(crate) use places::{Turn, wait_end};
pub(crate) use publication::Waiting;
pub(crate) use rename::RenameMode;
pub(crate) use xattr::SetXattrMode;

use handles::HandleTable;
use places::Places;
use publication::Publications;
use stray::Strays;
use tag_table::TagTable;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Process, for logs.
    pub pid: u32,
}

/// How long the kernel may keep what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Until the kernel changes it itself, or is told to forget it.
    Forever,
    /// For [`NAME_KEPT`].
    Briefly,
    /// Not at all: it asks again each time.
    Never,
}

/// How long the kernel may keep the name of a repository or an area. Without this, each path that a
/// program gives from the root of the mount would cost one more request. A longer time would show
/// the name longer after its end (H14).
pub(crate) const NAME_KEPT: Duration = Duration::from_millis(20);

/// Answer to a lookup or creation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Attributes.
    pub attr: Attr,
    /// How long the name stands for this inode.
    pub keep_name: Keep,
    /// How long the attributes hold.
    pub keep_attr: Keep,
}

/// Answer to a lookup.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    /// It is there.
    Entry(Entry),
    /// It is not, and the kernel may remember that.
    Negative,
}

/// Why an operation was not done.
#[derive(Debug)]
pub(crate) enum Denied {
    /// It failed.
    Error(FsError),
    /// The area is being committed: try again when that has ended (H13).
    Frozen(AreaId),
    /// Too many private files are open at the moment: try again when one is sealed.
    Crowded(Arc<FileContent>),
}

impl From<FsError> for Denied {
    fn from(error: FsError) -> Self {
        Self::Error(error)
    }
}

/// Runs once with the result of an operation.
pub(crate) type Done<T> = Box<dyn FnOnce(Result<T, FsError>) + Send>;

/// How the writable mount is shown.
#[derive(Debug, Clone)]
pub(crate) struct StagingOptions {
    /// No changes at all.
    pub read_only: bool,
    /// Owner of the fixed directories.
    pub uid: u32,
    /// Their group.
    pub gid: u32,
    /// Where the versions are, if they are not mounted inside (H16).
    pub versions_beside: Option<PathBuf>,
    /// How long a file may become, in bytes. It is shared: whoever holds the other end may change
    /// it at any time.
    pub file_bytes_max: Arc<AtomicU64>,
}

/// The writable file system.
#[derive(Debug)]
pub(crate) struct StagingFs {
    engine: Arc<Engine>,
    options: StagingOptions,
    handles: HandleTable,
    tags: Arc<TagTable>,
    publications: Publications,
    places: Arc<Places>,
    strays: Strays,
}

impl StagingFs {
    /// Shows the staging areas and tags of an engine.
    pub(crate) fn new(engine: Arc<Engine>, options: StagingOptions) -> Arc<Self> {
        let tags = Arc::new(TagTable::default());
        let (handles, publications) = (HandleTable::default(), Publications::default());
        let (places, strays) = (Arc::new(Places::default()), Strays::default());
        Arc::new(Self { engine, options, handles, tags, publications, places, strays })
    }

    /// Answers what still waits for a place among the private files. To be called before the engine
    /// ends.
    pub(crate) fn end_waits(&self) {
        self.places.end();
    }

    /// Runs an operation; if it meets an area that is being committed, or needs a place among the
    /// private files, runs it again afterwards.
    fn run<T: 'static>(
        self: &Arc<Self>,
        done: Done<T>,
        operation: impl Fn(&Arc<Self>) -> Result<T, Denied> + Send + 'static,
    ) {
        self.run_in_turn(None, READER_PATIENCE, done, operation);
    }

    /// As [`Self::run`], while the kernel holds the lock of the file: who renames the file waits for that lock with the
    /// mount's rename lock, and then everybody who renames waits. Content is not waited for as long as by a reader (H7).
    fn run_locked<T: 'static>(
        self: &Arc<Self>,
        done: Done<T>,
        operation: impl Fn(&Arc<Self>) -> Result<T, Denied> + Send + 'static,
    ) {
        self.run_in_turn(None, LOCKED_PATIENCE, done, operation);
    }

    /// As [`Self::run`], for an operation that has waited for a place, until `due` at most. It waits for content no longer
    /// than `patience`.
    fn run_in_turn<T: 'static>(
        self: &Arc<Self>,
        due: Option<Instant>,
        patience: Duration,
        done: Done<T>,
        operation: impl Fn(&Arc<Self>) -> Result<T, Denied> + Send + 'static,
    ) {
        match operation(self) {
            Ok(value) => done(Ok(value)),
            // Its content is fetched first (L13).
            Err(Denied::Error(FsError::Absent(name))) => {
                let fs = Arc::clone(self);
                let again = move |fetched: FetchOutcome| match fetched.and_then(Fetched::kept) {
                    Ok(()) => fs.run_in_turn(due, patience, done, operation),
                    Err(_) => done(Err(FsError::Io)),
                };
                self.engine.fetch_within(name, patience, Box::new(again));
            }
            Err(Denied::Error(error)) => done(Err(error)),
            Err(Denied::Frozen(area)) => {
                let fs = Arc::clone(self);
                let again = Box::new(move || fs.run(done, operation));
                if let Some(again) = self.engine.staging.park(area, again) {
                    again();
                }
            }
            Err(Denied::Crowded(content)) => {
                let due = due.unwrap_or_else(places::wait_end);
                let fs = Arc::clone(self);
                let change = Box::new(move |turn| match turn {
                    Turn::Again => fs.run_in_turn(Some(due), patience, done, operation),
                    Turn::Late => done(Err(FsError::TooManyOpenFiles)),
                });
                self.places.wait(content, due, 0, change);
            }
        }
    }

    /// Has a content fetched that a read found absent, and then calls back.
    pub(crate) fn fetch(&self, name: ContentName, then: OnFetched) {
        self.engine.fetch(name, then);
    }

    /// As [`Self::run`], for a RENAME that holds the mount's rename lock: it waits for no commit longer
    /// than a RENAME that commits would (H7).
    fn run_briefly<T: Send + 'static>(
        self: &Arc<Self>,
        done: Done<T>,
        operation: impl Fn(&Arc<Self>) -> Result<T, Denied> + Send + 'static,
    ) {
        self.run_until(
            Instant::now() + RENAME_WAIT_MAX,
            Arc::new(Mutex::new(Some(done))),
            operation,
        );
    }

    fn run_until<T: Send + 'static>(
        self: &Arc<Self>,
        due: Instant,
        done: Arc<Mutex<Option<Done<T>>>>,
        operation: impl Fn(&Arc<Self>) -> Result<T, Denied> + Send + 'static,
    ) {
        // The request was answered already, so it is too late to run it.
        let Some(answer) = done.lock().take() else { return };
        match operation(self) {
            Ok(value) => answer(Ok(value)),
            Err(Denied::Error(error)) => answer(Err(error)),
            Err(Denied::Crowded(_)) => answer(Err(FsError::TooManyOpenFiles)),
            Err(Denied::Frozen(area)) => {
                *done.lock() = Some(answer);
                let (fs, own) = (Arc::clone(self), Arc::clone(&done));
                let again = Box::new(move || fs.run_until(due, own, operation));
                if let Some(again) = self.engine.staging.park(area, again) {
                    return again();
                }
                let late = Box::new(move || {
                    let answer = done.lock().take();
                    if let Some(answer) = answer {
                        answer(Err(FsError::Busy));
                    }
                });
                let remind = Request::ForRename(ForRename::Remind { due, late });
                if self.engine.submit(remind).is_err() {
                    log::debug!("the engine has ended, and lets go on all that waits");
                }
            }
        }
    }

    /// Whether the store accepts changes at all.
    fn check_writable(&self) -> Result<(), FsError> {
        if self.options.read_only {
            return Err(FsError::ReadOnly);
        }
        match self.engine.staging.poison.blocked() {
            Blocked::Poisoned => Err(FsError::Io),
            Blocked::ReadOnly => Err(FsError::ReadOnly),
            Blocked::No | Blocked::Full => Ok(()),
        }
    }

    /// As [`Self::check_writable`], for what makes the store grow.
    fn check_growable(&self) -> Result<(), FsError> {
        self.check_writable()?;
        match self.engine.staging.poison.blocked() {
            Blocked::Full => Err(FsError::NoSpace),
            Blocked::No if !self.engine.pool.room().is_open() => Err(FsError::NoSpace),
            Blocked::No | Blocked::Poisoned | Blocked::ReadOnly => Ok(()),
        }
    }

    fn resolve(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, FsError> {
        self.engine.resolve(parent, name).map_err(resolve_error)
    }

    fn prepare_move(&self, id: NodeId) -> Result<Vec<NodeId>, FsError> {
        self.engine.prepare_move(id).map_err(resolve_error)
    }

    fn complete_links(&self, id: NodeId) -> Result<(), FsError> {
        self.engine.complete_links(id).map_err(resolve_error)
    }
}

/// Whether a node can be changed now.
fn check_open(state: &State, id: NodeId) -> Result<(), Denied> {
    let Some(area) = state.area_of(id) else {
        let error = if state.node(id).is_some() { FsError::ReadOnly } else { FsError::Stale };
        return Err(error.into());
    };
    match area.phase {
        Phase::Open => Ok(()),
        Phase::Frozen => Err(Denied::Frozen(area.shared.id)),
        Phase::Closed => Err(FsError::ReadOnly.into()),
    }
}

/// Attributes of a node.
fn node_attr(id: NodeId, node: &Node) -> Attr {
    use crate::engine::staging::node::Body;
    use crate::vfs::attr::{DIRECTORY_BYTES, blocks};
    let mut attr = Attr {
        ino: Ino(id.0),
        kind: FileKind::File,
        mode: node.mode,
        nlink: node.nlink(),
        uid: node.uid,
        gid: node.gid,
        rdev: 0,
        size: 0,
        blocks: 0,
        atime: node.atime,
        mtime: node.mtime,
        ctime: node.ctime,
    };
    match &node.body {
        Body::File(content) => {
            let content = content.attr();
            attr.size = content.size;
            attr.blocks = blocks(content.size);
            attr.mtime = content.mtime;
            attr.ctime = content.ctime;
        }
        Body::Directory(directory) => {
            let removed = node.names.is_empty() && node.area.id.0 != id.0;
            attr.nlink = if removed { 0 } else { directory.nlink() };
            attr.kind = FileKind::Directory;
            attr.size = DIRECTORY_BYTES;
            attr.blocks = blocks(DIRECTORY_BYTES);
        }
        Body::Symlink(target) => {
            attr.kind = FileKind::Symlink;
            attr.size = target.len() as u64;
        }
        Body::Fifo => attr.kind = FileKind::Fifo,
        Body::Socket => attr.kind = FileKind::Socket,
        Body::CharDevice(rdev) => {
            attr.kind = FileKind::CharDevice;
            attr.rdev = *rdev;
        }
        Body::BlockDevice(rdev) => {
            attr.kind = FileKind::BlockDevice;
            attr.rdev = *rdev;
        }
    }
    attr
}

/// How long the kernel may keep the attributes of a node.
///
/// A write by another user takes set-user-ID and set-group-ID away, here and not in the kernel
/// (`HANDLE_KILLPRIV_V2`), which after a write drops size and times of what it keeps and not the
/// mode. A notification would be too late: it would have to come before the reply to the write, but
/// may wait for a page that the writer holds until that reply (H8). So the kernel may not keep the
/// mode of such a file: each look at the file, and each execution, asks the daemon.
fn keep_attr(attr: &Attr) -> Keep {
    let runs_as_another = attr.mode & (file::SETUID | file::SETGID) != 0;
    if attr.kind == FileKind::File && runs_as_another { Keep::Never } else { Keep::Forever }
}

/// A node as the answer to a lookup or creation.
fn staged_entry(attr: Attr) -> Entry {
    Entry { attr, keep_name: Keep::Forever, keep_attr: keep_attr(&attr) }
}

/// A name as an area can hold it.
fn entry_name(name: &[u8]) -> Result<EntryName, FsError> {
    Ok(EntryName::new(name)?)
}

/// What the caller of a failed store operation sees; the details go to the log.
fn log_store(error: StoreError) -> FsError {
    if error.is_full() {
        return FsError::NoSpace;
    }
    if matches!(error, StoreError::OverQuota) {
        return FsError::QuotaExceeded;
    }
    if error.lacks_descriptors() {
        return FsError::TooManyOpenFiles;
    }
    if let StoreError::Io { source, .. } = &error {
        match Errno::from_io_error(source) {
            Some(Errno::OPNOTSUPP) => return FsError::NotSupported,
            Some(Errno::FBIG) => return FsError::TooLarge,
            Some(Errno::INVAL) => return FsError::Invalid,
            _ => {}
        }
    }
    if let StoreError::AbsentContent(name) = error {
        return FsError::Absent(name);
    }
    log::error!("{error}");
    FsError::Io
}

fn resolve_error(error: ResolveError) -> FsError {
    match error {
        ResolveError::NotDirectory => FsError::NotDirectory,
        ResolveError::Gone => FsError::Stale,
        ResolveError::Store(error) => log_store(error),
    }
}

/// What the caller of a refused engine request sees (H12: nothing that the kernel retries or that
/// `mv` answers by copying).
fn engine_error(error: EngineError) -> FsError {
    match error {
        EngineError::RepositoryExists(_)
        | EngineError::AreaExists(_)
        | EngineError::TagExists(_)
        | EngineError::NameTaken(_)
        | EngineError::NumberTaken(_) => FsError::Exists,
        EngineError::NoRepository(_)
        | EngineError::NoArea(_)
        | EngineError::NoVersion(_)
        | EngineError::NoTag(_)
        | EngineError::NotDeleted(_)
        | EngineError::NoRemote(_)
        | EngineError::NoImport(_)
        | EngineError::ImportAreaGone => FsError::NotFound,
        EngineError::RepositoryNotEmpty { .. } => FsError::NotEmpty,
        EngineError::Name { reason, .. } => reason.into(),
        EngineError::NumberNotNext { .. } | EngineError::AnotherVersion { .. } => FsError::Range,
        EngineError::Busy { .. } | EngineError::NotSealed { .. } | EngineError::CommitRunning => {
            FsError::Busy
        }
        EngineError::StaleBase { .. } | EngineError::Conflicts { .. } => FsError::StaleBase,
        EngineError::Protected { .. } => FsError::NotPermitted,
        EngineError::ReadOnly => FsError::ReadOnly,
        EngineError::OverQuota(_) => FsError::QuotaExceeded,
        EngineError::NotFetched { .. } => FsError::Io,
        EngineError::TooManyAreas { .. } => FsError::TooManyLinks,
        EngineError::Unsealed { full: true, .. } => FsError::NoSpace,
        EngineError::Store(error) => log_store(error),
        EngineError::Unsealed { .. }
        | EngineError::Unsaved(_)
        | EngineError::Abandoned
        | EngineError::Damaged { .. }
        | EngineError::Lost(_)
        | EngineError::Entry { .. }
        | EngineError::ImportFailed(_)
        | EngineError::SourceShrank
        | EngineError::ImportThread(_)
        | EngineError::ImportEnded
        | EngineError::Invalid(_)
        | EngineError::AreaInUse(_)
        | EngineError::ChangesTooFast
        | EngineError::Inconsistent { .. }
        | EngineError::UnreadablePolicy(_)
        | EngineError::Poisoned
        | EngineError::Stopping => {
            log::error!("{error}");
            FsError::Io
        }
    }
}
