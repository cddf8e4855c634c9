//! `lookup`, `getattr`, `readlink`, `forget`.

use super::super::fixture::*;
use super::super::*;
use crate::model::kind::FileKind;
use crate::model::tree::Content;
use crate::vfs::error::FsError;

#[test]
fn a_path_leads_from_the_root_to_a_file() {
    let fixture = Fixture::new(&[Draft::default().file("dir/file", "text")]);
    let file = fixture.walk("repo/1/dir/file");
    assert_eq!(
        (file.kind, file.size, file.mode, file.uid, file.nlink),
        (FileKind::File, 4, 0o644, 1000, 1)
    );
    assert_eq!((file.mtime, file.ctime, file.atime), (TIME, TIME, TIME));
    assert_eq!(fixture.walk("repo/1/dir").kind, FileKind::Directory);
    let repository = fixture.walk("repo");
    assert_eq!((repository.mode, repository.uid, repository.gid), (0o750, 7, 8));
}

#[test]
fn absent_names_are_for_ever_only_inside_a_version() {
    let fixture = Fixture::new(&[Draft::default().file("a", "")]);
    let version = fixture.ino("repo/1");
    assert_eq!(fixture.fs.lookup(version, b"b"), Ok(None));
    assert_eq!(fixture.fs.lookup(ROOT, b"other"), Err(FsError::NotFound));
    for name in [&b"2"[..], b"01", b"latest", b"\xff"] {
        let found = fixture.fs.lookup(repository_directory(), name);
        assert_eq!(found, Err(FsError::NotFound), "{name:?}");
    }
    let long = [b'x'; 256];
    assert_eq!(fixture.fs.lookup(version, &long), Err(FsError::NameTooLong));
    let file = fixture.ino("repo/1/a");
    assert_eq!(fixture.fs.lookup(file, b"x"), Err(FsError::NotDirectory));
}

#[test]
fn other_kinds_of_files_keep_what_they_are() {
    let target: Box<[u8]> = b"../else\xff".as_slice().into();
    let fixture = Fixture::new(&[Draft::default()
        .with("link", Content::Symlink { target: target.clone() })
        .with("pipe", Content::Fifo)
        .with("tty", Content::CharDevice { rdev: 0x501 })]);
    let link = fixture.walk("repo/1/link");
    assert_eq!((link.kind, link.size), (FileKind::Symlink, 8));
    assert_eq!(fixture.fs.readlink(link.ino), Ok(target));
    let pipe = fixture.walk("repo/1/pipe");
    assert_eq!(pipe.kind, FileKind::Fifo);
    assert_eq!(fixture.fs.readlink(pipe.ino), Err(FsError::Invalid));
    let tty = fixture.walk("repo/1/tty");
    assert_eq!((tty.kind, tty.rdev), (FileKind::CharDevice, 0x501));
}

#[test]
fn inodes_go_when_their_lookups_are_forgotten() {
    let fixture = Fixture::new(&[Draft::default().file("dir/file", "text")]);
    let blob = BlobHash::of(b"text");
    let file = fixture.ino("repo/1/dir/file");
    fixture.walk("repo/1/dir/file");
    assert_eq!(fixture.fs.inode_count(), 3);
    fixture.fs.forget(file, 1);
    assert!(fixture.pins.is_pinned(&blob.into()));
    fixture.fs.forget(file, 1);
    assert!(!fixture.pins.is_pinned(&blob.into()));
    assert_eq!(fixture.fs.getattr(file), Err(FsError::Stale));
    fixture.fs.forget(fixture.ino("repo/1/dir"), 3);
    fixture.fs.forget(fixture.ino("repo/1"), 4);
    assert_eq!(fixture.fs.inode_count(), 0);
    // The root and repositories are not counted.
    fixture.fs.forget(repository_directory(), 100);
    fixture.fs.forget(ROOT, 1);
    assert!(fixture.fs.getattr(repository_directory()).is_ok());
}

#[test]
fn numbers_that_were_never_given_out_are_stale() {
    let fixture = Fixture::new(&[]);
    for number in [0, 2, 1 << 62, (1 << 62) | (1 << 61), u64::MAX] {
        assert_eq!(fixture.fs.getattr(Ino(number)), Err(FsError::Stale));
        fixture.fs.forget(Ino(number), 1);
    }
    assert_eq!(fixture.fs.getattr(repository_ino(RepoId(99))), Err(FsError::NotFound));
}
