//! Jobs: syncs that go on in the daemon, whoever waits for them (V7, V8, V10)

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::http::{Answer, Asked, Server, Site};
use support::{Cairn, content, wait};

use crate::shared::{Synced, map, result};

/// A gate before answers of a server.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// A site whose answers for `held` wait at a gate.
fn gated(files: &[(&str, &[u8])], held: fn(&Asked) -> bool) -> (Synced, Gate) {
    let (site, gate) = (Site::of(files), Gate::default());
    let (inner, before) = (site.clone(), gate.clone());
    let server = Server::start(move |asked, _| {
        if held(asked) {
            before.pass();
        }
        inner.answer(asked)
    });
    (Synced::with(site, server), gate)
}

fn is_b(asked: &Asked) -> bool {
    asked.line.starts_with("GET /b ")
}

fn started(cairn: &Cairn, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.args(arguments).env("CAIRN_STORE", cairn.store());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(process: &Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
    kill_process(id, signal).unwrap();
}

fn jobs(cairn: &Cairn) -> Vec<Value> {
    serde_json::from_str(&cairn.cli(&["jobs", "--json"])).unwrap()
}

fn job(cairn: &Cairn, number: u64) -> Value {
    let found = jobs(cairn).into_iter().find(|job| job["job"] == number);
    found.unwrap_or_else(|| panic!("no job {number}"))
}

#[test]
fn v7_a_detached_sync_goes_on_and_can_be_waited_for() {
    let (synced, gate) = gated(&[("a", b"1"), ("b", b"2")], is_b);
    let cairn = &synced.cairn;
    assert_eq!(cairn.cli(&["sync", "lib", "origin", "--detach"]), "job 1\n");
    wait::until("one file is fetched", || job(cairn, 1)["fetched_file_count"] == 1);
    let running = job(cairn, 1);
    let facts = ["state", "stage", "repository", "remote", "user", "detached", "number", "error"];
    assert_eq!(
        facts.map(|fact| running[fact].clone()),
        [
            "running".into(),
            "fetch".into(),
            "lib".into(),
            "origin".into(),
            "root".into(),
            true.into(),
            Value::Null,
            Value::Null
        ]
    );
    assert!(running.get("ended").is_none());
    let late = cairn.run(&["wait", "--job", "1", "--timeout", "0"]);
    assert_eq!(late.status.code(), Some(4), "{late:?}");
    // Ending one who waits does not end the job.
    let mut waiting = started(cairn, &["wait", "--job", "1"]);
    let waits = started(cairn, &["wait", "--job", "1", "--json"]);
    signal(&waiting, Signal::KILL);
    waiting.wait().unwrap();
    gate.open();
    let output = waits.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let done = result(&String::from_utf8(output.stdout).unwrap());
    assert_eq!((&done["job"], &done["version"]["number"]), (&1.into(), &1.into()));
    assert_eq!(synced.version(1), map(&[("a", b"1"), ("b", b"2")]));
    let ended = job(cairn, 1);
    assert_eq!((&ended["state"], &ended["number"]), (&"done".into(), &1.into()));
    assert!(ended["ended"].is_string());
    // Whoever comes late gets the same.
    assert!(cairn.cli(&["wait", "--job", "1"]).starts_with("lib/1: 2 files declared, 2 added"));
    let table = cairn.cli(&["jobs"]);
    assert!(table.contains("done") && table.contains("lib/1"), "{table}");
    assert_eq!(cairn.run(&["wait", "--job", "2"]).status.code(), Some(3));
    let log = cairn.log();
    assert!(log.contains("sync lib with origin (add), by root"), "{log}");
}

#[test]
fn waiting_for_a_job_exits_as_the_job_ended() {
    let site = Site::of(&[("a", b"old")]);
    let inner = site.clone();
    let server = Server::start(move |asked, number| {
        let answer = inner.answer(asked);
        if number == 1 {
            inner.set(&[("a", b"new"), ("gone", b"2")]);
            inner.take("gone");
        }
        answer
    });
    let synced = Synced::with(site, server);
    let cairn = &synced.cairn;
    cairn.cli(&["sync", "lib", "origin", "--detach"]);
    for _ in 0..2 {
        let changed = cairn.run(&["wait", "--job", "1"]);
        assert_eq!(changed.status.code(), Some(13), "{changed:?}");
    }
    cairn.cli(&["sync", "lib", "origin", "--detach"]);
    let failed = cairn.run(&["wait", "--job", "2", "--json"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let error: Value = serde_json::from_slice(&failed.stderr).unwrap();
    let files = &error["error"]["detail"]["failed_files"];
    assert_eq!((&files["file_count"], &files["files"][0]["path"]), (&1.into(), &"gone".into()));
    assert_eq!(job(cairn, 2)["error"], error["error"]);
    // A person reads of each file once.
    let told = cairn.cli_fails(&["wait", "--job", "2"]);
    assert_eq!(told.matches("404 Not Found").count(), 1, "{told}");
    assert!(!cairn.versions("lib/1").exists());
}

#[test]
fn v7_a_cancelled_job_leaves_nothing_but_what_came() {
    let (synced, gate) = gated(&[("a", b"1"), ("b", b"2")], is_b);
    let cairn = &synced.cairn;
    cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("one file is stored", || cairn.cli(&["status"]).contains("1 blob"));
    let waiting = started(cairn, &["wait", "--job", "1"]);
    assert_eq!(cairn.cli(&["jobs", "--cancel", "1"]), "cancelled job 1\n");
    let output = waiting.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("cancelled by root"), "{output:?}");
    assert_eq!(job(cairn, 1)["state"], "cancelled");
    assert!(!cairn.staging("lib").exists(), "the repository was made for it");
    let again = cairn.cli_fails(&["jobs", "--cancel", "9"]);
    assert!(again.contains("no job 9"), "{again}");
    gate.open();
    synced.sync(&[]);
    assert_eq!(synced.asked_for("/a"), 1, "what came is used");
    let late = cairn.cli_fails(&["jobs", "--cancel", "2"]);
    assert!(late.contains("had ended already: it is done"), "{late}");
    assert!(cairn.log().contains("cancel job 1, by root"), "{}", cairn.log());
}

#[test]
fn a_sync_that_a_command_waits_for_is_a_job_that_ends_with_it() {
    let (synced, _gate) = gated(&[("a", b"1"), ("b", b"2")], is_b);
    let cairn = &synced.cairn;
    let mut running = started(cairn, &["sync", "lib", "origin"]);
    wait::until("it is listed", || {
        jobs(cairn).first().is_some_and(|job| job["fetched_file_count"] == 1)
    });
    let listed = job(cairn, 1);
    assert_eq!((&listed["detached"], &listed["pid"]), (&false.into(), &running.id().into()));
    // As the end of a terminal does.
    signal(&running, Signal::HUP);
    running.wait().unwrap();
    wait::until("it has ended", || job(cairn, 1)["state"] == "cancelled");
    let why = job(cairn, 1)["error"]["message"].to_string();
    assert!(why.contains("the command that began it has gone"), "{why}");
    assert!(!cairn.staging("lib").exists());
}

#[test]
fn a_stop_of_the_daemon_ends_jobs_and_keeps_what_came() {
    let (mut synced, gate) = gated(&[("a", b"1"), ("b", b"2")], is_b);
    synced.cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("one file is stored", || synced.cairn.cli(&["status"]).contains("1 blob"));
    let mut waiting = started(&synced.cairn, &["wait", "--job", "1", "--json"]);
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("progress"), "it waits by now");
    synced.cairn.restart();
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(jobs(&synced.cairn).is_empty(), "jobs are forgotten");
    assert!(!synced.cairn.staging("lib").exists());
    gate.open();
    synced.sync(&[]);
    assert_eq!(synced.asked_for("/a"), 1, "what came is used");
    let log = synced.cairn.log();
    assert!(log.contains("ending job 1: the daemon stops") && !log.contains("do not end"), "{log}");
}

/// The one who reads nothing has more to hear than any buffer holds, and begins to fetch what the other wants.
#[test]
fn v10_a_stopped_client_of_one_sync_does_not_hold_up_another() {
    let names: Vec<String> = (0..4_000).map(|number| format!("absent/{number:0>200}")).collect();
    let absent = names.iter().map(|name| (name.as_str(), &b"absent"[..]));
    let files: Vec<(&str, &[u8])> = absent.chain([("shared", &b"shared"[..])]).collect();
    let (synced, gate) = gated(&files, |asked| asked.line.starts_with("GET /shared "));
    let cairn = &synced.cairn;
    for name in &names {
        synced.site.take(name);
    }
    let stopped = started(cairn, &["sync", "stopped", "origin"]);
    wait::until("it is listed", || !jobs(cairn).is_empty());
    signal(&stopped, Signal::STOP);
    wait::until("all of it was tried but what both want", || {
        job(cairn, 1)["failed_file_count"] == names.len()
    });
    synced.site.put("ONE", &synced.site.line("shared"));
    cairn.cli(&["remote", "add", "one", "sums", &synced.server.url("/ONE")]);
    let other = started(cairn, &["sync", "lib", "one"]);
    wait::until("the other one runs as well", || jobs(cairn).len() == 2);
    gate.open();
    let output = other.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    wait::until("the first has ended though nobody hears of it", || {
        job(cairn, 1)["state"] == "failed"
    });
    assert_eq!(synced.asked_for("/shared"), 1, "it was fetched once");
    signal(&stopped, Signal::CONT);
    let output = stopped.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("4000 files could not be fetched"), "{}", told.lines().last().unwrap());
    assert_eq!(told.matches("404 Not Found").count(), 4_000, "nothing of it was lost");
}

