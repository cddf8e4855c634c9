//! N13, H19: `user.cairn.*` attributes answer and are never listed

use std::fs;
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;

use support::area::hash_of;
use support::{Cairn, content, errno, tree, wait};

fn text(path: &Path, name: &str) -> Option<String> {
    let mut value = [0; 1000];
    let length = getxattr(path, name, &mut value[..]).ok()?;
    Some(String::from_utf8(value[..length].to_vec()).unwrap())
}

fn published() -> Cairn {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    fs::create_dir(area.join("d")).unwrap();
    fs::write(area.join("d/f"), content::bytes(1, 10_000)).unwrap();
    fs::write(area.join("g"), "12345").unwrap();
    setxattr(&area, "user.cairn.message", b"the first", XattrFlags::empty()).unwrap();
    setxattr(&area, "user.cairn.author", b"somebody", XattrFlags::empty()).unwrap();
    cairn.publish("lib", "v1").unwrap();
    cairn
}

#[test]
fn a_file_has_its_hash_in_staging_and_in_versions() {
    let cairn = published();
    let expected = blake3::hash(&content::bytes(1, 10_000)).to_hex().to_string();
    assert_eq!(hash_of(&cairn.versions("lib/1/d/f")), Some(expected.clone()));
    let path = cairn.area("lib", "a").join("f");
    fs::write(&path, content::bytes(1, 10_000)).unwrap();
    wait::until("the file is sealed", || hash_of(&path) == Some(expected.clone()));
}

#[test]
fn an_empty_file_has_the_hash_of_nothing() {
    let cairn = Cairn::start();
    fs::write(cairn.area("lib", "a").join("empty"), "").unwrap();
    cairn.publish("lib", "a").unwrap();
    let expected = blake3::hash(b"").to_hex().to_string();
    assert_eq!(hash_of(&cairn.versions("lib/1/empty")), Some(expected));
}

#[test]
fn a_version_tells_about_itself() {
    let cairn = published();
    let version = cairn.versions("lib/1");
    let get = |name: &str| text(&version, &format!("user.cairn.{name}"));
    assert_eq!(get("number").as_deref(), Some("1"));
    assert_eq!(get("message").as_deref(), Some("the first"));
    assert_eq!(get("files").as_deref(), Some("2"));
    assert_eq!(get("bytes").as_deref(), Some("10005"));
    assert_eq!(get("hash").map(|hash| hash.len()), Some(64));
    for name in ["created", "released", "locked"] {
        assert!(get(name).is_some_and(|value| !value.is_empty()), "user.cairn.{name}");
    }
    fs::write(cairn.area("lib", "v2@1").join("h"), "x").unwrap();
    cairn.publish("lib", "v2@1").unwrap();
    assert_eq!(text(&cairn.versions("lib/2"), "user.cairn.base").as_deref(), Some("1"));
}

#[test]
fn they_are_never_listed() {
    let cairn = published();
    let area = cairn.area("lib", "a@1");
    let paths = [
        cairn.versions("lib/1"),
        cairn.versions("lib/1/d"),
        cairn.versions("lib/1/d/f"),
        area.clone(),
        area.join("d/f"),
    ];
    for path in paths {
        let listed = tree::xattrs(&path);
        assert!(listed.is_empty(), "{}: {listed:?}", path.display());
    }
}

#[test]
fn they_are_set_on_areas_only() {
    let cairn = published();
    let area = cairn.area("lib", "a@1");
    let set = |path: &Path, name: &str| setxattr(path, name, b"x", XattrFlags::empty());
    assert_eq!(errno(set(&area.join("d/f"), "user.cairn.hash")), Errno::PERM);
    assert_eq!(errno(set(&area.join("d/f"), "user.cairn.anything")), Errno::PERM);
    assert_eq!(errno(set(&area, "user.cairn.hash")), Errno::PERM);
    assert_eq!(errno(set(&cairn.versions("lib/1"), "user.cairn.message")), Errno::ROFS);
    set(&area, "user.cairn.message").unwrap();
    assert_eq!(text(&area, "user.cairn.message").as_deref(), Some("x"));
}

#[test]
fn unknown_ones_are_enodata() {
    let cairn = published();
    let mut value = [0; 10];
    let found = getxattr(cairn.versions("lib/1"), "user.cairn.nothing", &mut value[..]);
    assert_eq!(errno(found), Errno::NODATA);
}

#[test]
fn rsync_with_xattrs_finds_no_difference() {
    let cairn = published();
    let plain = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new("rsync")
            .args(arguments)
            .arg(format!("{}/", cairn.versions("lib/1").display()))
            .arg(format!("{}/", plain.path().display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["-aHAX"]);
    assert_eq!(run(&["-aHAXn", "--checksum", "-i", "--delete"]), "");
}
