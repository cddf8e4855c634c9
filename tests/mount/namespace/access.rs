//! R7: what a second user may do where the mount allows others

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use support::Cairn;
use support::area::{NOBODY, as_nobody, set_mode};

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
    let binary = std::path::Path::new(support::cairn::binary());
    let output = as_nobody("CAIRN_STORE=\"$2\" \"$1\" create theirs", &[binary, &cairn.store()]);
    assert!(!output.status.success(), "{output:?}");
    assert!(!cairn.staging("theirs").exists());
}

#[test]
fn without_allow_other_nobody_else_enters() {
    let cairn = Cairn::start();
    assert!(!as_nobody("ls \"$1\"", &[&cairn.mnt()]).status.success());
}

/// Repositories of root's: `open` to all, `sticky`, and `closed`; each with version 1 (`file`,
/// `secret`), an area of root's and one, where allowed, of nobody's.
fn shared_by_two() -> Cairn {
    let cairn = Cairn::start_with(&["-o", "allow_other"]);
    for (repository, mode) in [("open", 0o777), ("sticky", 0o1777), ("closed", 0o755)] {
        let area = cairn.area(repository, "v1");
        fs::write(area.join("file"), "x").unwrap();
        fs::write(area.join("secret"), "x").unwrap();
        set_mode(&area.join("secret"), 0o600);
        cairn.publish(repository, "v1").unwrap();
        for (name, area_mode) in [("roots", 0o755), ("everybodys", 0o777)] {
            let area = cairn.area(repository, name);
            fs::write(area.join("file"), "roots").unwrap();
            set_mode(&area, area_mode);
        }
        set_mode(&cairn.staging(repository), mode);
        if mode & 0o002 != 0 {
            let line = "mkdir \"$1\" && echo x > \"$1\"/file";
            let made = as_nobody(line, &[&cairn.staging(repository).join("theirs")]);
            assert!(made.status.success(), "{made:?}");
        }
    }
    cairn
}

/// What a second user may do there, in this order.
const ALLOWED: &[&str] = &[
    "ls -R versions/open tags/open >/dev/null",
    "cat versions/open/1/file tags/sticky/latest/file staging/closed/roots/file",
    "getfattr -n user.cairn.hash versions/open/1/file",
    "mkdir staging/open/mine staging/sticky/mine staging/open/copy@1",
    "rmdir staging/open/mine staging/sticky/mine",
    "setfattr -n user.cairn.message -v mine staging/open/theirs",
    "echo more >> staging/sticky/theirs/file && chmod 600 staging/sticky/theirs/file",
    "mv staging/open/theirs tags/open/ && test -f versions/open/2/file",
    "mv staging/sticky/theirs tags/sticky/",
    "ln -s 1 tags/open/mine && ln -sfn 2 tags/open/mine && rm tags/open/mine",
    "ln -s 1 tags/sticky/mine",
    // What an area starts with keeps its owners and modes.
    "test ! -w staging/open/copy@1 && cat staging/open/copy@1/file",
    // The directory is everybody's to write, and so are the names in it.
    "rm tags/open/v1",
    "mv staging/open/everybodys tags/open/",
];

/// And what not.
const DENIED: &[&str] = &[
    "mkdir staging/mine",
    "rmdir staging/open",
    "mv staging/open staging/mine",
    "chmod 700 staging/open",
    "chown nobody staging/open",
    "mkdir staging/closed/mine",
    "mkdir staging/closed/mine@1",
    "rm -r staging/closed/everybodys",
    "mv staging/closed/everybodys tags/closed/",
    "mv staging/closed/everybodys tags/open/",
    "ln -s 1 tags/closed/mine",
    "rm tags/closed/v1",
    "ln -sfn 1 tags/closed/v1",
    // In a directory of all, what is inside is still its owner's.
    "echo x > staging/open/roots/file",
    "rm staging/open/roots/file",
    "chmod 777 staging/open/roots",
    "mv staging/open/roots tags/open/",
    "setfattr -n user.cairn.message -v mine staging/open/roots",
    "setfattr -n user.cairn.hash -v mine staging/open/theirs",
    "setfattr -n trusted.x -v x staging/open/theirs/file",
    "mknod staging/open/theirs/null c 1 3",
    "ln staging/open/roots/file staging/open/theirs/file2",
    "chown root staging/open/theirs/file",
    // Sticky: names are their owner's.
    "rmdir staging/sticky/everybodys",
    "mv staging/sticky/everybodys tags/sticky/",
    "mv staging/sticky/roots tags/sticky/",
    "rm tags/sticky/v1",
    "ln -sfn 1 tags/sticky/v1",
    "mv tags/sticky/v1 tags/sticky/other",
    // Versions: nobody's.
    "cat versions/open/1/secret",
    "getfattr -n user.cairn.hash versions/open/1/secret",
    "touch versions/open/1/file",
    "rm -r versions/open/1",
    "mkdir versions/mine",
    "mv versions/open/1 staging/open/",
    "touch mine",
    "rm tags/open/latest",
    "umount . || umount versions || fusermount3 -u .",
];

