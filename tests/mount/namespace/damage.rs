//! Blobs that went bad on disk: readers get an error, and the content stored again heals them (R5)

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use crate::common::{Cairn, content, wait};

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
    let output = cairn.run(&["fsck", "--full", "--repair"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    store_again(&cairn, &bytes);
    wait::until("the pages are forgotten", || fs::read(&path).unwrap() == bytes);
    let mut seen = vec![0; SIZE];
    open.read_exact_at(&mut seen, 0).unwrap();
    assert!(seen == bytes, "through a file that was open all the time");
}
