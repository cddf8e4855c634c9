//! A store that is served read-only: whatever is asked of it, the catalog and the pool stay as they
//! are, and what only reads is answered.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use cairn::control::backup::BackupRequest;
use cairn::control::export::ExportRequest;
use cairn::control::find::FindRequest;
use cairn::control::flag::Flag;
use cairn::control::fsck::FsckRequest;
use cairn::control::gc::GcRequest;
use cairn::control::jobs::JobsRequest;
use cairn::control::log::LogRequest;
use cairn::control::names::NamesOf;
use cairn::control::prefetch::PrefetchRequest;
use cairn::control::protocol::{ErrorKind, Request};
use cairn::control::reclaim::ReclaimRequest;
use cairn::control::remote::RemoteRequest;
use cairn::control::service::Attachment;
use cairn::control::sync::SyncRequest;
use cairn::control::transfer::{Direction, TransferRequest};
use cairn::control::upkeep::UpkeepRequest;
use cairn::control::why::WhyTarget;
use cairn::engine::commit::CommitOptions;
use cairn::engine::error::EngineError;
use cairn::engine::fsck::Job;
use cairn::engine::request::{Owner, Request as EngineRequest};
use cairn::engine::scrub::{ScrubOptions, Scrubber, noted};
use cairn::model::hash::BlobHash;
use cairn::model::id::{AreaId, VersionNumber};
use cairn::model::name::BaseName;
use cairn::model::policy::{Limit, Policy, RuleChanges};
use cairn::model::quota::{Charge, Usage};
use cairn::model::raw::RawPath;
use cairn::model::remote::{RemoteKind, RemoteSettings};
use cairn::model::sync::RemovalLimit;
use cairn::model::time::Timestamp;
use cairn::store::layout::Layout;
use rusqlite::types::Value;

use crate::world::{World, begin, commit, commit_options, create};
use support::wait;

/// A store in which a policy would delete a version and an area, and a run would free content.
fn store() -> World {
    let world = World::with_repository();
    for (label, content) in [("one", b"1"), ("two", b"2"), ("three", b"3")] {
        world.publish(label, &[("f", content)]);
    }
    world.delete(&["1"], false).unwrap();
    let area = world.stage("open");
    world.write(area, "f", b"4");
    let policy = Some(Policy {
        keep_unreleased: Some(1),
        expire_areas_seconds: Some(1),
        ..Policy::default()
    });
    world.engine_call(|repo, reply| EngineRequest::SetPolicy { repo, policy, reply }).unwrap();
    let job = Job::Note("scrub_last", "0 0 0 0 0".to_owned());
    world.engine.call(|reply| EngineRequest::Fsck { job, reply }).unwrap();
    world.reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        catalog.execute("UPDATE areas SET changed_s = 1", []).unwrap();
    })
}

/// A table with its rows.
type Table = (String, Vec<Vec<Value>>);

/// Every row of the catalog, and every file of the pool.
fn content(world: &World) -> (Vec<Table>, BTreeSet<String>) {
    content_of(world.engine.layout.root())
}

fn content_of(store: &Path) -> (Vec<Table>, BTreeSet<String>) {
    let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
    let mut names = catalog
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let tables = names.into_iter().map(|name| {
        let mut statement = catalog.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = statement.column_count();
        let rows = statement
            .query_map([], |row| (0..columns).map(|column| row.get(column)).collect())
            .unwrap();
        (name, rows.map(Result::unwrap).collect())
    });
    let pool = walk(&store.join("pool"));
    (tables.collect(), pool)
}

fn walk(directory: &std::path::Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.insert(entry.path().display().to_string());
        }
    }
    found
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Read,
    Change,
    /// Neither: it is about the daemon.
    Other,
}

