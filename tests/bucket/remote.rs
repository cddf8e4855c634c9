//! Remotes of the kind `bucket`, as users have them.

use std::fs;

use support::Cairn;

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
        assert!(!json.to_string().contains("secret\""), "{json}");
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
        (&["https://h/"], "s3://"),
        (&["s3://b", "--token-env", "T"], "--user"),
        (&["/srv/x", "--endpoint", "https://h"], "mean nothing"),
        (&["s3://b", "--policy", "on_demand"], "pulled"),
        (&["s3://b", "--suite", "x"], "debian"),
    ] {
        let mut all = vec!["remote", "add", "store", "bucket"];
        all.extend(arguments);
        let error = cairn.cli_fails(&all);
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    assert_eq!(cairn.json(&["remote", "list"]).as_array().unwrap().len(), 0);
}
