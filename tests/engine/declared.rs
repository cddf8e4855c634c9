//! Content that is named by the SHA-256 that a remote declared (H41).

use cairn::control::protocol::Request;
use cairn::engine::fsck::Finding;
use cairn::engine::request::{RemoteNote, Request as EngineRequest};
use cairn::model::content_name::ContentName;
use cairn::model::digest::Sha256;
use cairn::model::hash::BlobHash;
use cairn::model::import::{FileSource, ImportContent};
use cairn::model::tree::Content;
use support::fsck::{check_clean_store, findings};

use crate::world::{Closed, Import, World, commit, committed, inline};

const TEXT: &[u8] = b"what the remote has";

fn declared(bytes: &[u8]) -> ContentName {
    Sha256::of(bytes).into()
}

fn own(bytes: &[u8]) -> ContentName {
    BlobHash::of(bytes).into()
}

/// Publishes files as a sync does: under the names that a remote declared.
fn sync(world: &World, files: &[(&str, &[u8])]) {
    put_declared(world, Import::mirror(world), files);
}

fn put_declared(world: &World, import: Import<'_>, files: &[(&str, &[u8])]) {
    for (path, bytes) in files {
        let mut entry = inline(path, 0, bytes.len());
        if let ImportContent::File { declared: name, .. } = &mut entry.content {
            *name = Some(Sha256::of(bytes));
        }
        let digests = vec![(Sha256::of(bytes), BlobHash::of(bytes))];
        let note = RemoteNote::Digests(digests);
        world.engine.call(|reply| EngineRequest::NoteRemote { note, reply }).unwrap();
        let payload = cairn::control::service::Attachment::of_payload(bytes.to_vec());
        import.put_with(vec![entry], payload).unwrap();
    }
    import.finish().unwrap();
}

#[track_caller]
fn name(world: &World, version: &str, path: &str) -> ContentName {
    let entry = world.entry(version, path).unwrap_or_else(|| panic!("no {version}:{path}"));
    let Content::File { blob: Some(name), .. } = entry.content else { panic!("an empty file") };
    name
}

/// References on a blob, and on its declared name.
fn refs(world: &World, bytes: &[u8]) -> (Option<i64>, Option<i64>) {
    world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
    let (blob, digest) = (BlobHash::of(bytes), Sha256::of(bytes));
    let rows = world.engine.query(|reader| Ok((reader.blob(&blob)?, reader.declared(&digest)?)));
    let (blob, name) = rows.unwrap();
    (blob.map(|row| row.refs), name.map(|row| row.refs))
}

pub(crate) fn mirrored() -> World {
    let world = World::with_repository();
    sync(&world, &[("a", TEXT), ("dir/b", TEXT), ("c", b"other")]);
    world
}

#[test]
fn what_a_remote_declared_is_named_by_it() {
    let world = mirrored();
    assert_eq!(name(&world, "1", "a"), declared(TEXT));
    assert_eq!(world.bytes("1", "dir/b"), TEXT);
    assert_eq!(refs(&world, TEXT), (Some(1), Some(2)), "two names, which hold it once");
    let world = world.reopen();
    assert_eq!(world.bytes("1", "a"), TEXT);
    check_clean_store(&world.close().path());
}

/// H41: collecting one name does not take what the other needs, in whichever order they go.
#[test]
fn two_names_of_one_content_keep_it_for_each_other() {
    for first in ["1", "2"] {
        let world = mirrored();
        // Elsewhere in the tree, so that it keeps its own name.
        world.publish("own", &[("elsewhere", TEXT)]);
        assert_eq!(name(&world, "2", "elsewhere"), own(TEXT));
        let second = if first == "1" { "2" } else { "1" };
        world.delete(&[first], true).unwrap();
        world.collect();
        let path = if second == "1" { "a" } else { "elsewhere" };
        assert_eq!(world.bytes(second, path), TEXT);
        let world = world.reopen();
        world.delete(&[second], true).unwrap();
        world.collect();
        assert!(world.blob(&BlobHash::of(TEXT)).is_none(), "nothing names it any more");
        assert_eq!(refs(&world, TEXT), (None, None));
        check_clean_store(&world.close().path());
    }
}

