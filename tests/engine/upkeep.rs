//! Retention, quotas, deletions taken back and the use of space, as the service answers.

use std::sync::Arc;

use cairn::control::du::{DuReply, DuTarget};
use cairn::control::flag::Flag;
use cairn::control::gc::{GcReply, GcRequest};
use cairn::control::policy::Decision;
use cairn::control::protocol::{ControlError, ErrorKind, Progress, Request};
use cairn::control::quota::QuotaInfo;
use cairn::control::reply::Reply;
use cairn::control::service::{Attachment, Service};
use cairn::control::status::StatusReply;
use cairn::control::undelete::DeletedInfo;
use cairn::control::upkeep::UpkeepRequest;
use cairn::control::why::{Holder, HolderKind, WhyReply, WhyTarget};
use cairn::engine::pins::BlobPin;
use cairn::model::hash::BlobHash;
use cairn::model::id::VersionNumber;
use cairn::model::name::{BaseName, RepoName};
use cairn::model::policy::{Limit, Policy, RuleChanges};
use cairn::model::raw::RawPath;

use crate::world::{World, caller};
use support::wait;

fn web() -> RepoName {
    "web".parse().unwrap()
}

fn names(versions: &[&str]) -> Vec<BaseName> {
    versions.iter().map(|version| version.parse().unwrap()).collect()
}

fn upkeep(world: &World, request: UpkeepRequest) -> Result<Reply, ControlError> {
    world.ask(Request::Upkeep(request))
}

/// A deletion long ago: nothing of it is protected any more.
fn forget_times(world: World) -> World {
    world.reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        catalog.execute("UPDATE blobs SET interest = 0", []).unwrap();
    })
}

/// Waits until nothing is being taken apart: a published area leaves rows behind.
fn settle(world: &World) {
    wait::until("the deletion queue is empty", || {
        world.engine.query(|reader| reader.deletion_queue_len()).unwrap() == 0
    });
}

fn flag(world: &World, versions: &[&str], flag: Flag, set: bool) {
    let request = UpkeepRequest::Flag { repository: web(), versions: names(versions), flag, set };
    upkeep(world, request).unwrap();
}

fn set_policy(world: &World, policy: Policy) {
    let request = UpkeepRequest::SetPolicy { repository: web(), policy: Some(policy) };
    assert_eq!(upkeep(world, request).unwrap(), Reply::Done);
}

fn deleted(world: &World) -> Vec<DeletedInfo> {
    match upkeep(world, UpkeepRequest::Deleted { repository: web(), after: None }).unwrap() {
        Reply::DeletedVersions(list) => list,
        other => panic!("{other:?}"),
    }
}

fn undelete(world: &World, versions: &[&str]) -> Result<Reply, ControlError> {
    let versions = names(versions);
    upkeep(world, UpkeepRequest::Undelete { repository: web(), versions })
}

fn gc(world: &World, full: bool, dry_run: bool, protect: u64) -> (GcReply, Vec<Decision>) {
    let mut decisions = Vec::new();
    let request = GcRequest { full, dry_run, wait: true, protect_seconds: Some(protect) };
    let mut on_progress = |progress| {
        if let Progress::Decisions(some) = progress {
            decisions.extend(some);
        }
    };
    let answer =
        world.service.call(caller(1), Request::Gc(request), Attachment::none(), &mut on_progress);
    match answer.unwrap().0 {
        Reply::Gc(reply) => (reply, decisions),
        other => panic!("{other:?}"),
    }
}

fn du(world: &World, versions: &[Option<&str>]) -> DuReply {
    let target = |version: &Option<&str>| DuTarget {
        repository: web(),
        version: version.map(|version| version.parse().unwrap()),
    };
    let targets = versions.iter().map(target).collect();
    let mut usages = Vec::new();
    let mut on_progress = |progress| {
        if let Progress::Usages(some) = progress {
            usages.extend(some);
        }
    };
    let request = Request::Upkeep(UpkeepRequest::Du { targets });
    let answer = world.service.call(caller(1), request, Attachment::none(), &mut on_progress);
    match answer.unwrap().0 {
        Reply::Du(mut reply) => {
            reply.versions = usages;
            reply
        }
        other => panic!("{other:?}"),
    }
}

