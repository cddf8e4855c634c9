//! Two machines that publish into one repository (D3)

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use support::cairn::binary;
use support::{Cairn, fsck};

use crate::server::Place;
use crate::shared::{Bucket, files, import, result, shown};

#[test]
fn d3_who_was_not_first_is_refused_and_loses_nothing() {
    let bucket = Bucket::new();
    let (one, two) = (bucket.store(), bucket.store());
    let source = one.scratch().join("source");
    files(&source, 1, 3, 100);
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store"]);
    two.cli(&["pull", "lib", "store"]);
    files(&source, 2, 3, 100);
    import(&one, &source, "lib");
    files(&source, 3, 3, 100);
    import(&two, &source, "lib");
    one.cli(&["push", "lib", "store"]);
    let mine = shown(&two, "lib/2");
    for verb in ["push", "pull"] {
        let refused = two.run(&[verb, "lib", "store"]);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(5), "{text}");
        assert!(
            text.contains("version 2 of the bucket is another one than version 2 here"),
            "{text}"
        );
        assert!(text.contains("cairn export lib/2 DIR"), "{text}");
    }
    assert_eq!(shown(&two, "lib/2"), mine);
    // What the message says helps.
    let saved = two.scratch().join("saved");
    two.cli(&["export", "lib/2", saved.to_str().unwrap()]);
    two.cli(&["delete", "lib/1-2", "lib", "--force"]);
    assert_eq!(result(&two, &["pull", "lib", "store"])["numbers"], json!([1, 2]));
    import(&two, &saved, "lib");
    assert_eq!(result(&two, &["push", "lib", "store"])["numbers"], json!([3]));
    one.cli(&["pull", "lib", "store"]);
    assert_eq!(shown(&one, "lib/3")["hash"], mine["hash"]);
    [one, two].iter().for_each(|cairn| fsck::check_store(&cairn.store()));
}