/// What is copied over a mirror, with or without a base, is no change.
#[test]
fn equal_content_keeps_its_declared_name() {
    let world = mirrored();
    for path in ["a", "dir/b", "c"] {
        assert_eq!(name(&world, "1", path), declared(&world.bytes("1", path)));
    }
    world.publish("copy", &[("a", TEXT), ("dir/b", b"changed"), ("new", TEXT)]);
    assert_eq!(name(&world, "2", "a"), declared(TEXT), "the same at this path");
    assert_eq!(name(&world, "2", "dir/b"), own(b"changed"));
    assert_eq!(name(&world, "2", "new"), own(TEXT), "nothing was at this path");
    let (changes, _) = world.diff("1", "2");
    let content = changes.concat().into_iter().filter(|entry| !entry.attributes_only);
    let mut paths: Vec<_> = content.map(|entry| entry.path.as_bytes().to_vec()).collect();
    paths.sort();
    assert_eq!(paths, [&b"c"[..], b"dir/b", b"new"]);
    check_clean_store(&world.close().path());
}

/// A file that is moved, or was changed in nothing but its mode, is not hashed for its name.
#[test]
fn a_moved_file_keeps_its_declared_name() {
    let world = mirrored();
    let area = world.stage("work@latest");
    world.rename(area, "dir/b", "moved");
    world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
    assert_eq!(refs(&world, TEXT), (Some(1), Some(3)), "the row of the area has the name, too");
    // Rows of an earlier run name it as well.
    let world = world.reopen();
    let request = cairn::control::commit::CommitRequest { onto_latest: false, ..commit("work") };
    committed(world.ask(Request::Commit(request)));
    assert_eq!(name(&world, "2", "moved"), declared(TEXT));
    assert_eq!(world.bytes("2", "moved"), TEXT);
    assert!(world.entry("2", "dir/b").is_none());
    let world = world.reopen();
    world.delete(&["1"], true).unwrap();
    world.collect();
    assert_eq!(world.bytes("2", "moved"), TEXT);
    check_clean_store(&world.close().path());
}

/// Who only gave content another name has changed nothing that the other side must not change.
#[test]
fn another_name_is_no_conflict() {
    let world = World::with_repository();
    world.publish("own", &[("a", TEXT), ("b", b"second")]);
    let area = world.stage("work@latest");
    world.write(area, "a", b"changed here");
    let entry = world.entry("1", "a").unwrap();
    let import = Import::additive(&world);
    let mut renamed = inline("a", 0, TEXT.len());
    renamed.attributes = (&entry.attributes).into();
    if let ImportContent::File { declared: name, .. } = &mut renamed.content {
        *name = Some(Sha256::of(TEXT));
    }
    let payload = cairn::control::service::Attachment::of_payload(TEXT.to_vec());
    let digests = vec![(Sha256::of(TEXT), BlobHash::of(TEXT))];
    let note = RemoteNote::Digests(digests);
    world.engine.call(|reply| EngineRequest::NoteRemote { note, reply }).unwrap();
    import.put_with(vec![renamed], payload).unwrap();
    import.finish().unwrap();
    assert_eq!(name(&world, "2", "a"), declared(TEXT));
    let onto = cairn::control::commit::CommitRequest { onto_latest: true, ..commit("work") };
    committed(world.ask(Request::Commit(onto)));
    assert_eq!(world.bytes("3", "a"), b"changed here");
    check_clean_store(&world.close().path());
}

/// The newest version gave content other names only: what an area over the older one takes away stays away.
#[test]
fn what_was_removed_beside_another_name_is_no_conflict() {
    let world = World::with_repository();
    world.publish("own", &[("a", TEXT), ("d/b", b"second"), ("d/c", b"third")]);
    let attributes = |path: &str| (&world.entry("1", path).unwrap().attributes).into();
    let area = world.stage("work@latest");
    world.remove(area, "a");
    world.rename(area, "d/b", "moved");
    let import = Import::additive(&world);
    for (path, bytes) in [("a", TEXT), ("d/b", b"second"), ("d/c", b"third")] {
        let mut entry = inline(path, 0, bytes.len());
        entry.attributes = attributes(path);
        if let ImportContent::File { declared: name, .. } = &mut entry.content {
            *name = Some(Sha256::of(bytes));
        }
        let note = RemoteNote::Digests(vec![(Sha256::of(bytes), BlobHash::of(bytes))]);
        world.engine.call(|reply| EngineRequest::NoteRemote { note, reply }).unwrap();
        let payload = cairn::control::service::Attachment::of_payload(bytes.to_vec());
        import.put_with(vec![entry], payload).unwrap();
    }
    import.finish().unwrap();
    assert_eq!(name(&world, "2", "d/b"), declared(b"second"));
    let onto = cairn::control::commit::CommitRequest { onto_latest: true, ..commit("work") };
    committed(world.ask(Request::Commit(onto)));
    assert!(world.entry("3", "a").is_none() && world.entry("3", "d/b").is_none());
    assert_eq!(world.bytes("3", "moved"), b"second");
    assert_eq!(name(&world, "3", "d/c"), declared(b"third"));
    check_clean_store(&world.close().path());
}

