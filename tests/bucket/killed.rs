//! Pushes and pulls that are killed: the next one moves only the rest (H46)

use std::fs;
use std::path::Path;

use support::{Cairn, fsck, wait};

use crate::shared::{Bucket, faulty, files, import, result, shown};

/// Steps to kill at: all of them if they are few.
fn spread(total: usize, most: usize) -> Vec<usize> {
    let every = total.div_ceil(most).max(1);
    (1..=total).step_by(every).collect()
}

/// Small files, and one that is an object of its own.
fn source(cairn: &Cairn) -> std::path::PathBuf {
    let source = cairn.scratch().join("source");
    files(&source, 1, 40, 2000);
    files(&source.join("below"), 2, 3, 9 << 20);
    source
}

/// How many durable steps a command takes.
fn steps(cairn: &Cairn, arguments: &[&str], record: &Path) -> usize {
    let done = faulty(cairn, arguments, &format!("count:{}", record.display()));
    assert!(done.status.success(), "{done:?}");
    fs::read_to_string(record).unwrap().lines().count()
}

#[test]
fn d1_a_push_killed_at_each_step_leaves_what_the_next_one_uses() {
    let push = ["push", "lib", "store"];
    let counted = Bucket::new();
    let one = counted.store();
    import(&one, &source(&one), "lib");
    let total = steps(&one, &push, &one.scratch().join("steps"));
    let bytes = counted.content_bytes();
    let uploads = counted.objects("packs").len() + counted.objects("blobs").len() + 2;
    assert!(total >= uploads + 2, "{total} steps are too few to be true");
    let kinds = ["kill", "kill-after"].into_iter();
    for (kind, step) in kinds.flat_map(|kind| spread(total, 12).into_iter().map(move |s| (kind, s)))
    {
        let bucket = Bucket::new();
        let one = bucket.store();
        import(&one, &source(&one), "lib");
        let killed = faulty(&one, &push, &format!("{kind}:{step}"));
        fsck::check_store(&one.store());
        let published = bucket.events("lib");
        assert!(published <= 1, "{kind}:{step}");
        one.cli(&push);
        assert_eq!(bucket.events("lib"), 1, "{kind}:{step}: published once");
        // Four are uploaded at a time. Each is there or not, so nothing is there twice.
        // (Directories have other times here, which pack a little better or worse.)
        let difference = bucket.content_bytes().abs_diff(bytes);
        assert!(difference < 200, "{kind}:{step}: {difference} bytes, {killed:?}");
        let two = bucket.store();
        two.cli(&["pull", "lib", "store"]);
        assert_eq!(shown(&one, "lib/1"), shown(&two, "lib/1"), "{kind}:{step}");
        fsck::check_clean_store(&one.store());
    }
}

#[test]
fn d1_a_pull_killed_at_each_step_shows_a_whole_version_or_none() {
    let pull = ["pull", "lib", "store"];
    let bucket = Bucket::new();
    let one = bucket.store();
    import(&one, &source(&one), "lib");
    one.cli(&["push", "lib", "store"]);
    let two = bucket.store();
    let total = steps(&two, &pull, &two.scratch().join("steps"));
    assert!(total > 5, "{total} steps are too few to be true");
    for (kind, step) in ["kill", "kill-after"]
        .into_iter()
        .flat_map(|kind| spread(total, 12).into_iter().map(move |step| (kind, step)))
    {
        let two = bucket.store();
        faulty(&two, &pull, &format!("{kind}:{step}"));
        fsck::check_store(&two.store());
        let listed = two.json(&["list"]);
        if !listed.as_array().unwrap().is_empty() {
            assert_eq!(shown(&one, "lib/1"), shown(&two, "lib/1"), "{kind}:{step}");
        }
        two.cli(&pull);
        assert_eq!(shown(&one, "lib/1"), shown(&two, "lib/1"), "{kind}:{step}");
        fsck::check_clean_store(&two.store());
    }
}

#[test]
fn d1_kill_9_of_the_daemon_costs_only_the_rest() {
    let bucket = Bucket::new();
    let (mut one, mut two) = (bucket.mounted(), bucket.mounted());
    let source = one.scratch().join("source");
    // More than one pack, so that one is there before the rest is.
    files(&source, 1, 20, 4 << 20);
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store", "--limit-rate", "16M", "--detach"]);
    wait::until("the first pack is there", || !bucket.objects("packs").is_empty());
    one.crash();
    assert_eq!(bucket.events("lib"), 0);
    let there = bucket.content_bytes();
    let rest = result(&one, &["push", "lib", "store"]);
    let moved = rest["transferred_bytes"].as_u64().unwrap();
    assert!(moved < bucket.content_bytes() - there + (1 << 20), "{moved} after {there}");

    two.cli(&["pull", "lib", "store", "--limit-rate", "16M", "--detach"]);
    wait::until("some content is stored", || {
        two.json(&["status"])["blob_count"].as_u64().unwrap() >= 4
    });
    two.crash();
    assert!(!two.versions("lib").exists());
    let rest = result(&two, &["pull", "lib", "store"]);
    assert!(rest["present_content_count"].as_u64().unwrap() > 0, "{rest}");
    assert_eq!(shown(&one, "lib/1"), shown(&two, "lib/1"));
    for cairn in [&mut one, &mut two] {
        cairn.stop();
        fsck::check_store(&cairn.store());
    }
}
