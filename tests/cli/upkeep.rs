//! Retention, quotas, deletions taken back, use of space: canned answers, and what is printed.

use cairn::control::du::{DuReply, RepositoryUsage, VersionUsage};
use cairn::control::gc::RunInfo;
use cairn::control::policy::{Decision, PolicyReply};
use cairn::control::prefetch::{PrefetchReply, PrefetchRequest};
use cairn::control::protocol::{ControlError, ErrorKind, Progress, UnreadableFile};
use cairn::control::quota::QuotaInfo;
use cairn::control::reclaim::{LeftContent, LeftReason, ReclaimReply, ReclaimRequest};
use cairn::control::reply::Reply;
use cairn::control::service::Attachment;
use cairn::control::undelete::DeletedInfo;
use cairn::control::upkeep::UpkeepRequest;
use cairn::control::utc::{Began, Deleted, Until};
use cairn::control::wait::WaitReply;
use cairn::control::why::{Holder, HolderKind, WhyReply, WhyTarget};
use cairn::model::hash::BlobHash;
use cairn::model::id::VersionNumber;
use cairn::model::name::{BaseName, RepoName};
use cairn::model::policy::{Limit, Policy};
use cairn::model::quota::{Quota, Usage};
use cairn::model::raw::RawPath;
use serde_json::Value;
use support::schema;

use crate::fake::{run, serve, stdout, version};

const WHEN: i64 = 1_000_000_000;

fn web() -> RepoName {
    "web".parse().unwrap()
}

/// Four files were fetched, and in the repository `broken` one could not be.
pub(crate) fn prefetched(request: PrefetchRequest, progress: &mut dyn FnMut(Progress)) -> Reply {
    let failed = u64::from(request.repository.as_str() == "broken");
    if failed > 0 {
        let path = RawPath::from(&b"a\n"[..]);
        progress(Progress::Failures(vec![UnreadableFile { path, reason: "gone".to_owned() }]));
    }
    Reply::Prefetch(PrefetchReply {
        repository: request.repository,
        number: VersionNumber(7),
        path: request.path,
        files: 7 + failed,
        present: 3,
        fetched: 4,
        fetched_bytes: 1536,
        failed,
        missing: 0,
    })
}

pub(crate) fn reclaimed(request: &ReclaimRequest) -> Reply {
    let left = |reason, contents| LeftContent { reason, contents, bytes: contents << 10 };
    Reply::Reclaim(ReclaimReply {
        dry_run: request.dry_run,
        contents: 4,
        bytes: request.keep_bytes + 1536,
        left: vec![left(LeftReason::Kept, 2), left(LeftReason::Open, 1)],
    })
}

/// Answers what `cairn` asks about upkeep. The repository `broken` has an unreadable policy.
pub(crate) fn answer(
    request: UpkeepRequest,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Reply, Attachment), ControlError> {
    let reply = match request {
        UpkeepRequest::Flag { versions, .. } | UpkeepRequest::Undelete { versions, .. } => {
            Reply::Numbers(versions.iter().map(number).collect::<Result<_, _>>()?)
        }
        UpkeepRequest::UndeleteRepository { name } if name.as_str() == "gone" => {
            Reply::Numbers([1, 2].map(VersionNumber).to_vec())
        }
        UpkeepRequest::UndeleteRepository { name } => {
            let message = format!("`{name}` is not deleted");
            return Err(ControlError::new(ErrorKind::NotFound, message));
        }
        UpkeepRequest::Deleted { repository, .. } if repository.as_str() == "gone" => {
            let message = format!("no repository `{repository}`");
            return Err(ControlError::new(ErrorKind::NotFound, message));
        }
        UpkeepRequest::Deleted { after, .. } => {
            let all = [5, 6].map(VersionNumber).into_iter();
            Reply::DeletedVersions(all.filter(|n| Some(*n) > after).map(deleted).collect())
        }
        UpkeepRequest::Policy { repository } => {
            let unreadable = repository.as_str() == "broken";
            if !unreadable {
                progress(Progress::Decisions(decisions()));
            }
            Reply::Policy(PolicyReply {
                repository,
                policy: (!unreadable).then(policy),
                unreadable: unreadable.then(|| "no such field".to_owned()),
                decisions: Vec::new(),
            })
        }
        UpkeepRequest::SetPolicy { policy: None, .. } => Reply::Done,
        UpkeepRequest::SetPolicy { policy: Some(set), .. } => panic!("not merged: {set:?}"),
        UpkeepRequest::ChangePolicy { rules, .. } => {
            let before = Policy { keep_released: Some(9), ..Policy::default() };
            assert_eq!(rules.applied(before), Some(policy()));
            Reply::Done
        }
        UpkeepRequest::Quota { .. } => Reply::Quota(quota(None)),
        UpkeepRequest::SetQuota { bytes, .. } => Reply::Quota(quota(match bytes {
            Limit::Limit(bytes) => Some(bytes),
            Limit::Keep | Limit::Unlimited => None,
        })),
        UpkeepRequest::Du { targets } => {
            progress(Progress::Usages(targets.iter().map(|_| usage(7)).collect()));
            Reply::Du(du())
        }
        UpkeepRequest::Why(target) => Reply::Why(why(&target)?),
    };
    Ok((reply, Attachment::none()))
}

