//! Blobs that went bad on disk: readers get an error, and the content stored again heals them (R5)

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use support::{Cairn, content, wait};

const SIZE: usize = 300_000;

/// A version with one file, and the file of its blob, made writable.
fn published() -> (Cairn, Vec<u8>, PathBuf) {
    let cairn = Cairn::start();
    let bytes = content::bytes(1, SIZE);
    fs::write(cairn.area("lib", "a").join("f"), &bytes).unwrap();
    cairn.publish("lib", "a").unwrap();
    let [(blob, _)] = &cairn.pool()[..] else { panic!("{:?}", cairn.pool()) };
    fs::set_permissions(blob, fs::Permissions::from_mode(0o644)).unwrap();
    let blob = blob.clone();
    (cairn, bytes, blob)
}

/// Has a check find and mark the damage; it repairs nothing.
fn check(cairn: &Cairn) {
    let output = cairn.run(&["fsck", "--full"]);
    assert_eq!(output.status.code(), Some(10), "{output:?}");
}

#[track_caller]
fn assert_refused<T>(result: io::Result<T>) {
    let Err(error) = result else { panic!("content that is known to be damaged was served") };
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{error}");
}

/// Stores the content again, in a version of its own.
fn store_again(cairn: &Cairn, bytes: &[u8]) {
    fs::write(cairn.area("again", "b").join("other"), bytes).unwrap();
    cairn.publish("again", "b").unwrap();
}

#[test]
fn a_short_one_is_an_error_until_its_content_comes_again() {
    let (cairn, bytes, blob) = published();
    let path = cairn.versions("lib/1/f");
    File::options().write(true).open(&blob).unwrap().set_len(10).unwrap();
    let error = fs::read(&path).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    wait::until("the damage is noted", || cairn.cli(&["status"]).contains("damaged"));
    store_again(&cairn, &bytes);
    assert!(fs::read(&path).unwrap() == bytes);
    assert!(fs::read(cairn.versions("again/1/other")).unwrap() == bytes);
}

#[test]
fn what_the_kernel_kept_of_an_altered_one_is_forgotten_once_it_is_healed() {
    let (cairn, bytes, blob) = published();
    let path = cairn.versions("lib/1/f");
    let altered = File::options().write(true).open(&blob).unwrap();
    altered.write_all_at(b"altered", 100_000).unwrap();
    drop(altered);
    // Nobody hashes what is read: the kernel has the wrong pages now, and this reader keeps them.
    let open = File::open(&path).unwrap();
    assert!(fs::read(&path).unwrap() != bytes);
    check(&cairn);
    store_again(&cairn, &bytes);
    wait::until("the pages are forgotten", || fs::read(&path).unwrap() == bytes);
    let mut seen = vec![0; SIZE];
    open.read_exact_at(&mut seen, 0).unwrap();
    assert!(seen == bytes, "through a file that was open all the time");
}

#[test]
fn r5_what_a_check_found_altered_is_served_to_nobody() {
    let (mut cairn, bytes, blob) = published();
    let (version, work) = (cairn.versions("lib/1/f"), cairn.staging("lib/work@1"));
    fs::create_dir(&work).unwrap();
    let staged = work.join("f");
    File::options().write(true).open(&blob).unwrap().write_all_at(b"altered", 100_000).unwrap();
    // The kernel has the pages of both inodes, and open files of them.
    let open = [&version, &staged].map(|path| {
        let file = File::open(path).unwrap();
        assert!(fs::read(path).unwrap() != bytes);
        file
    });
    check(&cairn);
    let copy = cairn.scratch().join("copy");
    for (path, file) in [&version, &staged].into_iter().zip(&open) {
        assert_refused(fs::read(path));
        assert_refused(file.read_at(&mut [0; 10], 0));
        assert_refused(fs::copy(path, &copy));
        // Also within an area, where only the hash would be copied.
        assert_refused(fs::copy(path, work.join("copy")));
    }
    let target = copy.to_str().unwrap();
    let export = cairn.run(&["export", "lib/1", &format!("{target}.d")]);
    assert!(!export.status.success(), "{export:?}");
    drop(open);
    cairn.restart();
    assert_refused(fs::read(&version));
    assert_refused(fs::read(&staged));
    store_again(&cairn, &bytes);
    for path in [&version, &staged, &cairn.versions("again/1/other")] {
        assert!(fs::read(path).unwrap() == bytes, "{}", path.display());
    }
}

#[test]
fn r5_what_a_check_without_a_daemon_found_is_not_served_later() {
    let (mut cairn, bytes, blob) = published();
    cairn.stop();
    File::options().write(true).open(&blob).unwrap().write_all_at(b"altered", 7).unwrap();
    check(&cairn);
    cairn.mount();
    assert_refused(fs::read(cairn.versions("lib/1/f")));
    store_again(&cairn, &bytes);
    assert!(fs::read(cairn.versions("lib/1/f")).unwrap() == bytes);
}

#[test]
fn an_area_that_lost_a_row_is_not_published_and_says_what_it_lost() {
    let mut cairn = Cairn::start();
    fs::write(cairn.area("lib", "one").join("file"), "old").unwrap();
    cairn.publish("lib", "one").unwrap();
    fs::write(cairn.area("lib", "two@1").join("file"), "new").unwrap();
    cairn.stop();
    let catalog = rusqlite::Connection::open(cairn.store().join("catalog.db")).unwrap();
    assert_eq!(catalog.execute("DELETE FROM nodes WHERE kind = 0", []).unwrap(), 1);
    drop(catalog);
    cairn.mount();
    let area = cairn.staging("lib/two@1");
    assert_eq!(fs::read_dir(&area).unwrap().count(), 0, "the base's file does not stand in for it");
    let refused = fs::rename(&area, cairn.tags("lib/two")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    let mut reason = [0; 1000];
    let length = rustix::fs::getxattr(&area, "user.cairn.error", &mut reason[..]).unwrap();
    let reason = String::from_utf8_lossy(&reason[..length]).into_owned();
    assert!(reason.contains("lost what was at file"), "{reason}");
    assert!(cairn.log().contains(&format!("staging/lib/two@1: {reason}")), "{}", cairn.log());
    fs::write(area.join("file"), "anew").unwrap();
    fs::rename(&area, cairn.tags("lib/two")).unwrap();
    assert_eq!(fs::read(cairn.versions("lib/2/file")).unwrap(), b"anew");
}
