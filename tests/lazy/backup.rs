//! Backups of a store that does not have all of its content (L6, L9, H25).

use std::fs;

use serde_json::Value;
use support::{Cairn, fsck};

use crate::bucket::{Published, absent};
use crate::shared::{FILES, Origin};

/// Where a backup of a store goes.
fn place(cairn: &Cairn) -> String {
    cairn.scratch().join("backup").to_str().unwrap().to_owned()
}

/// Makes a backup; returns the exit status and what it reports.
#[track_caller]
fn back_up(cairn: &Cairn, options: &[&str]) -> (Option<i32>, Value) {
    let place = place(cairn);
    let output = cairn.run(&[&["backup", &place, "--json"], options].concat());
    let printed = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&printed).unwrap_or_else(|error| {
        panic!("{error}: {printed}{}", String::from_utf8_lossy(&output.stderr))
    });
    (output.status.code(), report)
}

fn lengths(files: &[(&str, &[u8])]) -> u64 {
    files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

#[test]
fn h25_a_backup_says_what_only_remotes_have_and_fetches_it_if_it_is_asked_to() {
    let origin = Origin::new();
    let (status, report) = back_up(&origin.cairn, &[]);
    assert_eq!(status, Some(0));
    assert_eq!((&report["absent_content_count"], &report["blob_count"]), (&3.into(), &0.into()));
    assert_eq!(report["absent_bytes"], lengths(FILES));
    let du = origin.cairn.json(&["du"]);
    assert_eq!((&du["absent_content_count"], &du["store_bytes"]), (&3.into(), &0.into()));
    assert_eq!(du["absent_bytes"], lengths(FILES));
    assert_eq!(origin.requests(), 0, "nothing is fetched unasked");
    let (status, report) = back_up(&origin.cairn, &["--fetch"]);
    assert_eq!(status, Some(0));
    assert_eq!((&report["absent_content_count"], &report["blob_count"]), (&0.into(), &3.into()));
    assert_eq!(report["fetched_content_count"], 3);
    assert_eq!(report["fetched_bytes"], lengths(FILES));
    let (_, report) = back_up(&origin.cairn, &["--fetch"]);
    assert_eq!(report["fetched_content_count"], 0, "it is there");
    assert_eq!(origin.requests(), 3);
    // Nobody is needed for it.
    drop(origin.server);
    let mut restored = Cairn::over(place(&origin.cairn).as_ref());
    restored.mount();
    for (path, bytes) in FILES {
        assert_eq!(fs::read(restored.versions("lib/1").join(path)).unwrap(), *bytes);
    }
    restored.stop();
    fsck::check_clean_store(&restored.store());
}

/// L9, L12: each content comes once, however many versions name it, those that were deleted among them.
#[test]
fn l9_a_backup_fetches_what_a_bucket_has_once() {
    let mut published = Published::new();
    published.add("more", b"of the second version");
    published.publish();
    let mut two = published.pulled("on_demand");
    two.cli(&["delete", "lib/1"]);
    let contents = absent(&two);
    let (status, report) = back_up(&two, &["--fetch"]);
    assert_eq!(status, Some(0), "{report}");
    assert_eq!(report["fetched_content_count"], contents);
    assert_eq!((absent(&two), &report["absent_content_count"]), (0, &0.into()));
    assert_eq!(report["blob_count"], contents);
    fs::remove_dir_all(published.bucket()).unwrap();
    let mut restored = Cairn::over(place(&two).as_ref());
    restored.mount();
    restored.cli(&["undelete", "lib/1"]);
    published.files.remove("more");
    published.read_all(&restored);
    restored.stop();
    two.stop();
    fsck::check_store(place(&two).as_ref());
}

/// One that cannot be had is named, and the others are in the backup.
#[test]
fn l6_what_could_not_be_fetched_is_named_and_the_rest_is_backed_up() {
    let mut origin = Origin::new();
    origin.site.take("dir/b");
    let (status, report) = back_up(&origin.cairn, &["--fetch"]);
    assert_eq!(status, Some(8));
    assert_eq!((&report["absent_content_count"], &report["blob_count"]), (&1.into(), &2.into()));
    assert_eq!(
        (&report["absent_bytes"], &report["unfetched_content_count"]),
        (&6.into(), &1.into())
    );
    let unfetched = &report["unfetched_contents"][0];
    assert_eq!(unfetched["content"], format!("sha256:{}", crate::shared::sha256(b"second")));
    assert!(unfetched["reason"].as_str().unwrap().contains("404"), "{unfetched}");
    let output = origin.cairn.run(&["backup", &place(&origin.cairn), "--fetch"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("UNFETCHED content sha256:"), "{printed}");
    assert!(printed.contains("only at remotes: 1 content (6 B), not in the backup"), "{printed}");
    // Without a daemon nothing can be fetched, and that is said.
    origin.cairn.stop();
    let error = origin.cairn.cli_fails(&["backup", &place(&origin.cairn), "--fetch"]);
    assert!(error.contains("is not mounted") && error.contains("without --fetch"), "{error}");
    let (status, _) = back_up(&origin.cairn, &[]);
    assert_eq!(status, Some(0));
}
