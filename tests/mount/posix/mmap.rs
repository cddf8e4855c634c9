//! mmap(2), msync(2)

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use support::mapping::Mapping;
use support::{Area, content};

#[test]
fn reads_fresh_and_sealed_files() {
    let area = Area::new();
    let expected = content::bytes(1, 100_000);
    for path in [area.file("f", &expected), area.sealed("g", content::bytes(1, 100_000))] {
        let mapping = Mapping::shared(&File::open(path).unwrap(), expected.len(), false).unwrap();
        assert!(mapping.read(0, expected.len()) == expected);
    }
}

#[test]
fn what_is_stored_through_a_mapping_is_in_the_file() {
    let area = Area::new();
    for path in [area.file("f", vec![b'.'; 20_000]), area.sealed("g", vec![b'.'; 20_000])] {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mapping = Mapping::shared(&file, 20_000, true).unwrap();
        mapping.write(5_000, b"stored");
        mapping.sync();
        let mut found = [0; 6];
        file.read_exact_at(&mut found, 5_000).unwrap();
        assert_eq!(&found, b"stored");
        assert_eq!(fs::read(&path).unwrap()[5_000..5_006], *b"stored");
    }
}

#[test]
fn a_mapping_outlives_its_descriptor() {
    let area = Area::new();
    let path = area.file("f", vec![0; 10_000]);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mapping = Mapping::shared(&file, 10_000, true).unwrap();
    drop(file);
    mapping.write(9_000, b"after close");
    drop(mapping);
    area.settle(&path);
    assert_eq!(fs::read(&path).unwrap()[9_000..9_011], *b"after close");
}

#[test]
fn a_mapping_and_write_see_each_other() {
    let area = Area::new();
    let path = area.file("f", vec![0; 8192]);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mapping = Mapping::shared(&file, 8192, true).unwrap();
    file.write_all_at(b"written", 100).unwrap();
    assert_eq!(mapping.read(100, 7), b"written");
    mapping.write(200, b"mapped");
    let mut found = [0; 6];
    file.read_exact_at(&mut found, 200).unwrap();
    assert_eq!(&found, b"mapped");
}

#[test]
fn a_program_runs_from_the_area() {
    let area = Area::new();
    let path = area.path("true");
    fs::copy("/bin/true", &path).unwrap();
    area.settle(&path);
    assert!(Command::new(&path).status().unwrap().success());
}

#[test]
fn a_mapping_and_another_process_see_each_other() {
    let area = Area::new();
    let path = area.sealed("f", vec![b'.'; 2_000_000]);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mapping = Mapping::shared(&file, 2_000_000, true).unwrap();
    assert_eq!(mapping.read(1_500_000, 5), b".....");
    let shell = |script: &str| {
        let output = Command::new("sh").args(["-c", script, "sh"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    for round in 0..20 {
        shell(&format!("printf w{round:04} | dd of=\"$1\" bs=1 seek=1500000 conv=notrunc"));
        assert_eq!(mapping.read(1_500_000, 5), format!("w{round:04}").as_bytes());
        mapping.write(700_000, format!("m{round:04}").as_bytes());
        let seen = shell("tail -c +700001 \"$1\" | head -c 5");
        assert_eq!(seen, format!("m{round:04}").as_bytes());
    }
    // What was cut off is gone from the mapping's pages too.
    shell("truncate -s 1000000 \"$1\"; truncate -s 2000000 \"$1\"");
    assert_eq!(mapping.read(1_500_000, 5), [0; 5]);
    drop((mapping, file));
    area.settle(&path);
    assert_eq!(fs::read(&path).unwrap()[700_000..700_005], *b"m0019");
}

#[test]
fn a_private_mapping_changes_nothing() {
    let area = Area::new();
    let path = area.sealed("program", fs::read("/bin/true").unwrap());
    support::area::set_mode(&path, 0o755);
    // The loader maps programs privately and writes into its copy.
    for _ in 0..3 {
        assert!(Command::new(&path).status().unwrap().success());
    }
    assert!(fs::read(&path).unwrap() == fs::read("/bin/true").unwrap());
}
