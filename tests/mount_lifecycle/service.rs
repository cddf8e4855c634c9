//! The daemon as a service: what it tells its manager, its unit, and what it gives up (R7)

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use crate::toy::require_root;
use support::cairn::binary;
use support::{Cairn, wait};

const UNIT: &str = include_str!("../../dist/systemd/cairn@.service");

fn next(socket: &UnixDatagram) -> String {
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let mut text = [0; 1000];
    let length = socket.recv(&mut text).expect("the daemon tells something");
    String::from_utf8(text[..length].to_vec()).unwrap()
}

#[test]
fn the_manager_hears_of_start_and_stop() {
    for is_abstract in [false, true] {
        let mut cairn = Cairn::unmounted();
        let path = cairn.scratch().join("notify");
        let (name, socket) = if is_abstract {
            let name = format!("cairn-notify-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            (format!("@{name}"), UnixDatagram::bind_addr(&address).unwrap())
        } else {
            (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap())
        };
        cairn.set_env("NOTIFY_SOCKET", Some(&name));
        cairn.spawn();
        let ready = next(&socket);
        assert!(ready.starts_with("READY=1\nSTATUS=serving /"), "{ready}");
        assert!(cairn.is_usable(), "it was ready too early");
        cairn.stop();
        let stopping = next(&socket);
        assert!(stopping.starts_with("STOPPING=1\nSTATUS="), "{stopping}");
    }
}

#[test]
fn a_manager_that_is_gone_is_no_obstacle() {
    let mut cairn = Cairn::unmounted();
    cairn.set_env("NOTIFY_SOCKET", Some("/nonexistent/notify"));
    cairn.mount();
    cairn.stop();
    assert!(cairn.log().contains("cannot tell the service manager"), "{}", cairn.log());
}

#[test]
fn the_unit_keeps_the_mount_visible_and_the_stop_whole() {
    let settings: Vec<(&str, &str)> = UNIT
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .collect();
    let is = |name: &str, value: &str| settings.contains(&(name, value));
    assert!(is("Type", "notify") && is("KillMode", "mixed"));
    for (name, _) in &settings {
        let private =
            ["Private", "Protect", "ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths"];
        let apart = private.iter().any(|prefix| name.starts_with(prefix))
            || ["RootDirectory", "DynamicUser", "TemporaryFileSystem", "MountFlags"].contains(name);
        assert!(!apart, "{name} makes a mount namespace: nobody else would see the mount");
    }
    // systemd itself knows each setting, and takes each value.
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("cairn@test.service");
    fs::write(&unit, UNIT.replace("/usr/local/bin/cairn", binary())).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&unit).output();
    let output = output.expect("systemd-analyze (package systemd) verifies the unit");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("cairn@"), "{text}");
}

fn status(cairn: &Cairn, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", cairn.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.expect(field).trim().to_owned()
}

/// SYS_ADMIN, SYS_PTRACE, DAC_OVERRIDE, DAC_READ_SEARCH by their numbers.
const KEPT: u64 = 1 << 21 | 1 << 19 | 1 << 1 | 1 << 2;

#[test]
fn a_daemon_of_root_gives_up_what_it_does_not_need() {
    require_root();
    let cairn = Cairn::start();
    for field in ["CapEff", "CapPrm", "CapBnd"] {
        let found = u64::from_str_radix(&status(&cairn, field), 16).unwrap();
        assert_eq!(found & !KEPT, 0, "{field} is {found:x}");
    }
    assert_eq!(status(&cairn, "NoNewPrivs"), "1");
    // Each thread has its own.
    for thread in fs::read_dir(format!("/proc/{}/task", cairn.pid())).unwrap() {
        let text = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        assert_eq!(u64::from_str_radix(line.trim(), 16).unwrap() & !KEPT, 0, "{text}");
    }
    // And still owners, modes and devices of files are kept.
    let area = cairn.area("lib", "v1");
    fs::write(area.join("file"), "x").unwrap();
    std::os::unix::fs::chown(area.join("file"), Some(1), Some(2)).unwrap();
    support::area::set_mode(&area.join("file"), 0o6750);
    cairn.publish("lib", "v1").unwrap();
    let found = fs::metadata(cairn.versions("lib/1/file")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (1, 2, 0o6750));
}

#[test]
fn a_command_of_roots_may_do_what_root_does() {
    require_root();
    let line = "touch \"$CAIRN_STORE/../mark\"; chown 1:1 \"$CAIRN_STORE/../mark\"; env > \"$CAIRN_STORE/../env\"; mv \"$CAIRN_STORE/../mark\" \"$CAIRN_STORE/../done\"";
    let cairn = Cairn::start_with(&["--on-commit", line]);
    assert_eq!(u64::from_str_radix(&status(&cairn, "CapEff"), 16).unwrap() & !KEPT, 0);
    cairn.area("lib", "v1");
    cairn.publish("lib", "v1").unwrap();
    let done = cairn.store().with_file_name("done");
    wait::until("the command has run", || done.exists());
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(&done).unwrap().uid(), 1);
}