#[test]
fn v8_without_a_terminal_json_comes_line_by_line_with_the_result_at_the_end() {
    let (synced, gate) = gated(&[("a", b"1"), ("b", b"2")], is_b);
    let mut running = started(&synced.cairn, &["sync", "lib", "origin", "--json"]);
    let lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    // What is on its way is told while it is.
    let first = lines.find(|line| line["fetched_file_count"] == 1).unwrap();
    assert_eq!((&first["type"], &first["stage"]), (&"progress".into(), &"fetch".into()));
    assert_eq!((&first["job"], &first["declared_file_count"]), (&1.into(), &2.into()));
    assert!(first["fetched_bytes_per_second"].is_u64() && first["retry"].is_null());
    gate.open();
    let rest: Vec<Value> = lines.collect();
    let (last, before) = rest.split_last().unwrap();
    assert_eq!((&last["type"], &last["added_file_count"]), (&"result".into(), &2.into()));
    assert!(before.iter().all(|line| line["type"] == "progress" && line["job"] == 1), "{before:?}");
    assert!(running.wait().unwrap().success());
}

#[test]
fn v8_a_wait_for_a_remote_that_does_not_answer_is_told() {
    let cairn = Cairn::start();
    // Nobody listens there: the port was just let go of.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    cairn.cli(&["remote", "add", "origin", "sums", &format!("http://127.0.0.1:{port}/")]);
    cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("it says what it waits for", || {
        let retry = job(&cairn, 1)["retry"].as_str().unwrap_or_default().to_owned();
        retry.starts_with("try ") && retry.contains("refused") && retry.contains("again in")
    });
    assert!(cairn.cli(&["jobs"]).contains("declare: try "));
    cairn.cli(&["jobs", "--cancel", "1"]);
}

