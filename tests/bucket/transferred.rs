//! What is pushed by one store arrives in another one as it was

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;

use support::{Cairn, content, fsck, tree};

use crate::server::Place;
use crate::shared::{Bucket, files, import, result, set_mode, shown};

/// One of everything that a version keeps.
fn sample(directory: &Path) {
    fs::create_dir_all(directory.join("empty/below")).unwrap();
    files(&directory.join("many"), 1, 300, 700);
    fs::write(directory.join("text"), "the same line\n".repeat(2000)).unwrap();
    fs::write(directory.join("nothing"), "").unwrap();
    // Larger than what goes into a pack.
    fs::write(directory.join("large"), content::bytes(7, (9 << 20) + 5)).unwrap();
    let sparse = File::create(directory.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 12 << 20).unwrap();
    sparse.set_len(20 << 20).unwrap();
    fs::write(directory.join("one"), "linked").unwrap();
    fs::create_dir(directory.join("deep")).unwrap();
    fs::hard_link(directory.join("one"), directory.join("deep/two")).unwrap();
    fs::hard_link(directory.join("one"), directory.join("three")).unwrap();
    // A group whose directory moved after its names were made.
    symlink("../text", directory.join("deep/link")).unwrap();
    symlink("nowhere", directory.join("dangling")).unwrap();
    fs::write(directory.join(OsStr::from_bytes(b"not \xff\xfe utf-8\n")), "x").unwrap();
    fs::write(directory.join("tool"), "#!/bin/sh\n").unwrap();
    set_mode(&directory.join("tool"), 0o6755);
    set_mode(&directory.join("deep"), 0o2750);
    let status = Command::new("setfattr")
        .args(["-n", "user.note", "-v", "kept"])
        .arg(directory.join("text"))
        .status()
        .unwrap();
    assert!(status.success());
    let status = Command::new("mkfifo").arg(directory.join("pipe")).status().unwrap();
    assert!(status.success());
}

#[test]
fn d1_a_version_arrives_as_it_is() {
    let bucket = Bucket::new();
    let (mut one, mut two) = (bucket.mounted(), bucket.mounted());
    let source = one.scratch().join("source");
    sample(&source);
    import(&one, &source, "lib");
    // What is written through the mount is pushed as well, and a moved hardlink group keeps its id.
    let area = one.area("lib", "next@latest");
    fs::rename(area.join("deep"), area.join("moved")).unwrap();
    fs::write(area.join("new"), "new").unwrap();
    one.publish("lib", "next@latest").unwrap();
    let planned = result(&one, &["push", "lib", "store", "--dry-run"]);
    assert_eq!(planned["numbers"], serde_json::json!([1, 2]));
    assert!(bucket.objects("packs").is_empty(), "a dry run writes nothing");
    let pushed = result(&one, &["push", "lib", "store"]);
    assert_eq!(pushed["numbers"], serde_json::json!([1, 2]));
    let planned = result(&two, &["pull", "lib", "store", "--dry-run"]);
    assert_eq!(planned["numbers"], serde_json::json!([1, 2]));
    assert!(!two.versions("lib").exists());
    let pulled = result(&two, &["pull", "lib", "store"]);
    assert_eq!(pulled["numbers"], serde_json::json!([1, 2]));
    for version in ["lib/1", "lib/2"] {
        assert_eq!(shown(&one, version), shown(&two, version));
        let (here, there) = (one.versions(version), two.versions(version));
        tree::assert_same_below(&here, &there);
        let compared = Command::new("rsync")
            .args(["-aHAXn", "--checksum", "--delete", "-i"])
            .arg(format!("{}/", here.display()))
            .arg(format!("{}/", there.display()))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&compared.stdout), "", "{compared:?}");
    }
    for again in [result(&one, &["push", "lib", "store"]), result(&two, &["pull", "lib", "store"])]
    {
        assert_eq!(again["changed"], false);
        assert_eq!(again["numbers"], serde_json::json!([]));
    }
    one.cli(&["remote", "fsck", "store", "--content"]);
    for cairn in [&mut one, &mut two] {
        cairn.stop();
        fsck::check_store(&cairn.store());
    }
}

