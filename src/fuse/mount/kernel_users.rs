//! What the kernel itself uses of a mount, and no process has open: loop devices, swap, overlays,
//! bind mounts, mounts inside it, NFS exports.
//!
//! Loop devices, swap files and exports keep an unmount from happening, but nobody sees in `/proc`
//! why. Overlays and bind mounts do not keep it from happening: they have a mount of their own of
//! the same filesystem, so the kernel takes ours away and they fail once its daemon has ended.
//! Everything is read from `/proc` and `/sys`: no filesystem of ours is asked.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::busy::User;
use super::table::{MountEntry, MountTable, unescape};

/// Lists what uses the mount `entry`, whose nested mounts of ours are `family`.
pub(super) fn of(entry: &MountEntry, family: &[MountEntry]) -> Vec<User> {
    let mut found = loop_devices(&entry.target);
    found.extend(swap(&entry.target, &fs::read("/proc/swaps").unwrap_or_default()));
    for exports in ["/proc/fs/nfsd/exports", "/proc/fs/nfs/exports"] {
        found.extend(exported(&entry.target, &fs::read(exports).unwrap_or_default()));
    }
    if let Ok(table) = MountTable::read() {
        found.extend(mounts(entry, family, &table));
    }
    found.extend(overlays_elsewhere(&entry.target));
    let mut seen = BTreeSet::new();
    found.retain(|user| seen.insert(user.to_string()));
    found
}

fn loop_devices(target: &Path) -> Vec<User> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let backed = devices.filter_map(|device| {
        let file = fs::read(device.path().join("loop/backing_file")).ok()?;
        let file = PathBuf::from(OsString::from_vec(file.strip_suffix(b"\n")?.to_vec()));
        let device = Path::new("/dev").join(device.file_name());
        file.starts_with(target).then_some(User::Loop { device, file })
    });
    backed.collect()
}

/// Files under `target` in the text of `/proc/swaps`: a heading, then a line for each.
fn swap(target: &Path, text: &[u8]) -> Vec<User> {
    first_words(text).skip(1).filter(|file| file.starts_with(target)).map(User::Swap).collect()
}

/// Paths under `target` in the kernel's list of NFS exports; comments start with `#`.
fn exported(target: &Path, text: &[u8]) -> Vec<User> {
    first_words(text).filter(|path| path.starts_with(target)).map(User::Export).collect()
}

fn first_words(text: &[u8]) -> impl Iterator<Item = PathBuf> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let word = line.split(|byte| byte.is_ascii_whitespace()).next()?;
        (!word.is_empty()).then(|| PathBuf::from(OsString::from_vec(unescape(word))))
    })
}

/// Other mounts that need this one: inside it, of the same filesystem elsewhere, or laid over it.
fn mounts(entry: &MountEntry, family: &[MountEntry], table: &MountTable) -> Vec<User> {
    let is_ours = |other: &MountEntry| family.iter().any(|ours| ours.id == other.id);
    let others = table.all().filter(|other| other.id != entry.id && !is_ours(other));
    let user = |other: &MountEntry| {
        let (target, kind) = (other.target.clone(), other.kind.clone());
        if other.device == entry.device {
            Some(User::Bind { target })
        } else if other.target.starts_with(&entry.target) && other.target != entry.target {
            Some(User::Mount { target, kind })
        } else {
            overlay(&entry.target, other)
        }
    };
    others.filter_map(user).collect()
}

/// An overlay of which a layer is under `target`.
fn overlay(target: &Path, mount: &MountEntry) -> Option<User> {
    if !matches!(&*mount.kind, "overlay" | "fuse.fuse-overlayfs") {
        return None;
    }
    let layers = mount.super_options.split(|&byte| byte == b',').filter_map(|option| {
        let at = option.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (&option[..at], &option[at + 1..]);
        let layer = [&b"lowerdir"[..], b"lowerdir+", b"datadir+", b"upperdir", b"workdir"];
        layer.contains(&name).then_some(value)
    });
    let mut paths = layers.flat_map(|value| value.split(|&byte| byte == b':'));
    let used =
        paths.find(|path| Path::new(std::ffi::OsStr::from_bytes(path)).starts_with(target))?;
    let layer = PathBuf::from(OsString::from_vec(used.to_vec()));
    Some(User::Overlay { target: mount.target.clone(), layer })
}

/// Overlays in other mount namespaces, those of containers above all. Copies of the mount itself are
/// not looked for there: stopping does not wait for them (H17).
fn overlays_elsewhere(target: &Path) -> Vec<User> {
    let mut seen = BTreeSet::from([fs::read_link("/proc/self/ns/mnt").ok()]);
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let namespace = fs::read_link(process.path().join("ns/mnt")).ok();
        if namespace.is_none() || !seen.insert(namespace) {
            continue;
        }
        let text = fs::read(process.path().join("mountinfo")).unwrap_or_default();
        if let Ok(table) = MountTable::parse(&text) {
            found.extend(table.all().filter_map(|mount| overlay(target, mount)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw - ext4 /dev/vda rw\n\
40 22 0:41 / /m rw - fuse.cairn /store rw\n\
41 40 0:42 / /m/versions ro - fuse.cairn /store ro\n\
42 41 0:43 / /m/versions/r/1/t rw - tmpfs tmpfs rw\n\
43 22 0:42 /r/1 /bound ro - fuse.cairn /store ro\n\
44 22 0:44 / /o rw - overlay overlay rw,lowerdir=/a:/m/versions/r/2,upperdir=/u,workdir=/w\n\
45 22 0:45 / /o2 rw - overlay overlay rw,lowerdir+=/m/versions/r/3,lowerdir+=/b\n\
46 22 0:46 / /other rw - overlay overlay rw,lowerdir=/m2/x,upperdir=/mm,workdir=/w\n";

    fn texts(users: &[User]) -> Vec<String> {
        users.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mounts_that_need_it_are_found() {
        let table = MountTable::parse(TABLE).unwrap();
        let family: Vec<MountEntry> = table.all().skip(1).take(2).cloned().collect();
        let outer = texts(&mounts(&family[0], &family, &table));
        let overlays = [
            "the overlay at /o (layer /m/versions/r/2)",
            "the overlay at /o2 (layer /m/versions/r/3)",
        ];
        assert_eq!(outer[..1], ["the mount at /m/versions/r/1/t (tmpfs)"]);
        assert_eq!(outer[1..], overlays);
        let inner = texts(&mounts(&family[1], &family, &table));
        assert_eq!(inner[1], "the bind mount at /bound");
        assert_eq!(inner.len(), 4);
    }

    #[test]
    fn swap_and_exports_are_found() {
        let swaps = b"Filename\t\t\tType\n/m/a\\040b   file 1 2\n/m2/x file 1 2\n";
        assert_eq!(texts(&swap(Path::new("/m"), swaps)), ["the swap file /m/a b"]);
        let exports = b"# Version 1.1\n/m/versions\t*(ro)\n/other\t*(ro)\n";
        let found = texts(&exported(Path::new("/m"), exports));
        assert_eq!(found, ["the NFS export of /m/versions"]);
    }
}
