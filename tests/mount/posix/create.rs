//! open(2) with O_CREAT, O_EXCL, O_TRUNC and their relatives

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use support::{Area, errno};

#[test]
fn makes_an_empty_file_with_its_mode() {
    let area = Area::new();
    for (name, mode) in [("a", 0o600), ("b", 0o755), ("c", 0o444)] {
        File::options().write(true).create_new(true).mode(mode).open(area.path(name)).unwrap();
        let meta = fs::metadata(area.path(name)).unwrap();
        assert_eq!(meta.len(), 0);
        assert_eq!(meta.nlink(), 1);
        assert_eq!(meta.mode() & 0o7777, mode & 0o755, "the umask is 022");
    }
}

#[test]
fn excl_refuses_existing_names_and_dangling_links() {
    let area = Area::new();
    area.file("f", "old");
    std::os::unix::fs::symlink("nowhere", area.path("s")).unwrap();
    for name in ["f", "s"] {
        let made = File::options().write(true).create_new(true).open(area.path(name));
        assert_eq!(errno(made), Errno::EXIST);
    }
    assert_eq!(fs::read(area.path("f")).unwrap(), b"old");
}

#[test]
fn create_opens_an_existing_file_unchanged() {
    let area = Area::new();
    for path in [area.file("f", "old"), area.sealed("g", "old")] {
        File::options().write(true).create(true).truncate(false).open(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}

#[test]
fn create_follows_a_dangling_link() {
    let area = Area::new();
    std::os::unix::fs::symlink("target", area.path("s")).unwrap();
    fs::write(area.path("s"), "through").unwrap();
    assert_eq!(fs::read(area.path("target")).unwrap(), b"through");
}

#[test]
fn truncating_open_empties_fresh_and_sealed_files() {
    let area = Area::new();
    for path in [area.file("f", "old content"), area.sealed("g", "old content, sealed")] {
        let file = File::create(&path).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}

#[test]
fn truncating_open_sets_the_time_of_an_empty_file_too() {
    let area = Area::new();
    let path = area.file("f", "");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    drop(file);
    drop(File::create(&path).unwrap());
    assert!(fs::metadata(&path).unwrap().mtime() > 0);
}

#[test]
fn a_file_made_read_only_is_writable_through_its_first_handle() {
    use std::io::Write;
    let area = Area::new();
    let path = area.path("f");
    let mut file = File::options().write(true).create_new(true).mode(0o400).open(&path).unwrap();
    file.write_all(b"once").unwrap();
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"once");
}

#[test]
fn directories_and_links_are_refused_as_asked() {
    let area = Area::new();
    area.directory("d");
    area.file("f", "");
    std::os::unix::fs::symlink("f", area.path("s")).unwrap();
    let open_flags = |name: &str, flags| open(area.path(name), flags, Mode::empty());
    assert_eq!(errno(open_flags("d", OFlags::WRONLY)), Errno::ISDIR);
    assert_eq!(errno(open_flags("f", OFlags::RDONLY | OFlags::DIRECTORY)), Errno::NOTDIR);
    assert_eq!(errno(open_flags("s", OFlags::RDONLY | OFlags::NOFOLLOW)), Errno::LOOP);
    assert_eq!(errno(open_flags("none", OFlags::RDONLY)), Errno::NOENT);
    assert_eq!(errno(open_flags("f/x", OFlags::RDONLY)), Errno::NOTDIR);
}

#[test]
fn names_may_be_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let area = Area::new();
    let names: [&[u8]; 6] = [b"\xff\xfe\x80", b"new\nline", b" ", b"-rf", b"\x01\x7f", b"a\\b'\"$"];
    for name in names {
        fs::write(area.path(OsStr::from_bytes(name)), name).unwrap();
    }
    let mut listed: Vec<_> =
        fs::read_dir(area.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    listed.sort();
    let mut expected: Vec<_> =
        names.iter().map(|name| OsStr::from_bytes(name).to_owned()).collect();
    expected.sort();
    assert_eq!(listed, expected);
    for name in names {
        assert_eq!(fs::read(area.path(OsStr::from_bytes(name))).unwrap(), name);
    }
}

#[test]
fn names_of_255_bytes_and_no_more() {
    let area = Area::new();
    fs::write(area.path("n".repeat(255)), "x").unwrap();
    assert_eq!(errno(fs::write(area.path("n".repeat(256)), "x")), Errno::NAMETOOLONG);
}

#[test]
fn a_negative_lookup_is_forgotten_when_the_file_appears() {
    let area = Area::new();
    for round in 0..20 {
        let path = area.path(format!("f{round}"));
        assert_eq!(errno(fs::metadata(&path)), Errno::NOENT);
        fs::write(&path, "here").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 4);
        fs::remove_file(&path).unwrap();
        assert_eq!(errno(fs::metadata(&path)), Errno::NOENT);
    }
}

#[test]
fn a_directory_becomes_a_file_of_the_same_name() {
    let area = Area::new();
    let path = area.directory("x");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "file").unwrap();
    assert!(fs::metadata(&path).unwrap().is_file());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().is_dir());
}

#[test]
fn eight_hundred_files_may_be_open_at_once() {
    let area = Area::new();
    let files: Vec<_> =
        (0..800).map(|index| File::create(area.path(format!("f{index}"))).unwrap()).collect();
    assert_eq!(fs::read_dir(area.root()).unwrap().count(), files.len());
}

#[test]
fn paths_up_to_path_max_and_trees_beyond_it() {
    let area = Area::new();
    let mut path = area.root().to_owned();
    let room = |path: &std::path::Path| 4095 - path.as_os_str().len();
    while room(&path) > 300 {
        path.push("d".repeat(200));
        fs::create_dir(&path).unwrap();
    }
    let longest = path.join("f".repeat(room(&path) - 1));
    if room(&path) <= 256 {
        fs::write(&longest, "x").unwrap();
        assert_eq!(fs::read(&longest).unwrap(), b"x");
    }
    let mut longer = path.join("f".repeat(200)).into_os_string();
    longer.push("/".repeat(4096 - longer.len()));
    assert_eq!(errno(File::open(longer)), Errno::NAMETOOLONG);
    // Deeper than any path can say, by steps, as rm and find go.
    let script = "cd \"$1\" && name=$(printf %0200d 0) && for i in $(seq 30); do mkdir $name && \
                  cd $name; done && echo deep > f && cat f";
    let output =
        std::process::Command::new("bash").args(["-c", script, "bash"]).arg(area.root()).output();
    assert_eq!(output.unwrap().stdout, b"deep\n");
    let mut rm = std::process::Command::new("rm");
    assert!(rm.arg("-rf").arg(area.path("d".repeat(200))).status().unwrap().success());
    assert!(rm.arg(area.path(format!("{:0200}", 0))).status().unwrap().success());
    assert_eq!(fs::read_dir(area.root()).unwrap().count(), 0);
}
