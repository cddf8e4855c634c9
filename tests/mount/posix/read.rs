//! read(2), pread(2)

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use support::{Area, content, errno};

#[test]
fn returns_what_was_written_at_any_size() {
    let area = Area::new();
    // Around the sizes where a page, a request and an in-memory buffer end.
    for size in [0, 1, 4095, 4096, 4097, 131_072, 1 << 20, (1 << 20) + 1, 5_000_000] {
        let expected = content::bytes(size as u64, size);
        let path = area.file(&format!("f{size}"), &expected);
        assert!(fs::read(&path).unwrap() == expected, "fresh, {size} bytes");
        area.settle(&path);
        assert!(fs::read(&path).unwrap() == expected, "sealed, {size} bytes");
    }
}

#[test]
fn at_an_offset_and_past_the_end() {
    let area = Area::new();
    let expected = content::bytes(1, 10_000);
    for path in [area.file("f", &expected), area.sealed("g", content::bytes(1, 10_000))] {
        let file = File::open(path).unwrap();
        let mut buffer = [0; 100];
        assert_eq!(file.read_at(&mut buffer, 9_950).unwrap(), 50);
        assert_eq!(buffer[..50], expected[9_950..]);
        assert_eq!(file.read_at(&mut buffer, 10_000).unwrap(), 0);
        assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0);
    }
}

#[test]
fn seeks_from_each_end() {
    let area = Area::new();
    let mut file = File::open(area.file("f", "0123456789")).unwrap();
    let mut text = String::new();
    file.seek(SeekFrom::End(-3)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "789");
    text.clear();
    file.seek(SeekFrom::Start(8)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "89");
}

#[test]
fn a_directory_is_no_file() {
    let area = Area::new();
    let file = File::open(area.directory("d")).unwrap();
    assert_eq!(errno(file.read_at(&mut [0; 10], 0)), Errno::ISDIR);
}

#[test]
fn a_write_only_handle_does_not_read() {
    let area = Area::new();
    let file = File::options().write(true).open(area.file("f", "x")).unwrap();
    assert_eq!(errno(file.read_at(&mut [0; 10], 0)), Errno::BADF);
}

#[test]
fn a_reader_sees_a_writer_at_once() {
    let area = Area::new();
    let path = area.file("f", "");
    let writer = File::options().write(true).open(&path).unwrap();
    let reader = File::open(&path).unwrap();
    for round in 0..200_u64 {
        let text = format!("{round:08}");
        writer.write_all_at(text.as_bytes(), round * 8).unwrap();
        let mut buffer = [0; 8];
        reader.read_exact_at(&mut buffer, round * 8).unwrap();
        assert_eq!(buffer, text.as_bytes());
        assert_eq!(reader.metadata().unwrap().len(), (round + 1) * 8);
    }
}

#[test]
fn a_reader_keeps_reading_across_the_seal() {
    let area = Area::new();
    let expected = content::bytes(7, 300_000);
    let path = area.path("f");
    let writer = File::create(&path).unwrap();
    writer.write_all_at(&expected, 0).unwrap();
    let reader = File::open(&path).unwrap();
    let mut head = vec![0; 1000];
    reader.read_exact_at(&mut head, 0).unwrap();
    drop(writer);
    area.settle(&path);
    let mut all = vec![0; expected.len()];
    reader.read_exact_at(&mut all, 0).unwrap();
    assert!(all == expected && head == expected[..1000]);
}

#[test]
fn another_process_reads_the_same() {
    let area = Area::new();
    let expected = content::bytes(3, 100_000);
    let path = area.path("f");
    let writer = File::create(&path).unwrap();
    writer.write_all_at(&expected, 0).unwrap();
    let output = std::process::Command::new("cat").arg(&path).output().unwrap();
    assert!(output.stdout == expected, "while the writer has it open");
    drop(writer);
}
