//! Who may have the daemon read a directory or an archive, and which settings such a remote has (L2, H24, R7)

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::process::{Command, Stdio};

use support::Cairn;
use support::area::NOBODY;
use support::cairn::binary;

use super::{Local, write};

#[test]
fn h24_nobody_but_root_and_the_daemons_user_has_the_daemon_read() {
    let mut cairn = Cairn::unmounted();
    cairn.set_arguments(&["-o", "allow_other"]);
    let runtime = cairn.scratch().join("run");
    cairn.set_env("CAIRN_RUNTIME_DIR", Some(runtime.to_str().unwrap()));
    cairn.mount();
    let home = cairn.store().parent().unwrap().to_owned();
    fs::set_permissions(home, fs::Permissions::from_mode(0o755)).unwrap();
    let local = Local::directory_on(cairn, &[("secret", b"1")]);
    fs::set_permissions(&local.source, fs::Permissions::from_mode(0o700)).unwrap();
    local.sync(&[]);
    let path = local.path();
    for arguments in [
        &["remote", "add", "mine", "directory", path][..],
        &["remote", "add", "mine", "archive", path],
        &["remote", "set", "origin", "--url", "/etc"],
        &["remote", "test", "origin"],
        &["remote", "show", "origin"],
        &["sync", "lib", "origin"],
        &["sync", "lib", "origin", "--dry-run"],
        &["sync", "mine", "origin", "--detach"],
    ] {
        let mut command = Command::new("setpriv");
        let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        command.args(ids).arg("--clear-groups").arg(binary()).args(arguments);
        command.env("CAIRN_STORE", local.cairn.store()).env("CAIRN_RUNTIME_DIR", &runtime);
        let output = command.current_dir("/").stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(6), "{arguments:?}: {output:?}");
        let said = format!("{output:?}");
        assert!(!said.contains("secret"), "{said}");
    }
    assert_eq!(local.cairn.json(&["remote", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(local.cairn.json(&["jobs"]).as_array().unwrap().len(), 1);
}

#[test]
fn h24_a_strangers_link_on_the_path_is_not_followed() {
    let local = Local::directory(&[("a", b"1")]);
    let (scratch, cairn) = (local.cairn.scratch(), &local.cairn);
    let theirs = scratch.join("theirs");
    symlink(&local.source, &theirs).unwrap();
    lchown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    cairn.cli(&["remote", "add", "theirs", "directory", theirs.to_str().unwrap()]);
    let message = cairn.cli_fails(&["sync", "lib", "theirs"]);
    assert!(message.contains("is not followed"), "{message}");
    // Root's own is.
    let own = scratch.join("own");
    symlink(&local.source, &own).unwrap();
    cairn.cli(&["remote", "add", "own", "directory", own.to_str().unwrap()]);
    cairn.cli(&["sync", "lib", "own"]);
    // In the directory, links are kept as they are.
    write(&scratch, &[("outside/x", b"2")]);
    symlink(scratch.join("outside"), local.source.join("link")).unwrap();
    local.sync(&[]);
    assert!(fs::symlink_metadata(cairn.versions("lib/2/link")).unwrap().is_symlink());
}

#[test]
fn l2_what_is_read_is_never_lazy_and_has_nothing_of_the_network() {
    let local = Local::directory(&[("a", b"1")]);
    let path = local.path();
    for (arguments, part) in [
        (
            &["remote", "add", "x", "directory", path, "--policy", "on_demand"][..],
            "read during the sync",
        ),
        (&["remote", "add", "x", "archive", path, "--policy", "on_demand"], "read during the sync"),
        (&["remote", "set", "origin", "--policy", "on_demand"], "read during the sync"),
        (&["remote", "add", "x", "directory", path, "--connections", "2"], "mean nothing to it"),
        (&["remote", "add", "x", "archive", path, "--token-env", "T"], "mean nothing to it"),
        (&["remote", "add", "x", "archive", path, "--suite", "s"], "debian"),
        (&["remote", "add", "x", "directory", "https://example.org/"], "path of this machine"),
        (&["remote", "add", "x", "manifest", path], "begins with http://"),
        (&["remote", "add", "x", "directory", "file://host/a"], "absolute path"),
        (&["remote", "set", "origin", "--kind", "sums"], "begins with http://"),
        (&["sync", "lib", "origin", "--limit-rate", "1M"], "--limit-rate is not for it"),
    ] {
        let output = local.cairn.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
    let list = local.cairn.json(&["remote", "list"]);
    let expected = serde_json::json!([
        { "remote": "origin", "kind": "directory", "url": format!("file://{path}") }
    ]);
    assert_eq!(list, expected);
    assert!(!local.cairn.staging("lib").exists());
}
