//! N4: `mkdir staging/REPO/NAME@BASE` starts as a copy of a version

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

use rustix::io::Errno;

use support::area::set_mode;
use support::{Cairn, content, errno, tree, wait};

/// A version 1 with directories, links and files, beside an equal plain directory.
fn published() -> (Cairn, tempfile::TempDir) {
    let cairn = Cairn::start();
    let plain = tempfile::tempdir().unwrap();
    let area = cairn.area("lib", "first");
    for root in [area.as_path(), plain.path()] {
        build(root);
    }
    cairn.publish("lib", "first").unwrap();
    (cairn, plain)
}

fn build(root: &Path) {
    for directory in ["a", "a/deep", "a/deep/er", "b", "empty"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    for index in 0..30_u64 {
        fs::write(root.join(format!("a/f{index}")), content::bytes(index, 500)).unwrap();
        fs::write(root.join(format!("b/g{index}")), content::bytes(index, 700)).unwrap();
    }
    fs::write(root.join("a/deep/er/leaf"), "leaf").unwrap();
    fs::hard_link(root.join("a/f0"), root.join("b/linked")).unwrap();
    symlink("../a/f1", root.join("b/soft")).unwrap();
    settle_times(root);
}

/// Sets every time in the tree, so that two trees can be compared.
fn settle_times(root: &Path) {
    let script = "find \"$1\" -depth -exec touch -h -d '2020-02-02 02:02:02.123456789' {} +";
    let status = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(root).status();
    assert!(status.unwrap().success());
}

#[test]
fn shows_the_version_and_commits_unchanged_as_no_change() {
    let (cairn, plain) = published();
    let area = cairn.area("lib", "second@latest");
    tree::assert_same_below(plain.path(), &area);
    cairn.publish("lib", "second@latest").unwrap();
    assert_eq!(fs::read_dir(cairn.versions("lib")).unwrap().count(), 1);
    assert_eq!(fs::read_link(cairn.tags("lib/second")).unwrap(), Path::new("../../versions/lib/1"));
}

#[test]
fn an_untouched_area_commits_without_being_looked_at() {
    let (cairn, _plain) = published();
    cairn.area("lib", "second@1");
    cairn.publish("lib", "second@1").unwrap();
    assert_eq!(fs::read_dir(cairn.versions("lib")).unwrap().count(), 1);
}

#[test]
fn every_kind_of_change_is_in_the_next_version_and_not_in_the_base() {
    let (cairn, plain) = published();
    let before = tree::read(&cairn.versions("lib/1"));
    let area = cairn.area("lib", "second@1");
    for root in [area.as_path(), plain.path()] {
        change(root);
        settle_times(root);
    }
    tree::assert_same_below(plain.path(), &area);
    cairn.publish("lib", "second@1").unwrap();
    tree::assert_same_below(plain.path(), &cairn.versions("lib/2"));
    assert_eq!(tree::differences(&before, &tree::read(&cairn.versions("lib/1"))), [""; 0]);
}

fn change(root: &Path) {
    // Content: replaced, in place, appended, truncated.
    fs::write(root.join("a/f2"), "replaced").unwrap();
    let file = File::options().write(true).open(root.join("a/f3")).unwrap();
    file.write_all_at(b"in place", 100).unwrap();
    File::options().write(true).open(root.join("a/f4")).unwrap().set_len(10).unwrap();
    // Names: removed, moved, moved over, moved with their directory, made again.
    fs::remove_file(root.join("a/f5")).unwrap();
    fs::rename(root.join("a/f6"), root.join("b/f6")).unwrap();
    fs::rename(root.join("a/f7"), root.join("a/f8")).unwrap();
    fs::rename(root.join("a/deep"), root.join("b/moved")).unwrap();
    fs::create_dir(root.join("a/deep")).unwrap();
    fs::write(root.join("a/deep/new"), "new").unwrap();
    fs::remove_file(root.join("b/g9")).unwrap();
    fs::write(root.join("b/g9"), "made again").unwrap();
    fs::remove_dir(root.join("empty")).unwrap();
    fs::write(root.join("empty"), "a file now").unwrap();
    // Attributes alone.
    set_mode(&root.join("a/f10"), 0o600);
    set_mode(&root.join("a"), 0o750);
    // Links: a new one, and a write through one of an old pair.
    fs::hard_link(root.join("a/f11"), root.join("a/f11-link")).unwrap();
    let file = File::options().write(true).open(root.join("b/linked")).unwrap();
    file.write_all_at(b"through the link", 0).unwrap();
}

#[test]
fn links_of_the_base_are_one_inode() {
    let (cairn, _plain) = published();
    let area = cairn.area("lib", "second@1");
    let (one, two) = (area.join("a/f0"), area.join("b/linked"));
    assert_eq!(fs::metadata(&one).unwrap().ino(), fs::metadata(&two).unwrap().ino());
    assert_eq!(fs::metadata(&one).unwrap().nlink(), 2);
    fs::write(&one, "both").unwrap();
    assert_eq!(fs::read(&two).unwrap(), b"both");
    fs::remove_file(&one).unwrap();
    assert_eq!(fs::metadata(&two).unwrap().nlink(), 1);
}

#[test]
fn a_whole_directory_of_the_base_can_go() {
    let (cairn, _plain) = published();
    let area = cairn.area("lib", "second@1");
    fs::remove_dir_all(area.join("a")).unwrap();
    assert_eq!(errno(fs::metadata(area.join("a"))), Errno::NOENT);
    cairn.publish("lib", "second@1").unwrap();
    assert!(!cairn.versions("lib/2/a").exists());
    assert_eq!(fs::metadata(cairn.versions("lib/2/b/linked")).unwrap().nlink(), 1);
    assert!(cairn.versions("lib/1/a/f0").exists());
}

#[test]
fn a_directory_with_entries_of_the_base_is_not_empty() {
    let (cairn, _plain) = published();
    let area = cairn.area("lib", "second@1");
    assert_eq!(errno(fs::remove_dir(area.join("b"))), Errno::NOTEMPTY);
    fs::create_dir(area.join("x")).unwrap();
    assert_eq!(errno(fs::rename(area.join("x"), area.join("b"))), Errno::NOTEMPTY);
}

#[test]
fn bases_by_number_by_latest_and_by_tag() {
    let (cairn, _plain) = published();
    let second = cairn.area("lib", "v2");
    fs::write(second.join("only-in-2"), "x").unwrap();
    cairn.publish("lib", "v2").unwrap();
    assert!(cairn.area("lib", "x@1").join("a/f0").exists());
    assert!(cairn.area("lib", "y@latest").join("only-in-2").exists());
    assert!(cairn.area("lib", "z@v2").join("only-in-2").exists());
}

#[test]
fn latest_of_an_empty_repository_is_empty() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a@latest");
    assert_eq!(fs::read_dir(&area).unwrap().count(), 0);
    fs::write(area.join("f"), "x").unwrap();
    cairn.publish("lib", "a@latest").unwrap();
    assert!(cairn.versions("lib/1/f").exists());
}

