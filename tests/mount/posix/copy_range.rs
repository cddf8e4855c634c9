//! copy_file_range(2)

use std::fs::{self, File};

use rustix::fs::copy_file_range;

use support::{Area, content};

fn copy(from: &File, from_at: u64, to: &File, to_at: u64, length: usize) -> usize {
    let (mut source, mut target, mut done) = (from_at, to_at, 0);
    while done < length {
        let moved =
            copy_file_range(from, Some(&mut source), to, Some(&mut target), length - done).unwrap();
        if moved == 0 {
            break;
        }
        done += moved;
    }
    done
}

#[test]
fn whole_files_fresh_and_sealed() {
    let area = Area::new();
    for size in [0, 10, 100_000, 3_000_000] {
        let expected = content::bytes(1, size);
        let fresh = area.file(&format!("fresh{size}"), &expected);
        let sealed = area.sealed(&format!("sealed{size}"), &expected);
        for path in [fresh, sealed] {
            let to = path.with_extension("copy");
            let target = File::create(&to).unwrap();
            assert_eq!(copy(&File::open(&path).unwrap(), 0, &target, 0, size), size);
            assert_eq!(target.metadata().unwrap().len(), size as u64);
            drop(target);
            assert!(fs::read(&to).unwrap() == expected);
            area.settle(&to);
            assert!(fs::read(&to).unwrap() == expected);
        }
    }
}

#[test]
fn a_range_into_the_middle() {
    let area = Area::new();
    let source = area.sealed("from", content::bytes(1, 50_000));
    let target = area.sealed("to", content::bytes(2, 50_000));
    let file = File::options().write(true).open(&target).unwrap();
    copy(&File::open(&source).unwrap(), 10_000, &file, 20_001, 5_000);
    drop(file);
    let mut expected = content::bytes(2, 50_000);
    expected[20_001..25_001].copy_from_slice(&content::bytes(1, 50_000)[10_000..15_000]);
    assert!(fs::read(&target).unwrap() == expected);
}

#[test]
fn stops_at_the_end_of_the_source() {
    let area = Area::new();
    let source = area.sealed("from", "0123456789");
    let file = File::create(area.path("to")).unwrap();
    assert_eq!(copy(&File::open(&source).unwrap(), 5, &file, 0, 100), 5);
    drop(file);
    assert_eq!(fs::read(area.path("to")).unwrap(), b"56789");
}

#[test]
fn a_copy_changes_alone() {
    use std::os::unix::fs::FileExt;
    let area = Area::new();
    let original = content::bytes(1, 200_000);
    let source = area.sealed("from", &original);
    let to = area.path("to");
    let target = File::options().write(true).create_new(true).open(&to).unwrap();
    copy(&File::open(&source).unwrap(), 0, &target, 0, original.len());
    target.write_all_at(b"mine", 0).unwrap();
    drop(target);
    area.settle(&to);
    assert!(fs::read(&source).unwrap() == original);
    assert_eq!(fs::read(&to).unwrap()[..4], *b"mine");
}

#[test]
fn fs_copy_and_cp_work() {
    let area = Area::new();
    let source = area.sealed("from", content::bytes(1, 100_000));
    fs::copy(&source, area.path("by-std")).unwrap();
    let status =
        std::process::Command::new("cp").arg("-a").args([&source, &area.path("by-cp")]).status();
    assert!(status.unwrap().success());
    for name in ["by-std", "by-cp"] {
        assert!(fs::read(area.path(name)).unwrap() == content::bytes(1, 100_000));
    }
}
