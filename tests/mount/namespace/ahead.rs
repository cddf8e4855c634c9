//! Small files come with the listing of their directory, so that reading them asks the daemon nothing

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Cairn, content, wait};

const FILES: u64 = 200;

fn bytes(number: u64) -> Vec<u8> {
    // From nothing to some pages, also such as end at the end of a page.
    let lengths = [1, 100, 4095, 4096, 4097, 20_000, 65_536, 0];
    content::bytes(number, lengths[usize::try_from(number).unwrap() % lengths.len()])
}

fn published() -> Cairn {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    (0..FILES).for_each(|number| fs::write(area.join(number.to_string()), bytes(number)).unwrap());
    cairn.publish("lib", "a").unwrap();
    cairn.stop();
    cairn.mount();
    cairn
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

/// How many of the files are in memory as a whole. Looking asks the daemon nothing.
fn in_memory(paths: &[PathBuf]) -> u64 {
    let mut command = Command::new("fincore");
    command.args(["--bytes", "--noheadings", "--raw", "--output", "RES,SIZE"]).args(paths);
    let output = command.output().expect("fincore (package util-linux) tells what is in memory");
    let lines = String::from_utf8(output.stdout).unwrap();
    let whole = |line: &&str| {
        let (memory, size) = line.split_once(' ').unwrap();
        let (memory, size): (u64, u64) = (memory.parse().unwrap(), size.parse().unwrap());
        size > 0 && memory >= size
    };
    lines.lines().filter(whole).count() as u64
}

fn reads(cairn: &Cairn) -> u64 {
    let document = cairn.json(&["top", "--once"]);
    let operations = document["operations"].as_array().unwrap().iter();
    let read = operations.filter(|operation| operation["operation"] == "read");
    read.map(|operation| operation["operation_count"].as_u64().unwrap()).sum()
}

fn assert_content(directory: &Path) {
    for number in 0..FILES {
        assert!(fs::read(directory.join(number.to_string())).unwrap() == bytes(number), "{number}");
    }
}

#[test]
fn what_was_listed_is_read_without_the_daemon() {
    let cairn = published();
    let directory = cairn.versions("lib/1");
    let paths = list(&directory);
    // An eighth is empty, a sixteenth is left out to see whether anybody reads.
    let mut there = 0;
    wait::until("most files are in memory", || {
        there = in_memory(&paths);
        there > FILES / 2
    });
    assert_content(&directory);
    let reads = reads(&cairn);
    assert!(0 < reads && reads <= 2 * (FILES - there), "{reads} reads, {there} were there");
}

#[test]
fn h8_without_a_guard_nothing_is_handed_over() {
    let cairn = published();
    cairn.kill_guard();
    wait::until("the daemon knows it", || cairn.json(&["status"])["guard"].is_null());
    let directory = cairn.versions("lib/1");
    let paths = list(&directory);
    assert_eq!(in_memory(&paths), 0);
    assert_content(&directory);
    assert!(reads(&cairn) >= FILES - FILES / 8);
    assert_eq!(in_memory(&paths), FILES - FILES / 8);
}

#[test]
fn h5_what_was_handed_over_is_forgotten_when_it_turns_out_to_be_damaged() {
    let cairn = published();
    let directory = cairn.versions("lib/1");
    let paths = list(&directory);
    wait::until("most files are in memory", || in_memory(&paths) > FILES / 2);
    for (blob, length) in cairn.pool() {
        let mut permissions = fs::metadata(&blob).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        fs::set_permissions(&blob, permissions).unwrap();
        fs::write(&blob, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
    }
    assert_eq!(cairn.run(&["fsck", "--full"]).status.code(), Some(10));
    for path in paths.iter().filter(|path| fs::metadata(path).unwrap().len() > 0) {
        let error = fs::read(path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{error}");
    }
}