#[test]
fn unknown_and_ill_formed_bases_are_refused() {
    let (cairn, _plain) = published();
    for (name, expected) in [
        ("a@2", Errno::NOENT),
        ("a@nothing", Errno::NOENT),
        ("a@", Errno::INVAL),
        ("@1", Errno::INVAL),
        ("a@1@1", Errno::INVAL),
    ] {
        let made = fs::create_dir(cairn.staging("lib").join(name));
        assert_eq!(errno(made), expected, "{name}");
    }
}

#[test]
fn opening_costs_nothing_of_the_version_size() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "first");
    for directory in 0..40 {
        fs::create_dir(area.join(format!("d{directory}"))).unwrap();
        for file in 0..100 {
            fs::write(area.join(format!("d{directory}/f{file}")), "x").unwrap();
        }
    }
    cairn.publish("lib", "first").unwrap();
    let began = std::time::Instant::now();
    for index in 0..200 {
        fs::create_dir(cairn.staging(format!("lib/a{index}@1"))).unwrap();
    }
    // 800,000 copied files would take minutes on any machine, 200 areas take less on a loaded one.
    assert!(began.elapsed() < wait::PATIENCE / 2, "{:?}", began.elapsed());
    assert_eq!(fs::read(cairn.staging("lib/a49@1/d7/f7")).unwrap(), b"x");
}
