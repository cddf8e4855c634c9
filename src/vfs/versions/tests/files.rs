//! `read` and `lseek`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use super::super::fixture::*;
use super::super::*;
use crate::model::tree::Content;
use crate::vfs::error::FsError;
use crate::vfs::versions::Seek;

#[test]
fn reads_end_at_the_end_of_the_file() {
    let fixture = Fixture::new(&[Draft::default().file("f", "content").file("empty", "")]);
    fixture.store("content");
    let file = fixture.ino("repo/1/f");
    let cases: [(u64, usize, &[u8]); 5] =
        [(0, 100, b"content"), (0, 3, b"con"), (3, 4, b"tent"), (7, 10, b""), (u64::MAX, 10, b"")];
    for (offset, room, expected) in cases {
        let mut buffer = vec![0; room];
        let length = fixture.fs.read(file, offset, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], expected, "{offset} {room}");
    }
    assert_eq!(fixture.read(fixture.ino("repo/1/empty")), "");
    let directory = fixture.fs.read(fixture.ino("repo/1"), 0, &mut [0; 4]);
    assert_eq!(directory, Err(FsError::IsDirectory));
}

#[test]
fn a_missing_or_short_blob_is_an_error_and_a_failed_read_reported() {
    let fixture = Fixture::new(&[Draft::default().file("f", "content")]);
    let file = fixture.ino("repo/1/f");
    let damaged = || fixture.blobs.damaged.load(Ordering::Relaxed);
    assert_eq!(fixture.fs.read(file, 0, &mut [0; 9]), Err(FsError::Io));
    assert_eq!(damaged(), 0, "whoever opens it reports that");
    std::fs::write(fixture.blobs.path(&BlobHash::of(b"content")), "cont").unwrap();
    assert_eq!(fixture.fs.read(file, 0, &mut [0; 9]), Err(FsError::Io));
    assert_eq!(fixture.fs.read(file, 5, &mut [0; 1]), Err(FsError::Io));
    assert_eq!(damaged(), 2);
    // What is there can be read.
    assert_eq!(fixture.fs.read(file, 0, &mut [0; 4]), Ok(4));
}

#[test]
fn holes_are_found() {
    const SIZE: u64 = 1 << 20;
    let hash = BlobHash::of(b"stands for a file with a hole");
    let blob = Some(hash.into());
    let draft = Draft::default().with("f", Content::File { size: SIZE, blob }).file("empty", "");
    let fixture = Fixture::new(&[draft]);
    let sparse = File::create(fixture.blobs.path(&hash)).unwrap();
    sparse.set_len(SIZE).unwrap();
    sparse.write_all_at(&[1; 4096], 0).unwrap();
    sparse.write_all_at(&[1; 4096], SIZE / 2).unwrap();
    let file = fixture.ino("repo/1/f");
    let seek = |offset, whence| fixture.fs.lseek(file, offset, whence);
    assert_eq!(seek(0, Seek::Data), Ok(0));
    assert_eq!(seek(0, Seek::Hole), Ok(4096));
    assert_eq!(seek(4096, Seek::Data), Ok(SIZE / 2));
    assert_eq!(seek(SIZE / 2 + 4096, Seek::Data), Err(FsError::NoSuchOffset));
    assert_eq!(seek(SIZE - 1, Seek::Hole), Ok(SIZE - 1));
    assert_eq!(seek(SIZE, Seek::Hole), Err(FsError::NoSuchOffset));
    let empty = fixture.ino("repo/1/empty");
    assert_eq!(fixture.fs.lseek(empty, 0, Seek::Hole), Err(FsError::NoSuchOffset));
}

/// H41, G16: the inode has the declared name; its blob is looked up when it is read.
#[test]
fn content_with_a_declared_name_is_read_from_its_blob() {
    let draft = Draft::default().with("f", declared(DECLARED)).with("absent", declared(b"absent"));
    let fixture = Fixture::new(&[draft]);
    fixture.store(std::str::from_utf8(DECLARED).unwrap());
    let file = fixture.walk("repo/1/f");
    assert_eq!(fixture.read(file.ino).as_bytes(), DECLARED);
    let name = ContentName::from(Sha256::of(DECLARED));
    assert!(fixture.pins.is_pinned(&name));
    fixture.fs.forget(file.ino, 1);
    assert!(!fixture.pins.is_pinned(&name));
    let absent = fixture.walk("repo/1/absent");
    assert_eq!(absent.size, 6, "what is not there can be looked at");
    assert_eq!(fixture.fs.read(absent.ino, 0, &mut [0; 9]), Err(FsError::Io));
    assert_eq!(fixture.blobs.damaged.load(Ordering::Relaxed), 0, "absent is not damaged");
}