#[test]
fn a_second_user_does_what_modes_allow_and_nothing_else() {
    let cairn = shared_by_two();
    let run = |line: &str| as_nobody(&format!("cd \"$1\" && {{ {line}; }}"), &[&cairn.mnt()]);
    for line in DENIED {
        let output = run(line);
        assert!(!output.status.success(), "allowed: {line}\n{output:?}");
    }
    for repository in ["open", "sticky", "closed"] {
        assert!(cairn.tags(repository).join("v1").exists(), "{repository}");
        assert_eq!(fs::read(cairn.staging(repository).join("roots/file")).unwrap(), b"roots");
        assert!(cairn.staging(repository).join("everybodys").is_dir(), "{repository}");
    }
    for line in ALLOWED {
        let output = run(line);
        assert!(output.status.success(), "denied: {line}\n{output:?}");
    }
}

#[test]
fn commands_do_for_a_second_user_what_the_mount_does_and_nothing_else() {
    let cairn = shared_by_two();
    let binary = cairn.scratch().join("cairn");
    fs::copy(support::cairn::binary(), &binary).unwrap();
    for verb in [
        "status",
        "create mine",
        "commit open/roots",
        "commit sticky/everybodys",
        "commit closed/everybodys",
        "diff open/1 open/1",
        "delete open/1",
        "tag open/mine 1",
        "discard open/theirs",
        "gc",
        "fsck",
        "export open/1 /tmp/none",
    ] {
        let line = format!("CAIRN_STORE=\"$2\" \"$1\" {verb}");
        let output = as_nobody(&line, &[&binary, &cairn.store()]);
        assert!(!output.status.success(), "{verb}: {output:?}");
    }
    let line = "\"$1\" unmount \"$2\" || \"$1\" unmount --lazy \"$2\"";
    assert!(!as_nobody(line, &[&binary, &cairn.mnt()]).status.success());
    assert!(cairn.is_usable());
}

#[test]
fn a_symlink_in_an_area_leads_its_reader_and_never_the_daemon() {
    let cairn = Cairn::start();
    let secret = cairn.scratch().join("secret");
    fs::write(&secret, "the daemon must not touch this").unwrap();
    let area = cairn.area("lib", "v1");
    std::os::unix::fs::symlink(&secret, area.join("file")).unwrap();
    std::os::unix::fs::symlink(cairn.scratch(), area.join("directory")).unwrap();
    cairn.publish("lib", "v1").unwrap();
    cairn.cli(&["discard", &cairn_area(&cairn)]);
    let target = cairn.scratch().join("export");
    cairn.cli(&["export", "lib/1", target.to_str().unwrap()]);
    assert!(target.join("file").is_symlink() && target.join("directory").is_symlink());
    cairn.cli(&["import", target.to_str().unwrap(), "again"]);
    assert!(fs::symlink_metadata(cairn.versions("again/1/file")).unwrap().is_symlink());
    cairn.cli(&["fsck", "--full"]);
    assert_eq!(fs::read(&secret).unwrap(), b"the daemon must not touch this");
    assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
}

/// An area whose files are symlinks, to be thrown away.
fn cairn_area(cairn: &Cairn) -> String {
    let area = cairn.area("lib", "gone@1");
    fs::remove_file(area.join("directory")).unwrap();
    "lib/gone@1".to_owned()
}

/// Where root let set-user-ID work: what another user made of the program runs as that user.
#[test]
fn a_set_user_id_program_that_others_changed_has_no_privileges() {
    let cairn = Cairn::start_with(&["-o", "allow_other,suid"]);
    let area = cairn.area("lib", "a");
    let program = area.join("id");
    fs::copy("/usr/bin/id", &program).unwrap();
    set_mode(&program, 0o4777);
    let runs_as = |line: &str| {
        let output = as_nobody(line, &[&program]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(runs_as("\"$1\" -u"), "0");
    assert_eq!(runs_as("printf x >> \"$1\"; \"$1\" -u"), NOBODY.to_string());
}
