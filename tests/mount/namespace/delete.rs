//! Deleted versions: out of sight at once, their space back once nobody needs them (N11, G16).

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

use support::{Cairn, content, errno, wait};

fn publish(cairn: &Cairn, area: &str, seed: u64, size: usize) {
    let directory = cairn.area("lib", area);
    fs::write(directory.join("f"), content::bytes(seed, size)).unwrap();
    fs::write(directory.join("same"), "in all versions").unwrap();
    cairn.publish("lib", area).unwrap();
}

fn collect(cairn: &Cairn) -> serde_json::Value {
    cairn.json(&["gc", "--wait", "--protect", "0"])
}

#[test]
fn an_open_file_stays_readable_and_its_space_returns_when_it_is_closed() {
    let cairn = Cairn::start_with(&["--protect", "0"]);
    publish(&cairn, "one", 1, 3_000_000);
    publish(&cairn, "two", 2, 100);
    let mut file = File::open(cairn.versions("lib/1/f")).unwrap();
    let mut start = vec![0; 1000];
    file.read_exact(&mut start).unwrap();
    cairn.cli(&["delete", "lib/1"]);
    assert_eq!(errno(fs::metadata(cairn.versions("lib/1"))), Errno::NOENT);
    collect(&cairn);
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == content::bytes(1, 3_000_000), "it reads as before");
    assert_eq!(cairn.pool().len(), 3);
    drop(file);
    // On a kernel that cannot be asked to let go (before 6.18), when memory is short.
    wait::until("the space is back by itself", || cairn.pool().len() == 2);
}

#[test]
fn what_the_kernel_only_cached_returns_without_an_unmount() {
    let cairn = Cairn::start();
    publish(&cairn, "one", 1, 50_000);
    publish(&cairn, "two", 2, 50_000);
    assert_eq!(fs::read(cairn.versions("lib/1/f")).unwrap(), content::bytes(1, 50_000));
    assert_eq!(fs::read_dir(cairn.versions("lib/1")).unwrap().count(), 2);
    cairn.cli(&["delete", "lib/1"]);
    wait::until("it is collected", || {
        collect(&cairn);
        cairn.pool().len() == 2
    });
    assert_eq!(fs::read(cairn.versions("lib/2/f")).unwrap(), content::bytes(2, 50_000));
}

/// Whoever waits for a run has the space when it returns: the kernel was asked to let go of what nobody uses any more, which
/// it can be since Linux 6.18.
#[test]
fn g16_a_run_that_is_waited_for_frees_what_was_closed_before() {
    let cairn = Cairn::start();
    publish(&cairn, "one", 1, 50_000);
    publish(&cairn, "two", 2, 100);
    let mut held = File::open(cairn.versions("lib/1/f")).unwrap();
    cairn.cli(&["delete", "lib/1"]);
    for _ in 0..2 {
        let run = collect(&cairn);
        assert_eq!((&run["freed_blob_count"], &run["pinned_blob_count"]), (&0.into(), &1.into()));
        assert_eq!(run["pinned_bytes"], 50_000);
    }
    held.read_exact(&mut [0; 100]).unwrap();
    drop(held);
    let run = collect(&cairn);
    assert_eq!(run["pinned_blob_count"], 0, "{run}");
    assert_eq!((&run["freed_blob_count"], &run["freed_bytes"]), (&1.into(), &50_000.into()));
    assert_eq!(cairn.pool().len(), 2);
}

#[test]
fn other_versions_and_their_inodes_stay() {
    let cairn = Cairn::start();
    for seed in 1..=3 {
        publish(&cairn, &format!("v{seed}"), seed, 5000);
    }
    let before = fs::metadata(cairn.versions("lib/3/same")).unwrap();
    let open = File::open(cairn.versions("lib/1/same")).unwrap();
    cairn.cli(&["delete", "lib/1-2"]);
    collect(&cairn);
    let listed: Vec<_> = fs::read_dir(cairn.versions("lib")).unwrap().collect();
    assert_eq!(listed.len(), 1);
    let after = fs::metadata(cairn.versions("lib/3/same")).unwrap();
    assert_eq!(
        (after.ino(), after.mode(), after.mtime()),
        (before.ino(), before.mode(), before.mtime())
    );
    assert_eq!(fs::read_to_string(cairn.versions("lib/3/same")).unwrap(), "in all versions");
    drop(open);
    assert_eq!(fs::read(cairn.versions("lib/3/f")).unwrap(), content::bytes(3, 5000));
}

#[test]
fn a_collection_in_which_something_failed_says_what_and_ends_so() {
    let cairn = Cairn::start();
    publish(&cairn, "one", 1, 5000);
    publish(&cairn, "two", 2, 100);
    let pool = cairn.pool();
    let (blob, _) = pool.iter().find(|(_, length)| *length == 5000).unwrap();
    // A directory is nothing that an unlink removes.
    fs::remove_file(blob).unwrap();
    fs::create_dir(blob).unwrap();
    cairn.cli(&["delete", "lib/1"]);
    let mut run = None;
    wait::until("the kernel lets go of the file, and it is collected", || {
        let output = cairn.run(&["gc", "--wait", "--protect", "0", "--json"]);
        run.insert(output).status.code() == Some(1)
    });
    let run = run.unwrap();
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["error_count"], 1, "{report}");
    for said in [report["failure"].as_str().unwrap(), &String::from_utf8_lossy(&run.stderr)] {
        assert!(said.contains("cannot remove blob"), "{said}");
    }
    fs::remove_dir(blob).unwrap();
    assert_eq!(collect(&cairn)["error_count"], 0, "the row was gone already");
}
