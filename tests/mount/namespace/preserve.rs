//! Versions keep metadata exactly: types, modes, owners, times, links, xattrs, holes, names

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{
    CWD, FallocateFlags, FileType, Mode, SeekFrom, XattrFlags, makedev, mknodat, seek, setxattr,
};

use support::area::set_mode;
use support::{Cairn, content, tree};

/// Everything that a filesystem can hold, in a plain directory.
fn sample() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for name in ["d", "d/e", "d/e/f", "empty"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    for (index, mode) in
        [0o000, 0o444, 0o644, 0o755, 0o4755, 0o2711, 0o1777].into_iter().enumerate()
    {
        let path = root.join(format!("d/mode{index}"));
        fs::write(&path, format!("{mode:o}")).unwrap();
        set_mode(&path, mode);
    }
    set_mode(&root.join("d/e"), 0o3750);
    fs::write(root.join("empty-file"), "").unwrap();
    fs::write(root.join("large"), content::bytes(1, 3_000_000)).unwrap();
    for (name, target) in [("soft", "d/mode1"), ("dangling", "/nowhere"), ("up", "../..")] {
        symlink(target, root.join(name)).unwrap();
    }
    for name in ["hard1", "d/hard2", "d/e/hard3"] {
        fs::hard_link(root.join("large"), root.join(name)).unwrap();
    }
    for (name, kind, device) in [
        ("fifo", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("null", FileType::CharacterDevice, makedev(1, 3)),
        ("disk", FileType::BlockDevice, makedev(259, 300)),
    ] {
        mknodat(CWD, root.join(name), kind, Mode::from(0o640), device).unwrap();
    }
    names(root);
    chown(root.join("d/mode2"), Some(1234), Some(4_000_000_000)).unwrap();
    lchown(root.join("soft"), Some(5), Some(6)).unwrap();
    for (path, name) in [("large", "user.note"), ("d", "user.dir"), ("d/mode3", "trusted.x")] {
        setxattr(root.join(path), name, b"\0binary\xff", XattrFlags::empty()).unwrap();
    }
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    sparse.write_all_at(b"data", 4 << 20).unwrap();
    times(root);
    directory
}

fn names(root: &Path) {
    fs::create_dir(root.join("names")).unwrap();
    let long = [b'n'; 255];
    let names: [&[u8]; 7] =
        [b"\xff\xfe", b"new\nline", b" ", b"-rf", b"back\\slash", "\u{e9}".as_bytes(), &long];
    for name in names {
        fs::write(root.join("names").join(OsStr::from_bytes(name)), name).unwrap();
    }
}

/// Gives every entry its own time, with nanoseconds.
fn times(root: &Path) {
    let script = "cd \"$1\"; n=1; find . -depth -print0 | while IFS= read -r -d '' path; do \
        touch -h -d \"2015-01-01 00:00:$((n % 60)).$((100000000 + n * 7919))\" \"$path\"; \
        n=$((n + 1)); done; touch -h -d '1969-12-31 12:00:00.5 UTC' soft";
    assert!(
        Command::new("bash").args(["-c", script, "bash"]).arg(root).status().unwrap().success()
    );
}

fn rsync(from: &Path, to: &Path, options: &[&str]) -> String {
    let output = Command::new("rsync")
        .args(options)
        .arg("--numeric-ids")
        .arg(format!("{}/", from.display()))
        .arg(format!("{}/", to.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn rsync_in_mv_and_compare() {
    let sample = sample();
    let cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    rsync(sample.path(), &area, &["-aHAX", "--devices", "--specials"]);
    tree::assert_same_below(sample.path(), &area);
    cairn.publish("lib", "v1").unwrap();
    tree::assert_same_below(sample.path(), &cairn.versions("lib/1"));
    let check = ["-aHAXn", "--checksum", "-i", "--delete"];
    assert_eq!(rsync(sample.path(), &cairn.versions("lib/1"), &check), "");
    assert_eq!(rsync(sample.path(), &cairn.tags("lib/v1"), &check), "");
}

#[test]
fn a_copy_of_the_version_is_equal_too() {
    let sample = sample();
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    rsync(sample.path(), &area, &["-aHAX", "--devices", "--specials"]);
    cairn.publish("lib", "v1").unwrap();
    cairn.restart();
    tree::assert_same_below(sample.path(), &cairn.versions("lib/1"));
    tree::assert_same_below(sample.path(), &cairn.area("lib", "again@1"));
    cairn.crash();
    tree::assert_same_below(sample.path(), &cairn.versions("lib/1"));
}

#[test]
fn holes_stay_holes() {
    let cairn = Cairn::start();
    let file = File::create(cairn.area("lib", "a").join("sparse")).unwrap();
    file.set_len(16 << 20).unwrap();
    file.write_all_at(&[1; 4096], 8 << 20).unwrap();
    drop(file);
    cairn.publish("lib", "a").unwrap();
    let file = File::open(cairn.versions("lib/1/sparse")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 16 << 20);
    // By its blocks tar and cp know that it is sparse.
    let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
    assert!(blocks < 100, "{blocks} blocks");
    let pool = cairn.pool();
    let held = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&pool[0].0).unwrap()) * 512;
    assert!(held < 1 << 20, "{held} bytes for one block of data");
    // NO_OPEN leaves SEEK_DATA to the daemon; where it is not offered all is data, never less.
    assert!(seek(&file, SeekFrom::Data(0)).unwrap() <= 8 << 20);
}

#[test]
fn a_directory_of_ten_thousand_names() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for index in 0..10_000 {
        File::create(area.join(format!("name-{index:05}"))).unwrap();
    }
    cairn.publish("lib", "a").unwrap();
    let mut listed: Vec<_> = fs::read_dir(cairn.versions("lib/1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    listed.sort();
    let expected: Vec<_> = (0..10_000).map(|index| format!("name-{index:05}")).collect();
    assert!(listed == expected);
    // One name changed in a large directory, through an area based on it.
    let area = cairn.area("lib", "b@1");
    fs::remove_file(area.join("name-05000")).unwrap();
    fs::write(area.join("name-05000x"), "").unwrap();
    cairn.publish("lib", "b@1").unwrap();
    assert_eq!(fs::read_dir(cairn.versions("lib/2")).unwrap().count(), 10_000);
    assert!(!cairn.versions("lib/2/name-05000").exists());
    assert!(cairn.versions("lib/2/name-05000x").exists());
    assert!(cairn.versions("lib/1/name-05000").exists());
}

#[test]
fn a_listing_of_a_version_can_be_resumed_anywhere() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for index in 0..2000 {
        File::create(area.join(format!("n{index}"))).unwrap();
    }
    cairn.publish("lib", "a").unwrap();
    let mut listing = rustix::fs::Dir::new(File::open(cairn.versions("lib/1")).unwrap()).unwrap();
    let mut seen = Vec::new();
    while let Some(entry) = listing.read() {
        let entry = entry.unwrap();
        seen.push((entry.offset(), entry.file_name().to_owned()));
    }
    assert_eq!(seen.len(), 2002);
    for at in [0, 1, 2, 1000, 2000, 5] {
        listing.seek(seen[at].0).unwrap();
        assert_eq!(listing.read().unwrap().unwrap().file_name(), seen[at + 1].1.as_c_str());
    }
}

#[test]
fn an_empty_file_with_reserved_space_is_an_empty_file() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for (name, flags) in [
        ("reserved", FallocateFlags::KEEP_SIZE),
        ("punched", FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE),
    ] {
        let file = File::create(area.join(name)).unwrap();
        rustix::fs::fallocate(&file, flags, 0, 100_000).unwrap();
    }
    cairn.publish("lib", "a").unwrap();
    for name in ["reserved", "punched"] {
        assert_eq!(fs::read(cairn.versions("lib/1").join(name)).unwrap(), b"");
    }
}
