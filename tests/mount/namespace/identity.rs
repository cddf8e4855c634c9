//! Inodes of versions: the same file is the same inode in all versions and after a restart

use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};

use support::{Cairn, content};

fn two_versions() -> Cairn {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    fs::create_dir(area.join("d")).unwrap();
    for index in 0..20 {
        fs::write(area.join(format!("d/f{index}")), content::bytes(index, 1000)).unwrap();
    }
    cairn.publish("lib", "v1").unwrap();
    fs::write(cairn.area("lib", "v2@1").join("d/f0"), "changed").unwrap();
    cairn.publish("lib", "v2@1").unwrap();
    cairn
}

fn ino(cairn: &Cairn, path: &str) -> (u64, u64) {
    let meta = fs::symlink_metadata(cairn.versions(path)).unwrap();
    (meta.dev(), meta.ino())
}

#[test]
fn unchanged_files_keep_theirs_from_one_version_to_the_next() {
    let cairn = two_versions();
    for index in 1..20 {
        let one = ino(&cairn, &format!("lib/1/d/f{index}"));
        assert_eq!(one, ino(&cairn, &format!("lib/2/d/f{index}")));
    }
    assert_ne!(ino(&cairn, "lib/1/d/f0"), ino(&cairn, "lib/2/d/f0"));
    assert_ne!(ino(&cairn, "lib/1/d"), ino(&cairn, "lib/2/d"), "directories differ by version");
}

#[test]
fn numbers_are_the_same_after_a_restart() {
    let mut cairn = two_versions();
    let paths = ["lib", "lib/1", "lib/1/d", "lib/2/d/f0", "lib/2/d/f7"];
    let before: Vec<_> = paths.iter().map(|path| ino(&cairn, path).1).collect();
    cairn.restart();
    let after: Vec<_> = paths.iter().map(|path| ino(&cairn, path).1).collect();
    assert_eq!(before, after);
}

#[test]
fn a_change_of_attributes_is_another_inode() {
    let cairn = two_versions();
    let area = cairn.area("lib", "v3@2");
    support::area::set_mode(&area.join("d/f5"), 0o600);
    cairn.publish("lib", "v3@2").unwrap();
    assert_ne!(ino(&cairn, "lib/2/d/f5"), ino(&cairn, "lib/3/d/f5"));
    let mode = |path| fs::metadata(cairn.versions(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("lib/2/d/f5"), mode("lib/3/d/f5")), (0o644, 0o600));
}

#[test]
fn equal_files_at_different_paths_are_different_inodes() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    fs::write(area.join("a"), "same").unwrap();
    fs::write(area.join("b"), "same").unwrap();
    cairn.publish("lib", "v1").unwrap();
    assert_ne!(ino(&cairn, "lib/1/a"), ino(&cairn, "lib/1/b"));
}

#[test]
fn diff_reports_the_changed_file_only() {
    let cairn = two_versions();
    let output = std::process::Command::new("diff")
        .args(["-rq", "--no-dereference"])
        .args([cairn.versions("lib/1"), cairn.versions("lib/2")])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("d/f0"), "{text}");
}

#[test]
fn readdir_and_stat_show_the_same_number() {
    use std::os::unix::fs::DirEntryExt;
    let cairn = two_versions();
    for entry in fs::read_dir(cairn.versions("lib/2/d")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.ino(), entry.metadata().unwrap().ino());
    }
}

/// What is listed, what is looked up, and how often: each file has one number, and no two share one.
#[test]
fn short_numbers_are_as_good_as_long_ones() {
    let mut cairn = two_versions();
    let linked = cairn.area("lib", "v3@2");
    fs::hard_link(linked.join("d/f1"), linked.join("d/link")).unwrap();
    cairn.publish("lib", "v3@2").unwrap();
    cairn.stop();
    cairn.set_arguments(&["-o", "inode32"]);
    cairn.mount();
    let numbers = |version: &str| {
        let directory = cairn.versions(format!("lib/{version}/d"));
        let mut numbers = std::collections::BTreeMap::new();
        for entry in fs::read_dir(&directory).unwrap() {
            let (entry, path) = entry.map(|entry| (entry.ino(), entry.path())).unwrap();
            assert_eq!(entry, fs::symlink_metadata(&path).unwrap().ino(), "{}", path.display());
            assert!(u32::try_from(entry).is_ok(), "{entry:#x}");
            numbers.insert(path.file_name().unwrap().to_owned(), entry);
        }
        numbers
    };
    let (one, two, three) = (numbers("1"), numbers("2"), numbers("3"));
    assert_eq!((one.len(), three.len()), (20, 21));
    assert_eq!(one.values().collect::<std::collections::BTreeSet<_>>().len(), 20);
    assert_eq!(three.values().collect::<std::collections::BTreeSet<_>>().len(), 20, "one link");
    let same = one.iter().filter(|(name, ino)| two.get(*name) == Some(*ino)).count();
    assert_eq!(same, 19, "unchanged files keep theirs");
    for path in ["", "lib", "lib/1", "lib/2/d"] {
        let (_, ino) = ino(&cairn, path);
        assert!(u32::try_from(ino).is_ok(), "{path}: {ino:#x}");
    }
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    assert_eq!(numbers("1"), one);
}

#[test]
fn new_files_of_areas_have_short_ones_after_many_starts() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for round in 0..5 {
        let path = area.join(format!("f{round}"));
        fs::write(&path, "x").unwrap();
        let number = fs::metadata(&path).unwrap().ino();
        assert!(number < 2 << 20, "{number} in round {round}");
        cairn.restart();
    }
}