#[test]
fn v10_a_slow_remote_does_not_hold_up_those_who_get_the_content_elsewhere() {
    let large = content::bytes(5, 1 << 20);
    let (site, synced) = (Site::of(&[("large", &large)]), Synced::new(&[("large", &large)]));
    let cairn = &synced.cairn;
    let slow = Server::start(move |asked, _| {
        let answer = site.answer(asked);
        match asked.line.contains("/large") {
            true => Answer::Sticks(answer[..answer.len() / 2].to_vec()),
            false => Answer::Ends(answer),
        }
    });
    cairn.cli(&["remote", "add", "slow", "sums", &slow.url("/")]);
    cairn.cli(&["remote", "set", "origin", "--idle-timeout", "1s"]);
    cairn.cli(&["sync", "other", "slow", "--detach"]);
    wait::until("half of it came", || job(cairn, 1)["fetched_bytes"].as_u64() > Some(500_000));
    synced.sync(&[]);
    assert_eq!(synced.version(1), map(&[("large", &large)]));
    assert_eq!(job(cairn, 1)["state"], "running", "the slow one goes on");
    cairn.cli(&["jobs", "--cancel", "1"]);
}

#[test]
fn unfinished_downloads_are_shown_and_freed_unless_they_are_fetched() {
    let large = content::bytes(6, 1 << 20);
    let site = Site::of(&[("large", &large)]);
    let inner = site.clone();
    let server = Server::start(move |asked, _| {
        let answer = inner.answer(asked);
        match asked.line.contains("/large") {
            true => Answer::Sticks(answer[..answer.len() / 2].to_vec()),
            false => Answer::Ends(answer),
        }
    });
    let synced = Synced::with(site, server);
    let cairn = &synced.cairn;
    cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("half of it came", || job(cairn, 1)["fetched_bytes"].as_u64() > Some(500_000));
    let status = cairn.json(&["status"]);
    assert_eq!(status["partial_file_count"], 1);
    assert!(status["partial_bytes"].as_u64() > Some(400_000), "{status}");
    assert!(cairn.cli(&["status"]).contains("in 1 unfinished download"));
    let free = |options: &[&str]| cairn.json(&[&["gc", "--wait"], options].concat());
    assert_eq!(free(&["--protect", "0"])["freed_partial_file_count"], 0, "it is fetched");
    cairn.cli(&["jobs", "--cancel", "1"]);
    assert_eq!(free(&[])["freed_partial_file_count"], 0, "it is protected for a while");
    let planned = cairn.json(&["gc", "--dry-run", "--protect", "0"]);
    let freed = free(&["--protect", "0"]);
    for told in [planned, freed] {
        assert_eq!(told["freed_partial_file_count"], 1);
        assert!(told["freed_partial_bytes"].as_u64() > Some(400_000), "{told}");
    }
    assert_eq!(cairn.json(&["status"])["partial_file_count"], 0);
}

#[test]
fn what_needs_a_daemon_says_so() {
    let mut synced = Synced::new(&[("a", b"1")]);
    synced.cairn.stop();
    let refused = synced.cairn.cli_fails(&["sync", "lib", "origin", "--detach"]);
    assert!(refused.contains("no daemon is running"), "{refused}");
    assert_eq!(synced.cairn.cli(&["jobs"]), "");
    assert_eq!(
        synced.cairn.run(&["sync", "lib", "origin", "--detach", "--dry-run"]).status.code(),
        Some(2)
    );
}
