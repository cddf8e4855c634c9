//! R7: what a second user may do where the mount allows others

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use crate::common::Cairn;
use crate::common::area::{NOBODY, as_nobody, set_mode};

fn shared() -> Cairn {
    let cairn = Cairn::start_with(&["-o", "allow_other"]);
    let area = cairn.area("lib", "v1");
    fs::write(area.join("open"), "x").unwrap();
    fs::write(area.join("secret"), "x").unwrap();
    set_mode(&area.join("secret"), 0o600);
    set_mode(&area, 0o755);
    cairn.publish("lib", "v1").unwrap();
    cairn
}

#[test]
fn versions_are_read_by_their_modes() {
    let cairn = shared();
    assert!(as_nobody("cat \"$1\"", &[&cairn.versions("lib/1/open")]).status.success());
    assert!(!as_nobody("cat \"$1\"", &[&cairn.versions("lib/1/secret")]).status.success());
    assert!(as_nobody("cat \"$1\"", &[&cairn.tags("lib/latest/open")]).status.success());
}

#[test]
fn a_closed_repository_is_closed_in_all_three_places() {
    let cairn = shared();
    cairn.area("lib", "a");
    set_mode(&cairn.staging("lib"), 0o700);
    for path in [cairn.versions("lib/1/open"), cairn.tags("lib/v1/open"), cairn.staging("lib/a")] {
        let output = as_nobody("ls \"$1\"", &[&path]);
        assert!(!output.status.success(), "{} is reachable", path.display());
    }
    set_mode(&cairn.staging("lib"), 0o755);
    assert!(as_nobody("cat \"$1\"", &[&cairn.versions("lib/1/open")]).status.success());
}

#[test]
fn others_do_not_write_in_a_repository_that_is_not_theirs() {
    let cairn = shared();
    cairn.area("lib", "a");
    let mnt = cairn.mnt();
    for line in [
        "mkdir \"$1\"/staging/mine",
        "mkdir \"$1\"/staging/lib/mine",
        "touch \"$1\"/staging/lib/a/mine",
        "mv \"$1\"/staging/lib/a \"$1\"/tags/lib/",
        "ln -s 1 \"$1\"/tags/lib/mine",
        "rm \"$1\"/tags/lib/v1",
        "rmdir \"$1\"/staging/lib/a",
    ] {
        let output = as_nobody(line, &[&mnt]);
        assert!(!output.status.success(), "{line} was allowed");
    }
    assert!(cairn.staging("lib/a").is_dir() && cairn.tags("lib/v1").exists());
    assert_eq!(fs::read_dir(cairn.versions("lib")).unwrap().count(), 1);
}

#[test]
fn the_owner_of_a_repository_publishes_in_it() {
    let cairn = shared();
    chown(cairn.staging("lib"), Some(NOBODY), Some(NOBODY)).unwrap();
    let line = "set -e; cd \"$1\"; mkdir staging/lib/theirs; echo x > staging/lib/theirs/f; \
        mv staging/lib/theirs tags/lib/; ln -s 2 tags/lib/mine; cat tags/lib/theirs/f";
    let output = as_nobody(line, &[&cairn.mnt()]);
    assert!(output.status.success(), "{output:?}");
    let meta = fs::metadata(cairn.versions("lib/2/f")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY));
}

#[test]
fn the_store_and_its_socket_are_the_owners_alone() {
    let cairn = shared();
    assert_eq!(fs::metadata(cairn.store()).unwrap().mode() & 0o7777, 0o700);
    let binary = std::path::Path::new(crate::common::cairn::BINARY);
    let output = as_nobody("CAIRN_STORE=\"$2\" \"$1\" create theirs", &[binary, &cairn.store()]);
    assert!(!output.status.success(), "{output:?}");
    assert!(!cairn.staging("theirs").exists());
}

#[test]
fn without_allow_other_nobody_else_enters() {
    let cairn = Cairn::start();
    assert!(!as_nobody("ls \"$1\"", &[&cairn.mnt()]).status.success());
}
