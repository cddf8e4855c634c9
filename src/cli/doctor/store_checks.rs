//! Checks of a store: what it lies on, how much room there is, and its times.

use super::facts::{Facts, StoreFacts};
use super::{Check, Finding, Severity};
use crate::cli::text::{duration, size};

/// All of them, in the order of the output.
pub(super) const ALL: &[Check] =
    &[store, file_system, mount_options, read_ahead, space, inodes, clock];

/// File systems on other machines: a power loss there, or a cut connection, breaks promises of this one,
/// and locks may not hold.
const REMOTE: [&str; 12] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "virtiofs",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "afs",
    "lustre",
    "fuse.sshfs",
];

/// File systems without hardlinks.
const WITHOUT_LINKS: [&str; 4] = ["vfat", "msdos", "exfat", "fuse.exfat"];

/// File systems whose content ends with the machine.
const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];

/// Options that let a power loss take what the disk said it has.
const UNSAFE_OPTIONS: [&str; 4] = ["nobarrier", "barrier=0", "norecovery", "nolog"];

/// What the kernel reads ahead of a disk by itself, in KiB.
const READ_AHEAD_KIB: u64 = 128;

/// Space is low where less than this part of the disk is free, and less than [`LOW_BYTES`].
const LOW_PART: u64 = 20;

/// So much is enough on a disk of any size.
const LOW_BYTES: u64 = 10 << 30;

/// A file of the store may be so many seconds ahead: the disk's times are no finer than a second.
const AHEAD_SECONDS: i64 = 2;

fn store(facts: &Facts) -> Vec<Finding> {
    let missing = facts.store.iter().filter(|store| !store.exists);
    missing
        .map(|store| {
            let path = store.path.display();
            let message = format!("{path} is no store, or this user cannot look into it");
            let found =
                Finding::new("store", Severity::Bad, message, "it cannot be mounted or read");
            found.mended_by(format!("cairn init {path}"))
        })
        .collect()
}

fn file_system(facts: &Facts) -> Vec<Finding> {
    let Some(store) = existing(facts) else { return Vec::new() };
    let kind = store.kind.as_str();
    let on = format!("the store lies on {kind}");
    let (severity, cost) = if WITHOUT_LINKS.contains(&kind) {
        (Severity::Bad, "it has no hardlinks, which the store needs")
    } else if VOLATILE.contains(&kind) {
        (Severity::Bad, "all versions are gone after the next start of the machine")
    } else if REMOTE.contains(&kind) {
        (
            Severity::Bad,
            "a commit that was answered may be lost when the server fails, two machines may open one store at a \
             time, and each file costs a round trip",
        )
    } else if kind == "overlay" {
        (
            Severity::Warning,
            "it usually belongs to a container: all versions go with that, and files are copied when they are \
             first changed",
        )
    } else if kind.starts_with("fuse") {
        (
            Severity::Warning,
            "each access goes through another program, whose promises of durability are its own",
        )
    } else {
        return Vec::new();
    };
    let found = Finding::new("file_system", severity, on, cost);
    vec![found.mended_by(
        "cairn backup DIRECTORY    (on a local ext4, xfs or btrfs: a backup is a store)",
    )]
}

