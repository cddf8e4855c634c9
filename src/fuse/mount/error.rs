//! What can go wrong when mounting and unmounting, and what the user can do about it.

use std::io;
use std::path::PathBuf;

use super::busy::{self, User};
use super::options::OptionError;

/// Failure to mount or unmount.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The table of mounts cannot be read.
    #[error("cannot read the table of mounts: {0}")]
    Table(#[source] io::Error),
    /// An option is not taken.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// An option is for root.
    #[error("mount option {0:?} is for root only")]
    RootOnly(&'static str),
    /// The kernel has no FUSE.
    #[error("/dev/fuse does not exist")]
    NoDevice,
    /// `/dev/fuse` cannot be opened.
    #[error("cannot open /dev/fuse: {0}")]
    Device(#[source] io::Error),
    /// There is no `fusermount3` that this user may run.
    #[error(
        "fusermount3 is missing (or this user may not run it), and only root mounts without it"
    )]
    NoHelper,
    /// `fusermount3` refused.
    #[error("fusermount3 cannot {action} {target}: {message}", target = target.display())]
    Helper {
        /// "mount on" or "unmount".
        action: &'static str,
        /// The mount point.
        target: PathBuf,
        /// What it printed, without its own name.
        message: String,
    },
    /// The administrator does not let users open their mounts to others.
    #[error("allow_other is not permitted to users on this machine")]
    AllowOther,
    /// The mount point does not exist.
    #[error("mount point {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The mount point is not a directory.
    #[error("mount point {} is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// The mount point holds files.
    #[error("mount point {} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The mount point cannot be examined.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Examine {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The mount point lies in the store.
    #[error("mount point {target} lies inside the store {store}",
            target = target.display(), store = store.display())]
    InsideStore {
        /// The mount point.
        target: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// The store lies in the mount point, which would hide it.
    #[error("the store {store} lies inside mount point {target}",
            target = target.display(), store = store.display())]
    AroundStore {
        /// The mount point.
        target: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// The mount point is a mount already.
    #[error("{target} is a mount already ({kind} of {origin})",
            target = target.display(), origin = origin.display())]
    AlreadyMounted {
        /// The mount point.
        target: PathBuf,
        /// Type of the filesystem mounted there.
        kind: String,
        /// What is mounted there.
        origin: PathBuf,
    },
    /// A mount does not answer, though its daemon is not known to be dead.
    #[error("the mount at {} does not answer", .0.display())]
    Unresponsive(PathBuf),
    /// The kernel refused to mount.
    #[error("cannot mount on {target}: {source}", target = target.display())]
    Mount {
        /// The mount point.
        target: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel refused to unmount.
    #[error("cannot unmount {target}: {source}", target = target.display())]
    Unmount {
        /// The mount point.
        target: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// Files are open on the mount.
    #[error("{target} is in use{users}", target = target.display(), users = busy::list(users))]
    Busy {
        /// The mount point.
        target: PathBuf,
        /// Who and what uses it, as far as that can be seen.
        users: Vec<User>,
    },
    /// The flags of a mount cannot be changed.
    #[error("cannot change the mount at {target}: {source}", target = target.display())]
    Remount {
        /// The mount point.
        target: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else was mounted over the mount.
    #[error("another mount covers {}", .0.display())]
    Covered(PathBuf),
    /// It is the mount of versions within another mount.
    #[error("{} belongs to the mount {}", target.display(), outer.display())]
    Inner {
        /// What was named.
        target: PathBuf,
        /// The mount that it belongs to.
        outer: PathBuf,
    },
    /// There is no mount of cairn at the path.
    #[error("{} is not a mount of cairn", .0.display())]
    NotMounted(PathBuf),
}

impl MountError {
    /// What the user can do about it, as a sentence.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoDevice => {
                "load the kernel module with `modprobe fuse`; a container needs `--device /dev/fuse`"
            }
            Self::Device(_) => {
                "ask for access to /dev/fuse, or mount as root; it is mode 0666 on most systems"
            }
            Self::NoHelper => "install it: `apt install fuse3` or `dnf install fuse3`",
            Self::AllowOther => {
                "add the line `user_allow_other` to /etc/fuse.conf, or mount without allow_other"
            }
            Self::RootOnly(_) => "leave the option away, or mount as root",
            Self::Missing(_) => "create it with `mkdir`",
            Self::NotEmpty(_) => {
                "choose an empty directory; `-o nonempty` hides the files while mounted"
            }
            Self::InsideStore { .. } | Self::AroundStore { .. } => {
                "choose a mount point outside the store"
            }
            Self::AlreadyMounted { .. } => "choose another directory, or unmount it first",
            Self::Unresponsive(_) => {
                "its daemon hangs or is stopped; `cairn unmount --lazy` detaches the mount"
            }
            Self::Busy { .. } => "end what uses it, or detach it with `cairn unmount --lazy`",
            Self::Remount { source, .. } => match source.kind() {
                io::ErrorKind::ResourceBusy => "files on it are open for writing: close them first",
                io::ErrorKind::PermissionDenied => {
                    "only root can change a mount; otherwise unmount and mount again"
                }
                _ => return None,
            },
            Self::Inner { .. } => "unmount that one",
            Self::NotMounted(_) => "`findmnt -t fuse.cairn` lists the mounts of cairn",
            Self::Covered(_) => "unmount what lies on top first",
            _ => return None,
        })
    }

    /// Whether it says that files are in use.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}
