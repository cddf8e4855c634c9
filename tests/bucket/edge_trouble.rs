//! Edges that are killed, and edges whose bucket is not what it was (D2, H47, H48)

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{fsck, wait};

use crate::edge::{Edge, NEVER, message, publish};
use crate::shared::{Bucket, files, import, result, shown};

/// An event of a repository's log.
fn event(bucket: &Bucket, repository: &str, number: u64) -> PathBuf {
    bucket.path().join(format!("log/{repository}/{number:016}"))
}

#[test]
fn d2_an_edge_killed_at_any_step_goes_on() {
    let bucket = Bucket::new();
    let one = bucket.store();
    let source = one.scratch().join("source");
    for seed in 1..=3 {
        files(&source, seed, 20, 2000);
        import(&one, &source, "lib");
    }
    one.cli(&["tag", "lib/stable", "2"]);
    one.cli(&["push", "lib", "store"]);
    publish(&one, "tool", "one");
    let counted = Edge::of(bucket.path().to_str().unwrap(), &NEVER);
    let mut cairn = counted.cairn;
    let record = cairn.scratch().join("steps");
    cairn.set_env("CAIRN_FAULT", Some(&format!("count:{}", record.display())));
    cairn.mount();
    cairn.json(&["refresh", "--wait"]);
    cairn.stop();
    let total = fs::read_to_string(&record).unwrap().lines().count();
    assert!(total > 10, "{total} steps are too few to be true");
    let every = total.div_ceil(8).max(1);
    for (kind, step) in ["kill", "kill-after"]
        .into_iter()
        .flat_map(|kind| (1..=total).step_by(every).map(move |step| (kind, step)))
    {
        let Edge { mut cairn, home } = Edge::of(bucket.path().to_str().unwrap(), &NEVER);
        cairn.set_env("CAIRN_FAULT", Some(&format!("{kind}:{step}")));
        cairn.spawn();
        // Either it is killed, or that step is one of its end.
        let mut is_killed = false;
        wait::until("it is killed, or all is there", || {
            is_killed = cairn.exit_status().is_some();
            is_killed || (cairn.is_usable() && cairn.run(&["refresh", "--wait"]).status.success())
        });
        if !is_killed {
            cairn.kill9();
        }
        cairn.set_env("CAIRN_FAULT", None);
        cairn.mount();
        cairn.json(&["refresh", "--wait"]);
        for version in ["lib/1", "lib/2", "lib/3", "tool/1"] {
            assert_eq!(shown(&one, version), shown(&cairn, version), "{kind}:{step}");
        }
        let tag = fs::read_link(cairn.tags("lib/stable")).unwrap();
        assert_eq!(tag, Path::new("../../versions/lib/2"), "{kind}:{step}");
        cairn.stop();
        fsck::check_store(&cairn.store());
        drop(home);
    }
}

/// As a disk that was full, or lost power, leaves it.
#[test]
fn h48_an_empty_head_holds_up_neither_edges_nor_publishers() {
    let bucket = Bucket::new();
    let one = bucket.store();
    publish(&one, "lib", "one");
    let edge = Edge::start(&bucket, &NEVER);
    let head = bucket.path().join("head");
    fs::write(&head, "").unwrap();
    edge.refresh();
    publish(&one, "lib", "two");
    assert!(!fs::read(&head).unwrap().is_empty());
    edge.refresh();
    assert_eq!(shown(&one, "lib/2"), shown(&edge.cairn, "lib/2"));
    // An event of one log is a matter of that log.
    publish(&one, "tool", "one");
    fs::write(event(&bucket, "lib", 3), "").unwrap();
    edge.cairn.run(&["refresh", "--wait"]);
    assert_eq!(shown(&one, "tool/1"), shown(&edge.cairn, "tool/1"));
}

