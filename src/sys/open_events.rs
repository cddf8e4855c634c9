//! What is opened on a mount, whoever does it and whether or not the kernel has it cached already (`fanotify(7)`).

use std::fs::read_link;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// An event as the kernel writes it: `struct fanotify_event_metadata`.
const EVENT_BYTES: usize = size_of::<libc::fanotify_event_metadata>();

/// Events that are taken from the kernel at a time.
const EVENTS_MAX: usize = 128;

/// Tells which regular files are opened on a mount. For root.
#[derive(Debug)]
pub(crate) struct OpenEvents(OwnedFd);

impl OpenEvents {
    /// Tells of those on the mount that `path` lies on, from now on.
    ///
    /// # Errors
    /// The system calls'; `EPERM` for those who are not root.
    pub(crate) fn of_mount(path: &Path) -> io::Result<Self> {
        let flags = libc::FAN_CLASS_NOTIF
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_UNLIMITED_QUEUE;
        let files = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE).cast_unsigned();
        // SAFETY: the call takes two numbers.
        let number = unsafe { libc::fanotify_init(flags, files) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just returned this descriptor, so nobody else owns it.
        let events = unsafe { OwnedFd::from_raw_fd(number) };
        let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
        let how = libc::FAN_MARK_ADD | libc::FAN_MARK_MOUNT;
        // SAFETY: the path is a string that ends with a zero byte and outlives the call.
        let marked = unsafe {
            libc::fanotify_mark(
                events.as_raw_fd(),
                how,
                libc::FAN_OPEN,
                libc::AT_FDCWD,
                path.as_ptr(),
            )
        };
        if marked != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(events))
    }

    /// Calls `each` with the path of each file that was opened since the last call. Returns at once.
    ///
    /// # Errors
    /// The system calls'.
    pub(crate) fn take(&self, mut each: impl FnMut(PathBuf)) -> io::Result<()> {
        let mut buffer = [0_u8; EVENT_BYTES * EVENTS_MAX];
        loop {
            let length = match rustix::io::read(&self.0, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(()),
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut rest = &buffer[..length];
            while let Some(event) = rest.get(..EVENT_BYTES).map(decode) {
                if event.fd >= 0 {
                    // SAFETY: the kernel opened this descriptor for the event, and it is in no other event.
                    let file = unsafe { OwnedFd::from_raw_fd(event.fd) };
                    each(read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?);
                }
                let next = usize::try_from(event.event_len).unwrap_or(0).max(EVENT_BYTES);
                rest = rest.get(next..).unwrap_or_default();
            }
        }
    }
}

impl AsFd for OpenEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn decode(bytes: &[u8]) -> libc::fanotify_event_metadata {
    let mut event = MaybeUninit::<libc::fanotify_event_metadata>::zeroed();
    let length = bytes.len().min(EVENT_BYTES);
    // SAFETY: both have that many bytes and do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), event.as_mut_ptr().cast(), length) };
    // SAFETY: the type consists of numbers only, for which any bytes are valid.
    unsafe { event.assume_init() }
}

/// Gives the calling thread, and the programs that it starts, a mount namespace of their own. What others mount or unmount
/// from now on shows in it as well; what is mounted or unmounted in it does not show outside.
///
/// # Errors
/// The system calls'; `EPERM` for those who are not root.
pub(crate) fn leave_mounts() -> io::Result<()> {
    // SAFETY: the thread gets a directory and mounts of its own, which are the same as before.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    use rustix::mount::MountPropagationFlags as Propagation;
    rustix::mount::mount_change("/", Propagation::DOWNSTREAM | Propagation::REC)?;
    Ok(())
}
