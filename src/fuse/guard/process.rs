//! The guard's own process.
//!
//! How it knows that a mount is the one that it was told of: it opens the mount point (`O_PATH`, which asks
//! the filesystem nothing) and looks in the table of mounts for what it opened. That mount cannot go
//! away meanwhile, so its device stays what it is. The device has the number that the daemon's mount
//! had, and the connection of that one still has its filesystem: its `abort` file is still
//! linked. So the number was not given to another filesystem, and the mount shows the daemon's. It is
//! detached by the descriptor, not by the path, on which something else may lie a moment later. (Where only
//! fusermount3 may unmount, it goes by the path.)
//!
//! Without an `abort` file a mount with the right numbers counts as ours if it does not answer either, as the
//! next daemon's would, and it is detached only if its connection has ended.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior, setsid};

use super::PROGRAM;
use super::message::{Charge, MESSAGE_BYTES_MAX, Message, Watched};
use crate::fuse::mount::connections::has_filesystem;
use crate::fuse::mount::{Force, MountEntry, MountId, MountTable, unmount_path};
use crate::sys;

/// How long a question that a filesystem may have to answer can take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a guard did after the end of its daemon.
#[derive(Debug)]
pub struct Outcome {
    /// What it was for.
    pub charge: Charge,
    /// The mounts that it took away.
    pub detached: Vec<PathBuf>,
    /// What went wrong.
    pub problems: Vec<String>,
}

/// A mount that this guard was told of, and what ends its connection.
struct Ward {
    device: (u32, u32),
    target: PathBuf,
    abort: Option<File>,
}

/// Is a guard: waits for the end of the daemon at the other end of standard input, and does what is to be done
/// then. Returns nothing if there was nothing to do.
///
/// # Errors
/// Standard input is not what a daemon gives its guard.
pub fn stand() -> io::Result<Option<Outcome>> {
    let socket = UnixStream::from(prepare()?);
    let (mut charge, mut wards) = (None, Vec::new());
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let (length, files) = match sys::recv_fds(&socket, &mut buffer) {
            Ok((0, _)) => break,
            Ok(received) => received,
            // The daemon is gone; it left something unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&buffer[..length])? {
            Message::Charge(told) => charge = Some(told),
            Message::Watch(Watched { device, target }) => {
                let abort = files.into_iter().next().map(File::from);
                wards.push(Ward { device, target: target.into(), abort });
            }
            Message::Bye => return Ok(None),
        }
    }
    let Some(charge) = charge else { return Ok(None) };
    let outcome = act(charge, &wards);
    Ok((!outcome.detached.is_empty() || !outcome.problems.is_empty()).then_some(outcome))
}

/// Leaves what the daemon had: terminal, session, standard files. Returns the socket.
fn prepare() -> io::Result<OwnedFd> {
    // Again, since somebody else may have started this program.
    sys::block_signals()?;
    let stdin = io::stdin();
    let socket = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::net::sockopt::socket_type(&socket)?;
    // Each of these makes it more robust; without them it works.
    let own = [
        ("session", setsid().map(drop).map_err(io::Error::from)),
        ("memory", set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)),
        ("safety from the OOM killer", std::fs::write("/proc/self/oom_score_adj", "-1000")),
        ("name", CString::new(PROGRAM).map_err(io::Error::other).and_then(name)),
    ];
    for (what, result) in own {
        result.unwrap_or_else(|error| log::debug!("no {what} of its own: {error}"));
    }
    Ok(socket)
}

fn name(name: CString) -> io::Result<()> {
    Ok(rustix::thread::set_name(&name)?)
}

fn act(charge: Charge, wards: &[Ward]) -> Outcome {
    let (source, mut outcome) = (PathBuf::from(&charge.source), Guarding::default());
    // The path of the inner one leads through the outer one.
    for ward in wards.iter().rev() {
        outcome.note(ward.end_connection(&source));
    }
    for ward in wards {
        outcome.detach(&ward.target, |pinned| ward.is_at(pinned, &source));
    }
    // A mount that was made just before the daemon ended, of which nobody could tell this guard.
    for target in &charge.targets {
        outcome.detach(Path::new(target), |pinned| {
            let ours = pinned.entry.is_cairn() && pinned.entry.source == source;
            Ok(ours && pinned.answer() == Some(Answer::Dead))
        });
    }
    let Guarding { detached, problems } = outcome;
    Outcome { charge, detached, problems }
}

#[derive(Default)]
struct Guarding {
    detached: Vec<PathBuf>,
    problems: Vec<String>,
}

