//! What is there after a clean restart, and what a crash must not lose

use std::fs::{self, File};
use std::io::Write;

use support::{Cairn, content, tree};

fn fill(area: &std::path::Path) {
    fs::create_dir_all(area.join("d/e")).unwrap();
    for (name, size) in [("empty", 0), ("small", 100), ("d/page", 4096), ("d/e/large", 3_000_000)] {
        fs::write(area.join(name), content::bytes(size as u64, size)).unwrap();
    }
    fs::hard_link(area.join("small"), area.join("d/linked")).unwrap();
    std::os::unix::fs::symlink("small", area.join("soft")).unwrap();
    let xattr = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(area.join("small"), "user.note", b"kept", xattr).unwrap();
}

#[test]
fn an_area_is_as_it_was() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    fill(&area);
    let before = tree::read(&area);
    cairn.restart();
    assert_eq!(tree::differences(&before, &tree::read(&area)), [""; 0]);
    fs::write(area.join("more"), "works").unwrap();
    cairn.publish("lib", "a").unwrap();
    tree::assert_same_below(&cairn.versions("lib/1"), &cairn.tags("lib/a"));
    assert_eq!(fs::read(cairn.versions("lib/1/more")).unwrap(), b"works");
}

#[test]
fn an_area_based_on_a_version_is_as_it_was() {
    let mut cairn = Cairn::start();
    fill(&cairn.area("lib", "a"));
    cairn.publish("lib", "a").unwrap();
    let area = cairn.area("lib", "b@1");
    fs::remove_file(area.join("small")).unwrap();
    fs::write(area.join("d/page"), "changed").unwrap();
    fs::rename(area.join("d/e"), area.join("moved")).unwrap();
    let before = tree::read(&area);
    cairn.restart();
    assert_eq!(tree::differences(&before, &tree::read(&area)), [""; 0]);
    cairn.publish("lib", "b@1").unwrap();
    assert!(!cairn.versions("lib/2/small").exists());
    assert!(cairn.versions("lib/2/moved/large").exists());
}

#[test]
fn a_file_open_during_the_stop_keeps_what_was_written() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    let mut file = File::create(area.join("f")).unwrap();
    file.write_all(b"written, not closed").unwrap();
    cairn.stop();
    drop(file);
    cairn.mount();
    assert_eq!(fs::read(area.join("f")).unwrap(), b"written, not closed");
}

#[test]
fn a_commit_is_there_right_after_a_crash() {
    let mut cairn = Cairn::start();
    for round in 0..5 {
        let area = cairn.area("lib", "a");
        fill(&area);
        fs::write(area.join("round"), format!("{round}")).unwrap();
        let before = tree::read(&area);
        fs::rename(&area, cairn.tags(format!("lib/r{round}"))).unwrap();
        cairn.crash();
        let version = tree::read(&cairn.versions(format!("lib/{}", round + 1)));
        assert_eq!(tree::differences(&before, &version), [""; 0]);
        assert!(!area.exists());
    }
}

#[test]
fn what_was_fsynced_is_there_after_a_crash() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    fs::create_dir(area.join("d")).unwrap();
    for (name, size) in [("small", 100), ("d/page", 4096), ("d/large", 3_000_000)] {
        let mut file = File::create(area.join(name)).unwrap();
        file.write_all(&content::bytes(size as u64, size)).unwrap();
        file.sync_all().unwrap();
    }
    let mut open = File::create(area.join("open")).unwrap();
    open.write_all(b"synced while open").unwrap();
    open.sync_all().unwrap();
    cairn.crash();
    drop(open);
    for (name, size) in [("small", 100), ("d/page", 4096), ("d/large", 3_000_000)] {
        assert!(fs::read(area.join(name)).unwrap() == content::bytes(size as u64, size), "{name}");
    }
    assert_eq!(fs::read(area.join("open")).unwrap(), b"synced while open");
}

/// H4: write-temp and rename-over leave the old or the new content, with no fsync anywhere.
#[test]
fn rename_over_leaves_old_or_new_after_a_crash() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for round in 0..10_u64 {
        fs::write(area.join("f"), content::bytes(round, 10_000)).unwrap();
        File::open(area.join("f")).unwrap().sync_all().unwrap();
        fs::write(area.join("f.tmp"), content::bytes(100 + round, 10_000)).unwrap();
        fs::rename(area.join("f.tmp"), area.join("f")).unwrap();
        cairn.crash();
        let found = fs::read(area.join("f")).unwrap();
        let (old, new) = (content::bytes(round, 10_000), content::bytes(100 + round, 10_000));
        assert!(found == old || found == new, "round {round}: {} bytes", found.len());
    }
}
