//! What a sync of an archive makes (V1, V2, V7, V13, H26, H27)

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{Cairn, content, wait};

use super::{Local, counts, events, write};
use crate::shared::{map, result};

/// Packs what is in a directory with the arguments of tar.
fn pack(tree: &Path, archive: &Path, arguments: &[&str]) {
    let mut command = Command::new("tar");
    command.arg("-C").arg(tree).arg("-cf").arg(archive).args(arguments);
    let status = command.status().unwrap();
    assert!(status.success(), "{arguments:?}");
}

/// A daemon, a directory of these files, and an archive of it that is the remote.
fn packed(files: &[(&str, &[u8])]) -> (Local, PathBuf) {
    let cairn = Cairn::start();
    let tree = cairn.scratch().join("tree");
    fs::create_dir(&tree).unwrap();
    write(&tree, files);
    let archive = cairn.scratch().join("ball.tar");
    pack(&tree, &archive, &["."]);
    (Local::of(cairn, archive, "archive"), tree)
}

#[test]
fn v13_an_archive_becomes_the_version_that_an_import_of_it_becomes() {
    let large = content::bytes(3, 400_000);
    let (local, tree) = packed(&[("a", b"1"), ("d/b", b"2"), ("large", &large)]);
    fs::hard_link(tree.join("a"), tree.join("d/other")).unwrap();
    symlink("a", tree.join("link")).unwrap();
    for (number, form) in ["--no-auto-compress", "--gzip", "--zstd", "--xz"].into_iter().enumerate()
    {
        write(&tree, &[("form", form.as_bytes())]);
        pack(&tree, &local.source, &[form, "."]);
        let path = local.path();
        local.cairn.cli(&["import", "--mirror", path, "imported"]);
        let imported = local.cairn.json(&["show", &format!("imported/{}", number + 1)]);
        let done = local.sync(&["--mirror"]);
        assert_eq!(done["version"]["hash"], imported["hash"], "{form}");
        let fresh = local.cairn.cli(&["sync", form.trim_start_matches('-'), "origin", "--json"]);
        assert_eq!(result(&fresh)["version"]["hash"], imported["hash"], "{form}");
        let found = local.cairn.json(&["remote", "test", "origin"]);
        assert_eq!((&found["usable"], &found["declared_file_count"]), (&true.into(), &6.into()));
        let form = form.trim_start_matches('-').replace("no-auto-compress", "not compressed");
        assert!(found["notes"][0].as_str().unwrap().contains(&form), "{found}");
    }
}

#[test]
fn v2_an_archive_that_did_not_change_is_not_read_again() {
    let (local, tree) = packed(&[("a", b"1"), ("d/b", b"2")]);
    local.sync(&["--mirror"]);
    wait::until("it is known by its time", || {
        let done = local.sync(&["--mirror"]);
        assert_eq!((&done["changed"], &done["version"]["number"]), (&false.into(), &1.into()));
        done["unchanged_remote"] == true
    });
    assert_eq!(
        local.sync(&["--additive"])["unchanged_remote"],
        false,
        "it was asked for otherwise"
    );
    let whole = ["--mirror", "--max-delete", "100%"];
    assert_eq!(local.sync_from("origin/d", &whole)["version"]["number"], 2);
    let done = local.sync(&whole);
    assert_eq!((&done["unchanged_remote"], &done["version"]["number"]), (&false.into(), &3.into()));
    // The same content packed again is another file.
    pack(&tree, &local.source, &["."]);
    let done = local.sync(&["--mirror"]);
    assert_eq!((&done["unchanged_remote"], &done["changed"]), (&false.into(), &false.into()));
}

#[test]
fn v1_an_archive_in_any_order_mirrors_and_adds() {
    let (local, tree) =
        packed(&[("a", b"1"), ("d/b", b"2"), ("d/c", b"3"), ("z/y", b"4"), ("z.x", b"5")]);
    local.sync(&["--mirror"]);
    fs::remove_file(tree.join("a")).unwrap();
    write(&tree, &[("a/in", b"6"), ("d/b", b"7")]);
    // No member for any directory, and what comes last comes first.
    pack(&tree, &local.source, &["z/y", "d/b", "a/in"]);
    let planned = local.sync(&["--mirror", "--dry-run"]);
    assert_eq!(counts(&planned, ["added", "changed", "removed", "unchanged"]), [1, 1, 3, 1]);
    let mut told = events(&planned);
    told.sort();
    assert_eq!(told, ["added a/in", "changed d/b", "removed a", "removed d/c", "removed z.x"]);
    let done = local.sync(&[]);
    assert_eq!(counts(&done, ["added", "changed", "removed"]), [1, 1, 1]);
    let rest = [("a/in", &b"6"[..]), ("d/b", b"7"), ("z/y", b"4")];
    let mut all = map(&rest);
    all.extend(map(&[("d/c", b"3"), ("z.x", b"5")]));
    assert_eq!(local.version(2), all);
    let done = local.sync(&["--mirror"]);
    assert_eq!(counts(&done, ["added", "changed", "removed"]), [0, 0, 2]);
    assert_eq!(local.version(3), map(&rest));
}