fn mount_options(facts: &Facts) -> Vec<Finding> {
    let Some(store) = existing(facts) else { return Vec::new() };
    let has = |wanted: &&str| store.options.iter().any(|option| option == *wanted);
    let target = store.target.display();
    let mut findings = Vec::new();
    if let Some(option) = UNSAFE_OPTIONS.iter().find(|option| has(option)) {
        let message = format!("{target}, where the store lies, is mounted with `{option}`");
        let cost = "a power loss may take commits that were answered, and damage the catalog";
        let found = Finding::new("mount_options", Severity::Bad, message, cost);
        findings.push(found.mended_by("take the option out of /etc/fstab and mount it anew"));
    }
    if has(&"ro") {
        let message = format!("{target}, where the store lies, is mounted read-only");
        let cost = "nothing can be published; `cairn mount --read-only` and reading work";
        let found = Finding::new("mount_options", Severity::Warning, message, cost);
        findings.push(found.mended_by(format!("mount -o remount,rw {target}")));
    }
    if has(&"sync") || has(&"dirsync") {
        let message =
            format!("{target}, where the store lies, is mounted with `sync` or `dirsync`");
        let cost =
            "each small write waits for the disk; cairn says itself when something must be on it";
        let found = Finding::new("mount_options", Severity::Warning, message, cost);
        findings.push(found.mended_by(format!("mount -o remount,async {target}")));
    }
    findings
}

fn read_ahead(facts: &Facts) -> Vec<Finding> {
    let Some(store) = existing(facts) else { return Vec::new() };
    let Some(kib) = store.read_ahead_kib.filter(|kib| *kib < READ_AHEAD_KIB) else {
        return Vec::new();
    };
    let (major, minor) = store.device;
    let message = format!("the kernel reads {kib} KiB ahead from the disk of the store");
    let cost = "versions that are not in memory are read slowly";
    let found = Finding::new("store_read_ahead", Severity::Warning, message, cost);
    vec![
        found.mended_by(format!(
            "echo {READ_AHEAD_KIB} > /sys/class/bdi/{major}:{minor}/read_ahead_kb"
        )),
    ]
}

fn space(facts: &Facts) -> Vec<Finding> {
    let Some((store, space)) = existing(facts).and_then(|store| Some((store, store.space?))) else {
        return Vec::new();
    };
    let (free, total) = (space.available_bytes(), space.blocks.saturating_mul(space.block_size));
    if free >= LOW_BYTES.min(total / LOW_PART) {
        return Vec::new();
    }
    let message = format!("{} of {} are free on the disk of the store", size(free), size(total));
    let (severity, cost) = match free {
        0 => (Severity::Bad, "nothing can be written or published"),
        _ => (Severity::Warning, "soon nothing can be written or published"),
    };
    let found = Finding::new("space", severity, message, cost);
    let command = format!(
        "cairn gc --full --store {}    (`cairn du` says what uses most)",
        store.path.display()
    );
    vec![found.mended_by(command)]
}

fn inodes(facts: &Facts) -> Vec<Finding> {
    // File systems that make inodes as they need them say that they have none.
    let space = existing(facts).and_then(|store| store.space).filter(|space| space.files > 0);
    let Some(space) = space.filter(|space| space.files_free < space.files / LOW_PART) else {
        return Vec::new();
    };
    let message =
        format!("{} of {} inodes are free on the disk of the store", space.files_free, space.files);
    let (severity, cost) = match space.files_free {
        0 => (Severity::Bad, "nothing new can be stored: each content is a file"),
        _ => (
            Severity::Warning,
            "soon nothing new can be stored, whatever space is left: each content is a file",
        ),
    };
    vec![Finding::new("inodes", severity, message, cost)]
}

fn clock(facts: &Facts) -> Vec<Finding> {
    let Some(latest) = existing(facts).and_then(|store| store.latest) else { return Vec::new() };
    let ahead = latest.saturating_sub(facts.now);
    if ahead <= AHEAD_SECONDS {
        return Vec::new();
    }
    let ahead = duration(ahead.unsigned_abs());
    let message =
        format!("the store was changed {ahead} from now: the clock is behind, or was ahead then");
    let cost = "versions get times before those of older ones, and policies and the protection time count wrongly \
                until the clock has caught up";
    vec![
        Finding::new("clock", Severity::Warning, message, cost)
            .mended_by("timedatectl set-ntp true"),
    ]
}

/// The store, if there is one.
fn existing(facts: &Facts) -> Option<&StoreFacts> {
    facts.store.as_ref().filter(|store| store.exists)
}