fn why(world: &World, target: WhyTarget) -> Result<WhyReply, ControlError> {
    match upkeep(world, UpkeepRequest::Why(target))? {
        Reply::Why(reply) => Ok(reply),
        other => panic!("{other:?}"),
    }
}

fn why_hash(world: &World, bytes: &[u8]) -> WhyReply {
    why(world, WhyTarget::Hash(BlobHash::of(bytes))).unwrap()
}

/// Six versions that share some of their files, large directories among them.
fn six_versions() -> World {
    let world = World::with_repository();
    for number in 1..=6_u64 {
        let area = world.stage(&format!("v{number}"));
        world.write(area, "always", b"the same in all");
        world.write(area, "d/own", format!("only in {number}").as_bytes());
        world.write(area, "d/pair", format!("in two: {}", number / 2).as_bytes());
        for file in 0..700 {
            let content = format!("many {}", (file + number) / 3);
            world.write(area, &format!("large/{file}"), content.as_bytes());
        }
        world.commit(&format!("v{number}"));
    }
    settle(&world);
    world
}

const TWO: Policy = Policy {
    keep_unreleased: Some(2),
    keep_released: Some(1),
    keep_within_seconds: None,
    expire_areas_seconds: None,
};

#[test]
fn a_dry_run_says_what_the_run_then_does() {
    let world = six_versions();
    set_policy(&world, TWO);
    flag(&world, &["2", "3"], Flag::Released, true);
    flag(&world, &["1"], Flag::Locked, true);
    world.stage("based@4");
    world.delete(&["5"], false).unwrap();
    let (tried, decisions) = gc(&world, true, true, 0);
    let gone: Vec<u64> =
        decisions.iter().filter(|d| !d.keep).map(|d| d.number.unwrap().0).collect();
    assert_eq!(gone, [2]);
    assert!(decisions.iter().all(|decision| !decision.reason.is_empty()));
    assert_eq!(world.numbers(), [1, 2, 3, 4, 6], "nothing was done");
    let (done, _) = gc(&world, true, false, 0);
    assert!(done.finished && done.blobs > 0 && done.trees > 0, "{done:?}");
    let figures = |reply: &GcReply| (reply.versions, reply.blobs, reply.freed_bytes, reply.trees);
    assert_eq!(figures(&tried), figures(&done));
    assert_eq!((tried.protected_blobs, done.protected_blobs), (0, 0));
    assert_eq!(world.numbers(), [1, 3, 4, 6]);
    let (again, _) = gc(&world, true, true, 0);
    assert_eq!(figures(&again), (0, 0, 0, 0));
}

#[test]
fn what_is_protected_is_foreseen_too() {
    let world = six_versions();
    set_policy(&world, TWO);
    world.delete(&["1"], false).unwrap();
    let (tried, _) = gc(&world, true, true, 600);
    assert_eq!((tried.versions, tried.blobs, tried.deleted_versions), (3, 0, 4));
    assert!(tried.protected_bytes > 0 && tried.until.is_some());
    let (done, _) = gc(&world, true, false, 600);
    assert_eq!((done.versions, done.blobs), (3, 0));
    assert_eq!(tried.protected_bytes, done.protected_bytes);
    let (last, _) = gc(&world, false, false, 0);
    assert_eq!(last.freed_bytes, done.protected_bytes, "all of it is freed in the end");
}

#[test]
fn unique_is_what_a_deletion_frees() {
    for (version, protect) in [("3", 0), ("4", 600)] {
        let world = forget_times(six_versions());
        let usage = du(&world, &[Some(version)]).versions.remove(0);
        assert_eq!(usage.apparent_bytes, usage.unique_bytes + usage.shared_bytes);
        assert!(usage.unique_bytes > 0 && usage.shared_bytes > 0, "{usage:?}");
        world.delete(&[version], false).unwrap();
        let expected = if protect == 0 { usage.unique_bytes } else { 0 };
        assert_eq!(gc(&world, false, false, protect).0.freed_bytes, expected, "{version}");
        assert_eq!(du(&world, &[]).protected_bytes, usage.unique_bytes - expected);
    }
}

