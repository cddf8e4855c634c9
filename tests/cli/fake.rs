//! A service with canned answers, and the commands that are run against it.

mod remotes;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cairn::control::areas::AreaInfo;
use cairn::control::client::SOCKET_NAME;
use cairn::control::commit::CommitReply;
use cairn::control::delete::DeleteReply;
use cairn::control::diff::{DiffEntry, DiffKind, DiffReply};
use cairn::control::edge::{EdgeInfo, EdgeTrouble};
use cairn::control::fsck::{
    FsckFinding, FsckOutcome, FsckReply, FsckRequest, ScrubInfo, ScrubResult,
};
use cairn::control::gc::{GcReply, GcRequest};
use cairn::control::places::IDLE_MAX;
use cairn::control::protocol::{
    ControlError, ErrorDetail, ErrorKind, Progress, Request, VERSIONS_MAX,
};
use cairn::control::reply::Reply;
use cairn::control::repositories::RepositoryInfo;
use cairn::control::server::Server;
use cairn::control::service::{Attachment, Caller, ConnectionId, Service};
use cairn::control::status::{GuardKind, Problem, ProblemKind, StatusReply};
use cairn::control::tags::TagInfo;
use cairn::control::utc::{Began, Contact, Created, Ended, Expires, NextRun, Until};
use cairn::control::versions::VersionInfo;
use cairn::model::hash::TreeHash;
use cairn::model::id::VersionNumber;
use cairn::model::raw::RawPath;
use cairn::model::time::Timestamp;
use crossbeam_channel::{Receiver, Sender};

use crate::{jobs, past, upkeep};

/// Answers as a store with one repository `web` of versions 3, 4 and 7.
#[derive(Debug)]
pub(crate) struct Fake {
    /// Every connection that ended.
    pub(crate) ended: Sender<ConnectionId>,
    /// A request to stage in `slow` says here that it has begun, and waits for `go`.
    pub(crate) begun: Sender<()>,
    pub(crate) go: Receiver<()>,
}

/// How many versions the repository `long` has: more than one answer holds.
pub(crate) const LONG_VERSIONS: u64 = 2500;

/// A served [`Fake`]. The server is dropped, and so stopped, before what it sends to.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) store: tempfile::TempDir,
    pub(crate) ended: Receiver<ConnectionId>,
    pub(crate) begun: Receiver<()>,
    pub(crate) go: Sender<()>,
}

/// Serves a [`Fake`] from a new directory.
pub(crate) fn serve() -> Running {
    let store = tempfile::tempdir().unwrap();
    let socket = store.path().join(SOCKET_NAME);
    serve_at(store, &socket)
}

/// Serves a [`Fake`] at `socket`, which is in or below `store`.
pub(crate) fn serve_at(store: tempfile::TempDir, socket: &Path) -> Running {
    serve_with(store, socket, IDLE_MAX)
}

/// [`serve_at`], closing connections that idle for `idle_max` when their place is needed.
pub(crate) fn serve_with(store: tempfile::TempDir, socket: &Path, idle_max: Duration) -> Running {
    let (ended, ended_receiver) = crossbeam_channel::unbounded();
    let (begun, begun_receiver) = crossbeam_channel::unbounded();
    let (go_sender, go) = crossbeam_channel::unbounded();
    let fake = Arc::new(Fake { ended, begun, go });
    let server = Server::start_with(socket, fake, idle_max).unwrap();
    Running { store, server, ended: ended_receiver, begun: begun_receiver, go: go_sender }
}

/// The `cairn` command for the store at `store`.
pub(crate) fn cairn(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.env("CAIRN_STORE", store).stdin(Stdio::null());
    command
}

/// Runs `cairn` and waits for its end.
pub(crate) fn run(store: &Path, args: &[&str]) -> Output {
    cairn(store).args(args).output().unwrap()
}