/// Without a last arm for the rest: who adds a request says here what it does.
fn does(request: &Request) -> (usize, Does) {
    match request {
        Request::Status => (0, Does::Read),
        Request::CreateRepository { .. } => (1, Does::Change),
        Request::DeleteRepository { .. } => (2, Does::Change),
        Request::Repositories => (3, Does::Read),
        Request::Versions { .. } => (4, Does::Read),
        Request::Show { .. } => (5, Does::Read),
        Request::Diff { .. } => (6, Does::Read),
        Request::Metrics => (44, Does::Read),
        Request::Log(_) => (42, Does::Read),
        Request::Find(_) => (43, Does::Read),
        Request::Areas { .. } => (7, Does::Read),
        Request::Stage { .. } => (8, Does::Change),
        Request::Commit(_) => (9, Does::Change),
        Request::Discard { .. } => (10, Does::Change),
        Request::Tags { .. } => (11, Does::Read),
        Request::SetTag { .. } => (12, Does::Change),
        Request::DeleteTag { .. } => (13, Does::Change),
        Request::Delete { .. } => (14, Does::Change),
        Request::Fsck(fsck) if fsck.repair => (15, Does::Change),
        Request::Fsck(fsck) if fsck.rebuild_counts => (16, Does::Change),
        Request::Fsck(_) => (17, Does::Read),
        Request::Gc(gc) if gc.dry_run => (18, Does::Read),
        Request::Gc(_) => (19, Does::Change),
        Request::Wait { .. } => (20, Does::Read),
        Request::Shutdown => (21, Does::Other),
        Request::Import(_) => (22, Does::Change),
        Request::Export(_) => (23, Does::Read),
        // There is nothing to save.
        Request::Save { .. } => (35, Does::Other),
        // Only an edge has a bucket that it follows.
        Request::Refresh { .. } => (46, Does::Other),
        // Only a daemon has settings.
        Request::Remount { .. } => (36, Does::Other),
        Request::Remote(
            // The last two concern a bucket, not the store.
            RemoteRequest::List
            | RemoteRequest::Show { .. }
            | RemoteRequest::Test { .. }
            | RemoteRequest::Fsck { .. }
            | RemoteRequest::Gc { .. },
        ) => (38, Does::Read),
        Request::Remote(
            RemoteRequest::Put { .. } | RemoteRequest::Remove { .. } | RemoteRequest::Accept { .. },
        ) => (39, Does::Change),
        Request::Sync(_) => (40, Does::Change),
        // A dry run too: it is a job, and asks a bucket.
        Request::Transfer(_) => (45, Does::Change),
        Request::Jobs(_) => (41, Does::Read),
        // What it fetches is stored.
        Request::Prefetch(_) => (42, Does::Change),
        Request::Reclaim(reclaim) if reclaim.dry_run => (43, Does::Read),
        Request::Reclaim(_) => (44, Does::Change),
        Request::Names { .. } => (37, Does::Read),
        Request::Backup(_) => (24, Does::Read),
        Request::Upkeep(upkeep) => match upkeep {
            UpkeepRequest::Flag { .. } => (25, Does::Change),
            UpkeepRequest::Deleted { .. } => (26, Does::Read),
            UpkeepRequest::Undelete { .. } => (27, Does::Change),
            UpkeepRequest::Policy { .. } => (28, Does::Read),
            UpkeepRequest::SetPolicy { .. } => (29, Does::Change),
            UpkeepRequest::ChangePolicy { .. } => (37, Does::Change),
            UpkeepRequest::Quota { .. } => (30, Does::Read),
            UpkeepRequest::SetQuota { .. } => (31, Does::Change),
            UpkeepRequest::Du { .. } => (32, Does::Read),
            UpkeepRequest::Why(_) => (33, Does::Read),
            UpkeepRequest::UndeleteRepository { .. } => (34, Does::Change),
        },
    }
}

