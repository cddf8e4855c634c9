//! N1: `mkdir staging/REPO`, `rmdir staging/REPO`

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, chown};

use rustix::io::Errno;

use support::area::set_mode;
use support::{Cairn, check, errno, wait};

#[test]
fn a_directory_in_staging_is_a_repository_in_all_three_places() {
    let cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    assert!(cairn.staging("lib").is_dir());
    assert!(cairn.tags("lib").is_dir());
    assert!(cairn.versions("lib").is_dir());
    assert_eq!(fs::read_dir(cairn.versions("lib")).unwrap().count(), 0);
    assert!(cairn.cli(&["list"]).contains("lib"));
    assert_eq!(errno(fs::create_dir(cairn.staging("lib"))), Errno::EXIST);
}

#[test]
fn removing_it_removes_it_everywhere() {
    let cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    assert!(cairn.versions("lib").is_dir() && cairn.tags("lib").is_dir());
    fs::remove_dir(cairn.staging("lib")).unwrap();
    for path in [cairn.staging("lib"), cairn.tags("lib"), cairn.versions("lib")] {
        assert_eq!(errno(fs::metadata(path)), Errno::NOENT);
    }
    fs::create_dir(cairn.staging("lib")).unwrap();
    assert!(cairn.versions("lib").is_dir());
}

#[test]
fn one_with_areas_or_versions_is_not_empty() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    assert_eq!(errno(fs::remove_dir(cairn.staging("lib"))), Errno::NOTEMPTY);
    fs::write(area.join("f"), "x").unwrap();
    cairn.publish("lib", "a").unwrap();
    assert_eq!(errno(fs::remove_dir(cairn.staging("lib"))), Errno::NOTEMPTY);
    assert!(cairn.versions("lib/1/f").exists());
}

#[test]
fn names_follow_the_rules() {
    let cairn = Cairn::start();
    let refused: [(&[u8], Errno); 5] = [
        (b"control\x07", Errno::INVAL),
        (b"new\nline", Errno::INVAL),
        (b"not-utf8\xff", Errno::INVAL),
        (b"a@b", Errno::INVAL),
        (&[b'n'; 256], Errno::NAMETOOLONG),
    ];
    for (name, expected) in refused {
        let made = fs::create_dir(cairn.staging(OsStr::from_bytes(name)));
        assert_eq!(errno(made), expected, "{:?}", OsStr::from_bytes(name));
    }
    for name in ["with space", "ünïcode", ".hidden", "UPPER-lower_0.1", &"n".repeat(255)] {
        fs::create_dir(cairn.staging(name)).unwrap();
        assert!(cairn.versions(name).is_dir());
    }
    assert_eq!(fs::read_dir(cairn.staging("")).unwrap().count(), 5);
}

#[test]
fn owner_and_mode_are_the_same_in_all_three_places() {
    let cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    set_mode(&cairn.staging("lib"), 0o750);
    chown(cairn.staging("lib"), Some(12), Some(34)).unwrap();
    let shown = |path| {
        let meta = fs::metadata(path).unwrap();
        // Nobody writes in versions; whether its bits say so is a matter of taste.
        (meta.uid(), meta.gid(), meta.mode() & 0o555)
    };
    assert_eq!(shown(cairn.staging("lib")), (12, 34, 0o550));
    assert_eq!(shown(cairn.tags("lib")), (12, 34, 0o550));
    wait::until("versions shows it too", || shown(cairn.versions("lib")) == (12, 34, 0o550));
}

#[test]
fn it_survives_a_restart_and_a_crash() {
    let mut cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    set_mode(&cairn.staging("lib"), 0o711);
    cairn.restart();
    assert_eq!(fs::metadata(cairn.staging("lib")).unwrap().mode() & 0o777, 0o711);
    cairn.area("lib", "a");
    cairn.publish("lib", "a").unwrap();
    cairn.crash();
    assert!(cairn.versions("lib/1").is_dir());
}

#[test]
fn it_is_made_in_staging_only() {
    let cairn = Cairn::start();
    assert_eq!(errno(fs::create_dir(cairn.versions("lib"))), Errno::ROFS);
    check::one_of(
        fs::create_dir(cairn.tags("lib")),
        &[Errno::PERM, Errno::ACCESS, Errno::ROFS, Errno::INVAL],
    );
    assert_eq!(fs::read_dir(cairn.staging("")).unwrap().count(), 0);
}
