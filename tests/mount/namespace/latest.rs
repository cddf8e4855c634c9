//! N9: `tags/REPO/latest` is the newest version, never stale

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::Cairn;

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