/// A name costs nothing: a repository that is nearly full takes it.
#[test]
fn another_name_is_charged_to_no_quota() {
    let world = World::with_repository();
    world.publish("own", &[("a", &[7; 1000])]);
    let quota = cairn::model::quota::Quota { bytes: Some(1200), files: None };
    let request = |repo, reply| EngineRequest::SetQuota { repo, quota, reply };
    world.engine_call(request).unwrap();
    let import = Import::additive(&world);
    put_declared(&world, import, &[("a", &[7; 1000]), ("new", &[8; 100])]);
    assert_eq!(name(&world, "2", "a"), declared(&[7; 1000]));
}

fn findings_after(closed: &Closed, sql: &str) -> Vec<Finding> {
    let catalog = closed.path().join("catalog.db");
    rusqlite::Connection::open(catalog).unwrap().execute_batch(sql).unwrap();
    findings(&closed.path(), false).0
}

fn repair(closed: &Closed, found: &[Finding]) {
    let mut store = cairn::store::Store::open(&closed.path()).unwrap();
    for step in found.iter().flat_map(cairn::engine::fsck::steps) {
        cairn::engine::fsck::bare::repair(&mut store, &step).unwrap();
    }
    cairn::engine::fsck::bare::finish(&store).unwrap();
}

/// G10: counts of names are found wrong and counted anew, as those of blobs are.
#[test]
fn wrong_counts_of_names_are_found_and_rewritten() {
    let sha256 = Sha256::of(TEXT);
    let cases = [
        ("UPDATE content_names SET refs = refs + 4 WHERE refs = 2", 6),
        ("DELETE FROM content_names WHERE refs = 2", 0),
    ];
    for (sql, recorded) in cases {
        let closed = mirrored().close();
        let found = findings_after(&closed, sql);
        let wanted = Finding::NameCount { sha256, recorded, counted: 2 };
        assert!(found.contains(&wanted), "{found:?}");
        repair(&closed, &found);
        check_clean_store(&closed.path());
        let world = closed.open();
        world.delete(&["1"], true).unwrap();
        world.collect();
        assert!(world.blob(&BlobHash::of(TEXT)).is_none());
    }
}

/// A name that nothing has any more, as if the version's row had been lost.
#[test]
fn a_name_that_nobody_has_is_found_and_lets_its_blob_go() {
    let world = mirrored();
    world.publish("own", &[("own", b"own")]);
    let closed = world.close();
    let (sha256, blob) = (Sha256::of(b"own"), BlobHash::of(b"own"));
    let sql = format!(
        "INSERT INTO content_names VALUES(x'{sha256}', 3, x'{blob}');
         INSERT INTO digests VALUES(x'{sha256}', x'{blob}');
         UPDATE blobs SET refs = refs + 1 WHERE hash = x'{blob}'",
    );
    let found = findings_after(&closed, &sql);
    assert_eq!(found, [Finding::NameCount { sha256, recorded: 3, counted: 0 }]);
    repair(&closed, &found);
    check_clean_store(&closed.path());
}

/// Either table tells what a name stands for where the other one has lost it, or has something else.
#[test]
fn what_a_name_stands_for_is_found_in_either_table() {
    for sql in [
        "UPDATE content_names SET blob = NULL",
        "UPDATE content_names SET blob = (SELECT max(hash) FROM blobs)",
        "DELETE FROM digests",
        "UPDATE digests SET blob = (SELECT hash FROM blobs WHERE hash <> digests.blob LIMIT 1)",
    ] {
        let closed = mirrored().close();
        let found = findings_after(&closed, sql);
        assert!(!found.is_empty(), "{sql}");
        let is_known = |finding: &Finding| {
            matches!(finding, Finding::NameBlob { found: Some(_), .. }) && finding.is_repairable()
        };
        assert!(found.iter().all(is_known), "{sql}: {found:?}");
        repair(&closed, &found);
        check_clean_store(&closed.path());
        let world = closed.open();
        world.run(true, 0);
        assert_eq!(world.bytes("1", "a"), TEXT, "{sql}");
        assert_eq!(world.bytes("1", "c"), b"other", "{sql}");
        world.delete(&["1"], true).unwrap();
        world.collect();
        assert!(world.blob(&BlobHash::of(TEXT)).is_none(), "{sql}");
        check_clean_store(&world.close().path());
    }
}