#[test]
fn d3_of_pushes_at_the_same_time_one_publishes_each_number() {
    let bucket = Bucket::new();
    let stores: Vec<_> = (0..3).map(|_| bucket.store()).collect();
    for (seed, cairn) in (1..).zip(&stores) {
        let source = cairn.scratch().join("source");
        files(&source, seed, 20, 1000);
        import(cairn, &source, "lib");
    }
    let pushes: Vec<_> = stores
        .iter()
        .map(|cairn| {
            let mut command = Command::new(binary());
            command.args(["push", "lib", "store"]).env("CAIRN_STORE", cairn.store());
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let ended: Vec<_> = pushes.into_iter().map(|push| push.wait_with_output().unwrap()).collect();
    let codes: Vec<_> = ended.iter().map(|output| output.status.code().unwrap()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{ended:?}");
    assert!(codes.iter().all(|code| [0, 5].contains(code)), "{ended:?}");
    let winner = codes.iter().position(|code| *code == 0).unwrap();
    let reader = bucket.store();
    reader.cli(&["pull", "lib", "store"]);
    assert_eq!(shown(&reader, "lib/1"), shown(&stores[winner], "lib/1"));
    assert_eq!(bucket.events("lib"), 1);
}

#[test]
fn h48_a_bucket_that_was_rolled_back_or_replaced_is_an_alarm() {
    let (bucket, other) = (Bucket::new(), Bucket::new());
    let (one, two) = (bucket.store(), bucket.store());
    let source = one.scratch().join("source");
    for seed in 1..=2 {
        files(&source, seed, 3, 100);
        import(&one, &source, "lib");
    }
    one.cli(&["push", "lib", "store"]);
    two.cli(&["pull", "lib", "store"]);
    // Other settings do not make it another bucket.
    two.cli(&["remote", "set", "store", "--policy", "on_demand"]);
    let last = bucket.path().join("log/lib/0000000000000002");
    let saved = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    for (cairn, verb) in [(&one, "push"), (&two, "pull")] {
        let alarm = cairn.cli_fails(&[verb, "lib", "store"]);
        assert!(alarm.contains("was rolled back"), "{alarm}");
    }
    fs::write(&last, saved).unwrap();
    assert_eq!(result(&two, &["pull", "lib", "store"])["changed"], false);
    let third = other.store();
    import(&third, &source, "lib");
    third.cli(&["push", "lib", "store"]);
    fs::remove_dir_all(bucket.path()).unwrap();
    fs::rename(other.path(), bucket.path()).unwrap();
    let alarm = two.cli_fails(&["pull", "lib", "store"]);
    assert!(alarm.contains("it is another bucket than the one"), "{alarm}");
}

#[test]
fn h48_an_alarm_ends_when_somebody_accepts_what_is_there() {
    let bucket = Bucket::new();
    let (one, two) = (bucket.store(), bucket.store());
    let source = one.scratch().join("source");
    for seed in 1..=2 {
        files(&source, seed, 3, 100);
        import(&one, &source, "lib");
    }
    let error = one.cli_fails(&["remote", "accept", "store", "lib"]);
    assert!(error.contains("no bucket"), "{error}");
    one.cli(&["push", "lib", "store"]);
    two.cli(&["pull", "lib", "store"]);
    fs::remove_file(bucket.path().join("log/lib/0000000000000002")).unwrap();
    for (cairn, verb) in [(&one, "push"), (&two, "pull")] {
        let alarm = cairn.cli_fails(&[verb, "lib", "store"]);
        assert!(alarm.contains("cairn remote accept store lib"), "{alarm}");
        cairn.cli(&["remote", "accept", "store", "lib"]);
    }
    assert_eq!(result(&two, &["pull", "lib", "store"])["changed"], false);
    assert_eq!(result(&one, &["push", "lib", "store"])["numbers"], json!([2]));
    assert_eq!(result(&two, &["pull", "lib", "store"])["changed"], false);
    assert_eq!(shown(&two, "lib/2"), shown(&one, "lib/2"));
    let error = two.cli_fails(&["remote", "accept", "store", "web"]);
    assert!(error.contains("web"), "{error}");
}

/// Machines that publish into one repository at once: whoever is not first takes what is there and publishes after it.
fn machines_publish(place: &Place) {
    let count = std::env::var("CAIRN_BUCKET_MACHINES").ok().map_or(4, |text| text.parse().unwrap());
    let stores: Vec<_> = (0..count).map(|_| known(place)).collect();
    let refusals = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for (machine, cairn) in (1..).zip(&stores) {
            let refusals = &refusals;
            scope.spawn(move || {
                let source = cairn.scratch().join("source");
                files(&source, machine, 3, 100);
                let message = format!("machine {machine}");
                loop {
                    // There may be nothing yet.
                    cairn.run(&["pull", "lib", "store"]);
                    let source = source.to_str().unwrap();
                    cairn.cli(&["import", source, "lib", "--mirror", "-m", &message]);
                    let pushed = cairn.run(&["push", "lib", "store"]);
                    match pushed.status.code() {
                        Some(0) => return,
                        Some(5) => refusals.fetch_add(1, Ordering::Relaxed),
                        _ => panic!("{pushed:?}"),
                    };
                    let last = cairn.json(&["versions", "lib"]).as_array().unwrap().len();
                    cairn.cli(&["delete", &format!("lib/1-{last}"), "lib", "--force"]);
                }
            });
        }
    });
    let reader = known(place);
    let pulled = result(&reader, &["pull", "lib", "store"]);
    let numbers: Vec<u64> = (1..=count).collect();
    assert_eq!(pulled["numbers"], json!(numbers), "all are there, without a gap");
    let versions = reader.json(&["versions", "lib"]);
    let versions = versions.as_array().unwrap().iter();
    let messages: BTreeSet<_> = versions.map(|one| one["message"].to_string()).collect();
    assert_eq!(messages.len() as u64, count, "each once: {messages:?}");
    // Each refusal means that somebody else published.
    assert!(refusals.into_inner() <= count * (count - 1) / 2);
    stores.iter().for_each(|cairn| fsck::check_store(&cairn.store()));
}

/// A store without a daemon that knows the bucket, and of whose versions only the names come.
fn known(place: &Place) -> Cairn {
    let cairn = Cairn::unmounted();
    let arguments = place.arguments();
    let mut add = vec!["remote", "add", "store"];
    add.extend(arguments.iter().map(String::as_str));
    add.extend(["--policy", "on_demand"]);
    cairn.cli(&add);
    cairn
}

#[test]
fn d3_machines_that_publish_at_once_lose_no_version() {
    machines_publish(&Place::directory());
}

#[test]
fn d3_machines_that_publish_at_once_to_a_server_lose_no_version() {
    machines_publish(&Place::server());
}