impl Guarding {
    fn note(&mut self, result: io::Result<()>) {
        self.problems.extend(result.err().map(|error| error.to_string()));
    }

    /// Detaches what is mounted at `target` if it is what `is_ours` looks for.
    fn detach(&mut self, target: &Path, is_ours: impl FnOnce(&Pinned) -> io::Result<bool>) {
        let detached = pin(target).and_then(|pinned| match pinned {
            Some(pinned) if is_ours(&pinned)? => pinned.detach().map(|()| true),
            _ => Ok(false),
        });
        match detached {
            Ok(true) => self.detached.push(target.to_owned()),
            Ok(false) => {}
            Err(error) => {
                self.problems.push(format!("cannot detach {}: {error}", target.display()));
            }
        }
    }
}

impl Ward {
    fn end_connection(&self, source: &Path) -> io::Result<()> {
        let failed = |error: io::Error| {
            let target = self.target.display();
            io::Error::other(format!("cannot end the connection of {target}: {error}"))
        };
        if let Some(abort) = &self.abort {
            return io::Write::write_all(&mut &*abort, b"1").map_err(failed);
        }
        if !geteuid().is_root() {
            return Ok(());
        }
        match pin(&self.target).map_err(failed)? {
            Some(pinned)
                if self.looks_like(&pinned, source) && pinned.answer() != Some(Answer::Alive) =>
            {
                match unmount(pinned.path(), UnmountFlags::FORCE) {
                    // It ended the connection, and this descriptor keeps the mount.
                    Ok(()) | Err(Errno::BUSY) => Ok(()),
                    Err(error) => Err(failed(error.into())),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether this is the daemon's mount, and its connection has ended.
    fn is_at(&self, pinned: &Pinned, source: &Path) -> io::Result<bool> {
        if !self.looks_like(pinned, source) {
            return Ok(false);
        }
        match &self.abort {
            Some(abort) => has_filesystem(abort),
            None => Ok(pinned.answer() == Some(Answer::Dead)),
        }
    }

    fn looks_like(&self, pinned: &Pinned, source: &Path) -> bool {
        let entry = &pinned.entry;
        entry.device == self.device && entry.is_cairn() && entry.source == source
    }
}

/// A mount that cannot go away while this lives, and what the table says of it.
struct Pinned {
    place: Arc<OwnedFd>,
    entry: MountEntry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Alive,
    Dead,
}

/// Opens what is mounted at `target`. `None` if nothing is, or if the way there does not end.
fn pin(target: &Path) -> io::Result<Option<Pinned>> {
    let path = target.to_owned();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match bounded(move || openat(CWD, &path, flags, Mode::empty())) {
        Some(Ok(place)) => place,
        Some(Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTCONN | Errno::CONNABORTED)) | None => {
            return Ok(None);
        }
        Some(Err(error)) => return Err(error.into()),
    };
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", place.as_raw_fd()))?;
    let id = facts.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    let id = MountId(id.ok_or(io::ErrorKind::InvalidData)?);
    let table = MountTable::read().map_err(io::Error::other)?;
    // If it is detached, it is not in the table any more.
    let entry = table.by_id(id).filter(|entry| entry.target == target);
    Ok(entry.map(|entry| Pinned { place: Arc::new(place), entry: entry.clone() }))
}

impl Pinned {
    /// A path to the mount itself, wherever it is and whatever lies upon it.
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.place.as_raw_fd())
    }

    /// Whether somebody answers for it; `None` if nothing is heard.
    fn answer(&self) -> Option<Answer> {
        let place = Arc::clone(&self.place);
        match bounded(move || fstatfs(&*place))? {
            Err(Errno::NOTCONN | Errno::CONNABORTED) => Some(Answer::Dead),
            _ => Some(Answer::Alive),
        }
    }

    fn detach(&self) -> io::Result<()> {
        match geteuid().is_root().then(|| unmount(self.path(), UnmountFlags::DETACH)) {
            Some(Ok(())) => Ok(()),
            None | Some(Err(Errno::PERM)) => {
                unmount_path(&self.entry.target, Force::Detach).map_err(io::Error::other)
            }
            // Somebody else has detached it.
            Some(Err(Errno::INVAL)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

/// Asks something that may never be answered, on a thread of its own.
fn bounded<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, answer) = crossbeam_channel::bounded(1);
    let asker = move || drop(sender.send(ask()));
    std::thread::Builder::new().name("guard-ask".to_owned()).spawn(asker).ok()?;
    answer.recv_timeout(PATIENCE).ok()
}