/// A full check hashes what has a digest.
#[test]
fn a_wrong_digest_is_found_by_its_content() {
    let closed = mirrored().close();
    let swap = "UPDATE digests SET blob = (SELECT max(hash) FROM blobs) WHERE blob <> (SELECT max(hash) FROM blobs);
                UPDATE content_names SET blob = (SELECT blob FROM digests WHERE digests.sha256 = content_names.sha256)";
    findings_after(&closed, swap);
    let (found, _) = findings(&closed.path(), true);
    let wrong = |finding: &Finding| matches!(finding, Finding::NameBlob { found: None, .. });
    assert_eq!(found.iter().filter(|finding| wrong(finding)).count(), 1, "{found:?}");
}

#[test]
fn a_name_that_stands_for_nothing_is_told() {
    let closed = mirrored().close();
    let sql = "DELETE FROM digests; UPDATE content_names SET blob = NULL WHERE refs = 2";
    let found = findings_after(&closed, sql);
    let absent = Finding::Absent { name: Sha256::of(TEXT).into(), refs: 2 };
    assert!(found.contains(&absent), "{found:?}");
    assert!(!absent.is_repairable());
}

/// A digest that outlived its blob, as a crash can leave it, is no reason to refuse a commit.
#[test]
fn a_digest_without_its_blob_holds_nothing() {
    let world = World::with_repository();
    let note = RemoteNote::Digests(vec![(Sha256::of(TEXT), BlobHash::of(TEXT))]);
    world.engine.call(|reply| EngineRequest::NoteRemote { note, reply }).unwrap();
    let import = Import::mirror(&world);
    let mut entry = inline("a", 0, TEXT.len());
    if let ImportContent::File { declared: name, source, .. } = &mut entry.content {
        (*name, *source) = (Some(Sha256::of(TEXT)), FileSource::Absent);
    }
    import.put(vec![entry]).unwrap();
    import.finish().unwrap();
    let world = world.reopen();
    let row = world.engine.query(|reader| reader.declared(&Sha256::of(TEXT))).unwrap().unwrap();
    assert_eq!((row.refs, row.blob), (1, None), "it is absent");
}

/// Damage is told by the paths that have either name.
#[test]
fn damage_is_told_of_both_names() {
    let world = mirrored();
    world.publish("own", &[("elsewhere", TEXT)]);
    let closed = world.close();
    let pool = cairn::store::layout::Layout::new(&closed.path());
    std::fs::remove_file(pool.blob(&BlobHash::of(TEXT))).unwrap();
    let (found, _) = findings(&closed.path(), false);
    let [damage] = &found[..] else { panic!("{found:?}") };
    let listed = &damage.losses().unwrap().listed;
    let paths: Vec<_> = listed.iter().map(|loss| String::from_utf8_lossy(&loss.path)).collect();
    assert_eq!(paths, ["a", "dir/b", "elsewhere"], "{listed:?}");
}

/// `cairn why` and the dry run of a collection know both names.
#[test]
fn what_holds_it_is_told_under_both_names() {
    let world = mirrored();
    world.publish("own", &[("elsewhere", TEXT)]);
    let bounds = cairn::engine::why::Bounds { holders: 9, paths: 9 };
    let blob = BlobHash::of(TEXT);
    let held = world.engine.holders(&blob, bounds, &mut |_| {}).unwrap().unwrap();
    assert_eq!((held.references, held.elsewhere), (3, 0));
    assert_eq!(held.listed.len(), 2, "{held:?}");
    let mut dry =
        cairn::engine::dry_run::DryRun::new(&world.engine, cairn::model::time::Timestamp::now(), 0)
            .unwrap();
    dry.drop_tree(&world.tree("1")).unwrap();
    assert_eq!(dry.garbage().free.count, 1, "the other content alone");
    dry.drop_tree(&world.tree("2")).unwrap();
    assert_eq!(dry.garbage().free.count, 2);
}
