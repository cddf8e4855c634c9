//! Checks of the machine: FUSE, the kernel, limits, what walks over everything at night.

use super::facts::{Device, Facts, MountFacts, Updatedb};
use super::{Check, Finding, Severity};
use crate::fuse::mount::FILESYSTEM_TYPE;

/// All of them, in the order of the output.
pub(super) const ALL: &[Check] = &[
    fuse_device,
    fusermount,
    allow_other,
    connections,
    kernel,
    uring,
    request_timeout,
    halt_poll,
    read_ahead,
    open_files,
    overcommit,
    updatedb,
];

/// The first release of Linux that can all that cairn makes use of.
const KERNEL: (u32, u32) = (6, 18);

/// What the kernel reads ahead of a file of a mount, in KiB, where cairn may say so.
const READ_AHEAD_KIB: u64 = 1024;

/// Half of so many files may be large ones that are being written, the others are for the store.
const OPEN_FILES_MIN: u64 = 16_384;

/// How long a read may wait for content of a remote, in seconds.
const READ_PATIENCE_SECONDS: u64 = 600;

/// How long an idle processor should poll, in nanoseconds: longer than a request takes.
const HALT_POLL_NS: u64 = 200_000;

fn fuse_device(facts: &Facts) -> Vec<Finding> {
    let cost = "no store can be mounted; commands work, and `cairn serve` does";
    let finding = |message: &str, command: &str| {
        vec![Finding::new("fuse_device", Severity::Bad, message, cost).mended_by(command)]
    };
    match facts.device {
        Device::Usable => Vec::new(),
        Device::Missing => finding(
            "/dev/fuse is missing",
            "modprobe fuse    (into a container: --device /dev/fuse --cap-add SYS_ADMIN)",
        ),
        Device::Denied => finding("/dev/fuse is not for this user", "chmod 666 /dev/fuse"),
    }
}

fn fusermount(facts: &Facts) -> Vec<Finding> {
    let severity = if facts.is_root { Severity::Note } else { Severity::Bad };
    let cost = "users other than root cannot mount";
    match facts.fusermount {
        Some(true) => Vec::new(),
        Some(false) => {
            let message = "fusermount3 is not set-user-ID root";
            let found = Finding::new("fusermount", severity, message, cost);
            vec![found.mended_by("chmod u+s \"$(command -v fusermount3)\"")]
        }
        None => {
            let found = Finding::new("fusermount", severity, "there is no fusermount3", cost);
            vec![
                found.mended_by("apt-get install fuse3    (or your system's package of that name)"),
            ]
        }
    }
}

fn allow_other(facts: &Facts) -> Vec<Finding> {
    if facts.allow_other || facts.is_root {
        return Vec::new();
    }
    let message = "/etc/fuse.conf has no line `user_allow_other`";
    let cost = "mounts of users other than root are for these users alone: `-o allow_other` is refused, and \
                `versions` is mounted beside and linked to";
    let found = Finding::new("allow_other", Severity::Note, message, cost);
    vec![found.mended_by("echo user_allow_other >> /etc/fuse.conf")]
}

fn connections(facts: &Facts) -> Vec<Finding> {
    if facts.connections != Some(false) || facts.is_root {
        return Vec::new();
    }
    let message = "fusectl, where the kernel lists FUSE connections, is not mounted";
    let cost = "a daemon that is killed while it has the kernel forget a page that somebody is reading may hang \
                its mount: its guard cannot end the connection";
    let found = Finding::new("connections", Severity::Warning, message, cost);
    vec![found.mended_by("mount -t fusectl none /sys/fs/fuse/connections")]
}

fn kernel(facts: &Facts) -> Vec<Finding> {
    let Some((major, minor)) = facts.kernel.filter(|release| *release < KERNEL) else {
        return Vec::new();
    };
    let message = format!("this is Linux {major}.{minor}, older than {}.{}", KERNEL.0, KERNEL.1);
    let cost = "writes go through the page cache, which is slower, and what the kernel knows of areas that \
                were published stays in memory until that is short";
    vec![Finding::new("kernel", Severity::Note, message, cost)]
}

fn uring(facts: &Facts) -> Vec<Finding> {
    if facts.uring != Some(false) {
        return Vec::new();
    }
    let message = "the kernel's FUSE over io_uring is turned off";
    let cost = "nothing with this release, which does not use it yet";
    let found = Finding::new("uring", Severity::Note, message, cost);
    vec![found.mended_by("echo 1 > /sys/module/fuse/parameters/enable_uring")]
}

