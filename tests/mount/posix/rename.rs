//! rename(2), renameat2(2)

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use support::{Area, check, errno};

fn rename_with(from: &Path, to: &Path, flags: RenameFlags) -> rustix::io::Result<()> {
    renameat_with(CWD, from, CWD, to, flags)
}

#[test]
fn moves_a_file_and_keeps_its_inode() {
    let area = Area::new();
    area.directory("d");
    for path in [area.file("f", "content"), area.sealed("g", "content")] {
        let ino = fs::metadata(&path).unwrap().ino();
        let to = area.path("d").join(path.file_name().unwrap());
        fs::rename(&path, &to).unwrap();
        assert_eq!(errno(fs::metadata(&path)), Errno::NOENT);
        assert_eq!(fs::read(&to).unwrap(), b"content");
        assert_eq!(fs::metadata(&to).unwrap().ino(), ino);
    }
}

#[test]
fn replaces_a_file() {
    let area = Area::new();
    let (from, to) = (area.file("from", "new"), area.sealed("to", "old"));
    let old = File::open(&to).unwrap();
    fs::rename(&from, &to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"new");
    let mut buffer = [0; 10];
    assert_eq!(old.read_at(&mut buffer, 0).unwrap(), 3, "the replaced file stays readable");
    assert_eq!(&buffer[..3], b"old");
    assert_eq!(old.metadata().unwrap().nlink(), 0);
}

