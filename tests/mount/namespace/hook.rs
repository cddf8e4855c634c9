//! H25: those who want to know of new versions: `cairn wait`, and the command of `--on-commit`

use std::fs;
use std::process::{Command, Stdio};

use rustix::fs::{XattrFlags, setxattr};
use rustix::process::{Pid, test_kill_process};

use support::cairn::binary;
use support::{Cairn, wait};

/// Writes a line for each version beside the store; fails for version 2.
const ANNOUNCE: &str = "\
    echo \"$CAIRN_REPOSITORY/$CAIRN_VERSION '$CAIRN_NAME' '$CAIRN_MESSAGE'\" \
        $(cat \"$CAIRN_MOUNT/versions/$CAIRN_REPOSITORY/$CAIRN_VERSION/f\") \
        $(readlink \"$CAIRN_MOUNT/tags/$CAIRN_REPOSITORY/latest\") >> \"$CAIRN_STORE/../heard\"
    echo this goes to the log
    test \"$CAIRN_VERSION\" != 2";

fn publish(cairn: &Cairn, label: &str) {
    let area = cairn.area("lib", label);
    fs::write(area.join("f"), format!("content of {label}")).unwrap();
    setxattr(&area, "user.cairn.message", b"it's new", XattrFlags::empty()).unwrap();
    cairn.publish("lib", label).unwrap();
}

fn heard(cairn: &Cairn) -> Vec<String> {
    let path = cairn.store().with_file_name("heard");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn the_command_runs_once_for_each_version_in_order() {
    let cairn = Cairn::start_with(&["--on-commit", ANNOUNCE, "--protect", "1h", "--gc-period=0"]);
    publish(&cairn, "v1");
    wait::until("the first is heard of", || heard(&cairn).len() == 1);
    publish(&cairn, "v2");
    wait::until("the second is heard of", || heard(&cairn).len() == 2);
    cairn.cli(&["delete", "lib/1"]);
    let deleted = cairn.json(&["undelete", "lib"]);
    let seconds = |field: &str| deleted[0][field].as_i64().unwrap();
    assert_eq!(seconds("until_seconds") - seconds("deleted_seconds"), 3600);
    cairn.cli(&["undelete", "lib/v1"]);
    publish(&cairn, "v3");
    wait::until("the third is heard of", || heard(&cairn).len() == 3);
    let line = |number: u64| {
        let latest = format!("../../versions/lib/{number}");
        format!("lib/{number} 'v{number}' 'it's new' content of v{number} {latest}")
    };
    assert_eq!(heard(&cairn), [line(1), line(2), line(3)]);
    wait::until("the log tells", || {
        let log = cairn.log();
        log.contains("this goes to the log") && log.contains("--on-commit for lib/2 failed")
    });
    cairn.cli(&["gc", "--full", "--wait"]);
    assert!(cairn.json(&["status"])["next_run_seconds"].is_null(), "there is no period");
}

#[test]
fn a_command_that_goes_on_ends_with_the_daemon_and_keeps_nobody_waiting() {
    let command = "echo $$ > \"$CAIRN_STORE/../pid\"; exec tail -f /dev/null";
    let mut cairn = Cairn::start_with(&["--on-commit", command]);
    publish(&cairn, "v1");
    publish(&cairn, "v2");
    assert_eq!(fs::read_dir(cairn.versions("lib")).unwrap().count(), 2);
    let path = cairn.store().with_file_name("pid");
    let mut pid = None;
    wait::until("it runs", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.is_some() && text.ends_with('\n')
    });
    test_kill_process(pid.unwrap()).unwrap();
    cairn.stop();
    assert!(test_kill_process(pid.unwrap()).is_err(), "it is still there");
    assert!(cairn.log().contains("--on-commit is not run for 1 version"), "{}", cairn.log());
}

#[test]
fn waiting_ends_when_a_version_is_published() {
    let cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    let mut command = Command::new(binary());
    command.args(["wait", "lib", "--after", "0", "--timeout", "60", "--json"]);
    command.env("CAIRN_STORE", cairn.store()).stdin(Stdio::null()).stdout(Stdio::piped());
    let waiting = command.spawn().unwrap();
    publish(&cairn, "v1");
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success());
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&version["number"], &version["name"]), (&1.into(), &"v1".into()));
    publish(&cairn, "v2");
    assert_eq!(cairn.cli(&["wait", "lib", "--after", "1"]), "lib/2\n");
    let late = cairn.run(&["wait", "lib", "--timeout", "0"]);
    assert_eq!(late.status.code(), Some(4));
    let file = cairn.versions("lib/1/f");
    let why = cairn.json(&["why", file.to_str().unwrap()]);
    assert_eq!(why["holders"][0]["number"], 1);
    assert_eq!(why["holders"][0]["paths"][0], "f");
}
