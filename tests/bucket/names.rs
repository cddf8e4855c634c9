//! Tags and flags go both ways, and what both sides changed stays

use serde_json::json;

use crate::shared::{Bucket, files, import, result};

#[test]
fn d1_tags_and_flags_follow_who_changed_them() {
    let bucket = Bucket::new();
    let (one, two) = (bucket.store(), bucket.store());
    let source = one.scratch().join("source");
    for seed in 1..=2 {
        files(&source, seed, 2, 100);
        import(&one, &source, "lib");
    }
    one.cli(&["tag", "lib/stable", "1"]);
    one.cli(&["tag", "lib/old", "1"]);
    one.cli(&["release", "lib/1"]);
    let pushed = result(&one, &["push", "lib", "store"]);
    assert_eq!(pushed["changed_tags"], json!(["old", "stable"]));
    let pulled = result(&two, &["pull", "lib", "store"]);
    assert_eq!(pulled["changed_tags"], json!(["old", "stable"]));
    assert_eq!(two.json(&["show", "lib/1"])["released"], true);
    assert_eq!(result(&two, &["push", "lib", "store"])["changed"], false);

    // Moved, removed and locked here, followed there.
    one.cli(&["tag", "lib/stable", "2"]);
    one.cli(&["tag", "--delete", "lib/old"]);
    one.cli(&["lock", "lib/2"]);
    let pushed = result(&one, &["push", "lib", "store"]);
    assert_eq!(pushed["changed_tags"], json!(["old", "stable"]));
    assert_eq!(pushed["flagged_numbers"], json!([2]));
    result(&two, &["pull", "lib", "store"]);
    assert_eq!(two.json(&["show", "lib/stable"])["number"], 2);
    assert_eq!(two.json(&["show", "lib/2"])["locked"], true);
    two.cli_fails(&["show", "lib/old"]);

    // Both change a tag: neither loses it, and who names it decides.
    one.cli(&["tag", "lib/stable", "1"]);
    two.cli(&["tag", "--delete", "lib/stable"]);
    one.cli(&["push", "lib", "store"]);
    let pulled = result(&two, &["pull", "lib", "store"]);
    assert!(pulled["warnings"][0].as_str().unwrap().contains("was changed here as well"));
    two.cli(&["tag", "lib/stable", "2"]);
    let pushed = result(&two, &["push", "lib", "store"]);
    assert_eq!(pushed["changed_tags"], json!([]));
    let pushed = result(&two, &["push", "lib/stable", "store"]);
    assert_eq!(pushed["changed_tags"], json!(["stable"]));
    result(&one, &["pull", "lib", "store"]);
    assert_eq!(one.json(&["show", "lib/stable"])["number"], 2);
}
