//! Mounting and unmounting.
//!
//! fuser's own mount code is not used: as root it fails to unmount a busy mount, its drop does not
//! wait, and options are not escaped. Root mounts by mount(2), anyone else by `fusermount3`.
//!
//! Invariants: a [`Mounted`] names one mount by the kernel's id and never unmounts another one, be it
//! on the same path or with the same numbers, which the kernel uses again as soon as they are free;
//! dropping it detaches the mount, so that none is left behind.
//!
//! This module knows nothing of sessions: it hands over the connection and the caller answers it.

mod apart;
mod busy;
pub(crate) mod connections;
mod error;
mod helper;
mod kernel_users;
mod options;
mod plan;
mod remount;
mod table;
mod together;

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{debug, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{getegid, geteuid};

use apart::apart;
pub use busy::{User, list as users_text, users_of};
pub use error::MountError;
pub use options::{MountOptions, OptionError};
pub use plan::{MountPlan, VersionsPlacement, clean_dead_mounts, preflight, resolve};
pub use remount::{FlagChanges, remount};
pub use table::{FILESYSTEM_TYPE, MountEntry, MountId, MountTable};
pub use together::{Together, unmount_together};

/// The device through which the kernel and a FUSE filesystem speak.
const DEVICE: &str = "/dev/fuse";

/// Where the kernel lists what filesystems lie on, with how much is read ahead of each.
const BACKING_DEVICES: &str = "/sys/class/bdi";

/// What the kernel reads ahead: as much as one request holds. By itself it reads 128 KiB.
const READ_AHEAD_KIBIBYTES: &str = "1024";

/// How a mount is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// By mount(2) as root, else by `fusermount3`.
    #[default]
    Auto,
    /// By `fusermount3`, whoever asks.
    Helper,
}

/// How much force an unmount uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Refuses while files are in use.
    None,
    /// Takes the mount, and what is mounted in it, out of sight; it ends with its last user.
    Detach,
    /// Detaches, and fails everything that still uses it, where this is permitted.
    Abort,
}

/// A mount that was just made: the kernel waits for an answer on `device`.
#[derive(Debug)]
pub struct NewMount {
    /// The connection.
    pub device: OwnedFd,
    /// The mount.
    pub mount: Mounted,
}

/// A connection to the kernel, to ask whether it still is one.
#[derive(Debug)]
pub(crate) struct Connection(OwnedFd);

impl Connection {
    /// Whether the kernel still has it. It ends with an abort, or once the mount is unmounted and its last
    /// user has gone.
    pub(crate) fn is_alive(&self) -> bool {
        let mut asked = [PollFd::new(&self.0, PollFlags::empty())];
        match poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => !asked[0].revents().contains(PollFlags::ERR),
            Err(error) => {
                warn!("cannot ask the kernel for a connection: {error}");
                true
            }
        }
    }
}

/// A mount of ours. Dropping it detaches it.
#[derive(Debug)]
pub struct Mounted {
    id: MountId,
    device: (u32, u32),
    target: PathBuf,
    connection: Arc<Connection>,
    /// Set once it was unmounted.
    gone: AtomicBool,
}

