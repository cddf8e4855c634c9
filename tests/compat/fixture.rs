//! Making and reading fixtures.
//!
//! Before a release: `CAIRN_WRITE_FIXTURE=store-VERSION cargo test --test compat`.
//!
//! `store-schema-1` was made of `store-0.1.0` by taking the second migration back, column by
//! column; so its deleted version is there again, and policy and quota are not.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cairn::control::commit::CommitRequest;
use cairn::control::flag::Flag;
use cairn::control::protocol::Request;
use cairn::control::upkeep::UpkeepRequest;
use cairn::model::hash::BlobHash;
use cairn::model::policy::{Limit, Policy, PolicyState};
use cairn::model::tree::Content;
use cairn::model::tree_format;
use cairn::store::layout::Layout;

use crate::world::{Closed, World, commit, committed};

/// A store of a release.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) archive: Vec<u8>,
    /// What [`describe`] says of it.
    pub(crate) text: String,
}

/// Has this release's fixture written, under the name that is its value; and texts where there are
/// none.
pub(crate) const VARIABLE: &str = "CAIRN_WRITE_FIXTURE";

/// Above what the area publishes.
pub(crate) const PUBLISHED: &str = "the area, published\n";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

impl Fixture {
    pub(crate) fn all() -> Vec<Self> {
        let mut names: Vec<String> = std::fs::read_dir(directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".tar.gz").map(str::to_owned))
            .collect();
        names.sort();
        let read = |name: String| {
            let archive = std::fs::read(directory().join(format!("{name}.tar.gz"))).unwrap();
            let text = directory().join(format!("{name}.txt"));
            if !text.exists() && std::env::var_os(VARIABLE).is_some() {
                std::fs::write(&text, describe_archive(&archive)).unwrap();
            }
            Self { archive, text: std::fs::read_to_string(text).unwrap(), name }
        };
        names.into_iter().map(read).collect()
    }

    /// Adds a fixture. What is there stays as it is.
    pub(crate) fn save(name: &str, archive: &[u8], text: &str) {
        assert!(archive.len() < 200 << 10, "{} bytes are too many", archive.len());
        let path = directory().join(format!("{name}.tar.gz"));
        let mut file = std::fs::File::create_new(&path).unwrap();
        file.write_all(archive).unwrap();
        std::fs::write(directory().join(format!("{name}.txt")), text).unwrap();
    }
}

/// Makes a store of this release: its archive, and what is in it.
pub(crate) fn write() -> (Vec<u8>, String) {
    let world = sample();
    // It is described as the next release finds it: after a restart.
    let archive = pack(&world.close().path());
    let text = describe_archive(&archive);
    (archive, text)
}

fn describe_archive(archive: &[u8]) -> String {
    let world = unpack(archive).open();
    let text = describe(&world) + PUBLISHED + &publish_area(&world);
    world.close();
    text
}

/// Several versions of which one is deleted, a directory of many pages, tags, flags, a policy, a
/// quota, and an area over an old version, with a file that was never closed.
fn sample() -> World {
    let world = World::with_repository();
    let area = world.stage("one");
    for (path, bytes) in [("a", &b"one"[..]), ("d/b", b"two"), ("d/e/c", b"three"), ("empty", b"")]
    {
        world.write(area, path, bytes);
    }
    world.link(area, "a", "d/link");
    for number in 0..1500 {
        world.write(area, &format!("many/{number:04}"), b"the same everywhere");
    }
    world.commit("one");
    world.publish("two", &[("a", b"one"), ("lost", b"with version 2")]);
    world.publish("three", &[("a", b"three"), ("large", &vec![3; 3 << 20])]);
    world.delete(&["2"], true).unwrap();
    let web = || "web".parse().unwrap();
    let (tag, version) = ("v1".parse().unwrap(), "1".parse().unwrap());
    world.ask(Request::SetTag { repository: web(), tag, version }).unwrap();
    let upkeep = |request| world.ask(Request::Upkeep(request)).unwrap();
    for (flag, version) in [(Flag::Released, "1"), (Flag::Locked, "3")] {
        let versions = vec![version.parse().unwrap()];
        upkeep(UpkeepRequest::Flag { repository: web(), versions, flag, set: true });
    }
    let policy = Some(Policy { keep_unreleased: Some(50), ..Policy::default() });
    upkeep(UpkeepRequest::SetPolicy { repository: web(), policy });
    let (bytes, files) = (Limit::Limit(1 << 30), Limit::Limit(100_000));
    upkeep(UpkeepRequest::SetQuota { repository: web(), bytes, files });
    let work = world.stage("work@1");
    world.write(work, "sealed", b"in the area alone");
    world.wait_sealed(work, "sealed");
    world.remove(work, "d/b");
    let open = world.open_writer(work, "d/open");
    let now = cairn::model::time::Timestamp::now();
    open.write(0, &vec![9; 1_500_000], now).unwrap();
    world.engine.staging.content_modified(&open);
    world
}

