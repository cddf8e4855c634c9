//! Describes directories in full, so that two of them can be compared with a readable result.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, makedev, mknodat, openat, setxattr};

use crate::archive::stat::Stat;
use crate::archive::xattr::{Subject, read};
use crate::store::caller_path::own_path;

/// Everything about every entry below `top` and `top` itself, as text by path.
pub(super) fn describe(top: &Path) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    visit(top, top, &mut entries, &mut first_names);
    entries
}

fn visit(
    top: &Path,
    path: &Path,
    entries: &mut BTreeMap<String, String>,
    first_names: &mut BTreeMap<(u64, u64), String>,
) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes();
    let name = name.escape_ascii().to_string();
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let file = openat(CWD, path, flags, Mode::empty()).unwrap();
    let c_path = std::ffi::CString::new(own_path(&file)).unwrap();
    let xattrs = read(Subject::Followed(&c_path)).unwrap().kept;
    let content = if metadata.is_file() {
        let bytes = fs::read(path).unwrap();
        format!("{} bytes {}", bytes.len(), blake3::hash(&bytes))
    } else if metadata.is_symlink() {
        format!("-> {:?}", fs::read_link(path).unwrap())
    } else {
        String::new()
    };
    let link = match metadata.is_dir() || metadata.nlink() == 1 {
        true => String::new(),
        false => {
            let key = (metadata.dev(), metadata.ino());
            let first = first_names.entry(key).or_insert_with(|| name.clone());
            format!("{} names, first {first}", metadata.nlink())
        }
    };
    let text = format!(
        "mode {:o} owner {}:{} mtime {}.{:09} rdev {:x} xattrs {xattrs:?} {content} {link}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.rdev(),
    );
    entries.insert(name, text);
    if metadata.is_dir() {
        let mut children: Vec<PathBuf> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        children.sort();
        for child in children {
            visit(top, &child, entries, first_names);
        }
    }
}

/// Allocated bytes of a file.
pub(super) fn allocated(path: &Path) -> u64 {
    Stat::of(fs::File::open(path).unwrap()).unwrap().allocated
}

/// Fills `top` with one of everything a version can hold.
pub(super) fn fill(top: &Path) {
    assert!(rustix::process::geteuid().is_root(), "only root sets owners and makes devices");
    let path = |name: &str| top.join(name);
    fs::create_dir_all(path("empty directory")).unwrap();
    fs::create_dir_all(path("a/b/c")).unwrap();
    fs::write(path("a/one"), b"one").unwrap();
    fs::write(path("a/b/same"), b"one").unwrap();
    fs::write(path("a/b/c/nothing"), b"").unwrap();
    fs::write(path("a.file sorts before what is in a"), b"x").unwrap();
    fs::write(path("large"), pattern(300_000)).unwrap();
    fs::write(path("large again"), pattern(300_000)).unwrap();
    fs::write(path("at the limit"), pattern(128 * 1024)).unwrap();
    fs::write(top.join(std::ffi::OsStr::from_bytes(b"\xff\nname=")), b"any bytes").unwrap();
    let long = "n".repeat(255);
    fs::create_dir(path(&long)).unwrap();
    fs::write(path(&long).join(&long), b"long names").unwrap();
    symlink("../outside", path("link")).unwrap();
    symlink("t".repeat(200), path("long link")).unwrap();
    rustix::fs::link(path("a/one"), path("z hard")).unwrap();
    rustix::fs::link(path("a/one"), path(&long).join("hard too")).unwrap();
    rustix::fs::link(path("large"), path("a/large hard")).unwrap();
    mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    set_mode(&path("a/one"), 0o4751);
    set_mode(&path("a/b/same"), 0);
    set_mode(&path("a/b"), 0o1500);
    setxattr(path("large"), "user.text", b"with\nnewline = and %", XattrFlags::empty()).unwrap();
    setxattr(path("a"), "user.on=directory%3D", b"\0\xff", XattrFlags::empty()).unwrap();
    let sparse = fs::File::create(path("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 4 << 20).unwrap();
    fs::File::create(path("only a hole")).unwrap().set_len(1 << 20).unwrap();
    let (uid, gid) = (1234, 3_000_000_000);
    std::os::unix::fs::lchown(path("link"), Some(uid), Some(gid)).unwrap();
    std::os::unix::fs::chown(path("a/b/c"), Some(uid), Some(gid)).unwrap();
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    mknodat(CWD, path("char"), FileType::CharacterDevice, mode, makedev(1, 300)).unwrap();
    mknodat(CWD, path("block"), FileType::BlockDevice, mode, makedev(7, 70_000)).unwrap();
    setxattr(path("a/b"), "trusted.t", b"v", XattrFlags::empty()).unwrap();
    for (name, seconds, nanoseconds) in [
        ("a/one", -1, 999_999_999),
        ("large", 1_000_000_000, 1),
        ("at the limit", 0x2_0000_0000, 0),
        ("a/b/same", 12, 0),
        ("a/b", -86_400, 500_000_000),
        ("empty directory", 1, 10),
        (".", 1_700_000_000, 123_456_789),
    ] {
        set_mtime(&path(name), seconds, nanoseconds);
    }
}

/// Bytes that do not repeat soon.
pub(super) fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// Sets the time of last modification.
pub(super) fn set_mtime(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = rustix::fs::Timespec { tv_sec, tv_nsec };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Runs a command that must succeed, and returns what it prints.
pub(super) fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    output.stdout
}