/// Mounts a filesystem on `target`, an absolute path without symlinks (see [`MountPlan`]), with
/// the path of the store as its source.
///
/// The kernel's first request waits on the returned connection. Unless that is answered, or
/// closed, everybody who enters the mount waits.
///
/// # Errors
///
/// Returns the [`MountError`] that tells why, with nothing mounted.
pub fn mount(
    target: &Path,
    store: &Path,
    options: &MountOptions,
    method: Method,
) -> Result<NewMount, MountError> {
    let examined = apart(None, || fs::metadata(target)).and_then(|found| found);
    let metadata = examined.map_err(|source| MountError::Examine {
        action: "examine",
        path: target.to_owned(),
        source,
    })?;
    // Refused here, since fusermount3 would mount a file on it.
    if !metadata.is_dir() {
        return Err(MountError::NotDirectory(target.to_owned()));
    }
    let source = options.source(store);
    let device = if method == Method::Auto && geteuid().is_root() {
        match mount_directly(target, source, options) {
            // Root may lack the capability, as in some containers; fusermount3 may have it.
            Err(MountError::Mount { source: error, .. })
                if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
            {
                helper::mount(target, source, options)?
            }
            result => result?,
        }
    } else {
        helper::mount(target, source, options)?
    };
    let connection = Connection(device.try_clone().map_err(MountError::Device)?);
    let found = MountTable::read()?.at(target).filter(|entry| entry.is_cairn()).cloned();
    let entry = found.ok_or_else(|| MountError::NotMounted(target.to_owned()))?;
    debug!("mounted {} as {:?}", target.display(), entry.id);
    let mount = Mounted {
        id: entry.id,
        device: entry.device,
        target: entry.target,
        connection: Arc::new(connection),
        gone: AtomicBool::new(false),
    };
    Ok(NewMount { device, mount })
}

fn mount_directly(
    target: &Path,
    source: &OsStr,
    options: &MountOptions,
) -> Result<OwnedFd, MountError> {
    let device =
        File::options().read(true).write(true).open(DEVICE).map_err(|error| {
            match error.kind() {
                io::ErrorKind::NotFound => MountError::NoDevice,
                _ => MountError::Device(error),
            }
        })?;
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}{}",
        device.as_raw_fd(),
        geteuid().as_raw(),
        getegid().as_raw(),
        options.fuse_data(),
    );
    let failed = |source: io::Error| MountError::Mount { target: target.to_owned(), source };
    let data = CString::new(data).map_err(|error| failed(error.into()))?;
    let mounted = apart(Some(device.as_fd()), || {
        let place = hold_place(target)?;
        let path = match &place {
            // Of this thread: it has a table of its own.
            Some(place) => Path::new("/proc/thread-self/fd").join(place.as_raw_fd().to_string()),
            None => target.to_owned(),
        };
        let flags = options.flags();
        Ok(rustix::mount::mount(source, &path, FILESYSTEM_TYPE, flags, data.as_c_str())?)
    });
    mounted.and_then(|mounted| mounted).map_err(failed)?;
    Ok(device.into())
}