#[test]
fn a_repository_has_unique_what_all_its_versions_have() {
    let world = six_versions();
    world.delete(&["2"], false).unwrap();
    let whole = du(&world, &[None]);
    assert_eq!(whole.versions.iter().filter(|usage| usage.deleted).count(), 1);
    assert_eq!(whole.versions.len(), 6);
    let usage = &whole.repositories[0];
    assert_eq!((usage.versions, usage.deleted_versions), (5, 1));
    assert_eq!(usage.unique_bytes, whole.store_bytes, "nobody else has anything");
    world.stage("based@6");
    let based = du(&world, &[None, Some("6")]);
    let last = based.versions.iter().find(|usage| usage.number.0 == 6).unwrap();
    assert_eq!(last.unique_bytes, 0, "the area holds what it started from");
    assert!(based.repositories[0].unique_bytes < whole.store_bytes);
}

#[test]
fn everything_that_pins_a_blob_is_listed() {
    let world = World::with_repository();
    world.publish("one", &[("a/f", b"held"), ("a/g", b"held"), ("h", b"other")]);
    world.publish("two", &[("f", b"held")]);
    let area = world.stage("work");
    world.write(area, "deep/er/f", b"held");
    world.stage("copy@2");
    world.delete(&["1"], false).unwrap();
    wait::until("the file is sealed", || why_hash(&world, b"held").references == 4);
    let reply = why_hash(&world, b"held");
    assert!(!reply.open && !reply.free && !reply.damaged && reply.until.is_none());
    let paths = |holder: &Holder| -> Vec<String> {
        holder.paths.iter().map(|p| String::from_utf8_lossy(p.as_bytes()).into_owned()).collect()
    };
    let found: Vec<(String, Vec<String>)> = reply
        .holders
        .iter()
        .map(|holder| {
            let what = match &holder.what {
                HolderKind::Version { number, .. } => format!("version {number}"),
                HolderKind::DeletedVersion { number, .. } => format!("deleted {number}"),
                HolderKind::Area { area, .. } => format!("area {area}"),
                HolderKind::Base { area, .. } => format!("base of {area}"),
                other => format!("{other:?}"),
            };
            (what, paths(holder))
        })
        .collect();
    let expected: [(&str, &[&str]); 4] = [
        ("area work", &["deep/er/f"]),
        ("base of copy@2", &["f"]),
        ("version 2", &["f"]),
        ("deleted 1", &["a/f", "a/g"]),
    ];
    let expected: Vec<(String, Vec<String>)> = expected
        .iter()
        .map(|(what, at)| ((*what).to_owned(), at.iter().map(|p| (*p).to_owned()).collect()))
        .collect();
    assert_eq!(found, expected);
    let file = |path: &str| WhyTarget::File {
        repository: web(),
        version: "2".parse().unwrap(),
        path: RawPath::from(path.as_bytes()),
    };
    assert_eq!(why(&world, file("f")).unwrap(), reply);
    assert_eq!(why(&world, file("g")).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(why(&world, file("../f")).unwrap_err().kind, ErrorKind::Usage);
    let nothing = why(&world, WhyTarget::Hash(BlobHash::of(b"nobody wrote this")));
    assert_eq!(nothing.unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn unreferenced_content_is_protected_or_open_or_free() {
    let world = World::with_repository();
    world.publish("one", &[("f", b"gone"), ("g", b"stays")]);
    world.publish("two", &[("g", b"stays")]);
    world.delete(&["1"], false).unwrap();
    let pin = BlobPin::new(&world.engine.pins, BlobHash::of(b"gone"));
    let (tried, _) = gc(&world, false, true, 0);
    let (done, _) = gc(&world, false, false, 0);
    for reply in [tried, done] {
        assert_eq!((reply.blobs, reply.pinned_blobs, reply.pinned_bytes), (0, 1, 4));
    }
    let reply = why_hash(&world, b"gone");
    assert!(reply.open && reply.until.is_some() && !reply.free, "{reply:?}");
    let world = forget_times(world);
    drop(pin);
    let free = why(&world, WhyTarget::Hash(BlobHash::of(b"gone")));
    // The run at start may have been faster.
    assert!(free.is_ok_and(|reply| reply.free) || world.blob(&BlobHash::of(b"gone")).is_none());
}

#[test]
fn paths_and_holders_are_bounded_and_the_rest_is_counted() {
    let world = World::with_repository();
    let area = world.stage("many");
    for number in 0..900 {
        world.write(area, &format!("d/{number:03}"), b"equal");
    }
    world.commit("many");
    settle(&world);
    let reply = why_hash(&world, b"equal");
    assert_eq!(reply.references, 900);
    let holder = &reply.holders[0];
    assert_eq!((holder.paths.len(), holder.more_paths), (10, 890));
    assert_eq!(holder.paths[9].as_bytes(), b"d/009");
}

#[test]
fn deleted_versions_are_listed_and_come_back_by_number_or_name() {
    let world = six_versions();
    world.delete(&["1", "2", "3"], false).unwrap();
    let list = deleted(&world);
    let numbers: Vec<u64> = list.iter().map(|info| info.number.0).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(list[0].until.until_seconds - list[0].deleted.deleted_seconds, 600);
    let back = undelete(&world, &["1", "v3"]).unwrap();
    assert_eq!(back, Reply::Numbers(vec![VersionNumber(1), VersionNumber(3)]));
    assert_eq!(world.show("v3").unwrap().number, VersionNumber(3));
    let error = undelete(&world, &["2", "3"]).unwrap_err();
    assert!(error.message.contains("is not deleted"), "{error}");
    assert_eq!(undelete(&world, &["77"]).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(world.numbers(), [1, 3, 4, 5, 6], "all or none");
}

#[test]
fn an_unreadable_policy_is_shown_with_the_reason() {
    let world = six_versions().reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        catalog.execute("UPDATE repositories SET policy = '{\"keep_all\": 0}'", []).unwrap();
    });
    let Reply::Policy(shown) = upkeep(&world, UpkeepRequest::Policy { repository: web() }).unwrap()
    else {
        panic!()
    };
    assert!(shown.policy.is_none() && shown.unreadable.unwrap().contains("keep_all"));
    let (tried, decisions) = gc(&world, true, true, 0);
    assert_eq!((tried.versions, decisions.len()), (0, 0));
    assert!(tried.warnings[0].contains("unreadable"), "{tried:?}");
    assert!(status(&world).problems.iter().any(|problem| problem.message.contains("keep_all")));
}

#[test]
fn rules_of_a_policy_change_one_by_one() {
    let world = World::with_repository();
    let change = |rules: RuleChanges| {
        upkeep(&world, UpkeepRequest::ChangePolicy { repository: web(), rules })
    };
    let set = || {
        let Reply::Policy(shown) =
            upkeep(&world, UpkeepRequest::Policy { repository: web() }).unwrap()
        else {
            panic!("no policy");
        };
        shown.policy
    };
    let none = RuleChanges::default();
    let unreleased = |keep_unreleased| RuleChanges { keep_unreleased, ..none };
    let areas = |expire_areas_seconds| RuleChanges { expire_areas_seconds, ..none };
    change(unreleased(Limit::Limit(5))).unwrap();
    change(areas(Limit::Limit(60))).unwrap();
    let both =
        Policy { keep_unreleased: Some(5), expire_areas_seconds: Some(60), ..Policy::default() };
    assert_eq!(set(), Some(both));
    change(unreleased(Limit::Unlimited)).unwrap();
    assert_eq!(set(), Some(Policy { keep_unreleased: None, ..both }));
    change(areas(Limit::Unlimited)).unwrap();
    assert_eq!(set(), None, "no rule is left");

    // What cannot be read has no rules to keep: it is not replaced by one.
    let world = world.reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        catalog.execute("UPDATE repositories SET policy = '{\"keep_all\": 0}'", []).unwrap();
    });
    let rules = unreleased(Limit::Limit(5));
    let error =
        upkeep(&world, UpkeepRequest::ChangePolicy { repository: web(), rules }).unwrap_err();
    assert!(error.hint.unwrap().contains("--clear"), "{}", error.message);
    upkeep(&world, UpkeepRequest::SetPolicy { repository: web(), policy: None }).unwrap();
    upkeep(&world, UpkeepRequest::ChangePolicy { repository: web(), rules }).unwrap();
}

