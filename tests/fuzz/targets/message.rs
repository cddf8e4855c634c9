//! Messages of the control protocol, in both directions.

use cairn::control::commit::CommitRequest;
use cairn::control::export::ExportRequest;
use cairn::control::find::FindRequest;
use cairn::control::fsck::FsckRequest;
use cairn::control::gc::GcRequest;
use cairn::control::import::{ImportId, ImportRequest};
use cairn::control::log::LogRequest;
use cairn::control::names::NamesOf;
use cairn::control::protocol::{ControlError, ErrorKind, Hello, Progress, Request, ServerMessage};
use cairn::control::reply::Reply;
use cairn::control::server::decode;
use cairn::control::upkeep::UpkeepRequest;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::import::{
    FileSource, ImportContent, ImportEntry, ImportOptions, RawAttributes, WantedTree,
};
use cairn::model::policy::Policy;

use super::Target;

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    match decode(data) {
        Ok(request) => {
            let json = serde_json::to_vec(&request).unwrap();
            assert_eq!(decode(&json), Ok(request));
        }
        Err(error) => assert_eq!(error.kind, ErrorKind::Usage),
    }
    if let Ok(message) = serde_json::from_slice::<ServerMessage>(data) {
        let json = serde_json::to_vec(&message).unwrap();
        assert_eq!(serde_json::from_slice::<ServerMessage>(&json).unwrap(), message);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        requests().iter().map(|request| serde_json::to_vec(request).unwrap()).collect();
    let error = ControlError::new(ErrorKind::Busy, "busy").with_hint("wait");
    let hello = Hello { protocol: 1, pid: 2, version: "0".to_owned() };
    let step = Progress::Step { what: "x".to_owned(), done: 1, total: Some(2), is_bytes: true };
    let messages = [
        ServerMessage::Error(error),
        ServerMessage::Hello(hello),
        ServerMessage::Progress(step),
        ServerMessage::Reply(Box::new(Reply::Known(vec![true, false]))),
        ServerMessage::Reply(Box::new(Reply::Done)),
    ];
    seeds.extend(messages.iter().map(|message| serde_json::to_vec(message).unwrap()));
    seeds
}

/// Requests of all kinds that a store with the repository `web` can answer.
pub(crate) fn requests() -> Vec<Request> {
    let mut requests = about_versions();
    requests.extend(imports().into_iter().map(Request::Import));
    requests.extend(upkeep().into_iter().map(Request::Upkeep));
    requests.extend([
        Request::Gc(GcRequest { full: true, dry_run: false, wait: true, protect_seconds: Some(0) }),
        Request::Fsck(FsckRequest { full: true, ..FsckRequest::default() }),
        Request::Export(ExportRequest::Root {
            repository: "web".parse().unwrap(),
            version: "latest".parse().unwrap(),
        }),
        Request::Export(ExportRequest::Pages { hashes: vec![TreeHash::of(b"t")] }),
        Request::Export(ExportRequest::Open {
            names: vec![BlobHash::of(b"b").into()],
            no_fetch: true,
        }),
        Request::Status,
        Request::Metrics,
        Request::Repositories,
        Request::Names { of: NamesOf::Areas("web".parse().unwrap()), prefix: "b".to_owned() },
    ]);
    requests
}

fn about_versions() -> Vec<Request> {
    let web = || "web".parse().unwrap();
    let latest = || "latest".parse().unwrap();
    vec![
        Request::CreateRepository { name: "new".parse().unwrap(), mode: Some(0o700) },
        Request::Versions { repository: web(), after: None },
        Request::Show { repository: web(), version: latest() },
        Request::Diff {
            repository: web(),
            first: "1".parse().unwrap(),
            other_repository: web(),
            second: latest(),
        },
        Request::Log(LogRequest { repository: web(), path: (&b"a/b"[..]).into(), limit: Some(3) }),
        Request::Find(FindRequest {
            repository: web(),
            pattern: "{a,b/**}/*.[ch]".parse().unwrap(),
            version: Some(latest()),
        }),
        Request::Areas { repository: Some(web()) },
        Request::Stage {
            repository: web(),
            name: "work".parse().unwrap(),
            from: Some("1".parse().unwrap()),
        },
        Request::Commit(CommitRequest {
            repository: web(),
            area: "work".parse().unwrap(),
            untagged: false,
            tag: Some("t1".parse().unwrap()),
            message: Some("text".to_owned()),
            author: None,
            wait: false,
            force: true,
            onto_latest: false,
            allow_empty: true,
        }),
        Request::Discard { repository: web(), area: "work".parse().unwrap() },
        Request::SetTag { repository: web(), tag: "v1".parse().unwrap(), version: latest() },
        Request::Tags { repository: web() },
        Request::DeleteTag { repository: web(), tag: "v1".parse().unwrap() },
        Request::Delete { repository: web(), versions: vec![latest()], force: true },
        Request::DeleteRepository { name: "new".parse().unwrap() },
        Request::Wait { repository: web(), after: None, seconds: 0 },
    ]
}

fn imports() -> Vec<ImportRequest> {
    let import = ImportId(1);
    let entry = |path: &[u8], content| ImportEntry {
        path: path.into(),
        attributes: RawAttributes { mode: 0o644, ..RawAttributes::default() },
        content,
    };
    let source = FileSource::Inline { offset: 0, len: 4 };
    vec![
        ImportRequest::Begin(ImportOptions {
            repository: "web".parse().unwrap(),
            create: true,
            mirror: true,
            message: String::new(),
            author: Some("me".to_owned()),
            tag: None,
        }),
        ImportRequest::Known { import, hashes: vec![BlobHash::of(b"data")] },
        ImportRequest::KnownTrees {
            import,
            trees: vec![WantedTree { path: b"d"[..].into(), tree: TreeHash::of(b"tree") }],
        },
        ImportRequest::Put {
            import,
            entries: vec![
                entry(b"d", ImportContent::Directory),
                entry(b"w", ImportContent::Tree { tree: TreeHash::of(b"tree") }),
                entry(b"d/a", ImportContent::File { size_bytes: 4, source, declared: None }),
                entry(b"d/b", ImportContent::Hardlink { to: b"d/a"[..].into() }),
                entry(b"\xff", ImportContent::Symlink { target: b"\xfe"[..].into() }),
                entry(b"c", ImportContent::CharDevice { rdev: 259 }),
            ],
        },
        ImportRequest::Finish { import, allow_empty: true },
        ImportRequest::Abort { import },
    ]
}

fn upkeep() -> Vec<UpkeepRequest> {
    let repository = || "web".parse().unwrap();
    let policy = Policy { keep_unreleased: Some(1), ..Policy::default() };
    vec![
        UpkeepRequest::Deleted { repository: repository(), after: None },
        UpkeepRequest::Undelete { repository: repository(), versions: vec!["1".parse().unwrap()] },
        UpkeepRequest::Policy { repository: repository() },
        UpkeepRequest::SetPolicy { repository: repository(), policy: Some(policy) },
        UpkeepRequest::Quota { repository: repository() },
        UpkeepRequest::Du { targets: Vec::new() },
    ]
}