fn number(version: &BaseName) -> Result<VersionNumber, ControlError> {
    match version {
        BaseName::Number(number) if number.0 < 90 => Ok(*number),
        other => Err(ControlError::new(ErrorKind::NotFound, format!("no version {other}"))),
    }
}

fn deleted(number: VersionNumber) -> DeletedInfo {
    DeletedInfo {
        repository: web(),
        number,
        name: (number.0 == 6).then(|| "v6".parse().unwrap()),
        deleted: Deleted::at(WHEN),
        until: Until::at(WHEN + 600),
    }
}

fn policy() -> Policy {
    Policy {
        keep_unreleased: Some(5),
        keep_released: None,
        keep_within_seconds: Some(30 * 86_400),
        expire_areas_seconds: Some(7 * 86_400),
    }
}

pub(crate) fn decisions() -> Vec<Decision> {
    let decision = |number: u64, keep: bool, reason: &str| Decision {
        repository: web(),
        number: Some(VersionNumber(number)),
        area: None,
        keep,
        reason: reason.to_owned(),
    };
    vec![decision(7, true, "the newest version"), decision(3, false, "no rule keeps it")]
}

pub(crate) fn quota(bytes: Option<u64>) -> QuotaInfo {
    QuotaInfo {
        repository: web(),
        quota: Quota { bytes, files: None },
        usage: Usage { bytes: 1_000_000, files: 12 },
        areas_bytes: 2048,
        areas_files: 1,
    }
}

pub(crate) fn last_run() -> RunInfo {
    RunInfo {
        full: true,
        began: Began::at(WHEN),
        duration_ms: 12,
        versions: 1,
        areas: 0,
        blobs: 2,
        freed_bytes: 3 << 20,
        pinned_blobs: 1,
        pinned_bytes: 10,
        errors: 1,
    }
}

fn usage(number: u64) -> VersionUsage {
    VersionUsage {
        repository: web(),
        number: VersionNumber(number),
        deleted: true,
        files: 12,
        apparent_bytes: 1536,
        unique_bytes: 512,
        shared_bytes: 1024,
    }
}

fn du() -> DuReply {
    DuReply {
        repositories: vec![RepositoryUsage {
            repository: web(),
            versions: 3,
            apparent_bytes: 4096,
            unique_bytes: 3072,
            shared_bytes: 1024,
            areas_bytes: 10,
            areas_files: 1,
            deleted_versions: 1,
            deleted_bytes: 1536,
        }],
        versions: Vec::new(),
        store_bytes: 5000,
        reclaimable_bytes: 100,
        protected_bytes: 200,
        pinned_bytes: 0,
        absent: 2,
        absent_bytes: 3000,
    }
}

fn why(target: &WhyTarget) -> Result<WhyReply, ControlError> {
    let (hash, free) = match target {
        WhyTarget::Hash(hash) => (*hash, true),
        WhyTarget::File { path, .. } if path.as_bytes() == b"a/b" => (BlobHash::of(b"x"), false),
        WhyTarget::File { path, .. } => {
            return Err(ControlError::new(ErrorKind::NotFound, format!("no {path:?}")));
        }
    };
    let held = Holder {
        what: HolderKind::Version { repository: web(), number: VersionNumber(7) },
        paths: vec![RawPath::from(&b"a/b\n"[..])],
        more_paths: 4,
    };
    let gone = Holder {
        what: HolderKind::DeletedVersion {
            repository: web(),
            number: VersionNumber(5),
            until: Until::at(WHEN),
        },
        paths: Vec::new(),
        more_paths: 0,
    };
    Ok(WhyReply {
        hash,
        size_bytes: 1536,
        references: if free { 0 } else { 5 },
        holders: if free { Vec::new() } else { vec![held, gone] },
        more_holders: 0,
        open: !free,
        until: None,
        damaged: false,
        absent: false,
        free,
    })
}

/// Version 7 exists, and nothing later comes.
pub(crate) fn waited(after: Option<VersionNumber>) -> WaitReply {
    let after = after.unwrap_or(VersionNumber(7));
    WaitReply { after, version: (after.0 < 7).then(|| version(7)) }
}

