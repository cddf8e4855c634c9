//! Changes what the kernel checks on mounts that are there: whether something may be changed or
//! executed, whether device nodes and set-ID bits work, whether access times are kept.
//!
//! These are flags of each mount, and the filesystem below it is told nothing. So a mount that becomes
//! read-only refuses changes by those who use it, while the daemon still takes those of commands.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};

use super::error::MountError;
use super::hold_place;
use super::options::OptionError;
use super::table::MountEntry;

/// What is to change; `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlagChanges {
    read_only: Option<bool>,
    dev: Option<bool>,
    suid: Option<bool>,
    exec: Option<bool>,
    atime: Option<bool>,
}

/// Flags that a mount has, by the words for them in the table of mounts.
const WORDS: [(&str, MountFlags); 8] = [
    ("ro", MountFlags::RDONLY),
    ("nodev", MountFlags::NODEV),
    ("nosuid", MountFlags::NOSUID),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("nosymfollow", MountFlags::NOSYMFOLLOW),
];

impl FlagChanges {
    /// Takes one option of `-o remount,…` for the mount `entry`. An option that only repeats what is
    /// so is taken too: mount(8) adds those of the table of mounts and of fstab to what it is given.
    ///
    /// # Errors
    /// It cannot be changed while the filesystem is mounted, or there is no such option.
    pub fn add(&mut self, option: &str, entry: &MountEntry) -> Result<(), OptionError> {
        match option {
            "ro" => self.read_only = Some(true),
            "rw" if is_read_only(entry) => {
                return refused(option, "the daemon serves the store read-only");
            }
            "rw" => self.read_only = Some(false),
            "dev" => self.dev = Some(true),
            "nodev" => self.dev = Some(false),
            "suid" => self.suid = Some(true),
            "nosuid" => self.suid = Some(false),
            "exec" => self.exec = Some(true),
            "noexec" => self.exec = Some(false),
            "atime" => self.atime = Some(true),
            "noatime" => self.atime = Some(false),
            // They matter at the mount alone.
            "remount" | "defaults" | "nonempty" | "" => {}
            _ if is_so(option, entry) => {}
            _ => {
                // An unknown option is told as such.
                option.parse::<super::MountOptions>()?;
                return refused(option, "it cannot be changed while the store is mounted");
            }
        }
        Ok(())
    }

    /// The flags of one mount afterwards.
    fn applied(self, now: MountFlags, is_outer: bool) -> MountFlags {
        let mut flags = now;
        flags.set(MountFlags::NODEV, !self.dev.unwrap_or(!now.contains(MountFlags::NODEV)));
        flags.set(MountFlags::NOSUID, !self.suid.unwrap_or(!now.contains(MountFlags::NOSUID)));
        flags.set(MountFlags::NOEXEC, !self.exec.unwrap_or(!now.contains(MountFlags::NOEXEC)));
        // Versions are read-only and keep no access times in any case.
        if is_outer {
            flags.set(
                MountFlags::RDONLY,
                self.read_only.unwrap_or(now.contains(MountFlags::RDONLY)),
            );
            if let Some(atime) = self.atime {
                flags.set(MountFlags::NOATIME, !atime);
                flags.set(MountFlags::RELATIME, atime);
                flags.remove(MountFlags::STRICTATIME);
            }
        }
        flags
    }
}

/// Changes the flags of a mount and of what the same daemon has mounted in it (`family`): all of them,
/// or none.
///
/// # Errors
/// What the kernel says: files are open for writing, or the caller is not root.
pub fn remount(
    outer: &MountEntry,
    family: &[MountEntry],
    changes: FlagChanges,
) -> Result<(), MountError> {
    let mut changed: Vec<(&MountEntry, MountFlags)> = Vec::new();
    // The outer one first: it is the one that may be busy.
    let inner = family.iter().filter(|entry| entry.id != outer.id);
    for entry in std::iter::once(outer).chain(inner) {
        let now = flags(&entry.options);
        let wanted = changes.applied(now, entry.id == outer.id);
        if wanted == now {
            continue;
        }
        if let Err(source) = set(entry, wanted) {
            for (entry, before) in changed {
                if let Err(error) = set(entry, before) {
                    log::warn!("{} stays changed: {error}", entry.target.display());
                }
            }
            return Err(MountError::Remount { target: entry.target.clone(), source });
        }
        changed.push((entry, now));
    }
    Ok(())
}

