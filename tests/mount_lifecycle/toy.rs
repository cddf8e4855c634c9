//! Two filesystems of one file each, and a place to mount them.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use cairn::daemon::run::{Controller, Filesystems, Hooks, controller, serve_with};
use cairn::daemon::{DaemonError, Timing};
use cairn::fuse::guard::Guard;
use cairn::fuse::invalidate::KernelInvalidator;
use cairn::fuse::mount::{Force, Method, MountOptions, MountPlan, MountTable, unmount_path};
use crossbeam_channel::{Receiver, Sender, bounded};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, Request,
};

/// Long: whatever the kernel was told stays until it is invalidated.
const TTL: Duration = Duration::from_secs(3600);

/// Inode numbers below the root.
pub(crate) const FILE: u64 = 2;
const VERSIONS: u64 = 3;

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// A filesystem whose root holds `file`, and perhaps `versions`.
#[derive(Clone, Default)]
pub(crate) struct Toy {
    /// What kind `versions` is.
    pub(crate) versions: Option<FileType>,
    /// Whether the handshake fails.
    pub(crate) broken: bool,
    /// What `file` says, as one digit.
    pub(crate) digit: Arc<AtomicUsize>,
    /// Who hears of questions for `versions`, if they are never to be answered.
    pub(crate) silent: Option<Sender<()>>,
    /// Where reads wait that are never answered, if they are not to be.
    pub(crate) parked: Option<Sender<ReplyData>>,
    /// How often it was told of its end.
    pub(crate) destroyed: Arc<AtomicUsize>,
}

impl Toy {
    pub(crate) fn outer() -> Self {
        Self { versions: Some(FileType::Directory), ..Self::default() }
    }

    fn attributes(&self, ino: u64) -> Option<FileAttr> {
        let kind = match ino {
            1 => FileType::Directory,
            FILE => FileType::RegularFile,
            VERSIONS => self.versions?,
            _ => return None,
        };
        Some(FileAttr {
            ino: INodeNo(ino),
            size: u64::from(ino == FILE),
            blocks: 1,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        })
    }
}

impl Filesystem for Toy {
    fn init(&mut self, _request: &Request, _config: &mut KernelConfig) -> io::Result<()> {
        if self.broken { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn destroy(&mut self) {
        count(&self.destroyed);
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if let Some(asked) = &self.silent
            && name == "versions"
        {
            // Dropped, it would answer.
            std::mem::forget(reply);
            return asked.send(()).unwrap();
        }
        let ino = match (parent.0, name.to_str()) {
            (1, Some("file")) => FILE,
            (1, Some("versions")) => VERSIONS,
            _ => 0,
        };
        match self.attributes(ino) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        _size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if let Some(parked) = &self.parked {
            return parked.send(reply).unwrap();
        }
        let text = self.digit.load(Ordering::SeqCst).to_string();
        reply.data(if offset == 0 { text.as_bytes() } else { &[] });
    }
}

/// A store and a mount point in a directory that goes away, mounts and all.
pub(crate) struct MountDirectories {
    directory: tempfile::TempDir,
    pub(crate) store: PathBuf,
    pub(crate) target: PathBuf,
}

impl MountDirectories {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let (store, target) = (root.join("st ore"), root.join("m nt"));
        std::fs::create_dir(&store).unwrap();
        std::fs::create_dir(&target).unwrap();
        Self { directory, store, target }
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn plan(&self) -> MountPlan {
        let options = MountOptions::default();
        MountPlan::prepare(&self.target, &self.store, options, Method::Auto).unwrap()
    }

    /// The targets of the mounts that show this store.
    pub(crate) fn mounted(&self) -> Vec<PathBuf> {
        let table = MountTable::read().unwrap();
        table.of_store(&self.store).iter().map(|entry| entry.target.clone()).collect()
    }

    pub(crate) fn serve(&self, timing: Timing) -> Serving {
        Serving::start(self.plan(), Toy::outer(), Toy::default(), timing)
    }
}

impl Drop for MountDirectories {
    fn drop(&mut self) {
        while let Some(target) = self.mounted().pop() {
            unmount_path(&target, Force::Detach).unwrap();
        }
    }
}

/// A daemon on a thread.
pub(crate) struct Serving {
    pub(crate) controller: Controller,
    pub(crate) invalidator: Arc<KernelInvalidator>,
    pub(crate) collected: Arc<AtomicUsize>,
    pub(crate) shut_down: Arc<AtomicUsize>,
    ready: Receiver<()>,
    thread: JoinHandle<Result<(), DaemonError>>,
}

impl Serving {
    pub(crate) fn start(plan: MountPlan, outer: Toy, versions: Toy, timing: Timing) -> Self {
        Self::guarded(plan, outer, versions, timing, None)
    }

    /// As [`Serving::start`], with a guard.
    pub(crate) fn guarded(
        plan: MountPlan,
        outer: Toy,
        versions: Toy,
        timing: Timing,
        guard: Option<Guard>,
    ) -> Self {
        let (controller, events) = controller();
        let (sender, ready) = bounded(1);
        let invalidator = Arc::new(KernelInvalidator::start().unwrap());
        let (collected, shut_down) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let own = (controller.clone(), Arc::clone(&invalidator));
        let counts = (Arc::clone(&collected), Arc::clone(&shut_down));
        let thread = std::thread::spawn(move || {
            let guard = RefCell::new(guard);
            let hooks = Hooks {
                mounted: Box::new(|mount| {
                    guard.borrow().iter().for_each(|guard| guard.watch(mount));
                }),
                may_stop: Box::new(drop),
                ready: Box::new(move || {
                    sender.send(()).unwrap();
                    Ok(())
                }),
                collect: Box::new(|| count(&counts.0)),
                stopping: Box::new(|| ()),
                shutdown: Box::new(|| {
                    guard.take().into_iter().for_each(Guard::end);
                    count(&counts.1);
                }),
            };
            let filesystems = Filesystems { outer, versions };
            serve_with(&plan, filesystems, 2, &own.1, (&own.0, &events), hooks, &timing)
        });
        Self { controller, invalidator, collected, shut_down, ready, thread }
    }

    /// Waits until it serves.
    pub(crate) fn ready(self) -> Self {
        if self.ready.recv().is_err() {
            panic!("not started: {:?}", self.thread.join().unwrap());
        }
        self
    }

    /// Waits for its end.
    pub(crate) fn join(self) -> Result<(), DaemonError> {
        let result = self.thread.join().unwrap();
        assert_eq!(self.shut_down.load(Ordering::SeqCst), 1, "shut down exactly once");
        result
    }
}

/// Fails, and says why, where nothing can be mounted: what is not tested must not look tested.
#[track_caller]
pub(crate) fn require_mounting() {
    require_root();
    let opened = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    assert!(opened.is_ok(), "this test mounts filesystems and cannot open /dev/fuse: {opened:?}");
}

/// Fails, and says why, unless it runs as root.
#[track_caller]
pub(crate) fn require_root() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root: run the tests as root");
}

/// Waiting times that a test can spend.
pub(crate) fn short() -> Timing {
    let second = Duration::from_secs(1);
    let retry = Duration::from_millis(20);
    let (mount, attempt) = (second * 20, second * 20);
    Timing {
        mount,
        grace: second / 5,
        attempt,
        retry,
        drain: second / 5,
        hope: second / 5,
        rest: second / 5,
    }
}

/// Graces that no test can wait for.
pub(crate) fn endless() -> Timing {
    let hour = Duration::from_secs(3600);
    Timing { grace: hour, rest: hour, ..short() }
}