#[test]
fn v1_a_subpath_of_an_archive_is_the_root_of_the_version() {
    let (local, tree) = packed(&[("a", b"1"), ("d/b", b"2"), ("d/e/f", b"3"), ("d.x", b"4")]);
    local.sync_from("origin/d", &["--mirror"]);
    assert_eq!(local.version(1), map(&[("b", b"2"), ("e/f", b"3")]));
    for (below, part) in [("none", "nothing in it below none"), ("a", "is no directory")] {
        let (status, message) = local.sync_fails(&format!("origin/{below}"), &[]);
        assert_eq!(status, 1);
        assert!(message.contains(part), "{message}");
    }
    // The content of a further name is with the first one.
    fs::hard_link(tree.join("a"), tree.join("d/z")).unwrap();
    pack(&tree, &local.source, &["--sort=name", "."]);
    let (_, message) = local.sync_fails("origin/d", &["--mirror"]);
    assert!(message.contains("d/z") && message.contains("in another part"), "{message}");
    local.sync(&["--mirror", "--max-delete", "100%"]);
    assert_eq!(local.version(2).len(), 5);
}

#[test]
fn v7_a_damaged_archive_publishes_nothing() {
    let large = content::bytes(5, 300_000);
    let (local, tree) = packed(&[("a", b"1"), ("large", &large), ("z", b"2")]);
    let whole = fs::read(&local.source).unwrap();
    local.sync(&["--mirror"]);
    write(&tree, &[("z", b"3")]);
    pack(&tree, &local.source, &["--gzip", "."]);
    let zipped = fs::read(&local.source).unwrap();
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let spoiled = |bytes: &[u8]| [&bytes[..512], &[b'x'; 512], &bytes[1024..]].concat();
    for (content, part) in [
        (cut(&whole), "it ends in the middle of a file"),
        (whole[..512].to_vec(), "it ends without its end marker"),
        (cut(&zipped), "it is cut off"),
        (spoiled(&whole), "wrong checksum"),
        (b"no archive".to_vec(), "no tar archive"),
        (Vec::new(), "no tar archive"),
        (b"\xfd7zXZ\0 and more".to_vec(), "it cannot be decompressed"),
        (b"BZh and more".to_vec(), "compressed with bzip2"),
    ] {
        fs::write(&local.source, content).unwrap();
        for options in [&["--mirror"][..], &["--keep-going"], &["--mirror", "--dry-run"]] {
            let (status, message) = local.sync_fails("origin", options);
            assert_eq!(status, 1);
            assert!(message.contains(part) && message.contains("ball.tar"), "{part}: {message}");
            assert!(message.contains("no new version"), "{message}");
        }
        let output = local.cairn.run(&["remote", "test", "origin"]);
        assert_eq!(output.status.code(), Some(1), "{part}");
    }
    assert!(!local.cairn.versions("lib/2").exists());
    fs::write(&local.source, zipped).unwrap();
    assert_eq!(local.sync(&["--mirror"])["changed_file_count"], 1);
}

#[test]
fn h26_members_that_lead_elsewhere_refuse_the_archive() {
    let (local, tree) = packed(&[("a", b"1")]);
    for (arguments, part) in [
        (&["-P", "--transform=s,^,../,", "a"][..], "`..`"),
        (&["-P", "--transform=s,^,/,", "a"], "absolute"),
        (&["a", "a", "--hard-dereference"], "twice"),
    ] {
        pack(&tree, &local.source, arguments);
        let (status, message) = local.sync_fails("origin", &["--keep-going"]);
        assert_eq!(status, 1);
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!local.cairn.staging("lib").exists());
}

#[test]
fn h27_an_archive_is_a_file_that_is_there_and_has_something_in_it() {
    let (local, tree) = packed(&[("a", b"1")]);
    local.sync(&["--mirror"]);
    fs::remove_file(&local.source).unwrap();
    let (status, message) = local.sync_fails("origin", &["--mirror"]);
    assert_eq!(status, 1);
    assert!(message.contains("No such file"), "{message}");
    // A pipe that nobody writes into would be waited for.
    mknodat(CWD, &local.source, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let (_, message) = local.sync_fails("origin", &["--mirror"]);
    assert!(message.contains("no regular file"), "{message}");
    local.cairn.cli(&["remote", "set", "origin", "--url", tree.to_str().unwrap()]);
    let (_, message) = local.sync_fails("origin", &["--mirror"]);
    assert!(message.contains("no regular file"), "{message}");
    local.cairn.cli(&["remote", "set", "origin", "--url", local.path()]);
    fs::remove_file(&local.source).unwrap();
    pack(&tree, &local.source, &["--files-from=/dev/null"]);
    let (_, message) = local.sync_fails("origin", &["--mirror", "--max-delete", "100%"]);
    assert!(message.contains("has nothing in it"), "{message}");
    assert!(!local.cairn.versions("lib/2").exists());
}
