//! Files with several names, in versions and what is made of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use support::{Cairn, tree};

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn linked(directory: &Path, content: &str) {
    fs::create_dir(directory).unwrap();
    fs::write(directory.join("report"), content).unwrap();
    fs::hard_link(directory.join("report"), directory.join("newest")).unwrap();
}

/// Three versions, each with the directories of the one before under the next number.
fn rotated() -> Cairn {
    let cairn = Cairn::start();
    for day in ["monday", "tuesday", "wednesday"] {
        let area = cairn.area("r", &format!("{day}@latest"));
        for (from, to) in [("d.1", "d.2"), ("d.0", "d.1")] {
            if area.join(from).exists() {
                fs::rename(area.join(from), area.join(to)).unwrap();
            }
        }
        linked(&area.join("d.0"), day);
        cairn.publish("r", &format!("{day}@latest")).unwrap();
    }
    cairn
}

/// A version, a directory and an archive made of it, and an area over it show what was published.
#[test]
fn directories_that_move_and_are_filled_again_keep_their_files() {
    let cairn = rotated();
    let (version, exported) = (cairn.versions("r/3"), cairn.scratch().join("exported"));
    cairn.cli(&["export", "r/3", exported.to_str().unwrap()]);
    tree::assert_same_below(&version, &exported);
    let (archive, unpacked) = (cairn.scratch().join("x.tar"), cairn.scratch().join("unpacked"));
    cairn.cli(&["export", "r/3", archive.to_str().unwrap()]);
    fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar").arg("xf").arg(&archive).arg("-C").arg(&unpacked).status();
    assert!(tar.unwrap().success());
    tree::assert_same_below(&version, &unpacked);
    let area = cairn.area("r", "again@latest");
    tree::assert_same_below(&version, &area);
    fs::write(area.join("d.0/report"), "changed").unwrap();
    cairn.publish("r", "again@latest").unwrap();
    let days = |at: &Path| ["d.0", "d.1", "d.2"].map(|name| text(&at.join(name).join("newest")));
    assert_eq!(days(&version), ["wednesday", "tuesday", "monday"]);
    assert_eq!(days(&cairn.versions("r/4")), ["changed", "tuesday", "monday"]);
    let inodes: BTreeSet<u64> = ["d.0", "d.1", "d.2"]
        .iter()
        .flat_map(|name| ["report", "newest"].map(|file| version.join(name).join(file)))
        .map(|path| fs::metadata(path).unwrap().ino())
        .collect();
    assert_eq!(inodes.len(), 3, "one for each file");
    cairn.cli(&["fsck"]);
}

/// What came to be by moves is the same version when it is imported as it is now (N6).
#[test]
fn an_import_of_what_was_exported_is_no_change() {
    let cairn = rotated();
    let exported = cairn.scratch().join("exported");
    cairn.cli(&["export", "r/3", exported.to_str().unwrap()]);
    cairn.cli(&["import", "--mirror", exported.to_str().unwrap(), "r"]);
    assert_eq!(fs::read_dir(cairn.versions("r")).unwrap().count(), 3);
}

/// Two directories change places, and each holds a name of a file that is in the other, too.
#[test]
fn directories_with_links_between_them_change_places() {
    let mut cairn = Cairn::start();
    let area = cairn.area("r", "one");
    fs::create_dir_all(area.join("a/deep")).unwrap();
    linked(&area.join("b"), "both");
    fs::hard_link(area.join("b/report"), area.join("a/deep/same")).unwrap();
    cairn.publish("r", "one").unwrap();
    let area = cairn.area("r", "two@latest");
    renameat_with(CWD, area.join("a"), CWD, area.join("b"), RenameFlags::EXCHANGE).unwrap();
    cairn.restart();
    fs::write(area.join("b/deep/same"), "changed").unwrap();
    cairn.publish("r", "two@latest").unwrap();
    let version = cairn.versions("r/2");
    for path in ["a/report", "a/newest", "b/deep/same"] {
        assert_eq!(text(&version.join(path)), "changed", "{path}");
        assert_eq!(fs::metadata(version.join(path)).unwrap().nlink(), 3, "{path}");
    }
    cairn.cli(&["fsck"]);
}

/// A store that release 0.1.0 wrote, whose groups share ids: each name shows what it names, and no
/// two files become one.
#[test]
fn groups_of_an_earlier_release_that_share_an_id_are_kept_apart() {
    let mut cairn = Cairn::unmounted();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/links");
    let archive = fixture.join("store-0.1.0.tar.gz");
    let tar = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(cairn.store()).status();
    assert!(tar.unwrap().success());
    cairn.mount();
    let version = cairn.versions("web/3");
    let exported = cairn.scratch().join("exported");
    cairn.cli(&["export", "web/3", exported.to_str().unwrap()]);
    let (archive, unpacked) = (cairn.scratch().join("x.tar"), cairn.scratch().join("unpacked"));
    cairn.cli(&["export", "web/3", archive.to_str().unwrap()]);
    fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar").arg("xf").arg(&archive).arg("-C").arg(&unpacked).status();
    assert!(tar.unwrap().success());
    let area = cairn.area("web", "look@3");
    for at in [&version, &exported, &unpacked, &area] {
        let days = ["d.0", "d.1", "d.2"].map(|name| text(&at.join(name).join("report")));
        assert_eq!(days, ["wednesday\n", "tuesday\n", "monday\n"], "{}", at.display());
        let ino = |path: &str| fs::metadata(at.join(path)).unwrap().ino();
        assert_eq!(ino("d.0/report"), ino("d.0/newest"));
        assert_ne!(ino("s.0/a"), ino("s.1/a"), "equal, and not the same: {}", at.display());
    }
    let message = cairn.run(&["fsck"]);
    assert_eq!(message.status.code(), Some(10));
    let message = String::from_utf8(message.stdout).unwrap();
    assert!(message.contains("version web/3: ") && message.contains("s.1/a"), "{message}");
}