/// What people read, by command line.
const PRINTED: &[(&[&str], &str)] = &[
    (&["release", "web/3-4", "web/7"], "released web/7,3,4\n"),
    (&["release", "web/7", "--undo"], "not released any more: web/7\n"),
    (&["lock", "web/7"], "locked web/7\n"),
    (&["lock", "web/7", "--undo"], "unlocked web/7\n"),
    (
        &["undelete", "web"],
        "\
VERSION  NAME  DELETED                  CAN BE UNDONE UNTIL
  web/5  -     2001-09-09 01:46:40 UTC  2001-09-09 01:56:40 UTC
  web/6  v6    2001-09-09 01:46:40 UTC  2001-09-09 01:56:40 UTC
",
    ),
    (&["undelete", "web/5-6"], "brought back web/5,6\n"),
    (&["undelete", "gone"], "brought back the repository gone with gone/1,2\n"),
    (
        &["policy", "web"],
        "\
policy    keep the newest 5 unreleased, all younger than 30d; discard areas unchanged for 7d
now       1 version and 0 staging areas would expire

VERSION  FATE    REASON
  web/7  keep    the newest version
  web/3  EXPIRE  no rule keeps it
",
    ),
    (
        &[
            "policy",
            "web",
            "--keep-unreleased=5",
            "--keep-within=30d",
            "--expire-areas=7d",
            "--clear-keep-released",
        ],
        "\
policy    keep the newest 5 unreleased, all younger than 30d; discard areas unchanged for 7d
now       1 version and 0 staging areas would expire
",
    ),
    (
        &["policy", "broken"],
        "policy    UNREADABLE: no such field\n\
             nothing expires until it is set again, or cleared\n",
    ),
    (
        &["quota", "web", "--bytes", "1M"],
        "\
bytes     977 KiB of 1.0 MiB used (95 %)
files     12 used, no limit
areas     2.0 KiB in 1 file of these
",
    ),
    (
        &["gc", "--full", "--dry-run"],
        "\
VERSION  FATE    REASON
  web/7  keep    the newest version
  web/3  EXPIRE  no rule keeps it
would free 512 B in 1 unfinished download
would expire 1 version and 0 staging areas
would free 2.0 KiB in 0 blobs and 0 directory pages
protected: 1.0 MiB in 3 blobs (of 1 deleted version, or used a short time ago), the first until \
2001-09-09 01:56:40 UTC
",
    ),
    (
        &["du", "web"],
        "\
VERSION  FILES  APPARENT  UNIQUE   SHARED
  web/7     12   1.5 KiB   512 B  1.0 KiB  (deleted)

REPOSITORY  VERSIONS  APPARENT   UNIQUE   SHARED  AREAS  DELETED
web                3   4.0 KiB  3.0 KiB  1.0 KiB   10 B  1.5 KiB

store        4.9 KiB
reclaimable  100 B (`cairn gc`)
protected    200 B
absent       2.9 KiB in 2 contents, only at remotes
",
    ),
    (&["wait", "web", "--after", "3"], "web/7\n"),
];

#[test]
fn people_read() {
    let running = serve();
    for (args, expected) in PRINTED {
        assert_eq!(stdout(running.store.path(), args), *expected, "{args:?}");
    }
}

#[test]
fn what_pins_a_content_is_listed() {
    let running = serve();
    let text = stdout(running.store.path(), &["why", "web/7/a/b"]);
    let hash = BlobHash::of(b"x");
    let expected = format!(
        "\
blob      {hash}
size      1.5 KiB
held by   5 references
  version web/7
    a/b\\n
    and 4 paths more
  deleted version web/5, until 2001-09-09 01:46:40 UTC
  somebody who has it open, or is about to use it
"
    );
    assert_eq!(text, expected);
    let text = stdout(running.store.path(), &["why", &hash.to_string()]);
    assert!(text.ends_with("  nothing: it goes with the next run\n"), "{text}");
}

#[test]
fn status_shows_runs_quotas_and_what_expires() {
    let running = serve();
    let status = stdout(running.store.path(), &["status"]);
    for line in [
        "last run  2001-09-09 01:46:40 UTC, a full one, took 12 ms: freed 3.0 MiB in 2 blobs; \
         1 error, see the log",
        "held open 10 B in 1 blob",
        "garbage   1.0 KiB reclaimable, 2.0 KiB protected; 2 deleted versions can be brought back",
        "next run  2001-09-10 01:46:40 UTC",
        "quota     web: 977 KiB of 1.0 MiB used (95 %); files: 12 used, no limit",
    ] {
        assert!(status.contains(line), "{line}\nis not in\n{status}");
    }
}

