//! Remotes of the kind `bucket`, as users have them.

use std::fs;

use cairn::bucket::key::{LogName, Seq};
use cairn::bucket::store::ObjectStore;
use support::Cairn;

use crate::log::{make, register};
use crate::server::Place;

fn add(cairn: &Cairn, place: &Place) {
    let place = place.arguments();
    let mut arguments = vec!["remote", "add", "store"];
    arguments.extend(place.iter().map(String::as_str));
    cairn.cli(&arguments);
}

#[test]
fn h44_a_bucket_is_tried_before_it_is_kept_and_what_was_found_is_shown() {
    let cairn = Cairn::start();
    for place in [Place::directory(), Place::server()] {
        add(&cairn, &place);
        let shown = cairn.cli(&["remote", "show", "store"]);
        assert!(shown.contains("several machines may push"), "{shown}");
        let json = cairn.json(&["remote", "show", "store"]);
        assert_eq!(json[0]["bucket"]["creates_once"], true);
        assert!(!json.to_string().contains("sesame-key"), "{json}");
        let test = cairn.json(&["remote", "test", "store"]);
        assert_eq!(
            (&test["usable"], &test["creates_once"]),
            (&true.into(), &true.into()),
            "{test}"
        );
        assert_eq!(test["lists_at_once"], true, "{test}");
        let said = cairn.cli(&["remote", "test", "store"]);
        assert!(said.contains("only if there is none"), "{said}");
        let refused = cairn.cli_fails(&["sync", "gcc", "store"]);
        assert!(refused.contains("is a bucket"), "{refused}");
        cairn.cli(&["remote", "remove", "store"]);
    }
}

#[test]
fn a_bucket_that_cannot_be_used_is_not_kept() {
    let cairn = Cairn::start();
    let file = cairn.scratch().join("file");
    fs::write(&file, b"").unwrap();
    let error = cairn.cli_fails(&["remote", "add", "store", "bucket", file.to_str().unwrap()]);
    assert!(error.contains("file"), "{error}");
    let inside = cairn.mnt().join("staging/bucket");
    let error = cairn.cli_fails(&["remote", "add", "store", "bucket", inside.to_str().unwrap()]);
    assert!(error.contains("cannot use"), "{error}");
    for (arguments, words) in [
        (&["s3://b/x y"][..], "s3://BUCKET/PREFIX"),
        (&["ftp://h/"], "s3://"),
        (&["s3://b", "--token-env", "T"], "--user"),
        (&["/srv/x", "--endpoint", "https://h"], "mean nothing"),
        (&["s3://b", "--suite", "x"], "debian"),
    ] {
        let mut all = vec!["remote", "add", "store", "bucket"];
        all.extend(arguments);
        let error = cairn.cli_fails(&all);
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    assert_eq!(cairn.json(&["remote", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn d6_d7_a_bucket_is_collected_and_checked() {
    let cairn = Cairn::start();
    let place = Place::directory();
    add(&cairn, &place);
    for verb in ["gc", "fsck"] {
        let error = cairn.cli_fails(&["remote", verb, "store"]);
        assert!(error.contains("no bucket of cairn"), "{error}");
    }
    let store = place.open();
    register(&store, make(&store), "gcc");
    let key = format!("packs/{}.{}", "5f".repeat(32), "0a".repeat(16));
    ObjectStore::put(&store, &key, b"nobody needs this").unwrap();
    ObjectStore::put(&store, "notes.txt", b"of a stranger").unwrap();
    for arguments in [&["remote", "gc", "store", "--dry-run"][..], &["remote", "gc", "store"]] {
        let done = cairn.json(arguments);
        assert_eq!((&done["object_count"], &done["stranger_count"]), (&1.into(), &1.into()));
        assert_eq!(done["candidate_count"], 0, "it is young: {done}");
    }
    assert!(ObjectStore::head(&store, &key).unwrap().is_some());
    let checked = cairn.json(&["remote", "fsck", "store", "--content"]);
    assert_eq!((&checked["repository_count"], &checked["finding_count"]), (&1.into(), &0.into()));
    let event = LogName::Bucket.key(Seq::NONE.next());
    ObjectStore::put(&store, &event, b"damaged").unwrap();
    let output = cairn.run(&["remote", "fsck", "store"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("cannot be read to its end"), "{said}");
    let error = cairn.cli_fails(&["remote", "gc", "store"]);
    assert!(error.contains("cannot be read"), "{error}");
}
