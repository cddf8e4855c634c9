//! N8: a version cannot be changed; every attempt is EROFS

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};
use rustix::io::Errno;

use support::area::set_mode;
use support::mapping::Mapping;
use support::{Cairn, content, errno, tree};

fn published() -> Cairn {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    fs::create_dir(area.join("d")).unwrap();
    fs::write(area.join("f"), "content").unwrap();
    fs::write(area.join("d/g"), content::bytes(1, 100_000)).unwrap();
    symlink("f", area.join("s")).unwrap();
    fs::copy("/bin/true", area.join("program")).unwrap();
    cairn.publish("lib", "v1").unwrap();
    cairn
}

#[track_caller]
fn is_read_only<T: std::fmt::Debug, E: Into<std::io::Error>>(result: Result<T, E>) {
    assert_eq!(errno(result), Errno::ROFS);
}

#[test]
fn names_cannot_change() {
    let cairn = published();
    let root = cairn.versions("lib/1");
    is_read_only(fs::create_dir(root.join("new")));
    is_read_only(fs::write(root.join("new"), "x"));
    is_read_only(symlink("f", root.join("new")));
    is_read_only(fs::hard_link(root.join("f"), root.join("new")));
    is_read_only(mknodat(CWD, root.join("new"), FileType::Fifo, Mode::RUSR, 0));
    is_read_only(fs::remove_file(root.join("f")));
    is_read_only(fs::remove_file(root.join("s")));
    is_read_only(fs::remove_dir(root.join("d")));
    is_read_only(fs::rename(root.join("f"), root.join("moved")));
    is_read_only(fs::rename(root.join("d"), root.join("moved")));
    is_read_only(fs::remove_dir(&root));
    is_read_only(fs::rename(&root, cairn.versions("lib/2")));
    is_read_only(fs::remove_dir(cairn.versions("lib")));
    is_read_only(fs::create_dir(cairn.versions("lib/9")));
}

#[test]
fn content_and_attributes_cannot_change() {
    let cairn = published();
    let root = cairn.versions("lib/1");
    let file = root.join("f");
    is_read_only(File::options().write(true).open(&file));
    is_read_only(File::options().append(true).open(&file));
    is_read_only(File::create(&file));
    is_read_only(rustix::fs::open(
        &file,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::TRUNC,
        Mode::empty(),
    ));
    for path in [&file, &root, &root.join("d")] {
        is_read_only(fs::set_permissions(path, mode(0o600)));
        is_read_only(std::os::unix::fs::chown(path, Some(1), Some(1)));
        is_read_only(File::open(path).unwrap().set_modified(std::time::UNIX_EPOCH));
        is_read_only(rustix::fs::setxattr(path, "user.a", b"1", XattrFlags::empty()));
        is_read_only(rustix::fs::removexattr(path, "user.a"));
    }
}

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

#[test]
fn rm_rf_changes_nothing() {
    let cairn = published();
    let before = tree::read(&cairn.versions("lib/1"));
    for path in [cairn.versions("lib/1"), cairn.versions("lib")] {
        assert!(!Command::new("rm").arg("-rf").arg(path).output().unwrap().status.success());
    }
    assert_eq!(tree::differences(&before, &tree::read(&cairn.versions("lib/1"))), [""; 0]);
}

#[test]
fn the_same_through_a_tag() {
    let cairn = published();
    is_read_only(fs::write(cairn.tags("lib/v1/f"), "x"));
    is_read_only(fs::remove_file(cairn.tags("lib/latest/f")));
    is_read_only(fs::create_dir(cairn.tags("lib/latest/new")));
}

#[test]
fn programs_run_and_mappings_read() {
    let cairn = published();
    let root = cairn.versions("lib/1");
    assert!(Command::new(root.join("program")).status().unwrap().success());
    let file = File::open(root.join("d/g")).unwrap();
    let mapping = Mapping::shared(&file, 100_000, false).unwrap();
    assert!(mapping.read(0, 100_000) == content::bytes(1, 100_000));
}

#[test]
fn later_work_in_staging_does_not_reach_it() {
    let cairn = published();
    let before = tree::read(&cairn.versions("lib/1"));
    let area = cairn.area("lib", "v2@1");
    fs::write(area.join("f"), "changed").unwrap();
    let file = File::options().write(true).open(area.join("d/g")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"in place", 50_000).unwrap();
    drop(file);
    set_mode(&area.join("program"), 0o600);
    fs::remove_file(area.join("s")).unwrap();
    assert_eq!(tree::differences(&before, &tree::read(&cairn.versions("lib/1"))), [""; 0]);
    cairn.publish("lib", "v2@1").unwrap();
    assert_eq!(tree::differences(&before, &tree::read(&cairn.versions("lib/1"))), [""; 0]);
}

#[test]
fn files_in_the_pool_are_read_only() {
    use std::os::unix::fs::MetadataExt;
    let cairn = published();
    let pool = cairn.pool();
    assert!(!pool.is_empty());
    for (path, _) in pool {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o444, "{}", path.display());
    }
}

#[test]
fn links_and_missing_names_answer_as_usual() {
    let cairn = published();
    let root = cairn.versions("lib/1");
    assert_eq!(fs::read_link(root.join("s")).unwrap(), Path::new("f"));
    assert_eq!(errno(fs::metadata(root.join("none"))), Errno::NOENT);
    assert_eq!(errno(fs::metadata(root.join("f/x"))), Errno::NOTDIR);
    assert_eq!(errno(fs::read_dir(root.join("f"))), Errno::NOTDIR);
    assert_eq!(errno(fs::metadata(cairn.versions("lib/2"))), Errno::NOENT);
    assert_eq!(errno(fs::metadata(cairn.versions("none"))), Errno::NOENT);
}

#[test]
fn readers_go_on_while_versions_come_and_go() {
    let cairn = published();
    let root = cairn.versions("lib/1");
    let expected = content::bytes(1, 100_000);
    let mapping = Mapping::shared(&File::open(root.join("d/g")).unwrap(), 100_000, false).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [0, 1].map(|_| {
            scope.spawn(|| {
                let directory = File::open(&root).unwrap();
                let mut rounds = 0;
                while !done.load(Ordering::Relaxed) || rounds < 3 {
                    assert!(fs::read(root.join("d/g")).unwrap() == expected);
                    assert_eq!(fs::read(cairn.tags("lib/v1/f")).unwrap(), b"content");
                    assert_eq!(fs::read_dir(&root).unwrap().count(), 4);
                    let opened = rustix::fs::openat(
                        &directory,
                        "f",
                        rustix::fs::OFlags::RDONLY,
                        Mode::empty(),
                    );
                    assert!(opened.is_ok());
                    rounds += 1;
                }
            })
        });
        for number in 2..=20 {
            let area = cairn.area("lib", "next@latest");
            fs::write(area.join("f"), number.to_string()).unwrap();
            cairn.publish("lib", "next@latest").unwrap();
            if number > 2 {
                cairn.cli(&["delete", &format!("lib/{}", number - 1)]);
            }
            fs::remove_file(cairn.tags("lib/next")).unwrap_or_default();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert!(mapping.read(0, 100_000) == expected);
    let listed = fs::read_dir(cairn.versions("lib")).unwrap().count();
    assert_eq!(listed, 2);
}
