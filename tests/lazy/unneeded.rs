//! Where absent content can be had is collected with it, and not under a sync that runs (L8).

use std::fs;

use support::wait;

use crate::shared::Origin;

fn collected(origin: &Origin) -> u64 {
    let reply = origin.cairn.json(&["gc", "--wait", "--protect", "0"]);
    reply["freed_location_count"].as_u64().unwrap()
}

#[test]
fn l8_what_a_deleted_version_alone_had_need_not_be_had_any_more() {
    let origin = Origin::new();
    let cairn = &origin.cairn;
    origin.site.set_manifest(&[("a", b"first"), ("dir/b", b"another")]);
    origin.sync();
    cairn.cli(&["delete", "lib/1", "--force"]);
    assert_eq!(collected(&origin), 2, "of dir/b as it was, and of dir/deep/c");
    assert_eq!(collected(&origin), 0);
    assert_eq!(fs::read(cairn.versions("lib/2/a")).unwrap(), b"first");
    assert_eq!(fs::read(cairn.versions("lib/2/dir/b")).unwrap(), b"another");
    origin.check();
}

/// What is noted may not be named by anything yet. Which of the rows are a sync's own nobody knows, so all of them stay.
#[test]
fn l8_a_collection_takes_nothing_while_a_sync_has_not_published_yet() {
    let mut origin = Origin::new();
    origin.site.set_manifest(&[("a", b"first")]);
    origin.sync();
    let hold = origin.cairn.scratch().join("hold");
    fs::write(&hold, "").unwrap();
    origin.cairn.stop();
    origin.cairn.set_env("CAIRN_HOLD", Some(&format!("Building:{}", hold.display())));
    origin.cairn.mount();
    origin.site.set_manifest(&[("new", b"declared and not named yet")]);
    let sync = ["sync", "lib", "origin", "--mirror", "--max-delete", "100%", "--detach"];
    origin.cairn.cli(&sync);
    wait::until("its commit has begun", || origin.cairn.json(&["jobs"])[0]["stage"] == "publish");
    origin.cairn.cli(&["delete", "lib/1", "--force"]);
    assert_eq!(collected(&origin), 0);
    fs::remove_file(&hold).unwrap();
    wait::until("it has published", || origin.cairn.versions("lib/3").exists());
    wait::until("it has ended", || origin.cairn.json(&["jobs"])[0]["state"] == "done");
    let read = fs::read(origin.cairn.versions("lib/3/new")).unwrap();
    assert_eq!(read, b"declared and not named yet");
    assert_eq!(collected(&origin), 2, "of dir/b and dir/deep/c");
    origin.check();
}
