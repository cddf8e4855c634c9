//! `cairn unmount`: stops the daemon of a mount, and returns when it has ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;

use super::output::json_path;
use crate::control::protocol::ControlError;
use crate::daemon::DaemonError;
use crate::fuse::mount::{
    self, Force, MountEntry, MountError, MountTable, Together, unmount_entry, unmount_together,
    users_of,
};

const EXAMPLES: &str = "\
JSON
  {store, mount}

EXAMPLES
  cairn unmount /mnt/cairn
  cairn unmount --lazy /mnt/cairn

Refuses (exit code 4) while anything uses the mount, and names what it can: processes, loop devices,
swap, overlays, bind mounts, mounts inside it, NFS exports. The kernel has the last word; when it
says that the mount is in use, the mount stays as it was. Refuses, too, while the daemon has files
in memory that it cannot save, and names them; --force gives them up. With --lazy the mount
disappears at once and ends when the last user does. A mount whose daemon died is cleaned up.

Copies of the mount in other mount namespaces (containers, services with a private /tmp) are not
waited for: when the daemon has ended, they fail. The daemon has a minute to end (exit code 4).

SIGTERM, as `systemctl stop` sends it, always ends the daemon: users have 5 seconds, then what was
written is flushed, the mount detached, and whatever is still open on it fails. What loop devices and
overlays write after that is lost: unmount them first.";

/// How long the daemon has to end.
const WAIT: Duration = Duration::from_secs(60);

/// How long is waited before it is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// The table of mounts: the kernel reports an exceptional condition on it at each change.
const MOUNTS: &str = "/proc/self/mounts";

/// Arguments of `cairn unmount`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct UnmountArgs {
    /// Where the store is mounted
    #[arg(value_name = "MNT")]
    pub target: PathBuf,
    /// Take the mount away although it is in use; its users keep what they have open
    #[arg(long)]
    pub lazy: bool,
    /// Give up files that the daemon has in memory and cannot save, for instance on a full disk
    #[arg(long)]
    pub force: bool,
}

/// What was unmounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnmountReport {
    /// The store.
    #[serde(serialize_with = "json_path")]
    pub store: PathBuf,
    /// The mount point.
    #[serde(rename = "mount", serialize_with = "json_path")]
    pub target: PathBuf,
}

/// What a daemon is to do with files that it cannot save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaved {
    /// Go on serving them.
    Keep,
    /// Lose them.
    GiveUp,
}

/// Answer of a daemon that was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It unmounts everything and ends.
    Stopping,
    /// The daemon does not answer, or cannot do it: this command unmounts by itself.
    Unreachable,
}

impl UnmountArgs {
    /// Unmounts, and waits until the mounts are gone and the daemon has ended. `ask` asks the
    /// daemon of the store at a path to stop; `tell` is told what is waited for, when it takes
    /// longer than usual.
    ///
    /// # Errors
    ///
    /// Returns a [`DaemonError`]: not a mount of ours, in use, or not ended in time.
    pub fn run(
        self,
        save: impl FnOnce(&Path, Unsaved) -> Result<(), ControlError>,
        ask: impl FnOnce(&Path) -> Asked,
        tell: impl FnMut(&str),
    ) -> Result<UnmountReport, DaemonError> {
        let target = mount::resolve(&self.target).map_err(|error| match error {
            MountError::Missing(target) => MountError::NotMounted(target),
            error => error,
        })?;
        let entry = outer_mount(&MountTable::read()?, &target)?;
        let store = entry.source.clone();
        let report = UnmountReport { store: store.clone(), target: target.clone() };
        if self.lazy {
            detach(&entry)?;
            return Ok(report);
        }
        mount::clean_dead_mounts(|mount| mount.source == store)?;
        let daemon = owner(&store);
        if MountTable::read()?.by_id(entry.id) == Some(&entry) {
            let users = users(&entry)?;
            if !users.is_empty() {
                return Err(MountError::Busy { target, users }.into());
            }
            let unsaved = if self.force { Unsaved::GiveUp } else { Unsaved::Keep };
            // Asked before anything is unmounted: files that cannot be saved must stay accessible.
            save(&store, unsaved).map_err(|error| DaemonError::Start(Box::new(error)))?;
            // No process was found that uses it: only the kernel knows the user.
            let unmounted = match unmount_together(&family(&entry)?)? {
                Together::Unmounted => true,
                Together::NotPossible => false,
                Together::InUse(_) => {
                    let users = self::users(&entry)?;
                    return Err(MountError::Busy { target, users }.into());
                }
            };
            if ask(&store) == Asked::Unreachable && !unmounted {
                unmount_all(&entry)?;
            }
        }
        wait(&entry, daemon, WAIT, tell)?;
        Ok(report)
    }
}

/// The outer mount at `target`.
///
/// # Errors
/// There is no mount of cairn, or it belongs to another one.
pub(super) fn outer_mount(table: &MountTable, target: &Path) -> Result<MountEntry, MountError> {
    let not_ours = || MountError::NotMounted(target.to_owned());
    let entry = table.at(target).filter(|entry| entry.is_cairn()).ok_or_else(not_ours)?;
    match table.by_id(entry.parent) {
        Some(parent) if parent.is_cairn() && parent.source == entry.source => {
            Err(MountError::Inner { target: target.to_owned(), outer: parent.target.clone() })
        }
        _ => {
            let made = table.made_for(&entry.source);
            match made.last() {
                // Somebody has bound it there.
                Some(outer) if made.iter().all(|made| made.id != entry.id) => {
                    let outer = outer.target.clone();
                    Err(MountError::Inner { target: target.to_owned(), outer })
                }
                _ => Ok(entry.clone()),
            }
        }
    }
}

