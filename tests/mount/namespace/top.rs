//! O2: what the daemon does, shown as it does it

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use support::cairn::binary;
use support::{Cairn, wait};

#[test]
fn o2_each_document_is_about_what_happened_since_the_one_before() {
    use rustix::process::{Pid, Signal, kill_process};
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    fs::write(area.join("f"), "x").unwrap();
    fs::write(area.join("g"), "x").unwrap();
    cairn.publish("lib", "a").unwrap();
    let mut command = Command::new(binary());
    command.args(["top", "--json"]).env("CAIRN_STORE", cairn.store());
    let mut top = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let all = next();
    assert_eq!((&all["counts"]["commit_count"], &all["now"]["state"]), (&1.into(), &"ok".into()));
    assert_eq!(all["counts"]["known_file_count"], 1, "the second file was stored already: {all}");
    assert_eq!(all["interval_ms"], all["uptime_ms"]);
    let named = |document: &Value, name: &str| {
        let all = document["operations"].as_array().unwrap().iter();
        all.filter(|operation| operation["operation"] == name).count()
    };
    assert_eq!(named(&all, "create"), 1, "{all}");
    let second = next();
    assert_eq!(second["counts"]["commit_count"], 0);
    assert_eq!(named(&second, "create"), 0, "{second}");
    fs::create_dir(cairn.staging("lib/b")).unwrap();
    // One of the next two tells of it.
    let later = [next(), next()];
    assert_eq!(later.iter().map(|document| named(document, "mkdir")).sum::<usize>(), 1);
    kill_process(Pid::from_child(&top), Signal::INT).unwrap();
    assert!(top.wait().unwrap().success());
}

#[test]
fn o2_q_ends_it_and_the_terminal_is_as_before() {
    let cairn = Cairn::start();
    // script(1) makes a terminal, and hands on what it is given as keys.
    let line = format!("stty -g; {} top; echo \"ended $?\"; stty -g", binary());
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).env("CAIRN_STORE", cairn.store());
    script.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().expect("script (package bsdutils) makes a terminal");
    let (mut keys, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let said: Arc<Mutex<Vec<u8>>> = Arc::default();
    let heard = Arc::clone(&said);
    let reader = std::thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut some) {
            heard.lock().unwrap().extend(&some[..length]);
        }
    });
    let text = || String::from_utf8_lossy(&said.lock().unwrap()).into_owned();
    wait::until("the first table is there", || text().contains("OPERATION"));
    keys.write_all(b"xq").unwrap();
    wait::until("top ends", || script.try_wait().unwrap().is_some());
    reader.join().unwrap();
    let text = text();
    let (before, rest) =
        text.split_once("\u{1b}[?1049h\u{1b}[?25l").unwrap_or_else(|| panic!("{text:?}"));
    let (shown, after) =
        rest.split_once("\u{1b}[?25h\u{1b}[?1049l").unwrap_or_else(|| panic!("{text:?}"));
    assert!(shown.contains("OPERATION") && shown.contains("since it began"), "{shown:?}");
    assert!(after.contains("ended 0"), "{after:?}");
    let settings = |text: &str| {
        text.lines().find(|line| line.contains(':')).map(|line| line.trim().to_owned())
    };
    assert_eq!(settings(before).unwrap(), settings(after).unwrap());
}

#[test]
fn o2_without_a_daemon_it_says_so() {
    let cairn = Cairn::unmounted();
    let said = cairn.cli_fails(&["top", "--once"]);
    assert!(said.contains("no daemon") && said.contains("cairn mount"), "{said}");
}
