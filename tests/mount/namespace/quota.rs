//! Quotas as programs meet them: EDQUOT at the write, `df`, and space that comes back (G15, H20).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;

use support::{Cairn, content, errno, wait};

fn limited(bytes: &str, files: &str) -> Cairn {
    let cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    cairn.cli(&["quota", "lib", "--bytes", bytes, "--files", files]);
    cairn
}

fn used(cairn: &Cairn) -> (u64, u64) {
    let quota = cairn.json(&["quota", "lib"]);
    (quota["used_bytes"].as_u64().unwrap(), quota["used_file_count"].as_u64().unwrap())
}

/// Writes in place, without truncating.
fn overwrite(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(bytes)
}

#[test]
fn overwriting_in_place_and_by_rename_keep_the_old_bytes() {
    let cairn = limited("100K", "100");
    let area = cairn.area("lib", "one");
    let old = content::bytes(1, 70_000);
    fs::write(area.join("f"), &old).unwrap();
    cairn.publish("lib", "one").unwrap();
    fs::create_dir(cairn.staging("lib/two@latest")).unwrap();
    let area = cairn.staging("lib/two@latest");
    assert_eq!(errno(overwrite(&area.join("f"), b"new")), Errno::DQUOT);
    assert!(fs::read(area.join("f")).unwrap() == old);
    assert_eq!(errno(fs::write(area.join("tmp"), content::bytes(2, 70_000))), Errno::DQUOT);
    assert!(fs::read(area.join("f")).unwrap() == old, "the target of the rename");
    fs::remove_file(area.join("tmp")).unwrap();
    fs::write(area.join("small"), content::bytes(3, 20_000)).unwrap();
    assert_eq!(used(&cairn), (90_000, 2));
    let small = OpenOptions::new().write(true).open(area.join("small")).unwrap();
    assert_eq!(errno(small.set_len(1 << 30)), Errno::DQUOT);
    drop(small);
    cairn.publish("lib", "two@latest").unwrap();
    assert_eq!(used(&cairn), (90_000, 2), "the charge moved to the version");
    assert!(fs::read(cairn.versions("lib/2/f")).unwrap() == old);
}

#[test]
fn deleting_gives_the_space_back() {
    let cairn = limited("100K", "10");
    let area = cairn.area("lib", "one");
    fs::write(area.join("f"), content::bytes(1, 90_000)).unwrap();
    fs::remove_file(area.join("f")).unwrap();
    // The kernel tells of a close when it likes: until then the file is open, and takes its space.
    wait::until("there is room", || fs::write(area.join("g"), content::bytes(2, 90_000)).is_ok());
    cairn.publish("lib", "one").unwrap();
    let area = cairn.area("lib", "two");
    assert_eq!(errno(fs::write(area.join("h"), content::bytes(3, 90_000))), Errno::DQUOT);
    cairn.cli(&["delete", "lib/1", "--force"]);
    wait::until("there is room", || fs::write(area.join("h"), content::bytes(3, 90_000)).is_ok());
    cairn.cli(&["discard", "lib/two"]);
    assert_eq!(used(&cairn), (0, 0));
}

#[test]
fn files_of_every_kind_count_and_directories_do_not() {
    let cairn = limited("1M", "3");
    let area = cairn.area("lib", "one");
    fs::create_dir_all(area.join("a/b/c/d")).unwrap();
    fs::write(area.join("f"), "").unwrap();
    std::os::unix::fs::symlink("f", area.join("a/l")).unwrap();
    assert!(Command::new("mkfifo").arg(area.join("a/p")).status().unwrap().success());
    fs::hard_link(area.join("f"), area.join("g")).unwrap();
    assert_eq!(errno(fs::write(area.join("h"), "")), Errno::DQUOT);
    assert_eq!(errno(std::os::unix::fs::symlink("f", area.join("m"))), Errno::DQUOT);
    fs::remove_file(area.join("a/p")).unwrap();
    fs::write(area.join("h"), "").unwrap();
    assert_eq!(used(&cairn), (0, 3));
}

#[test]
fn df_shows_the_quota_and_a_restart_keeps_the_count() {
    let mut cairn = limited("8M", "1000");
    let area = cairn.area("lib", "one");
    let mut file = fs::File::create(area.join("f")).unwrap();
    file.write_all(&content::bytes(1, 3 << 20)).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let df = |path: &Path| {
        let space = rustix::fs::statvfs(path).unwrap();
        (space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize, space.f_ffree)
    };
    assert_eq!(df(&area), (8 << 20, 5 << 20, 999));
    assert_eq!(df(&cairn.tags("lib")), (8 << 20, 5 << 20, 999));
    assert!(df(&cairn.staging("")).0 > 8 << 20, "elsewhere the store's");
    cairn.crash();
    assert_eq!(used(&cairn), (3 << 20, 1));
    assert_eq!(fs::read_dir(cairn.staging("lib/one")).unwrap().count(), 1);
    assert_eq!(df(&cairn.staging("lib/one")), (8 << 20, 5 << 20, 999));
    cairn.publish("lib", "one").unwrap();
    assert_eq!(df(&cairn.versions("lib/1")), (8 << 20, 5 << 20, 999));
}
