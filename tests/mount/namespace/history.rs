//! O4: what was in a version, found and taken out again, beside a mount and without one

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use support::area::{NOBODY, as_nobody, set_mode};
use support::cairn::binary;
use support::{Cairn, content, wait};

/// A repository of two versions: a file, a directory, a link, an empty file.
fn filled(cairn: &Cairn) {
    let source = cairn.scratch().join("source");
    fs::create_dir_all(source.join("etc/deep")).unwrap();
    fs::write(source.join("etc/conf"), "one\n").unwrap();
    fs::write(source.join("etc/deep/key"), "secret").unwrap();
    fs::write(source.join("empty"), "").unwrap();
    symlink("etc/conf", source.join("link")).unwrap();
    fs::hard_link(source.join("etc/conf"), source.join("etc/same")).unwrap();
    set_mode(&source.join("etc/deep/key"), 0o600);
    set_mode(&source.join("etc/deep"), 0o550);
    let text = source.to_str().unwrap();
    cairn.cli(&["import", text, "web", "--tag", "v1", "-m", "first"]);
    fs::write(source.join("etc/conf"), "two\n").unwrap();
    cairn.cli(&["import", text, "web", "-m", "second"]);
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn o4_history_is_read_with_a_daemon_and_without() {
    for mut cairn in [Cairn::unmounted(), Cairn::start()] {
        filled(&cairn);
        let log = cairn.cli(&["log", "web"]);
        let lines: Vec<_> = log.lines().collect();
        assert!(lines[1].trim_start().starts_with("2 ") && lines[1].ends_with("second"), "{log}");
        assert!(lines[2].contains(" v1 ") && lines[2].ends_with("first"), "{log}");
        let of_path = cairn.cli(&["log", "web", "etc/deep"]);
        assert_eq!(of_path.lines().count(), 2, "a heading and version 1: {of_path}");
        assert_eq!(cairn.cli(&["find", "web", "conf"]), "1-2         etc/conf\n");
        assert_eq!(cairn.run(&["find", "web", "none"]).status.code(), Some(3));
        assert_eq!(cairn.cli(&["cat", "web/v1/etc/conf"]), "one\n");
        assert_eq!(cairn.cli(&["cat", "web/latest/./etc//conf"]), "two\n");
        assert_eq!(cairn.cli(&["cat", "web/1/empty"]), "");
        for (path, code, text) in [
            ("web/1/none", 3, "no `none`"),
            ("web/1/etc", 2, "is a directory"),
            ("web/1/link", 2, "symbolic link to `etc/conf`"),
            ("web/1", 2, "is a directory"),
            ("web/9/etc/conf", 3, "no version"),
            ("web", 2, "REPO/VERSION/PATH"),
        ] {
            let output = cairn.run(&["cat", path]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{path}: {said}");
            assert!(said.contains(text), "{path}: {said}");
        }
        if cairn.mnt().join("versions").exists() {
            cairn.stop();
        }
    }
}

#[test]
fn o4_what_is_restored_is_as_it_was_exported() {
    let cairn = Cairn::unmounted();
    filled(&cairn);
    let home = cairn.scratch().join("home");
    fs::create_dir(&home).unwrap();
    let to = |name: &str| home.join(name).to_str().unwrap().to_owned();
    cairn.cli(&["export", "web/1", &to("whole")]);
    for (path, destination) in
        [("etc", "etc"), ("etc/conf", "conf"), ("link", "link"), ("empty", "empty"), ("", "all")]
    {
        let path = format!("web/1/{path}");
        let said = cairn.cli(&["restore", &path, &to(destination)]);
        assert!(said.contains("wrote"), "{said}");
    }
    assert_eq!(fs::read(home.join("conf")).unwrap(), b"one\n");
    assert_eq!(fs::read_link(home.join("link")).unwrap(), Path::new("etc/conf"));
    for (one, other) in [("etc", "whole/etc"), ("all", "whole"), ("conf", "whole/etc/conf")] {
        let diff = Command::new("diff").arg("-r").args([home.join(one), home.join(other)]).output();
        assert!(diff.unwrap().status.success(), "{one} {other}");
    }
    for (one, other) in [
        ("conf", "whole/etc/conf"),
        ("etc/deep", "whole/etc/deep"),
        ("etc/deep/key", "whole/etc/deep/key"),
    ] {
        let (one, other) =
            (fs::metadata(home.join(one)).unwrap(), fs::metadata(home.join(other)).unwrap());
        let facts =
            |meta: &fs::Metadata| (meta.mode(), meta.uid(), meta.mtime(), meta.mtime_nsec());
        assert_eq!(facts(&one), facts(&other));
    }
    assert_eq!(
        fs::metadata(home.join("conf")).unwrap().nlink(),
        1,
        "its other name was not asked for"
    );
    assert_eq!(fs::metadata(home.join("etc/conf")).unwrap().nlink(), 2);
    let shown = cairn.json(&["restore", "web/2/etc", &to("more")]);
    assert_eq!((&shown["file_count"], &shown["directory_count"]), (&3.into(), &2.into()));
    let shown = cairn.json(&["restore", "web/2/empty", &format!("{}/", to("more"))]);
    assert_eq!((&shown["file_count"], &shown["directory_count"]), (&1.into(), &0.into()));
    assert_eq!(names(&home.join("more")), ["conf", "deep", "empty", "same"]);
    assert_eq!(names(&home), ["all", "conf", "empty", "etc", "link", "more", "whole"]);
}

#[test]
fn o4_nothing_is_overwritten_unasked() {
    let cairn = Cairn::unmounted();
    filled(&cairn);
    let home = cairn.scratch().join("home");
    fs::create_dir_all(home.join("full/inside")).unwrap();
    fs::write(home.join("file"), "mine").unwrap();
    symlink(home.join("file"), home.join("link")).unwrap();
    let to = |name: &str| home.join(name).to_str().unwrap().to_owned();
    for name in ["full", "file", "link"] {
        for path in ["web/2/etc", "web/2/etc/conf"] {
            let said = cairn.cli_fails(&["restore", path, &to(name)]);
            assert!(said.contains("--force"), "{said}");
        }
    }
    assert_eq!(
        (names(&home), names(&home.join("full"))),
        (vec!["file".into(), "full".into(), "link".into()], vec!["inside".into()])
    );
    cairn.cli(&["restore", "web/2/etc/conf", &to("link"), "--force"]);
    assert_eq!(fs::read(home.join("file")).unwrap(), b"mine", "the link was replaced");
    assert_eq!(fs::read(home.join("link")).unwrap(), b"two\n");
    cairn.cli(&["restore", "web/2/etc", &to("file"), "--force"]);
    assert_eq!(names(&home.join("file")), ["conf", "deep", "same"]);
    cairn.cli(&["restore", "web/1/etc/conf", &to("file"), "--force"]);
    cairn.cli(&["restore", "web/1/etc", &to("full"), "--force"]);
    assert_eq!(fs::read(home.join("file")).unwrap(), b"one\n");
    assert_eq!(names(&home.join("full")), ["conf", "deep", "same"]);
    assert_eq!(names(&home), ["file", "full", "link"], "nothing is left over");
    let said = cairn.cli_fails(&["restore", "web/1/etc", &to("none/x")]);
    assert!(said.contains("none"), "{said}");
}

#[test]
fn o4_an_interrupted_restore_leaves_what_was_there() {
    use rustix::process::{Pid, Signal, kill_process};
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    fs::create_dir(area.join("d")).unwrap();
    for number in 0..24 {
        fs::write(area.join(format!("d/{number}")), content::bytes(number, 4 << 20)).unwrap();
    }
    cairn.publish("lib", "a").unwrap();
    let home = cairn.scratch();
    for signal in [Signal::INT, Signal::TERM] {
        fs::create_dir(home.join("x")).unwrap();
        fs::write(home.join("x/old"), "kept").unwrap();
        let mut command = Command::new(binary());
        command.args(["restore", "lib/1/d"]).arg(home.join("x")).arg("--force");
        command.env("CAIRN_STORE", cairn.store());
        let mut restore = command.stdout(Stdio::null()).spawn().unwrap();
        wait::until("the restore writes", || {
            names(&home).len() > 1 || restore.try_wait().unwrap().is_some()
        });
        kill_process(Pid::from_child(&restore), signal).ok();
        // One that was whole before the signal came is there; one that was not has changed nothing.
        let whole = restore.wait().unwrap().success();
        assert_eq!(names(&home), ["x"]);
        assert_eq!(names(&home.join("x")).len(), if whole { 24 } else { 1 });
        fs::remove_dir_all(home.join("x")).unwrap();
    }
}

#[test]
fn o4_others_are_told_the_history_of_what_they_may_read() {
    let cairn = Cairn::start_with(&["-o", "allow_other"]);
    filled(&cairn);
    let program = cairn.scratch().join("cairn");
    fs::copy(binary(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |verb: &str| {
        as_nobody(&format!("CAIRN_STORE=\"$2\" \"$1\" {verb}"), &[&program, &cairn.store()])
    };
    let log = run("log web");
    assert!(log.status.success(), "{log:?}");
    // Those name paths, some of them in directories that are closed to others.
    for verb in
        ["log web etc", "find web '*'", "cat web/1/etc/conf", "restore web/1/etc/conf /tmp/none"]
    {
        let output = run(verb);
        assert_eq!(output.status.code(), Some(6), "{verb}: {output:?}");
    }
    std::os::unix::fs::chown(cairn.staging("web"), Some(NOBODY), Some(NOBODY)).unwrap();
    for verb in ["log web etc", "find web '*'"] {
        let output = run(verb);
        assert!(output.status.success(), "{verb}: {output:?}");
    }
    set_mode(&cairn.staging("web"), 0o700);
    std::os::unix::fs::chown(cairn.staging("web"), Some(0), Some(0)).unwrap();
    assert_eq!(run("log web").status.code(), Some(6));
}