#[test]
fn json_is_one_document() {
    let running = serve();
    for (args, pointer, expected) in [
        (&["release", "web/3"][..], "/0/released", Value::from(true)),
        (&["lock", "web/3-7", "--undo"], "/0/locked", Value::from(false)),
        (&["undelete", "web"], "/1/until_seconds", Value::from(WHEN + 600)),
        (&["undelete", "web/5"], "/0/numbers/0", Value::from(5)),
        (&["undelete", "gone"], "/0/numbers/1", Value::from(2)),
        (&["policy", "web"], "/policy/keep_within_ms", Value::from(2_592_000_000_u64)),
        (&["policy", "web"], "/decisions/1/keep", Value::from(false)),
        (&["policy", "web", "--clear"], "/failure", Value::Null),
        (&["quota", "web", "--bytes", "2K"], "/quota_bytes", Value::from(2048)),
        (&["quota", "web"], "/used_file_count", Value::from(12)),
        (&["quota", "web", "--clear"], "/quota_bytes", Value::Null),
        (&["gc", "--full", "--dry-run"], "/decisions/0/number", Value::from(7)),
        (&["gc", "--wait"], "/until", Value::from("2001-09-09T01:56:40Z")),
        (&["du"], "/repositories/0/unique_bytes", Value::from(3072)),
        (&["du", "web/7"], "/versions/0/unique_bytes", Value::from(512)),
        (&["why", "web/7/a/b"], "/holders/1/kind", Value::from("deleted_version")),
        (&["why", "web/7/a/b"], "/holders/0/more_path_count", Value::from(4)),
        (&["status"], "/last_run/began_seconds", Value::from(WHEN)),
        (&["areas"], "/1/expires", Value::from("2001-09-16T01:46:40Z")),
        (&["wait", "web", "--after", "6"], "/number", Value::from(7)),
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let text = stdout(running.store.path(), &args);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document.pointer(pointer), Some(&expected), "{args:?}: {text}");
    }
}

#[test]
fn failures_have_code_and_hint() {
    let running = serve();
    for (args, code, texts) in [
        (&["release", "web"][..], 2, &["expected REPO/VERSION"][..]),
        (&["lock", "web/5-6"], 3, &["no version from 5 to 6", "hint: `cairn versions web`"]),
        (&["release", "web/99"], 3, &["no version 99"]),
        (&["undelete", "web/1-4"], 3, &["no version from 1 to 4", "hint: `cairn undelete web`"]),
        (&["undelete", "web", "docs/5"], 2, &["not both at once", "hint: "]),
        (&["policy", "web", "--clear", "--keep-released", "3"], 2, &["cannot be used with"]),
        (&["policy", "web", "--keep-released=3", "--clear-keep-released"], 2, &["cannot be used"]),
        (&["quota", "web", "--files=3", "--clear-files"], 2, &["cannot be used with"]),
        (&["policy", "web", "--keep-within", "30x"], 2, &["with s, m, h or d"]),
        (&["quota", "web", "--bytes", "0"], 2, &["would refuse every file", "--clear"]),
        (&["quota", "web", "--bytes", "10X"], 2, &["with K, M, G or T"]),
        (&["why", "/"], 2, &["is a directory", "hint: "]),
        (&["why", "/dev/null"], 2, &["user.cairn.hash", "hint: "]),
        (&["why", "nothing"], 3, &["no such file", "REPO/VERSION/PATH"]),
        (&["why", "web/7/none"], 3, &["no \"none\""]),
        (&["wait", "web", "--timeout", "0"], 4, &["no version of web after 7 within 0s"]),
    ] {
        let output = run(running.store.path(), args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        for text in texts {
            assert!(errors.contains(text), "{args:?}: {errors}");
        }
    }
}

#[test]
fn l12_what_was_fetched_and_what_was_not_is_said() {
    let running = serve();
    let printed = stdout(running.store.path(), &["prefetch", "web", "web/v1/a b"]);
    let line = "fetched 1.5 KiB in 4 files, 3 of 7 files there already";
    assert_eq!(printed, format!("web/7: {line}\nweb/7/a b: {line}\n"));
    let output = run(running.store.path(), &["prefetch", "broken"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("cairn: warning: a\\n: gone\n"), "{errors}");
    let output = run(running.store.path(), &["prefetch", "broken", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let documents = schema::documents("prefetch", &String::from_utf8(output.stdout).unwrap());
    assert_eq!(documents[0][0]["files"][0]["reason"], "gone");
}

#[test]
fn l12_what_was_reclaimed_and_what_stays_is_said() {
    let running = serve();
    let printed = stdout(running.store.path(), &["reclaim", "web", "--keep", "1K", "--dry-run"]);
    assert_eq!(
        printed,
        "would reclaim 2.5 KiB in 4 contents\n\
         left 2.0 KiB in 2 contents: --keep allows it\n\
         left 1.0 KiB in 1 content: somebody has it open\n"
    );
}
