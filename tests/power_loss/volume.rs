//! A filesystem on a disk or on an image of one, mounted where nobody else sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::thread::UnshareFlags;
use tempfile::TempDir;

use support::wait;

/// What may be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Makes an image with an empty filesystem of `megabytes`.
    pub(crate) fn format(self, path: &Path, megabytes: u64) {
        fs::File::create(path).unwrap().set_len(megabytes << 20).unwrap();
        let arguments: &[&str] = match self {
            // A small journal and lazy tables: an image is copied hundreds of times.
            Self::Ext4 => &["-q", "-F", "-J", "size=8", "-E", "lazy_itable_init=1,nodiscard"],
            Self::Xfs => &["-q", "-K", "-f"],
        };
        let program = format!("mkfs.{}", self.name());
        let mut command = Command::new(&program);
        let made = command.args(arguments).arg(path).stdout(Stdio::null()).status();
        let made = made.unwrap_or_else(|error| {
            panic!("{program}: {error}; install e2fsprogs and xfsprogs (scripts/packages)")
        });
        assert!(made.success(), "{program}: {made}");
    }

    fn options(self) -> &'static str {
        match self {
            // Commits by its own clock every second: also unsynced changes get to the disk.
            Self::Ext4 => "loop,noinit_itable,commit=1",
            // An image is mounted beside the disk that it is an image of.
            Self::Xfs => "loop,nouuid",
        }
    }
}

/// Gives the calling thread, and what it starts from now on, a mount namespace of its own. The
/// kernel unmounts and detaches all that is in it when the last of them has ended, however they
/// ended.
pub(crate) fn isolate() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root: it mounts filesystems from loop devices"
    );
    #[allow(deprecated, reason = "a namespace of mounts is no danger to memory")]
    rustix::thread::unshare(UnshareFlags::NEWNS).expect("a mount namespace");
    run(Command::new("mount").args(["--make-rprivate", "/"]));
}

/// From now on the machine, as this thread and its children see it, was started anew.
pub(crate) fn pretend_reboot() {
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), id).unwrap();
    run(Command::new("mount")
        .arg("--bind")
        .arg(file.path())
        .arg("/proc/sys/kernel/random/boot_id"));
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A mounted filesystem; unmounted, and its loop device gone, when this is dropped.
pub(crate) struct Volume {
    directory: TempDir,
}

impl Volume {
    /// Mounts `image`, whose filesystem recovers from its journal first.
    pub(crate) fn mount(kind: Kind, image: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", kind.name(), "-o", kind.options()]).arg(image).arg(directory.path());
        run(&mut command);
        Self { directory }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let mut said = String::new();
        // The daemon that used it may have been killed just now.
        let patience = if std::thread::panicking() { wait::SETTLE } else { wait::PATIENCE };
        let unmounted = wait::within(patience, || {
            let output = Command::new("umount").arg(self.directory.path()).output().unwrap();
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            output.status.success()
        });
        if !unmounted {
            Command::new("umount").arg("--lazy").arg(self.directory.path()).status().unwrap();
            assert!(std::thread::panicking(), "the volume stays mounted: {said}");
        }
    }
}