fn request_timeout(facts: &Facts) -> Vec<Finding> {
    let limit = facts.request_timeout;
    if limit == 0 || limit > READ_PATIENCE_SECONDS {
        return Vec::new();
    }
    let message = format!("the kernel ends a mount that has not answered a request for {limit} s");
    let cost = format!(
        "a read that waits for a remote may take {READ_PATIENCE_SECONDS} s: then the whole mount ends for everybody"
    );
    let found = Finding::new("request_timeout", Severity::Warning, message, cost);
    vec![found.mended_by(
        "sysctl fs.fuse.default_request_timeout=0 fs.fuse.max_request_timeout=0    (before mounting)",
    )]
}

fn halt_poll(facts: &Facts) -> Vec<Finding> {
    if !facts.is_guest {
        return Vec::new();
    }
    let cost = "each request to the daemon wakes a processor that has halted, which the host must start again: \
                20 to 40 µs in place of 2 to 5";
    let finding = |severity, message: &str, command: String| {
        vec![Finding::new("halt_poll", severity, message, cost).mended_by(command)]
    };
    match facts.halt_poll_ns {
        Some(0) => finding(
            Severity::Warning,
            "idle processors of this virtual machine halt at once (guest_halt_poll_ns is 0)",
            format!("echo {HALT_POLL_NS} > /sys/module/haltpoll/parameters/guest_halt_poll_ns"),
        ),
        Some(_) => Vec::new(),
        None => finding(
            Severity::Note,
            "this virtual machine does not poll before its processors halt",
            "modprobe cpuidle-haltpoll force=1    (the kernel must have that driver)".to_owned(),
        ),
    }
}

fn read_ahead(facts: &Facts) -> Vec<Finding> {
    let is_low = |mount: &&MountFacts| mount.read_ahead_kib.is_some_and(|kib| kib < READ_AHEAD_KIB);
    let finding = |mount: &MountFacts| {
        let (major, minor) = mount.device;
        let (target, kib) = (mount.target.display(), mount.read_ahead_kib.unwrap_or_default());
        let message =
            format!("the kernel reads {kib} KiB ahead at {target}, in place of {READ_AHEAD_KIB}");
        let cost = "reading large files in sequence takes more requests; only root can say that";
        let found = Finding::new("read_ahead", Severity::Warning, message, cost);
        found.mended_by(format!(
            "echo {READ_AHEAD_KIB} > /sys/class/bdi/{major}:{minor}/read_ahead_kb"
        ))
    };
    facts.mounts.iter().filter(is_low).map(finding).collect()
}

fn open_files(facts: &Facts) -> Vec<Finding> {
    let Some(limit) = facts.open_files.filter(|limit| *limit < OPEN_FILES_MIN) else {
        return Vec::new();
    };
    let message = format!("a process may have {limit} files open");
    let cost = format!(
        "{} large files can be written at a time, a quarter of the limit in one repository; further ones wait, \
         then fail (ENFILE)",
        limit / 2
    );
    let found = Finding::new("open_files", Severity::Warning, message, cost);
    vec![found.mended_by("LimitNOFILE=262144 in the unit, or a line `* hard nofile 262144` in /etc/security/limits.conf")]
}

fn overcommit(facts: &Facts) -> Vec<Finding> {
    if facts.overcommit != Some(2) {
        return Vec::new();
    }
    let message = "the kernel promises no more memory than there is (vm.overcommit_memory is 2)";
    let cost = "the daemon may be refused memory while some is free, and ends then; what was acknowledged is kept";
    let found = Finding::new("overcommit", Severity::Warning, message, cost);
    vec![found.mended_by("sysctl vm.overcommit_memory=0")]
}

fn updatedb(facts: &Facts) -> Vec<Finding> {
    let Some(updatedb) = &facts.updatedb else { return Vec::new() };
    if prunes_type(updatedb) {
        return Vec::new();
    }
    let is_walked = |mount: &&MountFacts| {
        !updatedb.pruned_paths.iter().any(|path| mount.target.starts_with(path))
    };
    let walked: Vec<_> = facts.mounts.iter().filter(is_walked).collect();
    let (severity, message) = match walked.as_slice() {
        [] if !facts.mounts.is_empty() => return Vec::new(),
        [] => (Severity::Note, "updatedb will walk over mounts of cairn".to_owned()),
        [mount, ..] => (
            Severity::Warning,
            format!("updatedb walks over the mount at {}", mount.target.display()),
        ),
    };
    let cost =
        "it looks at each file of each version, every day, and fills the kernel's memory with them";
    let found = Finding::new("updatedb", severity, message, cost);
    vec![found.mended_by(format!(
        "sed -i 's/^PRUNEFS *= *\"/&{FILESYSTEM_TYPE} /' /etc/updatedb.conf    (or add PRUNEFS=\"{FILESYSTEM_TYPE}\")"
    ))]
}

/// updatedb compares types of file systems without regard to case.
fn prunes_type(updatedb: &Updatedb) -> bool {
    updatedb.pruned_types.iter().any(|kind| kind.eq_ignore_ascii_case(FILESYSTEM_TYPE))
}
