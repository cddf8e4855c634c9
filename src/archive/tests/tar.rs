//! Archives that GNU tar makes, and archives that GNU tar reads.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::compare::{allocated, describe, fill, run};
use super::memory::MemoryStore;
use crate::archive::export::{LinkMode, export_directory};
use crate::archive::observer::Unobserved;
use crate::archive::tar_import::import_archive;
use crate::archive::tar_write::export_archive;

fn describe_archive(archive: &[u8]) -> std::collections::BTreeMap<String, String> {
    let to = tempfile::tempdir().unwrap();
    let mut store = MemoryStore::default();
    import_archive(archive, &mut store, &mut Unobserved).unwrap();
    export_directory(&mut store, to.path(), LinkMode::Copy, &mut |_| {}).unwrap();
    assert!(allocated(&to.path().join("sparse")) < 1 << 20, "holes were filled");
    describe(to.path())
}

fn gnu_tar(top: &Path, options: &[&str]) -> Vec<u8> {
    let mut command = Command::new("tar");
    command.args(options).args(["--create", "--file=-", "--directory"]).arg(top).arg(".");
    run(&mut command)
}

/// Drops what an archive format cannot hold.
fn without_nanoseconds(text: &str) -> String {
    let (before, after) = text.split_once(" mtime ").unwrap();
    let (seconds, rest) = after.split_once('.').unwrap();
    format!("{before} mtime {seconds}{}", &rest[9..])
}

#[test]
fn pax_archives_of_gnu_tar_come_out_whole() {
    let from = tempfile::tempdir().unwrap();
    fill(from.path());
    let all = ["--xattrs", "--xattrs-include=*", "--format=pax", "--numeric-owner"];
    for options in
        [&all[..], &[&all[..], &["--sparse"]].concat(), &[&all[..], &["--gzip"]].concat()]
    {
        let archive = gnu_tar(from.path(), options);
        let (found, expected) = (describe_archive(&archive), describe(from.path()));
        for (name, text) in &expected {
            assert_eq!(found.get(name), Some(text), "{options:?} {name}");
        }
        assert_eq!(found.len(), expected.len());
    }
    let archive = zstd::encode_all(&gnu_tar(from.path(), &all)[..], 0).unwrap();
    assert_eq!(describe_archive(&archive), describe(from.path()));
}

#[test]
fn gnu_archives_come_out_without_what_the_format_lacks() {
    let from = tempfile::tempdir().unwrap();
    fill(from.path());
    for options in [&["--format=gnu"][..], &["--format=gnu", "--sparse"]] {
        let found = describe_archive(&gnu_tar(from.path(), options));
        for (name, text) in describe(from.path()) {
            // This format keeps no extended attributes.
            if text.contains("xattrs {}") {
                let found = found.get(&name).map(|text| without_nanoseconds(text));
                assert_eq!(found, Some(without_nanoseconds(&text)), "{options:?} {name}");
            }
        }
    }
}

#[test]
fn gnu_tar_reads_what_is_exported() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    fill(&from);
    let mut store = MemoryStore::default();
    import_archive(
        &gnu_tar(&from, &["--xattrs", "--xattrs-include=*", "--format=pax"])[..],
        &mut store,
        &mut Unobserved,
    )
    .unwrap();
    let mut archive = Vec::new();
    export_archive(&mut store, &mut archive, &mut |_| {}).unwrap();
    let mut again = Vec::new();
    export_archive(&mut store, &mut again, &mut |_| {}).unwrap();
    assert!(archive == again, "the same version gave two archives");
    assert_eq!(archive.len() % 10_240, 0);
    assert_eq!(describe_archive(&archive), describe(&from), "read by cairn");
    let file = dir.path().join("archive.tar");
    fs::File::create(&file).unwrap().write_all(&archive).unwrap();
    let mut command = Command::new("tar");
    command.args(["--extract", "--xattrs", "--xattrs-include=*", "--same-permissions"]);
    command.args(["--numeric-owner", "--file"]).arg(&file).arg("--directory").arg(&to);
    run(&mut command);
    let (found, expected) = (describe(&to), describe(&from));
    for (name, text) in &expected {
        assert_eq!(found.get(name), Some(text), "{name}");
    }
    assert!(allocated(&to.join("sparse")) < 1 << 20, "holes were filled");
}