/// What a command printed to stdout; it must have succeeded.
pub(crate) fn stdout(store: &Path, args: &[&str]) -> String {
    let output = run(store, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    assert!(errors.is_empty(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn created() -> Created {
    Timestamp::new(1_000_000_000, 5).unwrap().into()
}

pub(crate) fn version(number: u64) -> VersionInfo {
    VersionInfo {
        repository: "web".parse().unwrap(),
        number: VersionNumber(number),
        hash: TreeHash::from_bytes([7; 32]),
        name: None,
        tags: vec!["v1".parse().unwrap()],
        base: number.checked_sub(1).map(VersionNumber),
        author: "ann".to_owned(),
        message: "first line\n\u{1b}[31msecond".to_owned(),
        released: number == 7,
        locked: true,
        files: 12,
        directories: 3,
        size_bytes: 1536,
        created: created(),
    }
}

fn area(name: &str) -> AreaInfo {
    AreaInfo {
        repository: "web".parse().unwrap(),
        name: name.parse().unwrap(),
        path: None,
        base: Some(VersionNumber(3)),
        stale: true,
        open_files: 2,
        created: created(),
        expires: (name == "b43").then(|| Expires::at(1_000_604_800)),
        error: (name == "b43").then(|| "the base is not\nthe newest".to_owned()),
    }
}

fn status() -> StatusReply {
    StatusReply {
        store: "/srv/cairn".to_owned(),
        format: 1,
        version: "0".to_owned(),
        daemon_pid: Some(77),
        mount: Some("/mnt".to_owned()),
        read_only: false,
        guard: Some(GuardKind::Ends),
        repositories: 1,
        versions: 3,
        blobs: 20,
        blobs_bytes: 4096,
        trees: 1,
        free_bytes: 1 << 30,
        areas: vec![area("b42@3")],
        doomed: 1,
        poisoned: None,
        last_run: Some(upkeep::last_run()),
        next_run: Some(NextRun::at(1_000_086_400)),
        reclaimable_bytes: 1024,
        protected_bytes: 2048,
        deleted_versions: 2,
        partial_files: 2,
        absent: 3,
        fetching: 1,
        waiting_reads: 2,
        failed_fetches: 1,
        cached_bytes: Some(5 << 20),
        cache_size_bytes: Some(10 << 30),
        partial_bytes: 1 << 20,
        edge: Some(edge()),
        quotas: vec![upkeep::quota(Some(1 << 20))],
        problems: vec![Problem::new(ProblemKind::Damage, "one blob is damaged")],
        scrub: ScrubInfo {
            running_permille: Some(421),
            last: Some(ScrubResult {
                ended: Ended::at(1_000_000_000),
                blobs: 5,
                hashed_bytes: 1536,
                damaged: 1,
            }),
            damaged: 1,
        },
    }
}

/// An edge with something wrong about it.
fn edge() -> EdgeInfo {
    let trouble = |repository: Option<&str>, message: &str| EdgeTrouble {
        repository: repository.map(|name| name.parse().unwrap()),
        message: message.to_owned(),
        began: Began::at(1_000_000_000),
    };
    EdgeInfo {
        remote: "origin".parse().unwrap(),
        url: "s3://releases/cairn".to_owned(),
        bucket_id: Some("0b".repeat(16)),
        chosen: vec!["web".parse().unwrap()],
        poll_ms: 60_000,
        contact: Some(Contact::at(1_000_000_000)),
        followed: 1,
        missing: 2,
        failures: vec![trouble(None, "no route to host")],
        alarms: vec![trouble(Some("web"), "the log of web was rolled back")],
    }
}

fn changes() -> Progress {
    let entry = |change, path: &[u8], directory| DiffEntry {
        change,
        path: RawPath::from(path),
        directory,
        attributes_only: false,
    };
    Progress::Changes(vec![
        entry(DiffKind::Added, b"bin", true),
        entry(DiffKind::Removed, b"etc/a b", false),
        entry(DiffKind::Modified, b"etc/\xff\n", false),
    ])
}

/// Sends the files back with the bytes of each appended to the payload.
fn echo(mut attachment: Attachment) -> Attachment {
    for file in &mut attachment.files {
        file.read_to_end(&mut attachment.payload).unwrap();
        file.write_all(b", answered").unwrap();
    }
    attachment
}

impl Service for Fake {
    fn call(
        &self,
        caller: Caller,
        request: Request,
        attachment: Attachment,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        assert_eq!(caller.uid, rustix::process::geteuid().as_raw());
        let reply = match request {
            Request::Save { .. } => Reply::Done,
            Request::Status => Reply::Status(Box::new(status())),
            Request::Repositories => Reply::Repositories(vec![repository("web")]),
            Request::CreateRepository { name, .. } => Reply::Repository(repository(name.as_str())),
            Request::Versions { repository, after } if repository.as_str() == "long" => {
                let first = after.map_or(1, |number| number.0 + 1);
                let end = LONG_VERSIONS.min(first + VERSIONS_MAX as u64 - 1);
                Reply::Versions((first..=end).map(version).collect())
            }
            Request::Versions { .. } => Reply::Versions([3, 4, 7].map(version).to_vec()),
            Request::Show { repository, version } => {
                let message = format!("{repository} has no version {version}");
                return Err(ControlError::new(ErrorKind::NotFound, message)
                    .with_hint("`cairn versions web` lists them"));
            }
            Request::Diff { .. } => {
                progress(changes());
                Reply::Diff(DiffReply { added: 1, removed: 1, modified: 1 })
            }
            Request::Metrics | Request::Log(_) | Request::Find(_) => {
                past::answer(&request, progress)
            }
            Request::Areas { .. } => Reply::Areas(vec![area("b42@3"), area("b43")]),
            Request::Names { .. } => Reply::Names(vec!["web".to_owned()]),
            Request::Stage { name, .. } if name.as_str() == "panic" => panic!("as asked"),
            Request::Stage { name, .. } => {
                if name.as_str() == "slow" {
                    self.begun.send(()).unwrap();
                    self.go.recv().unwrap();
                }
                Reply::Area(area(name.as_str()))
            }
            Request::Commit(commit) => return self.commit(commit.area.as_str()),
            Request::Tags { .. } => Reply::Tags(vec![tag("v1")]),
            Request::SetTag { tag: name, .. } => Reply::Tag(tag(name.as_str())),
            Request::Delete { versions, .. } => Reply::Deleted(DeleteReply {
                deleted: versions
                    .iter()
                    .map(|version| VersionNumber(version.to_string().parse().unwrap()))
                    .collect(),
            }),
            Request::Fsck(request) => checked(request, progress),
            Request::Gc(gc) => {
                if gc.dry_run {
                    progress(Progress::Decisions(upkeep::decisions()));
                }
                Reply::Gc(collected(&gc))
            }
            Request::Upkeep(request) => return upkeep::answer(request, progress),
            Request::Wait { after, .. } => Reply::Waited(upkeep::waited(after)),
            Request::Prefetch(request) => upkeep::prefetched(request, progress),
            Request::Reclaim(request) => upkeep::reclaimed(&request),
            Request::Remote(request) => remotes::answer(&request),
            Request::Sync(request) => jobs::synced(&request, progress),
            Request::Transfer(request) => jobs::transferred(&request, progress),
            Request::Jobs(request) => jobs::answer(request, progress)?,
            Request::Refresh { .. } => Reply::Edge(Box::new(edge())),
            Request::Import(_) => return Ok((Reply::Done, echo(attachment))),
            Request::DeleteRepository { .. }
            | Request::Discard { .. }
            | Request::DeleteTag { .. }
            | Request::Backup(_)
            | Request::Export(_)
            | Request::Remount { .. }
            | Request::Shutdown => Reply::Done,
        };
        Ok((reply, Attachment::none()))
    }

    fn disconnected(&self, connection: ConnectionId) {
        self.ended.send(connection).unwrap();
    }
}

impl Fake {
    fn commit(&self, area: &str) -> Result<(Reply, Attachment), ControlError> {
        let detail = match area {
            "stale" => ErrorDetail::StaleBase {
                base: Some(VersionNumber(3)),
                between: vec![version(4), version(7)],
            },
            "open" => ErrorDetail::OpenFiles(vec![RawPath::from(&b"log/a\n"[..])]),
            _ => {
                let commit = CommitReply {
                    changed: area != "same",
                    version: version(8),
                    tag: Some("b42".parse().unwrap()),
                    skipped: Vec::new(),
                };
                return Ok((Reply::Commit(commit), Attachment::none()));
            }
        };
        let kind = match detail {
            ErrorDetail::OpenFiles(_) => ErrorKind::Busy,
            _ => ErrorKind::Conflict,
        };
        Err(ControlError::new(kind, format!("web/{area} is refused")).with_detail(detail))
    }
}

fn repository(name: &str) -> RepositoryInfo {
    RepositoryInfo {
        name: name.parse().unwrap(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        versions: 3,
        latest: Some(VersionNumber(7)),
        areas: 1,
        tags: 1,
        created: created(),
    }
}

fn tag(name: &str) -> TagInfo {
    TagInfo {
        repository: "web".parse().unwrap(),
        name: name.parse().unwrap(),
        number: VersionNumber(7),
        protects: true,
        created: created(),
    }
}

/// A store whose one wrong count is found only when it is to be repaired.
fn checked(request: FsckRequest, progress: &mut dyn FnMut(Progress)) -> Reply {
    if !request.repair {
        return Reply::Fsck(FsckReply::default());
    }
    let finding = FsckFinding {
        kind: "blob_count".to_owned(),
        message: "a count".to_owned(),
        outcome: FsckOutcome::Repaired,
        note: None,
        lost: Vec::new(),
        lost_more: 0,
        lost_unknown: false,
    };
    progress(Progress::Findings(vec![finding]));
    Reply::Fsck(FsckReply { repaired: 1, ..FsckReply::default() })
}

fn collected(gc: &GcRequest) -> GcReply {
    GcReply {
        finished: gc.wait || gc.dry_run,
        versions: u64::from(gc.dry_run),
        blobs: gc.protect_seconds.unwrap_or(0),
        freed_bytes: 2048,
        protected_blobs: 3,
        protected_bytes: 1 << 20,
        until: Some(Until::at(1_000_000_600)),
        deleted_versions: 1,
        // A run of no time at all fails in part.
        partial_files: 1,
        freed_partial_bytes: 512,
        errors: u64::from(gc.wait && gc.protect_seconds == Some(0)),
        ..GcReply::default()
    }
}