fn about_remotes() -> [Request; 9] {
    let remote = || "origin".parse().unwrap();
    let settings = RemoteSettings::new(RemoteKind::Sums, "http://127.0.0.1:1/".parse().unwrap());
    let sync = SyncRequest {
        repository: "web".parse().unwrap(),
        remote: remote(),
        subpath: RawPath::default(),
        mirror: true,
        dry_run: true,
        keep_going: false,
        removal_limit: RemovalLimit::DEFAULT,
        rate_bytes_per_second: None,
        policy: None,
        message: String::new(),
        author: None,
        tag: None,
        detach: false,
    };
    let transfer = TransferRequest {
        direction: Direction::Pull,
        repository: "web".parse().unwrap(),
        versions: Vec::new(),
        delete: false,
        sign: None,
        remote: remote(),
        dry_run: true,
        rate_bytes_per_second: None,
        detach: false,
    };
    [
        Request::Remote(RemoteRequest::List),
        Request::Transfer(transfer),
        Request::Remote(RemoteRequest::Put {
            name: remote(),
            settings: Box::new(settings),
            replace: false,
        }),
        Request::Remote(RemoteRequest::Remove { name: remote(), force: false }),
        Request::Sync(sync),
        Request::Jobs(JobsRequest::List),
        Request::Prefetch(PrefetchRequest {
            repository: "web".parse().unwrap(),
            version: BaseName::Latest,
            path: RawPath::default(),
            only: Vec::new(),
        }),
        Request::Reclaim(ReclaimRequest { repositories: Vec::new(), keep_bytes: 0, dry_run: true }),
        Request::Reclaim(ReclaimRequest {
            repositories: Vec::new(),
            keep_bytes: 0,
            dry_run: false,
        }),
    ]
}

/// One request of each kind, all of which succeed on a store that takes changes.
fn requests() -> Vec<Request> {
    let web = || "web".parse().unwrap();
    let version = |text: &str| text.parse().unwrap();
    let fsck = FsckRequest { full: true, repair: false, rebuild_counts: false };
    let gc = GcRequest { full: true, dry_run: true, wait: true, protect_seconds: Some(0) };
    let upkeep = [
        UpkeepRequest::Flag {
            repository: web(),
            versions: vec![version("2")],
            flag: Flag::Locked,
            set: true,
        },
        UpkeepRequest::Deleted { repository: web(), after: None },
        UpkeepRequest::Undelete { repository: web(), versions: vec![version("1")] },
        UpkeepRequest::Policy { repository: web() },
        UpkeepRequest::SetPolicy { repository: web(), policy: None },
        UpkeepRequest::ChangePolicy { repository: web(), rules: RuleChanges::default() },
        UpkeepRequest::Quota { repository: web() },
        UpkeepRequest::SetQuota { repository: web(), bytes: Limit::Keep, files: Limit::Limit(9) },
        UpkeepRequest::Du { targets: Vec::new() },
        UpkeepRequest::Why(WhyTarget::Hash(BlobHash::of(b"2"))),
        UpkeepRequest::UndeleteRepository { name: "gone".parse().unwrap() },
    ];
    let mut all = vec![
        Request::Status,
        create("more"),
        Request::DeleteRepository { name: "empty".parse().unwrap() },
        Request::Repositories,
        Request::Versions { repository: web(), after: None },
        Request::Show { repository: web(), version: version("2") },
        Request::Diff {
            repository: web(),
            first: version("2"),
            other_repository: web(),
            second: version("3"),
        },
        Request::Metrics,
        Request::Log(LogRequest { repository: web(), path: RawPath::default(), limit: None }),
        Request::Find(FindRequest {
            repository: web(),
            pattern: "*".parse().unwrap(),
            version: None,
        }),
        Request::Areas { repository: None },
        Request::Names { of: NamesOf::Versions(web()), prefix: String::new() },
        Request::Stage { repository: web(), name: "more".parse().unwrap(), from: None },
        Request::Commit(commit("open")),
        Request::Discard { repository: web(), area: "open".parse().unwrap() },
        Request::Tags { repository: web() },
        Request::SetTag { repository: web(), tag: "more".parse().unwrap(), version: version("2") },
        Request::DeleteTag { repository: web(), tag: "two".parse().unwrap() },
        Request::Delete { repository: web(), versions: vec![version("2")], force: true },
        Request::Fsck(FsckRequest { repair: true, ..fsck }),
        Request::Fsck(FsckRequest { rebuild_counts: true, ..fsck }),
        Request::Fsck(fsck),
        Request::Gc(gc.clone()),
        Request::Gc(GcRequest { dry_run: false, ..gc }),
        Request::Wait { repository: web(), after: Some(VersionNumber(1)), seconds: 0 },
        Request::Save { give_up: false },
        Request::Remount { settings: Vec::new(), check: false },
        Request::Shutdown,
        Request::Import(begin(false)),
        Request::Export(ExportRequest::Root { repository: web(), version: version("2") }),
        Request::Backup(BackupRequest::Catalog { hold: true }),
    ];
    all.extend(upkeep.map(Request::Upkeep));
    all.extend(about_remotes());
    all
}

