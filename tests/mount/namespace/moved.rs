//! The store's directory is moved while it is mounted, and something else takes its place

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use support::cairn::binary;
use support::{Cairn, content};

fn cairn_on(store: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("CAIRN_STORE", store).output().unwrap()
}

#[track_caller]
fn succeed(store: &Path, arguments: &[&str]) {
    let output = cairn_on(store, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// All that is below a directory: names, lengths, times, inodes.
fn listing(directory: &Path) -> Vec<String> {
    let mut find = Command::new("find");
    let output = find.arg(directory).args(["-printf", "%P %s %T@ %i\n"]).output().unwrap();
    let mut lines: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert!(lines.len() > 5, "{lines:?}");
    lines
}

/// Moves the store away, with another one in its place, and does everything.
fn moved(put_in_place: impl Fn(&Path, &Path)) {
    let mut cairn = Cairn::start();
    let (small, large) = (content::bytes(1, 1000), content::bytes(2, 3 << 20));
    fs::write(cairn.area("lib", "old").join("f"), &small).unwrap();
    cairn.publish("lib", "old").unwrap();
    let work = cairn.area("lib", "work");
    fs::write(work.join("before"), &large[1..]).unwrap();

    let (place, away) = (cairn.store(), cairn.scratch().join("away"));
    let other = cairn.scratch().join("other");
    succeed(&other, &["init", other.to_str().unwrap()]);
    fs::rename(&place, &away).unwrap();
    put_in_place(&other, &place);
    let before = listing(&fs::canonicalize(&place).unwrap());

    fs::write(work.join("small"), &small[1..]).unwrap();
    fs::write(work.join("large"), &large).unwrap();
    fs::File::open(work.join("large")).unwrap().sync_all().unwrap();
    cairn.publish("lib", "work").unwrap();
    assert!(fs::read(cairn.versions("lib/2/large")).unwrap() == large);
    assert!(fs::read(cairn.versions("lib/1/f")).unwrap() == small);
    succeed(&away, &["delete", "lib/1", "--force"]);
    succeed(&away, &["gc", "--full", "--protect", "0", "--wait"]);
    let exported = cairn.scratch().join("exported");
    succeed(&away, &["export", "lib/2", exported.to_str().unwrap()]);
    assert!(fs::read(exported.join("before")).unwrap() == large[1..]);
    succeed(&away, &["fsck", "--full"]);
    cairn.stop();
    assert_eq!(listing(&fs::canonicalize(&place).unwrap()), before, "what is there was touched");

    succeed(&away, &["fsck", "--full"]);
    if place.is_symlink() { fs::remove_file(&place) } else { fs::rename(&place, &other) }.unwrap();
    fs::rename(&away, &place).unwrap();
    cairn.mount();
    assert!(fs::read(cairn.versions("lib/2/large")).unwrap() == large);
    assert!(fs::read(cairn.versions("lib/2/small")).unwrap() == small[1..]);
}

#[test]
fn a_symlink_to_another_store_changes_nothing() {
    moved(|other, place| symlink(other, place).unwrap());
}

#[test]
fn another_store_in_its_place_changes_nothing() {
    moved(|other, place| fs::rename(other, place).unwrap());
}
