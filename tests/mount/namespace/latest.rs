//! N9: `tags/REPO/latest` is the newest version, never stale

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use support::Cairn;

fn publish(cairn: &Cairn, number: u32) {
    fs::write(cairn.area("lib", "a").join("f"), number.to_string()).unwrap();
    fs::rename(cairn.staging("lib/a"), cairn.tags(format!("lib/{number}"))).unwrap();
}

#[test]
fn moves_with_each_commit() {
    let cairn = Cairn::start();
    for number in 1..=30 {
        publish(&cairn, number);
        let target = fs::read_link(cairn.tags("lib/latest")).unwrap();
        assert_eq!(target, Path::new(&format!("../../versions/lib/{number}")));
        let text = fs::read_to_string(cairn.tags("lib/latest/f")).unwrap();
        assert_eq!(text, number.to_string());
    }
}

#[test]
fn another_process_sees_it_at_once() {
    let cairn = Cairn::start();
    for number in 1..=10 {
        publish(&cairn, number);
        let output = Command::new("cat").arg(cairn.tags("lib/latest/f")).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), number.to_string());
    }
}

#[test]
fn a_working_directory_in_the_old_version_stays_there() {
    let cairn = Cairn::start();
    publish(&cairn, 1);
    let old = fs::File::open(cairn.tags("lib/latest")).unwrap();
    publish(&cairn, 2);
    let flags = rustix::fs::OFlags::RDONLY;
    let file = rustix::fs::openat(&old, "f", flags, rustix::fs::Mode::empty()).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(rustix::io::read(&file, &mut buffer).unwrap(), 1);
    assert_eq!(buffer[0], b'1');
}

#[test]
fn moves_with_a_commit_by_the_command() {
    let cairn = Cairn::start();
    publish(&cairn, 1);
    assert_eq!(fs::read_to_string(cairn.tags("lib/latest/f")).unwrap(), "1");
    fs::write(cairn.area("lib", "b").join("f"), "2").unwrap();
    cairn.cli(&["commit", "lib/b"]);
    assert_eq!(fs::read_to_string(cairn.tags("lib/latest/f")).unwrap(), "2");
}

#[test]
fn is_kept_through_a_restart() {
    let mut cairn = Cairn::start();
    publish(&cairn, 1);
    publish(&cairn, 2);
    cairn.restart();
    assert_eq!(fs::read_to_string(cairn.tags("lib/latest/f")).unwrap(), "2");
}

/// A process that prints, for each line that it is sent, where names lead and what is there.
struct Watcher {
    process: std::process::Child,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    fn start(cairn: &Cairn) -> Self {
        let script = "cd \"$1\" && while read line; do echo $(readlink latest) $(cat latest/f) \
                      $(readlink moving) $(cat moving/f) $(ls ../../versions/lib | wc -l); done";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(cairn.tags("lib"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, answers }
    }

    fn ask(&mut self) -> String {
        writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
        self.answers.next().unwrap().unwrap()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

#[test]
fn two_processes_with_warm_caches_are_never_behind() {
    let cairn = Cairn::start();
    publish(&cairn, 1);
    std::os::unix::fs::symlink("1", cairn.tags("lib/moving")).unwrap();
    let mut watchers = [Watcher::start(&cairn), Watcher::start(&cairn)];
    let mut check = |latest: u32, moving: u32, count: u32| {
        let versions = "../../versions/lib";
        let expected = format!("{versions}/{latest} {latest} {versions}/{moving} {moving} {count}");
        for watcher in &mut watchers {
            // Twice, so that each next change meets a warm cache.
            assert_eq!([watcher.ask(), watcher.ask()], [expected.as_str(), expected.as_str()]);
        }
    };
    check(1, 1, 1);
    for number in 2..=15 {
        publish(&cairn, number);
        check(number, number - 1, 2);
        let move_tag = "ln -sfn \"$2\" \"$1/moving\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", move_tag, "sh"]).arg(cairn.tags("lib")).arg(number.to_string());
        assert!(shell.status().unwrap().success());
        check(number, number, 2);
        cairn.cli(&["delete", &format!("lib/{}", number - 1)]);
        check(number, number, 1);
    }
}
