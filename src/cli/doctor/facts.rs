//! What the machine says of itself, read from files below a directory (`/`, or one of a test).
//!
//! What cannot be read is `None` or empty: a check that needs it then finds nothing. Nothing is written.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::fuse::mount::{MountEntry, MountTable};
use crate::model::time::Timestamp;
use crate::sys::{self, FsSpace};

/// Whether mounting is possible at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Device {
    /// `/dev/fuse` can be opened.
    #[default]
    Usable,
    /// It is there, and not for this user.
    Denied,
    /// It is not there.
    Missing,
}

/// What updatedb leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Updatedb {
    pub(super) pruned_types: Vec<String>,
    pub(super) pruned_paths: Vec<PathBuf>,
}

/// A mount of cairn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountFacts {
    pub(super) target: PathBuf,
    pub(super) device: (u32, u32),
    pub(super) read_ahead_kib: Option<u64>,
}

/// A store and what it lies on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct StoreFacts {
    pub(super) path: PathBuf,
    /// Whether a store is there.
    pub(super) exists: bool,
    /// Type of the file system.
    pub(super) kind: String,
    /// Where that is mounted.
    pub(super) target: PathBuf,
    /// Options of the mount and of the file system.
    pub(super) options: Vec<String>,
    pub(super) device: (u32, u32),
    pub(super) read_ahead_kib: Option<u64>,
    pub(super) space: Option<FsSpace>,
    /// The latest time that a file of the store has, in seconds since 1970.
    pub(super) latest: Option<i64>,
}

/// All that the checks look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// Seconds since 1970.
    pub(super) now: i64,
    pub(super) is_root: bool,
    /// Release of Linux: major and minor number.
    pub(super) kernel: Option<(u32, u32)>,
    pub(super) device: Device,
    /// Whether `fusermount3` is there, and then whether it is set-user-ID.
    pub(super) fusermount: Option<bool>,
    /// `user_allow_other` in `/etc/fuse.conf`.
    pub(super) allow_other: bool,
    /// Whether the kernel's list of FUSE connections is mounted, where that can be told.
    pub(super) connections: Option<bool>,
    /// Whether the kernel offers FUSE over io_uring; `None` where it does not know it.
    pub(super) uring: Option<bool>,
    /// Seconds after which the kernel ends a connection that has not answered a request; 0 is never.
    pub(super) request_timeout: u64,
    /// Whether this is a virtual machine.
    pub(super) is_guest: bool,
    /// How long an idle processor polls before it halts; `None` without the driver `haltpoll`.
    pub(super) halt_poll_ns: Option<u64>,
    pub(super) overcommit: Option<u32>,
    /// Files that a process of this user may have open.
    pub(super) open_files: Option<u64>,
    /// `None` where updatedb is not installed.
    pub(super) updatedb: Option<Updatedb>,
    pub(super) mounts: Vec<MountFacts>,
    pub(super) store: Option<StoreFacts>,
}

/// Where updatedb may be.
const UPDATEDB: [&str; 4] = [
    "usr/bin/updatedb",
    "usr/sbin/updatedb",
    "usr/sbin/updatedb.plocate",
    "usr/bin/updatedb.mlocate",
];

/// Where fusermount3 may be.
const FUSERMOUNT: [&str; 3] =
    ["usr/bin/fusermount3", "bin/fusermount3", "usr/local/bin/fusermount3"];

/// Files of a store whose times are times of its clock.
const DATED: [&str; 3] = ["catalog.db", "catalog.db-wal", "lock"];

