//! What is left of a version that was deleted (G16).

use super::super::fixture::*;
use super::super::*;
use crate::vfs::error::FsError;

#[test]
fn files_the_kernel_holds_stay_pinned_and_readable() {
    let fixture = Fixture::new(&[Draft::default().file("f", "content")]);
    let hash = fixture.store("content");
    let file = fixture.walk("repo/1/f");
    fixture.remove(1);
    assert!(fixture.pins.is_pinned(&hash.into()));
    assert_eq!(fixture.fs.getattr(file.ino), Ok(file));
    assert_eq!(fixture.read(file.ino), "content");
    fixture.fs.forget(file.ino, 1);
    assert!(!fixture.pins.is_pinned(&hash.into()));
}

#[test]
fn nothing_new_can_be_looked_up_in_it() {
    let fixture = Fixture::new(&[Draft::default().file("f", "content").file("d/g", "x")]);
    let version = fixture.ino("repo/1");
    fixture.remove(1);
    assert_eq!(fixture.fs.lookup(repository_directory(), b"1"), Err(FsError::NotFound));
    let before = fixture.fs.inode_count();
    for name in [&b"f"[..], b"d", b"absent"] {
        assert_eq!(fixture.fs.lookup(version, name), Err(FsError::NotFound));
    }
    let listed = fixture.fs.readdirplus(version, 0, &mut |_| false);
    assert_eq!(listed, Err(FsError::NotFound));
    let listed = fixture.fs.readdir(version, 2, &mut |_| false);
    assert_eq!(listed, Err(FsError::NotFound));
    let hash = fixture.fs.getxattr(version, b"user.cairn.hash");
    assert_eq!(hash, Err(FsError::NotFound));
    assert_eq!(fixture.fs.inode_count(), before);
    assert!(!fixture.pins.is_pinned(&BlobHash::of(b"content").into()));
}

#[test]
fn a_listing_overtaken_by_the_deletion_leaves_no_pins() {
    let fixture = Fixture::new(&[Draft::default().file("f", "content").file("g", "more")]);
    let version = fixture.ino("repo/1");
    let before = fixture.fs.inode_count();
    let listed = fixture.fs.readdirplus(version, 0, &mut |entry| {
        if entry.name == b"g" {
            fixture.remove(1);
        }
        false
    });
    assert_eq!(listed, Err(FsError::NotFound));
    assert_eq!(fixture.fs.inode_count(), before);
    assert!(!fixture.pins.is_pinned(&BlobHash::of(b"content").into()));
}

#[test]
fn pins_end_with_the_filesystem() {
    let fixture = Fixture::new(&[Draft::default().file("f", "content")]);
    fixture.walk("repo/1/f");
    let Fixture { pins, fs, .. } = fixture;
    drop(fs);
    assert!(!pins.is_pinned(&BlobHash::of(b"content").into()));
}