#[test]
fn every_request_that_changes_is_refused_and_every_other_is_answered() {
    let world = store();
    world.ask(create("empty")).unwrap();
    world.ask(create("gone")).unwrap();
    world.ask(Request::DeleteRepository { name: "gone".parse().unwrap() }).unwrap();
    let world = world.reopen_read_only();
    let before = content(&world);
    let mut kinds = BTreeSet::new();
    for request in requests() {
        let (kind, does) = does(&request);
        kinds.insert(kind);
        let answer = world.ask_as(1, request.clone(), Attachment::none());
        match (does, answer) {
            // It is said first that nothing of that can be done at all.
            (_, Err(error)) if !cfg!(feature = "net") && error.message.contains("`net`") => {}
            (Does::Change, Err(error)) => {
                assert_eq!(error.kind, ErrorKind::Permission, "{request:?}: {error}");
                assert!(error.message.contains("read-only"), "{error}");
                assert!(error.hint.unwrap().contains("--read-only"));
            }
            (Does::Read | Does::Other, Ok(_)) => {}
            (_, answer) => panic!("{request:?}: {answer:?}"),
        }
        assert_eq!(content(&world), before, "{request:?}");
    }
    assert_eq!(kinds, (0..=45).collect(), "each kind is asked");
    let world = world.reopen();
    assert_eq!(world.numbers(), [2, 3], "it is as it was, and takes changes");
    world.commit("open");
}

/// A start has leftovers to remove, and notes that the store is in use. Where the store is opened for reading, that
/// waits for a start that takes changes.
#[test]
fn r1_a_start_for_reading_writes_nothing_and_removes_nothing() {
    let mut closed = store().close();
    let layout = Layout::new(&closed.path());
    let sql = "UPDATE areas SET state = 1; UPDATE meta SET value = 'no' WHERE key = 'clean'";
    rusqlite::Connection::open(layout.catalog()).unwrap().execute_batch(sql).unwrap();
    let leftover = layout.incoming().join("of-a-crash");
    std::fs::write(&leftover, b"leftover").unwrap();
    std::fs::remove_file(layout.reserve()).unwrap();
    let before = content_of(&closed.path());
    for _ in 0..2 {
        let world = closed.open_read_only();
        assert_eq!(world.engine.query(|reader| reader.deletion_queue_len()).unwrap(), 0);
        closed = world.close();
        assert_eq!(content_of(&closed.path()), before);
        assert!(leftover.exists() && !layout.reserve().exists());
    }
    let world = closed.open();
    assert!(!leftover.exists() && layout.reserve().exists());
    wait::until("the area is purged", || {
        let areas = world.engine.query(|reader| reader.areas()).unwrap();
        areas.iter().all(|area| area.name.to_string() != "open")
    });
}

#[test]
fn nothing_is_collected_scrubbed_or_expires_by_itself() {
    let world = store().reopen_read_only();
    let before = content(&world);
    // The period of the full runs and of the scrub is a second.
    let options = ScrubOptions { period_seconds: 1, rate_bytes: u64::MAX };
    let scrubber = Scrubber::start(&world.engine, options).unwrap();
    let began = std::time::Instant::now();
    wait::until("timers had their time", || began.elapsed() > Duration::from_secs(2));
    drop(scrubber);
    assert_eq!(content(&world), before);
    assert_eq!(world.engine.query(noted).unwrap().0, None);
    assert_eq!(world.engine.last_run(), None);
}