/// What the daemon of the store has mounted, the latest first.
fn family(entry: &MountEntry) -> Result<Vec<MountEntry>, MountError> {
    let table = MountTable::read()?;
    Ok(table.made_for(&entry.source).into_iter().cloned().collect())
}

fn users(entry: &MountEntry) -> Result<Vec<mount::User>, MountError> {
    let family = family(entry)?;
    let mut users = users_of(entry, &family);
    for mount in family.iter().filter(|mount| mount.id != entry.id) {
        let found = users_of(mount, &family);
        users.extend(found.into_iter().filter(|user| !users.contains(user)).collect::<Vec<_>>());
    }
    Ok(users)
}

/// Detaches all mounts of the store. Detaching the outer one detaches what is nested in it.
fn detach(entry: &MountEntry) -> Result<(), MountError> {
    unmount_entry(entry, Force::Detach)?;
    let table = MountTable::read()?;
    let mut rest = table.of_store(&entry.source).into_iter();
    rest.try_for_each(|mount| unmount_entry(mount, Force::Detach))
}

/// Unmounts without asking the daemon, which notices it and ends.
fn unmount_all(entry: &MountEntry) -> Result<(), MountError> {
    for (index, mount) in family(entry)?.iter().enumerate() {
        match unmount_entry(mount, Force::None) {
            // The first mount is gone, so the daemon is stopping already and this cannot be undone.
            Err(MountError::Busy { .. }) if index > 0 => unmount_entry(mount, Force::Detach)?,
            result => result?,
        }
    }
    Ok(())
}

/// The process that owns the store, as its lock file says.
fn owner(store: &Path) -> Option<Pid> {
    let text = fs::read_to_string(store.join("lock")).ok()?;
    Pid::from_raw(text.split_whitespace().find_map(|word| word.parse().ok())?)
}

/// Waits until nothing of the store is mounted and `daemon` has ended.
fn wait(
    entry: &MountEntry,
    daemon: Option<Pid>,
    time: Duration,
    mut tell: impl FnMut(&str),
) -> Result<(), DaemonError> {
    let deadline = Instant::now() + time;
    let late = |what: String| {
        let users = users(entry).unwrap_or_default();
        DaemonError::StillRunning { what, seconds: time.as_secs(), users }
    };
    let process = |action| move |source| DaemonError::Process { action, source };
    // The table of mounts is opened before the first look, so that no change is missed.
    let mounts = File::open(MOUNTS).map_err(process("watch the mounts"))?;
    // Mounts that somebody has bound elsewhere are not waited for: they stay, and fail.
    let is_mounted = || Ok::<_, MountError>(MountTable::read()?.by_id(entry.id) == Some(entry));
    while is_mounted()? {
        let mut changed = [PollFd::new(&mounts, PollFlags::PRI)];
        let events = poll(&mut changed, left(deadline).as_ref());
        if events.map_err(|error| process("watch the mounts")(error.into()))? == 0 {
            return Err(late(format!("{} is still mounted", entry.target.display())));
        }
    }
    let Some(pid) = daemon else {
        return Ok(());
    };
    // An error means that it has ended.
    let Ok(daemon) = pidfd_open(pid, PidfdFlags::empty()) else {
        return Ok(());
    };
    let mut ended = [PollFd::new(&daemon, PollFlags::IN)];
    let failed = |error: rustix::io::Errno| process("wait for the daemon")(error.into());
    let mut events = poll(&mut ended, left(Instant::now() + PATIENCE).as_ref()).map_err(failed)?;
    if events == 0 {
        let (pid, seconds) = (pid.as_raw_pid(), time.as_secs());
        tell(&format!("waiting for the daemon (pid {pid}) to end, {seconds} s at most"));
        events = poll(&mut ended, left(deadline).as_ref()).map_err(failed)?;
    }
    if events == 0 {
        return Err(late(format!("the daemon (pid {}) is still running", pid.as_raw_pid())));
    }
    Ok(())
}

fn left(deadline: Instant) -> Option<Timespec> {
    Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw - ext4 /dev/vda rw\n\
40 22 0:41 / /m rw - fuse.cairn /store rw\n\
41 40 0:42 / /m/versions ro - fuse.cairn /store ro\n\
43 22 0:42 /r/1 /bound ro - fuse.cairn /store ro\n\
42 22 0:43 / /t rw - tmpfs tmpfs rw\n";

    #[test]
    fn only_the_outer_mount_can_be_named() {
        let table = MountTable::parse(TABLE).unwrap();
        assert_eq!(outer_mount(&table, Path::new("/m")).unwrap().source, Path::new("/store"));
        for part in ["/m/versions", "/bound"] {
            let inner = outer_mount(&table, Path::new(part)).unwrap_err();
            assert!(matches!(inner, MountError::Inner { outer, .. } if outer == Path::new("/m")));
        }
        for other in ["/t", "/m/staging", "/"] {
            let error = outer_mount(&table, Path::new(other)).unwrap_err();
            assert!(matches!(error, MountError::NotMounted(_)), "{error}");
        }
    }

    #[test]
    fn the_owner_is_read_from_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path();
        assert_eq!(owner(store), None);
        for (text, pid) in
            [("", None), ("123\n", Pid::from_raw(123)), ("pid 45 x", Pid::from_raw(45))]
        {
            fs::write(store.join("lock"), text).unwrap();
            assert_eq!(owner(store), pid);
        }
    }
}