#[test]
fn h48_a_rollback_or_a_fork_is_an_alarm_and_the_rest_goes_on() {
    let bucket = Bucket::new();
    let one = bucket.store();
    for name in ["lib", "tool"] {
        publish(&one, name, "one");
        publish(&one, name, "two");
    }
    let mut edge = Edge::start(&bucket, &NEVER);
    edge.refresh();
    // An older copy of one log, as a restored bucket has it.
    let last = event(&bucket, "lib", 2);
    let kept = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    edge.cairn.stop();
    // Other settings do not make it forget what it has seen.
    edge.cairn.set_arguments(&["--poll", "2h"]);
    edge.cairn.mount();
    publish(&one, "tool", "three");
    let failed = edge.cairn.run(&["refresh", "--wait"]);
    assert!(
        message(&failed).contains("lib") && message(&failed).contains("rolled back"),
        "{failed:?}"
    );
    assert_eq!(edge.read("tool/3/text"), "three");
    assert_eq!((edge.read("lib/2/text"), edge.numbers("lib")), ("two".to_owned(), [1, 2].into()));
    let alarms = edge.status()["alarms"].clone();
    assert_eq!(alarms[0]["repository"], "lib");
    assert_eq!(edge.cairn.run(&["status", "--check"]).status.code(), Some(12));
    assert!(edge.cairn.log().contains("not followed any more"), "{}", edge.cairn.log());
    // Another history at the same number.
    let other = bucket.store();
    other.cli(&["pull", "lib", "store"]);
    publish(&other, "lib", "another two");
    let failed = edge.cairn.run(&["refresh", "--wait"]);
    assert!(message(&failed).contains("forked"), "{failed:?}");
    assert_eq!(edge.read("lib/2/text"), "two");
    // The log that it was goes on.
    fs::write(&last, kept).unwrap();
    publish(&one, "lib", "three");
    edge.refresh();
    assert_eq!(edge.read("lib/3/text"), "three");
    assert_eq!(edge.status()["alarms"], serde_json::json!([]));
    edge.end();
}

#[test]
fn h48_another_bucket_at_the_same_place_is_not_followed() {
    let (bucket, other) = (Bucket::new(), Bucket::new());
    publish(&bucket.store(), "lib", "one");
    publish(&other.store(), "lib", "other");
    let mut edge = Edge::start(&bucket, &NEVER);
    edge.refresh();
    assert_eq!(edge.read("lib/1/text"), "one");
    fs::rename(bucket.path(), bucket.path().with_file_name("away")).unwrap();
    fs::rename(other.path(), bucket.path()).unwrap();
    for _ in 0..2 {
        let failed = edge.cairn.run(&["refresh", "--wait"]);
        assert!(message(&failed).contains("another bucket"), "{failed:?}");
        assert!(edge.status()["alarms"][0]["repository"].is_null());
        assert_eq!(edge.read("lib/1/text"), "one");
        edge.cairn.restart();
    }
    edge.end();
}

#[test]
fn h48_a_head_is_only_a_hint() {
    let bucket = Bucket::new();
    let one = bucket.store();
    publish(&one, "lib", "one");
    let head = bucket.path().join("head");
    let pushed: Value = serde_json::from_slice(&fs::read(&head).unwrap()).unwrap();
    assert_eq!(pushed["logs"], serde_json::json!({ "=bucket": 1, "lib": 1 }));
    let edge = Edge::start(&bucket, &["--poll", "1s"]);
    edge.refresh();
    let old = fs::read(&head).unwrap();
    let future = String::from_utf8(old.clone()).unwrap().replace(":1", ":9000000000000");
    for (number, lie) in
        (2..).zip([Some(old.clone()), Some(future.into()), Some(b"\xff{".to_vec()), None])
    {
        publish(&one, "lib", &number.to_string());
        match lie {
            Some(lie) => fs::write(&head, lie).unwrap(),
            None => fs::remove_file(&head).unwrap(),
        }
        let path = format!("lib/{number}/text");
        wait::until("the version is found", || edge.cairn.versions(&path).exists());
    }
    assert_eq!(edge.status()["alarms"], serde_json::json!([]));
    // The next push tells the truth again.
    publish(&one, "lib", "last");
    let told: Value = serde_json::from_slice(&fs::read(&head).unwrap()).unwrap();
    assert_eq!(told["logs"]["lib"], 6);
    result(&one, &["push", "lib/1", "store", "--delete"]);
    let told: Value = serde_json::from_slice(&fs::read(&head).unwrap()).unwrap();
    assert_eq!(told["logs"]["lib"], 7);
    edge.end();
}