#[test]
fn write_temporary_then_rename_over_a_hundred_times() {
    let area = Area::new();
    let path = area.file("f", "start");
    for round in 0..100 {
        let temporary = area.file("f.tmp", format!("round {round}"));
        fs::rename(&temporary, &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("round {round}"));
    }
    assert_eq!(fs::read_dir(area.root()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_still_written_moves_with_its_writer() {
    let area = Area::new();
    let from = area.path("from");
    let file = File::create(&from).unwrap();
    file.write_all_at(b"before ", 0).unwrap();
    fs::rename(&from, area.path("to")).unwrap();
    file.write_all_at(b"after", 7).unwrap();
    drop(file);
    assert_eq!(fs::read(area.path("to")).unwrap(), b"before after");
}

#[test]
fn moves_a_directory_with_everything_in_it() {
    let area = Area::new();
    fs::create_dir_all(area.path("a/b/c")).unwrap();
    area.file("a/b/c/f", "deep");
    area.directory("x");
    fs::rename(area.path("a/b"), area.path("x/y")).unwrap();
    assert_eq!(fs::read(area.path("x/y/c/f")).unwrap(), b"deep");
    assert_eq!(errno(fs::metadata(area.path("a/b"))), Errno::NOENT);
    assert_eq!(fs::metadata(area.path("x/y/..")).unwrap().ino(), area_ino(&area, "x"));
}

fn area_ino(area: &Area, name: &str) -> u64 {
    fs::metadata(area.path(name)).unwrap().ino()
}

#[test]
fn a_directory_replaces_an_empty_one_only() {
    let area = Area::new();
    area.directory("a");
    area.file("a/f", "");
    area.directory("empty");
    area.directory("full");
    area.file("full/g", "");
    let refused = fs::rename(area.path("a"), area.path("full"));
    check::one_of(refused, &[Errno::NOTEMPTY, Errno::EXIST]);
    fs::rename(area.path("a"), area.path("empty")).unwrap();
    assert!(area.path("empty/f").exists());
}

#[test]
fn kinds_must_fit() {
    let area = Area::new();
    area.file("f", "");
    area.directory("d");
    assert_eq!(errno(fs::rename(area.path("f"), area.path("d"))), Errno::ISDIR);
    assert_eq!(errno(fs::rename(area.path("d"), area.path("f"))), Errno::NOTDIR);
    assert_eq!(errno(fs::rename(area.path("none"), area.path("f"))), Errno::NOENT);
    assert_eq!(errno(fs::rename(area.path("f"), area.path("none/f"))), Errno::NOENT);
    assert_eq!(errno(fs::rename(area.path("f"), area.path("n".repeat(256)))), Errno::NAMETOOLONG);
}

#[test]
fn a_directory_does_not_move_below_itself() {
    let area = Area::new();
    fs::create_dir_all(area.path("a/b")).unwrap();
    assert_eq!(errno(fs::rename(area.path("a"), area.path("a/b/c"))), Errno::INVAL);
    check::one_of(fs::rename(area.path("a/b"), area.path("a")), &[Errno::NOTEMPTY, Errno::EXIST]);
}

#[test]
fn onto_itself_and_onto_its_own_link_does_nothing() {
    let area = Area::new();
    let path = area.file("f", "x");
    fs::rename(&path, &path).unwrap();
    fs::hard_link(&path, area.path("g")).unwrap();
    fs::rename(&path, area.path("g")).unwrap();
    assert!(path.exists() && area.path("g").exists());
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 2);
}

#[test]
fn noreplace_refuses_an_existing_name() {
    let area = Area::new();
    let (from, to) = (area.file("from", "new"), area.file("to", "old"));
    let refused = rename_with(&from, &to, RenameFlags::NOREPLACE);
    assert_eq!(errno(refused), Errno::EXIST);
    assert_eq!(fs::read(&to).unwrap(), b"old");
    rename_with(&from, &area.path("free"), RenameFlags::NOREPLACE).unwrap();
    assert_eq!(fs::read(area.path("free")).unwrap(), b"new");
}

#[test]
fn exchange_swaps_files_and_directories() {
    let area = Area::new();
    let (file, directory) = (area.file("f", "file"), area.directory("d"));
    area.file("d/inner", "inner");
    rename_with(&file, &directory, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(area.path("d")).unwrap(), b"file");
    assert_eq!(fs::read(area.path("f/inner")).unwrap(), b"inner");
    let other = area.file("g", "other");
    rename_with(&area.path("d"), &other, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(area.path("d")).unwrap(), b"other");
    assert_eq!(fs::read(area.path("g")).unwrap(), b"file");
    let missing = rename_with(&other, &area.path("none"), RenameFlags::EXCHANGE);
    assert_eq!(errno(missing), Errno::NOENT);
}

#[test]
fn exchange_refuses_to_put_a_directory_below_itself() {
    let area = Area::new();
    fs::create_dir_all(area.path("a/b")).unwrap();
    let looped = rename_with(&area.path("a"), &area.path("a/b"), RenameFlags::EXCHANGE);
    assert_eq!(errno(looped), Errno::INVAL);
    let looped = rename_with(&area.path("a/b"), &area.path("a"), RenameFlags::EXCHANGE);
    check::one_of(looped, &[Errno::INVAL, Errno::NOTEMPTY]);
}

#[test]
fn a_symlink_moves_as_itself() {
    let area = Area::new();
    area.file("target", "t");
    std::os::unix::fs::symlink("target", area.path("s")).unwrap();
    fs::rename(area.path("s"), area.path("moved")).unwrap();
    assert_eq!(fs::read_link(area.path("moved")).unwrap(), Path::new("target"));
    fs::rename(area.file("f", "f"), area.path("moved")).unwrap();
    assert_eq!(
        fs::read(area.path("target")).unwrap(),
        b"t",
        "the link was replaced, not its target"
    );
}

#[test]
fn keeps_the_times_of_the_file() {
    let area = Area::new();
    let path = area.file("f", "x");
    let stamp = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
    File::options().write(true).open(&path).unwrap().set_modified(stamp).unwrap();
    fs::rename(&path, area.path("g")).unwrap();
    let meta = fs::metadata(area.path("g")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 5));
}

#[test]
fn an_open_directory_follows_its_move() {
    let area = Area::new();
    fs::create_dir_all(area.path("a/b")).unwrap();
    let handle = File::open(area.path("a/b")).unwrap();
    fs::rename(area.path("a"), area.path("z")).unwrap();
    let made = rustix::fs::mkdirat(&handle, "inside", rustix::fs::Mode::RWXU);
    made.unwrap();
    assert!(area.path("z/b/inside").is_dir());
}