/// Opens the directory at `target` along no symlink: it was resolved before, and whoever owns a
/// directory on the way could have put one there since. `None` on kernels before 5.6.
fn hold_place(target: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(CWD, target, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Mounted {
    /// Where it was mounted.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Its name.
    pub fn id(&self) -> MountId {
        self.id
    }

    /// Major and minor number of its device.
    pub(crate) fn device(&self) -> (u32, u32) {
        self.device
    }

    /// Whether the kernel still lists the mount for this process.
    ///
    /// # Errors
    ///
    /// Returns [`MountError::Table`] when the table of mounts cannot be read.
    pub fn exists(&self) -> Result<bool, MountError> {
        Ok(self.find(&MountTable::read()?).is_some())
    }

    /// The kernel uses ids and devices again at once: another daemon's mount may have both by now.
    /// While the connection lives, its device is nobody else's; that is asked after the table was
    /// read. One that was aborted is still where it was mounted.
    fn find<'table>(&self, table: &'table MountTable) -> Option<&'table MountEntry> {
        let is_connected = self.connection.is_alive();
        let found = table.by_id(self.id).filter(|entry| {
            let ours = is_connected || entry.target == self.target;
            ours && entry.device == self.device && entry.is_cairn()
        });
        // An unmount that found the outer mount in use has mounted it again, with another id.
        let put_back = || {
            let there = |entry: &&MountEntry| entry.device == self.device && entry.is_cairn();
            table.at(&self.target).filter(|_| is_connected).filter(there)
        };
        found.or_else(put_back)
    }

    /// Its connection.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Unmounts it wherever it is by now. One that is gone already, since someone else unmounted
    /// it, counts as success.
    ///
    /// Looking the path up may ask the filesystems above it: call this while their sessions run,
    /// or with [`Force::Detach`] on the outermost one, whose path leads through none of ours.
    ///
    /// # Errors
    ///
    /// Returns [`MountError::Busy`] with the processes that use it, [`MountError::Covered`], or
    /// what else the kernel said.
    pub fn unmount(&self, force: Force) -> Result<(), MountError> {
        if self.gone.load(Ordering::Acquire) {
            return Ok(());
        }
        if force == Force::Abort {
            self.abort();
        }
        let table = MountTable::read()?;
        if let Some(entry) = self.find(&table) {
            if table.at(&entry.target).map(|top| top.id) != Some(self.id) {
                return Err(MountError::Covered(entry.target.clone()));
            }
            unmount_entry(entry, force)?;
            debug!("unmounted {}", entry.target.display());
        }
        self.gone.store(true, Ordering::Release);
        Ok(())
    }

    /// Has the kernel read more ahead, where this process may say so, which only root may. Call it
    /// after the handshake, which resets the value.
    pub fn read_ahead(&self) {
        let (major, minor) = self.device;
        let path = Path::new(BACKING_DEVICES).join(format!("{major}:{minor}/read_ahead_kb"));
        let file = File::options().write(true).open(path);
        if let Err(error) = self.write_if_ours(file, READ_AHEAD_KIBIBYTES) {
            debug!("{} reads ahead as it did: {error}", self.target.display());
        }
    }

    /// Writes to a file of the kernel that is called after the device. It was opened before the
    /// question: what was opened belongs to the connection that has the number then, and that is ours
    /// if ours still lives.
    fn write_if_ours(&self, file: io::Result<File>, text: &str) -> io::Result<()> {
        let mut file = file?;
        if self.connection.is_alive() { file.write_all(text.as_bytes()) } else { Ok(()) }
    }

    /// Ends the connection: what waits for an answer fails, and so does every later request. Needs
    /// the filesystem `fusectl`, which a user's container may lack; without it only the end of this
    /// process does the same.
    pub fn abort(&self) {
        if let Err(error) = self.write_if_ours(connections::open_abort(self.device.1), "1") {
            debug!("cannot end the connection of {}: {error}", self.target.display());
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount(Force::Detach) {
            warn!("left mounted: {error}");
        }
    }
}

/// Unmounts a mount that the table lists. If it is gone already, that is a success too. A daemon
/// and the command that unmounts it both take mounts down, so either may come second.
///
/// # Errors
///
/// As [`unmount_path`].
pub fn unmount_entry(entry: &MountEntry, force: Force) -> Result<(), MountError> {
    let result = unmount_path(&entry.target, force);
    if result.is_err() && MountTable::read()?.by_id(entry.id) != Some(entry) {
        return Ok(());
    }
    result
}

/// Unmounts whatever is topmost at `target`. Prefer [`Mounted::unmount`] for a mount of our own.
///
/// # Errors
///
/// Returns [`MountError::Busy`] with the processes that use it, or what else the kernel said.
pub fn unmount_path(target: &Path, force: Force) -> Result<(), MountError> {
    let result = if geteuid().is_root() {
        let flags = match force {
            Force::None => UnmountFlags::NOFOLLOW,
            Force::Detach => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
            Force::Abort => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH | UnmountFlags::FORCE,
        };
        let unmounted = apart(None, || rustix::mount::unmount(target, flags));
        match unmounted.and_then(|unmounted| Ok(unmounted?)) {
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                helper::unmount(target, force != Force::None)
            }
            result => {
                result.map_err(|source| MountError::Unmount { target: target.to_owned(), source })
            }
        }
    } else {
        helper::unmount(target, force != Force::None)
    };
    match result {
        Err(MountError::Unmount { target, source })
            if source.raw_os_error() == Some(Errno::BUSY.raw_os_error()) =>
        {
            let table = MountTable::read()?;
            let users = match table.at(&target) {
                Some(entry) => {
                    let family: Vec<_> =
                        table.made_for(&entry.source).into_iter().cloned().collect();
                    users_of(entry, &family)
                }
                None => Vec::new(),
            };
            Err(MountError::Busy { target, users })
        }
        result => result,
    }
}