impl Facts {
    /// Reads the machine below `root`. The store is at its own path.
    pub(super) fn read(root: &Path, store: Option<&Path>) -> Self {
        let below = Below(root);
        let mounts = fs::read(root.join("proc/self/mountinfo")).unwrap_or_default();
        let mounts = MountTable::parse(&mounts).unwrap_or_default();
        let timeout = |name: &str| below.number(&format!("proc/sys/fs/fuse/{name}")).unwrap_or(0);
        let timeouts = [timeout("default_request_timeout"), timeout("max_request_timeout")];
        let cpu = below.text("proc/cpuinfo").unwrap_or_default();
        Self {
            now: Timestamp::now().seconds,
            is_root: rustix::process::geteuid().is_root(),
            kernel: below.text("proc/sys/kernel/osrelease").as_deref().and_then(release),
            device: device(&root.join("dev/fuse")),
            fusermount: below.mode(&FUSERMOUNT).map(|mode| mode & 0o4000 != 0),
            allow_other: below
                .text("etc/fuse.conf")
                .is_some_and(|conf| conf.lines().any(|line| line.trim() == "user_allow_other")),
            connections: mounts
                .all()
                .next()
                .map(|_| mounts.all().any(|mount| mount.kind == "fusectl")),
            uring: below
                .text("sys/module/fuse/parameters/enable_uring")
                .map(|text| text.trim() == "Y"),
            request_timeout: timeouts.into_iter().filter(|limit| *limit > 0).min().unwrap_or(0),
            is_guest: cpu.lines().any(|line| {
                line.starts_with("flags")
                    && line.split_whitespace().any(|flag| flag == "hypervisor")
            }),
            halt_poll_ns: below.number("sys/module/haltpoll/parameters/guest_halt_poll_ns"),
            overcommit: below
                .number("proc/sys/vm/overcommit_memory")
                .and_then(|mode| u32::try_from(mode).ok()),
            open_files: below.text("proc/self/limits").as_deref().and_then(open_files),
            updatedb: below.updatedb(),
            mounts: mounts.of_cairn().map(|mount| below.mount(mount)).collect(),
            store: store.map(|store| below.store(store, &mounts)),
        }
    }
}

/// Files below a directory that stands for `/`.
struct Below<'a>(&'a Path);

impl Below<'_> {
    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.0.join(path)).ok()
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }

    /// The mode of the first of these files that there is.
    fn mode(&self, paths: &[&str]) -> Option<u32> {
        let found = paths.iter().find_map(|path| fs::metadata(self.0.join(path)).ok())?;
        Some(found.permissions().mode())
    }

    fn updatedb(&self) -> Option<Updatedb> {
        self.mode(&UPDATEDB)?;
        let conf = self.text("etc/updatedb.conf").unwrap_or_default();
        let words = |name: &str| -> Vec<String> {
            let lines = conf.lines().filter_map(|line| line.trim().split_once('='));
            let value =
                lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value).next_back();
            let value = value.unwrap_or_default().trim().trim_matches('"');
            value.split_whitespace().map(str::to_owned).collect()
        };
        let pruned_paths = words("PRUNEPATHS").into_iter().map(PathBuf::from).collect();
        Some(Updatedb { pruned_types: words("PRUNEFS"), pruned_paths })
    }

    fn read_ahead(&self, (major, minor): (u32, u32)) -> Option<u64> {
        self.number(&format!("sys/class/bdi/{major}:{minor}/read_ahead_kb"))
    }

    fn mount(&self, mount: &MountEntry) -> MountFacts {
        let (target, device) = (mount.target.clone(), mount.device);
        MountFacts { target, device, read_ahead_kib: self.read_ahead(device) }
    }

    fn store(&self, path: &Path, mounts: &MountTable) -> StoreFacts {
        // A path through links is on the file system where they lead.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let times = DATED.iter().filter_map(|name| fs::metadata(real.join(name)).ok());
        let mut facts = StoreFacts {
            path: path.to_owned(),
            exists: real.join(DATED[0]).exists(),
            space: sys::statvfs(&real).ok(),
            latest: times.map(|found| found.mtime()).max(),
            ..StoreFacts::default()
        };
        if let Some(mount) = mounts.containing(&real) {
            let own = String::from_utf8_lossy(&mount.super_options).into_owned();
            let options = mount.options.split(',').chain(own.split(','));
            facts.kind = mount.kind.clone();
            facts.target = mount.target.clone();
            facts.options = options.map(str::to_owned).collect();
            facts.device = mount.device;
            facts.read_ahead_kib = self.read_ahead(mount.device);
        }
        facts
    }
}

fn device(path: &Path) -> Device {
    if !path.exists() {
        return Device::Missing;
    }
    match access(path, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) => Device::Usable,
        Err(_) => Device::Denied,
    }
}

/// `6.18.44-custom` is 6.18.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The hard limit, in a table of limits as the kernel writes it.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}