/// Also a door that knows nothing of it: the engine itself refuses.
#[test]
fn damage_that_is_met_is_told_and_not_noted() {
    let world = store().reopen_read_only();
    let before = content(&world);
    world.engine.report_damage(BlobHash::of(b"2"));
    let job = Job::Note("scrub_last", "1 1 1 1 1".to_owned());
    let refused = world.engine.call(|reply| EngineRequest::Fsck { job, reply });
    assert!(matches!(refused, Err(EngineError::ReadOnly)), "{refused:?}");
    assert_eq!(content(&world), before);
}

/// The engine refuses a change before it looks at it. If it left that to the door to the catalog, which
/// refuses as well, these would be answered with what is wrong about them instead, and what a change
/// does before it writes would be done.
#[test]
fn a_change_is_refused_before_it_is_looked_at() {
    let world = store();
    let area = world.area("open");
    let world = world.reopen_read_only();
    let now = Timestamp::now();
    let owner = Owner { mode: 0o755, uid: 0, gid: 0 };
    let refused = |what: &str, error: Option<EngineError>| {
        assert!(matches!(error, Some(EngineError::ReadOnly)), "{what}: {error:?}");
    };
    let made = world.engine.call(|reply| EngineRequest::CreateRepository {
        name: "web".parse().unwrap(),
        owner,
        provisional: false,
        now,
        reply,
    });
    refused("a repository that exists", made.err());
    let opened = world.engine_call(|repo, reply| EngineRequest::OpenArea {
        repo,
        name: "open".parse().unwrap(),
        owner,
        journalled: true,
        now,
        reply,
    });
    refused("an area that exists", opened.err());
    let tagged = world.engine_call(|repo, reply| EngineRequest::SetTag {
        repo,
        tag: "two".parse().unwrap(),
        number: VersionNumber(99),
        fresh: true,
        now,
        reply,
    });
    refused("a tag that exists", tagged.err());
    let deleted = world.engine_call(|repo, reply| EngineRequest::DeleteVersions {
        repo,
        numbers: vec![VersionNumber(99)],
        force: false,
        now,
        reply,
    });
    refused("a version that does not exist", deleted.err());
    let discarded =
        world.engine.call(|reply| EngineRequest::DiscardArea { area: AreaId(area.0 + 9), reply });
    refused("an area that does not exist", discarded.err());
    let options = CommitOptions { number: Some(VersionNumber(1)), ..commit_options() };
    let published = world.engine.call(|reply| EngineRequest::Commit { area, options, reply });
    refused("a number that is taken", published.err());
    assert_eq!(world.engine.staging.read().areas[&area].error, "", "no refusal was noted");
    let hashes = vec![BlobHash::of(b"2")];
    let pinned =
        world.engine.call(|reply| EngineRequest::ReuseBlobs { hashes, is_own: true, reply });
    refused("content to be used again", pinned.err());
}

/// What a worker of the engine sends is no change that anybody asked for, so it is not refused as one. The
/// door to the catalog is: this would correct what a version counts for.
#[test]
fn what_the_engine_tells_itself_is_not_written_either() {
    let world = store().reopen_read_only();
    let before = content(&world);
    let repository = world.repository();
    let (number, known) = (VersionNumber(3), repository.versions.charge(VersionNumber(3)).copied());
    let base = VersionNumber(2);
    let usage = Usage { bytes: 77, files: 7 };
    assert_ne!(known, Some(Charge { base, usage }));
    let charge = Ok(Charge { base, usage });
    let charged = EngineRequest::Charged { repo: repository.id, number, charge };
    world.engine.submit(charged).unwrap();
    drop(world.engine.call(|reply| EngineRequest::HoldBlobs { reply }).unwrap());
    assert_eq!(content(&world), before);
    assert_eq!(world.repository().versions.charge(number).copied(), known);
}