#[test]
fn d1_a_version_goes_over_a_server_of_s3() {
    let place = Place::server();
    let arguments = place.arguments();
    let add: Vec<&str> = ["remote", "add", "store"]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .collect();
    let (one, two) = (Cairn::unmounted(), Cairn::unmounted());
    [&one, &two].into_iter().for_each(|cairn| drop(cairn.cli(&add)));
    let source = one.scratch().join("source");
    sample(&source);
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store"]);
    fs::write(source.join("new"), "new").unwrap();
    import(&one, &source, "lib");
    let pushed = result(&one, &["push", "lib", "store"]);
    assert_eq!(pushed["transferred_content_count"], 1);
    two.cli(&["pull", "lib", "store"]);
    for version in ["lib/1", "lib/2"] {
        assert_eq!(shown(&one, version), shown(&two, version));
    }
    one.cli(&["remote", "fsck", "store", "--content"]);
    fsck::check_clean_store(&two.store());
}

#[test]
fn d1_a_second_push_and_pull_move_what_changed() {
    let bucket = Bucket::new();
    let (one, two) = (bucket.store(), bucket.store());
    let source = one.scratch().join("source");
    files(&source, 1, 400, 8192);
    import(&one, &source, "lib");
    let first = result(&one, &["push", "lib", "store"]);
    assert_eq!(first["missing_content_count"], 400);
    assert!(first["transferred_bytes"].as_u64().unwrap() > 400 * 8192);
    result(&two, &["pull", "lib", "store"]);
    // One percent.
    files(&source, 2, 4, 8192);
    import(&one, &source, "lib");
    let second = result(&one, &["push", "lib", "store"]);
    assert_eq!(second["transferred_content_count"], 4);
    let limit = first["transferred_bytes"].as_u64().unwrap() / 20;
    assert!(second["transferred_bytes"].as_u64().unwrap() < limit, "{second}");
    let pulled = result(&two, &["pull", "lib", "store"]);
    assert_eq!(pulled["transferred_content_count"], 4);
    assert!(pulled["transferred_bytes"].as_u64().unwrap() < limit, "{pulled}");
    assert_eq!(shown(&one, "lib/2"), shown(&two, "lib/2"));
    fsck::check_clean_store(&two.store());
}

#[test]
fn d4_a_version_that_was_deleted_is_not_made_and_numbers_stay() {
    let bucket = Bucket::new();
    let (one, two) = (bucket.store(), bucket.store());
    let source = one.scratch().join("source");
    for seed in 1..=4 {
        files(&source, seed, 3, 100);
        import(&one, &source, "lib");
    }
    // Version 2 never reaches the bucket, and version 3 is deleted there.
    one.cli(&["delete", "lib/2"]);
    one.cli(&["push", "lib", "store"]);
    let deleted = result(&one, &["push", "lib/3", "store", "--delete"]);
    assert_eq!(deleted["deleted_numbers"], serde_json::json!([3]));
    let pulled = result(&two, &["pull", "lib", "store"]);
    assert_eq!(pulled["numbers"], serde_json::json!([1, 4]));
    assert_eq!(shown(&one, "lib/4"), shown(&two, "lib/4"));
    import(&two, &source, "lib");
    files(&source, 9, 3, 100);
    import(&two, &source, "lib");
    let numbers: Vec<_> = two.json(&["versions", "lib"]).as_array().unwrap().clone();
    assert_eq!(numbers.last().unwrap()["number"], 5);
    // What was deleted here is not made again.
    two.cli(&["delete", "lib/1"]);
    let again = result(&two, &["pull", "lib", "store"]);
    assert_eq!(again["numbers"], serde_json::json!([]));
    assert_eq!(again["warnings"].as_array().unwrap().len(), 1);
    let refused = one.cli_fails(&["push", "lib/3", "store"]);
    assert!(refused.contains("the bucket has used all numbers up to 4"), "{refused}");
}