/// What is in a store before anything is done with it.
pub(crate) fn describe(world: &World) -> String {
    let repository = world.repository();
    let mut text = String::new();
    let (quota, name) = (repository.account.quota(), &repository.name);
    writeln!(text, "repository {name} {:o}, next {}", repository.mode, repository.next_number)
        .unwrap();
    let policy = match &repository.policy {
        PolicyState::Set(policy) => policy.to_text(),
        other => format!("{other:?}"),
    };
    writeln!(text, "policy {policy}").unwrap();
    writeln!(text, "quota {:?} {:?}", quota.bytes, quota.files).unwrap();
    for (number, version) in repository.versions.iter() {
        let (hash, summary) = (version.hash, version.root.summary);
        writeln!(
            text,
            "version {number} {hash} name {:?} base {:?} released {} locked {} files {} bytes {}",
            version.name.as_ref().map(ToString::to_string),
            version.base.map(|base| base.0),
            version.released,
            version.locked,
            summary.files,
            summary.bytes
        )
        .unwrap();
        text.push_str(&content(world, &number.to_string()));
    }
    for (tag, to) in repository.tags.iter() {
        writeln!(text, "tag {tag} {} protects {}", to.number, to.protects).unwrap();
    }
    for area in repository.areas.keys() {
        writeln!(text, "area {area}").unwrap();
    }
    text
}

/// Publishes the area as `work` and says what is in the version.
pub(crate) fn publish_area(world: &World) -> String {
    // Other versions came after the one it started from.
    let request = CommitRequest { force: true, ..commit("work") };
    committed(world.ask(Request::Commit(request)));
    content(world, "work")
}

/// The files of a version: length and hash of each, the hash of what is in the pool. Of `many`
/// there is the number.
pub(crate) fn content(world: &World, version: &str) -> String {
    let repository = world.repository();
    let version = repository.resolve(&version.parse().unwrap()).unwrap();
    let mut lines = String::new();
    let mut open = vec![(String::new(), version.root.tree)];
    while let Some((above, tree)) = open.pop() {
        let trees = &*world.engine.trees;
        if above == "many/" {
            let count = tree_format::entry_count(trees, &tree).unwrap();
            writeln!(lines, "  many {count}").unwrap();
            continue;
        }
        for entry in tree_format::entries(trees, &tree, 0) {
            let entry = entry.unwrap();
            let path = format!("{above}{}", entry.name);
            let links = entry.link_group.map_or(1, |group| group.nlink);
            match entry.content {
                Content::Directory { tree, .. } => open.push((format!("{path}/"), tree)),
                Content::File { size, blob } => {
                    let blob =
                        blob.map(|name| world.engine.trees.blob_names().resolve(&name).unwrap());
                    let bytes = blob.map_or_else(Vec::new, |blob| world.blob(&blob).unwrap());
                    assert_eq!(bytes.len() as u64, size);
                    let hash = BlobHash::of(&bytes);
                    assert!(blob.is_none_or(|blob| blob == hash), "{path}");
                    writeln!(lines, "  {path} links {links} bytes {size} {hash}").unwrap();
                }
                other => writeln!(lines, "  {path} {other:?}").unwrap(),
            }
        }
    }
    lines
}

/// Puts a store into a compressed archive. What is not needed to open it stays out.
fn pack(store: &Path) -> Vec<u8> {
    let mut archive =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best()));
    let layout = Layout::new(store);
    let mut open = vec![store.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(store).unwrap();
            // Of the pool's 256 directories those that hold something are made below.
            if path.is_dir() {
                open.push(path);
            } else if path != layout.reserve() && path != layout.lock() {
                let bytes = std::fs::read(&path).unwrap();
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777);
                archive.append_data(&mut header, name, &bytes[..]).unwrap();
            }
        }
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// Unpacks a store.
pub(crate) fn unpack(archive: &[u8]) -> Closed {
    let home = tempfile::tempdir().unwrap();
    let store = home.path().join("store");
    // Gives it the directories of the pool.
    cairn::store::init(&store).unwrap();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(archive)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = store.join(entry.path().unwrap());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let mode = entry.header().mode().unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    Closed::of(home)
}