fn status(world: &World) -> StatusReply {
    match world.ask(Request::Status).unwrap() {
        Reply::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

fn quota(world: &World, bytes: Limit, files: Limit) -> Result<QuotaInfo, ControlError> {
    let request = UpkeepRequest::SetQuota { repository: web(), bytes, files };
    match upkeep(world, request)? {
        Reply::Quota(quota) => Ok(quota),
        other => panic!("{other:?}"),
    }
}

#[test]
fn quotas_change_one_by_one_and_are_warned_of() {
    let world = World::with_repository();
    world.publish("one", &[("f", b"ten bytes.")]);
    let shown = quota(&world, Limit::Limit(100), Limit::Limit(5)).unwrap();
    assert_eq!((shown.usage.bytes, shown.usage.files), (10, 1));
    assert!(status(&world).quotas.is_empty());
    let shown = quota(&world, Limit::Limit(11), Limit::Keep).unwrap();
    assert_eq!((shown.quota.bytes, shown.quota.files), (Some(11), Some(5)));
    assert_eq!(status(&world).quotas, [shown]);
    assert_eq!(quota(&world, Limit::Limit(0), Limit::Keep).unwrap_err().kind, ErrorKind::Usage);
    let shown = quota(&world, Limit::Unlimited, Limit::Keep).unwrap();
    assert_eq!((shown.quota.bytes, shown.quota.files), (None, Some(5)));
}

#[test]
fn status_tells_the_last_run_and_when_areas_expire() {
    let world = World::with_repository();
    world.publish("one", &[("f", b"old")]);
    world.publish("two", &[("f", b"new")]);
    world.stage("idle");
    assert!(status(&world).areas[0].expires.is_none());
    set_policy(&world, Policy { expire_areas_seconds: Some(3600), ..Policy::default() });
    world.delete(&["1"], false).unwrap();
    world.run(true, 600);
    let mut next = None;
    wait::until("the next run is known", || {
        next = status(&world).next_run.map(|run| run.next_run_seconds);
        next.is_some()
    });
    let status = status(&world);
    let run = status.last_run.unwrap();
    assert!(run.full && run.errors == 0);
    let due = next.unwrap() - run.began.began_seconds;
    assert!((86_400..86_500).contains(&due), "{due}");
    assert_eq!(status.deleted_versions, 1);
    let expires = status.areas[0].expires.as_ref().unwrap().expires_seconds;
    assert!(expires >= status.areas[0].created.created_seconds + 3600);
}

fn wait_for(world: &World, after: Option<u64>, seconds: u64) -> Result<Option<u64>, ControlError> {
    let after = after.map(VersionNumber);
    match world.ask(Request::Wait { repository: web(), after, seconds })? {
        Reply::Waited(waited) => Ok(waited.version.map(|version| version.number.0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn waiting_ends_with_the_next_version() {
    let world = Arc::new(World::with_repository());
    assert_eq!(wait_for(&world, None, 0).unwrap(), None);
    for label in ["one", "two", "three"] {
        world.publish(label, &[("f", label.as_bytes())]);
    }
    assert_eq!(wait_for(&world, Some(1), 5).unwrap(), Some(2), "none is missed");
    assert_eq!(wait_for(&world, None, 0).unwrap(), None);
    let waiting = Arc::clone(&world);
    let thread = std::thread::spawn(move || {
        wait::until("the fourth version", || wait_for(&waiting, Some(3), 5).unwrap() == Some(4));
    });
    world.publish("four", &[("f", b"four")]);
    thread.join().unwrap();
}

#[test]
fn nobody_waits_for_a_daemon_that_stops() {
    let world = World::with_repository();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_for(&world, None, 50));
        world.service.stop_waiting();
        // Who had waited to the end would have heard that there is no version.
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy);
    });
    assert_eq!(wait_for(&world, None, 5).unwrap_err().kind, ErrorKind::Busy);
}
