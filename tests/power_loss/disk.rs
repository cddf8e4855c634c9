//! A disk that knows what was flushed, and can lose the rest.
//!
//! It is a file in a filesystem of this process, and a loop device makes a block device of it. So
//! each write and each flush that the kernel sends to the device comes here. A write is in the
//! disk's volatile cache until a flush: what an [`Image`] shows is everything flushed, and of the
//! writes since then nothing, everything, or some sectors, in no order. That is what a disk
//! promises, and all that it promises.
//!
//! Must not know which filesystem is on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use crossbeam_channel::{Sender, bounded};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request,
    Session, SessionACL, WriteFlags,
};
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{SeekFrom, seek};
use rustix::thread::UnshareFlags;
use tempfile::TempDir;

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

const TTL: Duration = Duration::from_secs(3600);
const FILE: u64 = 2;
const NAME: &str = "disk";

/// What becomes of the writes that were not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// None of them reached the disk.
    All,
    /// All of them did.
    Nothing,
    /// Each sector did or did not, by this seed.
    Some(u64),
}

/// Which requests the disk fails with EIO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    None,
    /// Flushes only: writes seem to succeed.
    Flushes,
    /// Writes and flushes.
    Writes,
    /// Everything.
    All,
}

/// The bytes of the disk.
pub(crate) struct Surface {
    /// What survives.
    flushed: File,
    /// What the kernel reads.
    current: File,
    size: u64,
    /// Written since the last flush, in order.
    cached: Vec<(u64, Vec<u8>)>,
    failure: Failure,
    /// Writes and flushes so far.
    requests: u64,
    /// Requests that were failed.
    failed: u64,
    watch: Option<Watch>,
}

/// Called before each write and flush, with its number.
pub(crate) type Watch = Box<dyn FnMut(&Surface, u64) + Send>;

/// The disk, attached while this lives.
pub(crate) struct Disk {
    surface: Arc<Mutex<Surface>>,
    server: Option<JoinHandle<io::Result<()>>>,
    home: TempDir,
}

impl Disk {
    /// A disk with the content of `blank`, of which a copy is made.
    pub(crate) fn attach(blank: &Path) -> Self {
        let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let open = |name: &str| {
            let path = home.path().join(name);
            copy_sparse(&File::open(blank).unwrap(), &path);
            File::options().read(true).write(true).open(path).unwrap()
        };
        let surface = Surface {
            flushed: open("flushed"),
            current: open("current"),
            size: blank.metadata().unwrap().len(),
            cached: Vec::new(),
            failure: Failure::None,
            requests: 0,
            failed: 0,
            watch: None,
        };
        let surface = Arc::new(Mutex::new(surface));
        let at = home.path().join("attached");
        std::fs::create_dir(&at).unwrap();
        let (ready, attached) = bounded(1);
        let served = Attached(Arc::clone(&surface));
        let server = std::thread::spawn(move || serve(served, &at, &ready));
        attached.recv().expect("this test needs root and /dev/fuse: it is a disk");
        Self { surface, server: Some(server), home }
    }

    /// What a loop device is to be made of.
    pub(crate) fn file(&self) -> PathBuf {
        self.home.path().join("attached").join(NAME)
    }

    /// The bytes; the disk answers nobody while this is held.
    pub(crate) fn surface(&self) -> MutexGuard<'_, Surface> {
        self.surface.lock()
    }

    /// Has `watch` called before each write and flush from now on.
    pub(crate) fn watch(&self, watch: Option<Watch>) {
        let old = std::mem::replace(&mut self.surface.lock().watch, watch);
        drop(old);
    }

    /// What is to fail from now on.
    pub(crate) fn fail(&self, failure: Failure) {
        self.surface.lock().failure = failure;
    }

    /// Requests that were failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.surface.lock().failed
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let at = self.home.path().join("attached");
        let detached = Command::new("umount").arg(at).status().unwrap().success();
        if let Some(server) = self.server.take().filter(|_| detached) {
            server.join().unwrap().unwrap();
        }
        assert!(detached || std::thread::panicking(), "the disk stays attached");
    }
}

/// Serves the file until it is unmounted.
///
/// This thread has a table of descriptors of its own, so that the connection ends with it even if
/// the process is killed while others of its threads wait, in the kernel, for this disk.
fn serve(served: Attached, at: &Path, ready: &Sender<()>) -> io::Result<()> {
    #[allow(deprecated, reason = "no descriptor that is opened here is used elsewhere")]
    rustix::thread::unshare(UnshareFlags::FILES)?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("recording-disk".to_owned())];
    config.acl = SessionACL::All;
    let session = Session::new(served, at, &config)?;
    ready.send(()).unwrap();
    session.run()
}

impl Surface {
    /// The disk as the next machine finds it when the power goes now.
    pub(crate) fn image(&self, to: &Path, loss: Loss) {
        copy_sparse(&self.flushed, to);
        let image = File::options().write(true).open(to).unwrap();
        let mut random = match loss {
            Loss::All => return,
            Loss::Nothing => None,
            Loss::Some(seed) => Some(seed | 1),
        };
        for (offset, bytes) in &self.cached {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                if random.as_mut().is_none_or(coin) {
                    image.write_all_at(sector, offset + (index * SECTOR) as u64).unwrap();
                }
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.enter(self.failure == Failure::Writes)?;
        self.current.write_all_at(bytes, offset)?;
        self.cached.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.enter(matches!(self.failure, Failure::Writes | Failure::Flushes))?;
        for (offset, bytes) in self.cached.drain(..) {
            self.flushed.write_all_at(&bytes, offset)?;
        }
        Ok(())
    }

    fn read(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.check(false)?;
        let mut bytes = vec![0; length.min(usize::try_from(self.size - offset).unwrap())];
        self.current.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn enter(&mut self, fails: bool) -> io::Result<()> {
        self.requests += 1;
        if let Some(mut watch) = self.watch.take() {
            watch(self, self.requests);
            self.watch = Some(watch);
        }
        self.check(fails)
    }

    fn check(&mut self, fails: bool) -> io::Result<()> {
        if fails || self.failure == Failure::All {
            self.failed += 1;
            return Err(rustix::io::Errno::IO.into());
        }
        Ok(())
    }
}

fn coin(state: &mut u64) -> bool {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state & 0x100 == 0
}

/// Copies the parts of a file that were ever written.
fn copy_sparse(from: &File, to: &Path) {
    let target = File::create(to).unwrap();
    let size = from.metadata().unwrap().len();
    target.set_len(size).unwrap();
    let mut at = 0;
    // ENXIO: only a hole follows.
    while let Ok(start) = seek(from, SeekFrom::Data(at)) {
        let end = seek(from, SeekFrom::Hole(start)).unwrap();
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        from.read_exact_at(&mut bytes, start).unwrap();
        target.write_all_at(&bytes, start).unwrap();
        at = end;
    }
}

/// The filesystem of one file that the loop device opens.
struct Attached(Arc<Mutex<Surface>>);

impl Attached {
    fn attributes(&self, ino: u64) -> FileAttr {
        let file = ino == FILE;
        FileAttr {
            ino: INodeNo(ino),
            size: if file { self.0.lock().size } else { 0 },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if file { FileType::RegularFile } else { FileType::Directory },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }
}

impl Filesystem for Attached {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&TTL, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(ino.0));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.lock().read(offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.lock().write(offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.0.lock().flush() {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    // Punching holes is refused: the loop device then says that it cannot discard.
    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
