//! mknod(2), mkfifo(3), bind(2) of a socket

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;

use support::{Area, errno};

fn make(area: &Area, name: &str, kind: FileType, device: u64) -> rustix::io::Result<()> {
    mknodat(CWD, area.path(name), kind, Mode::from(0o640), device)
}

#[test]
fn a_fifo_carries_bytes() {
    let area = Area::new();
    make(&area, "fifo", FileType::Fifo, 0).unwrap();
    assert!(fs::metadata(area.path("fifo")).unwrap().file_type().is_fifo());
    let path = area.path("fifo");
    std::thread::scope(|scope| {
        scope.spawn(|| fs::File::create(&path).unwrap().write_all(b"through").unwrap());
        let mut text = String::new();
        fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    });
}

#[test]
fn a_socket_listens() {
    let area = Area::new();
    let path = area.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hi").unwrap();
    let mut buffer = [0; 2];
    listener.accept().unwrap().0.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"hi");
    assert_eq!(errno(UnixListener::bind(&path)), Errno::ADDRINUSE);
}

#[test]
fn devices_keep_their_numbers() {
    let area = Area::new();
    for (name, kind, major, minor) in
        [("null", FileType::CharacterDevice, 1, 3), ("disk", FileType::BlockDevice, 259, 70_000)]
    {
        make(&area, name, kind, makedev(major, minor)).unwrap();
        let meta = fs::metadata(area.path(name)).unwrap();
        assert_eq!(meta.rdev(), makedev(major, minor), "{name}");
        assert_eq!(meta.mode() & 0o7777, 0o640);
    }
    assert!(fs::metadata(area.path("null")).unwrap().file_type().is_char_device());
    assert!(fs::metadata(area.path("disk")).unwrap().file_type().is_block_device());
}

#[test]
fn a_device_does_not_open() {
    let area = Area::new();
    if area.cairn().is_none() {
        return;
    }
    make(&area, "null", FileType::CharacterDevice, makedev(1, 3)).unwrap();
    assert_eq!(errno(fs::File::open(area.path("null"))), Errno::ACCESS, "mounted nodev");
}

#[test]
fn mknod_makes_regular_files_too() {
    let area = Area::new();
    make(&area, "f", FileType::RegularFile, 0).unwrap();
    fs::write(area.path("f"), "written later").unwrap();
    assert_eq!(fs::read(area.path("f")).unwrap(), b"written later");
    assert_eq!(errno(make(&area, "f", FileType::Fifo, 0)), Errno::EXIST);
}
