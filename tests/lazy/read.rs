//! The first read fetches, once, and nothing wrong is handed to anybody (L4, L6, L10).

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::thread;

use cairn::model::hash::BlobHash;
use support::mapping::Mapping;
use support::{content, wait};

use crate::shared::{FILES, Origin, is_stored};

#[test]
fn l4_a_file_is_fetched_once_by_its_first_read() {
    let origin = Origin::new();
    for (path, bytes) in FILES {
        for _ in 0..3 {
            assert_eq!(fs::read(origin.cairn.versions("lib/1").join(path)).unwrap(), *bytes);
        }
        assert_eq!(origin.asked_for(path), usize::from(!bytes.is_empty()), "{path}");
    }
    assert!(FILES.iter().all(|(_, bytes)| bytes.is_empty() || is_stored(&origin.cairn, bytes)));
    assert_eq!(origin.cairn.json(&["status"])["absent_content_count"], 0);
    origin.check();
}

#[test]
fn l4_two_hundred_readers_at_once_are_one_request() {
    let big = content::bytes(7, 3 << 20);
    let origin = Origin::of(&[("big", &big)]);
    let path = origin.cairn.versions("lib/1/big");
    thread::scope(|scope| {
        let readers: Vec<_> = (0..200_u64)
            .map(|number| {
                let (path, big) = (&path, &big);
                scope.spawn(move || {
                    let from = number * 15_000 % (2 << 20);
                    let mut part = vec![0; 4096];
                    fs::File::open(path).unwrap().read_exact_at(&mut part, from).unwrap();
                    let from = usize::try_from(from).unwrap();
                    assert_eq!(part, big[from..from + 4096]);
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(fs::read(&path).unwrap(), big);
    assert_eq!(origin.asked_for("big"), 1);
    origin.check();
}

/// L6: it is an ordinary blob then, and needs nobody.
#[test]
fn l6_what_was_read_stays_without_its_remote() {
    let origin = Origin::new();
    let path = origin.cairn.versions("lib/1/a");
    assert_eq!(fs::read(&path).unwrap(), b"first");
    origin.cairn.cli(&["remote", "remove", "origin", "--force"]);
    let mut read = String::new();
    fs::File::open(&path).unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(read, "first");
    fs::read(origin.cairn.versions("lib/1/dir/b")).unwrap_err();
}

#[test]
fn programs_that_map_and_run_files_fetch_them() {
    let script = b"#!/bin/sh\necho it runs\n";
    let origin = Origin::of(&[("run", script), ("copy/run", script)]);
    let output = std::process::Command::new("sh").arg(origin.cairn.versions("lib/1/run")).output();
    assert_eq!(output.unwrap().stdout, b"it runs\n");
    let file = fs::File::open(origin.cairn.versions("lib/1/copy/run")).unwrap();
    let map = Mapping::shared(&file, script.len(), false).unwrap();
    assert_eq!(map.read(0, script.len()), script);
    assert_eq!(origin.requests(), 1, "both have one content");
    origin.check();
}

/// H43: nothing is asked for at the start, and what is there can be read.
#[test]
fn h43_a_mount_without_its_network_reads_what_is_there() {
    let mut origin = Origin::new();
    assert_eq!(fs::read(origin.cairn.versions("lib/1/a")).unwrap(), b"first");
    let before = origin.server.asked().len();
    origin.cairn.restart();
    assert_eq!(fs::read(origin.cairn.versions("lib/1/a")).unwrap(), b"first");
    assert_eq!(fs::metadata(origin.cairn.versions("lib/1/dir/b")).unwrap().len(), 6);
    assert_eq!(origin.server.asked().len(), before, "nobody was asked");
    assert_eq!(fs::read(origin.cairn.versions("lib/1/dir/b")).unwrap(), b"second");
    origin.check();
}

/// An export takes what it needs from the remote.
#[test]
fn an_export_fetches_what_is_absent() {
    let origin = Origin::new();
    let to = origin.cairn.scratch().join("out");
    origin.cairn.cli(&["export", "lib/1", to.to_str().unwrap()]);
    for (path, bytes) in FILES {
        assert_eq!(fs::read(to.join(path)).unwrap(), *bytes);
    }
    assert_eq!(origin.requests(), 3);
    origin.check();
}

/// Damage is mended by reading, where a remote has the content.
#[test]
fn l5_damaged_content_is_fetched_again_by_a_read() {
    let mut origin = Origin::new();
    let path = origin.cairn.versions("lib/1/a");
    assert_eq!(fs::read(&path).unwrap(), b"first");
    origin.cairn.stop();
    let hash = BlobHash::of(b"first").to_string();
    let blob = origin.cairn.store().join("pool").join(&hash[..2]).join(&hash[2..]);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "cut").unwrap();
    origin.cairn.mount();
    wait::until("it is whole again", || fs::read(&path).is_ok_and(|read| read == b"first"));
    assert_eq!(origin.asked_for("a"), 2);
    origin.check();
}

/// A store that is open for reading only is not written to by readers either.
#[test]
fn l4_a_read_only_mount_fetches_nothing() {
    let mut origin = Origin::new();
    assert_eq!(fs::read(origin.cairn.versions("lib/1/a")).unwrap(), b"first");
    origin.cairn.stop();
    origin.cairn.set_arguments(&["--read-only"]);
    origin.cairn.mount();
    let before = origin.requests();
    assert_eq!(fs::read(origin.cairn.versions("lib/1/a")).unwrap(), b"first");
    let error = fs::read(origin.cairn.versions("lib/1/dir/b")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert_eq!(origin.requests(), before);
    origin.check();
}
