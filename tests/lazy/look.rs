//! A lazy version is complete to look at, and looking fetches nothing (L3).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use rustix::fs::{SeekFrom, seek};

use crate::shared::{FILES, Origin};

#[test]
fn l3_programs_that_look_fetch_nothing() {
    let origin = Origin::new();
    let version = origin.cairn.versions("lib/1");
    for command in [
        "find . -ls",
        "du -a .",
        "du -a --apparent-size .",
        "ls -lR .",
        "find . -type f -exec stat {} +",
        "getfattr -R -n user.cairn.sha256 . || true",
    ] {
        let looked =
            Command::new("sh").args(["-c", command]).current_dir(&version).output().unwrap();
        assert!(looked.status.success(), "{command}: {looked:?}");
    }
    for (path, content) in FILES {
        let found = fs::metadata(version.join(path)).unwrap();
        assert_eq!(found.len(), content.len() as u64, "{path}");
        let file = fs::File::open(version.join(path)).unwrap();
        if found.len() > 0 {
            assert_eq!(seek(&file, SeekFrom::Data(0)).unwrap(), 0);
            assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), found.len());
        }
    }
    assert!(fs::metadata(version.join("dir")).unwrap().ino() > 0);
    let cairn = &origin.cairn;
    cairn.cli(&["versions", "lib"]);
    cairn.cli(&["diff", "lib/1", "lib/1"]);
    cairn.cli(&["gc", "--wait", "--protect", "0"]);
    cairn.cli(&["fsck", "--full"]);
    cairn.cli(&["du", "lib"]);
    assert_eq!(origin.requests(), 0);
    let status = cairn.json(&["status"]);
    assert_eq!(status["absent_content_count"], 3);
    origin.check();
}

/// The same set declared again is one request, whether its content is here or not.
#[test]
fn an_unchanged_sync_fetches_nothing() {
    let origin = Origin::new();
    origin.sync();
    assert_eq!(origin.server.asked().len(), 2, "the manifest, twice");
    origin.site.set_manifest(&[("a", b"first"), ("dir/b", b"second, changed"), ("empty", b"")]);
    origin.sync();
    assert_eq!(origin.requests(), 0);
    let changed = origin.cairn.versions("lib/2");
    assert_eq!(fs::metadata(changed.join("dir/b")).unwrap().len(), 15);
    let differences = origin.cairn.cli(&["diff", "lib/1", "lib/2"]);
    assert!(differences.contains("dir/b") && differences.contains("dir/deep/c"), "{differences}");
    assert_eq!(origin.requests(), 0);
    assert_eq!(fs::read(changed.join("dir/b")).unwrap(), b"second, changed");
    // What the remote has no more cannot be had for the version before.
    fs::read(origin.cairn.versions("lib/1/dir/deep/c")).unwrap_err();
    origin.check();
}
