//! Which directories are a store, and which are refused with what to do

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::area::set_mode;
use support::cairn::binary;
use support::{Cairn, content};

fn run(arguments: &[&Path]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

/// Runs the binary, which must refuse with a message of at least some words.
#[track_caller]
fn refusal(arguments: &[&Path]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.split_whitespace().count() > 3, "{message:?}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

#[test]
fn init_takes_a_new_or_an_empty_directory() {
    let cairn = Cairn::unmounted();
    let new = cairn.scratch().join("new");
    assert!(run(&["init".as_ref(), &new]).status.success());
    let empty = cairn.scratch().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(run(&["init".as_ref(), &empty]).status.success());
    refusal(&["init".as_ref(), &new]);
    let full = cairn.scratch().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "precious").unwrap();
    refusal(&["init".as_ref(), &full]);
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
    refusal(&["init".as_ref(), &full.join("mine")]);
}

#[test]
fn what_is_no_store_is_refused() {
    let cairn = Cairn::unmounted();
    let plain = cairn.scratch().join("plain");
    fs::create_dir(&plain).unwrap();
    refusal(&["mount".as_ref(), &plain, &cairn.mnt()]);
    refusal(&["mount".as_ref(), &cairn.scratch().join("none"), &cairn.mnt()]);
    assert_eq!(fs::read_dir(&plain).unwrap().count(), 0, "nothing was made in it");
}

#[test]
fn a_newer_format_is_refused() {
    let cairn = Cairn::unmounted();
    let path = cairn.store().join("format");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("format 1"), "{text}");
    fs::write(&path, text.replace("format 1", "format 99")).unwrap();
    let message = refusal(&["mount".as_ref(), &cairn.store(), &cairn.mnt()]);
    assert!(message.contains("99"), "{message}");
}

#[test]
fn a_foreign_database_is_refused() {
    let cairn = Cairn::unmounted();
    let path = cairn.store().join("catalog.db");
    fs::remove_file(&path).unwrap();
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE mine(x); PRAGMA application_id = 77;").unwrap();
    drop(foreign);
    refusal(&["mount".as_ref(), &cairn.store(), &cairn.mnt()]);
    let kept = rusqlite::Connection::open(&path).unwrap();
    assert!(kept.prepare("SELECT x FROM mine").is_ok(), "it was not touched");
}

#[test]
fn a_store_open_to_others_is_refused() {
    let cairn = Cairn::unmounted();
    set_mode(&cairn.store(), 0o755);
    let message = refusal(&["mount".as_ref(), &cairn.store(), &cairn.mnt()]);
    assert!(message.contains("700") || message.contains("755"), "{message}");
}

#[test]
fn a_copied_store_works_elsewhere() {
    let mut cairn = Cairn::start();
    fs::write(cairn.area("lib", "a").join("f"), "x").unwrap();
    cairn.publish("lib", "a").unwrap();
    cairn.stop();
    let copy = cairn.scratch().join("copy");
    let status = Command::new("cp").arg("-a").args([cairn.store(), copy.clone()]).status().unwrap();
    assert!(status.success());
    let output =
        Command::new(binary()).args(["versions", "lib"]).env("CAIRN_STORE", &copy).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains('1'));
}

/// A page that the disk does not give would be SIGBUS in a mapping: the end of the daemon, where a read is an error (R3).
#[test]
fn no_file_of_the_store_is_mapped() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "new");
    for number in 0..20 {
        fs::create_dir(area.join(number.to_string())).unwrap();
        fs::write(area.join(format!("{number}/file")), content::bytes(number, 5000)).unwrap();
    }
    cairn.publish("lib", "new").unwrap();
    for number in 0..20 {
        let directory = cairn.versions(format!("lib/1/{number}"));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        assert_eq!(fs::read(directory.join("file")).unwrap(), content::bytes(number, 5000));
    }
    let store = cairn.store().canonicalize().unwrap();
    let maps = fs::read_to_string(format!("/proc/{}/maps", cairn.pid())).unwrap();
    let mapped: Vec<_> =
        maps.lines().filter(|line| line.contains(store.to_str().unwrap())).collect();
    assert_eq!(mapped, Vec::<&str>::new());
}