/// The flags that the options of a mount stand for.
fn flags(options: &str) -> MountFlags {
    let mut flags = MountFlags::empty();
    for word in options.split(',') {
        let known = WORDS.iter().filter(|(name, _)| *name == word);
        known.for_each(|(_, flag)| flags.insert(*flag));
    }
    if !flags.intersects(MountFlags::NOATIME | MountFlags::RELATIME) {
        flags.insert(MountFlags::STRICTATIME);
    }
    flags
}

fn set(entry: &MountEntry, flags: MountFlags) -> io::Result<()> {
    // The descriptor is kept, so that nobody can exchange the mount after it was compared.
    let place = hold_place(&entry.target)?;
    let path = match &place {
        Some(place) => {
            let number = place.as_raw_fd();
            if mount_of(number)? != entry.id.0 {
                return Err(Errno::STALE.into());
            }
            PathBuf::from(format!("/proc/self/fd/{number}"))
        }
        None => entry.target.clone(),
    };
    Ok(mount_remount(&path, MountFlags::BIND | flags, "")?)
}

/// The id of the mount that a descriptor is on (proc(5), `fdinfo`).
fn mount_of(number: i32) -> io::Result<u64> {
    let path = Path::new("/proc/self/fdinfo").join(number.to_string());
    let text = std::fs::read_to_string(path)?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Whether the filesystem itself was mounted read-only.
fn is_read_only(entry: &MountEntry) -> bool {
    super_words(entry).any(|word| word == b"ro")
}

/// Whether an option repeats what the filesystem was mounted with.
fn is_so(option: &str, entry: &MountEntry) -> bool {
    match option.strip_prefix("fsname=") {
        Some(name) => Path::new(name) == entry.source,
        None => super_words(entry).any(|word| word == option.as_bytes()),
    }
}

fn super_words(entry: &MountEntry) -> impl Iterator<Item = &[u8]> {
    entry.super_options.split(|byte| *byte == b',')
}

fn refused(option: &str, reason: &'static str) -> Result<(), OptionError> {
    Err(OptionError::Refused { option: option.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::super::table::MountTable;
    use super::*;

    fn entry(options: &str, super_options: &str) -> MountEntry {
        let line = format!("40 22 0:41 / /m {options} - fuse.cairn /s {super_options}\n");
        let table = MountTable::parse(line.as_bytes()).unwrap();
        table.all().next().unwrap().clone()
    }

    fn changes(list: &str, entry: &MountEntry) -> Result<FlagChanges, OptionError> {
        let mut changes = FlagChanges::default();
        list.split(',').try_for_each(|option| changes.add(option, entry))?;
        Ok(changes)
    }

    #[test]
    fn what_is_not_named_stays_and_the_later_one_holds() {
        let entry = entry("rw,nosuid,nodev,relatime", "rw,user_id=0,allow_other");
        let now = flags(&entry.options);
        let after = |list: &str, outer| changes(list, &entry).unwrap().applied(now, outer);
        assert_eq!(after("remount", true), now);
        assert_eq!(after("remount,rw,nosuid,nodev,user_id=0,allow_other", true), now);
        assert_eq!(after("remount,noexec", false), now | MountFlags::NOEXEC);
        assert_eq!(after("noexec,exec,suid", true), now - MountFlags::NOSUID);
        assert_eq!(after("ro", true), now | MountFlags::RDONLY);
        assert_eq!(after("ro,noatime", false), now, "versions are read-only already");
        let noatime = (now | MountFlags::NOATIME) - MountFlags::RELATIME;
        assert_eq!(after("noatime", true), noatime);
        assert_eq!(changes("atime", &entry).unwrap().applied(noatime, true), now);
    }

    #[test]
    fn what_cannot_change_is_refused() {
        let served = entry("rw,relatime", "rw,user_id=0");
        for option in ["allow_other", "max_read=65536", "fsname=x", "inode32", "user_id=7"] {
            assert!(changes(option, &served).is_err(), "{option}");
        }
        let read_only = entry("ro,relatime", "ro,user_id=0");
        assert!(changes("ro,noexec,fsname=/s", &read_only).is_ok());
        let error = changes("rw", &read_only).unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
    }

    #[test]
    fn a_mount_without_words_for_access_times_keeps_them_strictly() {
        assert_eq!(flags("rw"), MountFlags::STRICTATIME);
        assert_eq!(flags("ro,noatime,nodiratime").bits(), {
            (MountFlags::RDONLY | MountFlags::NOATIME | MountFlags::NODIRATIME).bits()
        });
    }
}
