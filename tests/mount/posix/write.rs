//! write(2), pwrite(2)

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use rustix::io::Errno;

use support::{Area, content, errno};

#[test]
fn overwrites_in_place_fresh_and_sealed() {
    let area = Area::new();
    for path in [area.file("f", "0123456789"), area.sealed("g", "0123456789")] {
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"abc", 4).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"0123abc789");
        drop(file);
        area.settle(&path);
        assert_eq!(fs::read(&path).unwrap(), b"0123abc789");
    }
}

#[test]
fn rewriting_one_of_two_equal_files_leaves_the_other() {
    let area = Area::new();
    let same = content::bytes(5, 50_000);
    let first = area.sealed("a", &same);
    let second = area.sealed("b", &same);
    let file = File::options().write(true).open(&first).unwrap();
    file.write_all_at(b"changed", 100).unwrap();
    drop(file);
    assert!(fs::read(&second).unwrap() == same);
    area.settle(&first);
    assert!(fs::read(&second).unwrap() == same);
    let mut expected = same;
    expected[100..107].copy_from_slice(b"changed");
    assert!(fs::read(&first).unwrap() == expected);
}

#[test]
fn past_the_end_leaves_a_gap_of_zeros() {
    let area = Area::new();
    for path in [area.file("f", "start"), area.sealed("g", "start")] {
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"end", 100_000).unwrap();
        drop(file);
        area.settle(&path);
        let found = fs::read(&path).unwrap();
        assert_eq!(found.len(), 100_003);
        assert_eq!((&found[..5], &found[100_000..]), (&b"start"[..], &b"end"[..]));
        assert!(found[5..100_000].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn many_small_writes_make_one_file() {
    let area = Area::new();
    let path = area.path("f");
    let expected = content::bytes(11, 3_000_000);
    let mut file = File::create(&path).unwrap();
    for chunk in expected.chunks(4_999) {
        file.write_all(chunk).unwrap();
    }
    drop(file);
    assert!(fs::read(&path).unwrap() == expected);
    area.settle(&path);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn from_the_back_to_the_front() {
    let area = Area::new();
    let path = area.path("f");
    let expected = content::bytes(12, 2_000_000);
    let file = File::create(&path).unwrap();
    for (index, chunk) in expected.chunks(64 * 1024).enumerate().rev() {
        file.write_all_at(chunk, index as u64 * 64 * 1024).unwrap();
    }
    drop(file);
    area.settle(&path);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn two_handles_write_into_one_file() {
    let area = Area::new();
    let path = area.file("f", vec![0; 200_000]);
    std::thread::scope(|scope| {
        for half in [0_u8, 1] {
            let path = &path;
            scope.spawn(move || {
                let file = File::options().write(true).open(path).unwrap();
                for page in (u64::from(half)..48).step_by(2) {
                    file.write_all_at(&[half + 1; 4096], page * 4096).unwrap();
                }
            });
        }
    });
    area.settle(&path);
    let found = fs::read(&path).unwrap();
    for page in 0..48 {
        let expected = u8::try_from(page % 2).unwrap() + 1;
        assert!(found[page * 4096..(page + 1) * 4096].iter().all(|byte| *byte == expected));
    }
}

#[test]
fn updates_mtime_and_size() {
    let area = Area::new();
    let path = area.file("f", "x");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"yz", 1).unwrap();
    let meta = file.metadata().unwrap();
    assert_eq!(meta.len(), 3);
    assert!(meta.mtime() > 1_000_000);
    drop(file);
    assert!(fs::metadata(&path).unwrap().mtime() > 1_000_000);
}

#[test]
fn mtime_set_after_the_last_write_stays() {
    let area = Area::new();
    let path = area.path("f");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"content").unwrap();
    let stamp = std::time::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789);
    file.set_modified(stamp).unwrap();
    drop(file);
    area.settle(&path);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_234_567_890, 123_456_789));
}

#[test]
fn a_read_only_handle_does_not_write() {
    let area = Area::new();
    let file = File::open(area.file("f", "x")).unwrap();
    assert_eq!(errno(file.write_at(b"y", 0)), Errno::BADF);
}

#[test]
fn a_change_by_others_clears_set_id_bits() {
    let area = Area::shared();
    let path = area.file("f", "x");
    for change in [
        "echo changed >> \"$1\"",
        ": > \"$1\"",
        "truncate -s 100 \"$1\"",
        "fallocate -l 10000 \"$1\"",
        "fallocate -p -o 0 -l 4096 \"$1\"",
    ] {
        // Without the group's right to execute, set-group-ID is lost to those of other groups.
        for mode in [0o6777, 0o6767, 0o4777, 0o2777] {
            support::area::set_mode(&path, mode);
            let output = support::area::as_nobody(change, &[&path]);
            assert!(output.status.success(), "{change}: {output:?}");
            let left = fs::metadata(&path).unwrap().mode() & 0o7777;
            assert_eq!(left, mode & 0o777, "{change} of {mode:o}");
        }
    }
}

#[test]
fn a_change_by_root_keeps_set_id_bits_and_clears_capabilities() {
    use rustix::fs::{XattrFlags, listxattr, setxattr};
    let area = Area::new();
    let path = area.file("f", "x");
    let nothing_allowed = *b"\x01\0\0\x02\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    for change in ["echo >> \"$1\"", ": > \"$1\"", "truncate -s 9 \"$1\"", "fallocate -l 99 \"$1\""]
    {
        support::area::set_mode(&path, 0o6755);
        setxattr(&path, "security.capability", &nothing_allowed, XattrFlags::empty()).unwrap();
        let status = Command::new("sh").args(["-c", change, "sh"]).arg(&path).status().unwrap();
        assert!(status.success(), "{change}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o6755, "{change}");
        assert_eq!(listxattr(&path, &mut [0_u8; 100][..]).unwrap(), 0, "{change}");
    }
}

#[test]
fn log_of_a_file_kept_open_is_read_back_while_it_grows() {
    let area = Area::new();
    let path = area.path("log");
    let mut log = File::create(&path).unwrap();
    let mut expected = String::new();
    for line in 0..500 {
        let text = format!("line {line}\n");
        log.write_all(text.as_bytes()).unwrap();
        expected.push_str(&text);
        if line % 50 == 0 {
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        }
    }
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn beyond_four_gibibytes() {
    const GIB: u64 = 1 << 30;
    let area = Area::new();
    let path = area.path("f");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let offsets = [4 * GIB - 3, 5 * GIB + 7, 6 * GIB];
    for offset in offsets {
        file.write_all_at(b"marked", offset).unwrap();
    }
    let check = |file: &File| {
        for offset in offsets {
            let mut found = [0; 6];
            file.read_exact_at(&mut found, offset).unwrap();
            assert_eq!(&found, b"marked", "at {offset}");
        }
        let mut between = [1; 10];
        file.read_exact_at(&mut between, 4 * GIB + 100).unwrap();
        assert_eq!(between, [0; 10]);
        assert_eq!(file.metadata().unwrap().len(), 6 * GIB + 6);
    };
    check(&file);
    drop(file);
    check(&File::open(&path).unwrap());
    // Holes are hashed without reading them (H9): it becomes a blob as any other file does.
    area.settle(&path);
    check(&File::open(&path).unwrap());
    let blocks = fs::metadata(&path).unwrap().blocks();
    assert!(blocks * 512 < GIB, "the blob has its holes: {blocks} blocks");
}
