//! Blobs whose files are not what they should be: whoever finds out, and whenever (H3, H5).

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use cairn::control::protocol::Request;
use cairn::engine::fsck::{Finding, Job, Options};
use cairn::engine::request::{Request as EngineRequest, Reuse};
use cairn::model::hash::BlobHash;
use cairn::model::time::Timestamp;
use cairn::store::error::StoreError;
use cairn::store::pool::Damage;
use rustix::io::Errno;

use crate::world::{Import, World, commit, committed};
use support::wait;

fn is_damaged(world: &World, hash: &BlobHash) -> Option<bool> {
    world.engine.query(|reader| reader.blob(hash)).unwrap().map(|row| row.is_damaged())
}

/// Puts other bytes of the same length in the blob's file.
fn spoil(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    fs::remove_file(file).unwrap();
    fs::write(file, vec![b'#'; usize::try_from(length).unwrap()]).unwrap();
}

#[test]
fn damage_of_a_blob_whose_row_comes_later_is_noted() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    import.put_file("a", b"imported");
    let hash = BlobHash::of(b"imported");
    // Its row comes with the trees, or a second later.
    spoil(&world.engine.layout.blob(&hash));
    let file = world.engine.pool.open(&hash).unwrap();
    world.engine.pool.read_failed(&hash, &file, &Errno::IO.into());
    wait::until("it is noted", || is_damaged(&world, &hash) == Some(true));
    import.put_file("again", b"imported");
    committed(import.finish());
    assert_eq!(is_damaged(&world, &hash), Some(false), "stored again, it is healed");
    assert_eq!(world.bytes("1", "a"), b"imported");
}

/// The mark is in the catalog when whoever reported the damage is answered, since a kill may come right after that; and
/// the row of the new blob, which was to be written later, does not come once more and take the mark away.
#[test]
fn h5_a_mark_is_written_at_once_and_stays() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    import.put_file("a", b"imported");
    let hash = BlobHash::of(b"imported");
    assert_eq!(is_damaged(&world, &hash), None, "it has no row yet");
    fs::remove_file(world.engine.layout.blob(&hash)).unwrap();
    let job = Job::Mark(vec![Damage { hash, file: None }]);
    assert!(world.engine.call(|reply| EngineRequest::Fsck { job, reply }).unwrap());
    assert_eq!(is_damaged(&world, &hash), Some(true), "it is written");
    // A collection writes the rows of all new blobs first.
    world.run(false, 600);
    assert_eq!(is_damaged(&world, &hash), Some(true), "it stays");
    let world = world.reopen();
    assert!(is_marked(&world.engine.pool.open(&hash).unwrap_err()));
}

#[test]
fn damage_of_what_nobody_knows_is_harmless() {
    let world = World::with_repository();
    let hash = BlobHash::of(b"collected meanwhile");
    world.engine.report_damage(hash);
    world.publish("v1", &[("f", b"collected meanwhile")]);
    assert_eq!(is_damaged(&world, &hash), Some(false));
}

#[test]
fn what_an_outage_took_is_found_before_it_is_published() {
    let world = World::with_repository();
    let area = world.stage("work");
    for path in ["lost", "kept"] {
        world.write(area, path, path.as_bytes());
        world.wait_sealed(area, path);
    }
    let lost = BlobHash::of(b"lost");
    let world = world.reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        let notes = "UPDATE meta SET value = 'no' WHERE key = 'clean';
                     UPDATE meta SET value = 'another' WHERE key = 'boot';";
        catalog.execute_batch(notes).unwrap();
        spoil(&cairn::store::layout::Layout::new(store).blob(&lost));
    });
    let refused = world.ask(Request::Commit(commit("work"))).unwrap_err();
    assert!(refused.message.contains("lost"), "{refused:?}");
    let unchecked = || world.engine.query(|reader| reader.meta("unchecked_since")).unwrap();
    wait::until("all is checked", || unchecked().as_deref() == Some(""));
    assert_eq!(is_damaged(&world, &lost), Some(true));
    world.write(world.area("work"), "lost", b"lost");
    world.commit("work");
    assert_eq!(world.bytes("1", "lost"), b"lost");
}

#[test]
fn a_blob_that_is_missing_in_one_area_keeps_no_other_from_being_published() {
    let world = World::with_repository();
    let area = world.stage("one");
    world.write(area, "f", b"missing");
    world.wait_sealed(area, "f");
    world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
    let hash = BlobHash::of(b"missing");
    fs::remove_file(world.engine.layout.blob(&hash)).unwrap();
    world.engine.pool.forget_fd(&hash);
    let area = world.stage("two");
    world.write(area, "g", b"there");
    world.ask(Request::Commit(commit("two"))).unwrap_err();
    world.commit("two");
    assert_eq!(is_damaged(&world, &hash), Some(true));
    let refused = world.ask(Request::Commit(commit("one"))).unwrap_err();
    assert!(refused.message.contains('f'), "{refused:?}");
}

#[test]
fn content_that_readers_may_look_for_is_not_absent() {
    let world = World::with_repository();
    world.publish("v1", &[("f", b"lost")]);
    let (lost, none) = (BlobHash::of(b"lost"), BlobHash::of(b"none"));
    fs::remove_file(world.engine.layout.blob(&lost)).unwrap();
    let hashes = vec![lost, none];
    let found = world
        .engine
        .call(|reply| EngineRequest::ReuseBlobs { hashes, is_own: true, reply })
        .unwrap();
    assert!(matches!(found[..], [Reuse::Broken, Reuse::Nothing]), "{found:?}");
}

/// An area over version 1 of `web`, which has the file `f` with this content, and a blob of it that was
/// altered on disk.
fn altered(content: &[u8]) -> (World, BlobHash) {
    let world = World::with_repository();
    world.publish("v1", &[("f", content)]);
    let hash = BlobHash::of(content);
    spoil(&world.engine.layout.blob(&hash));
    (world, hash)
}

fn check(world: &World) -> Vec<Finding> {
    let mut findings = Vec::new();
    let options = Options { full: true, files: true };
    let mut found = |finding| findings.push(finding);
    world.engine.check(options, &mut found, &mut |_, _, _| {}, &mut || true).unwrap();
    findings
}

fn is_marked(error: &StoreError) -> bool {
    matches!(error, StoreError::DamagedBlob(_))
}

#[test]
fn r5_a_check_marks_what_it_finds_and_the_next_store_heals_it() {
    let (world, hash) = altered(b"good bytes");
    let findings = check(&world);
    assert!(matches!(findings[..], [Finding::Blob { marked: true, .. }]), "{findings:?}");
    assert_eq!(is_damaged(&world, &hash), Some(true), "nobody asked for a repair");
    assert!(is_marked(&world.engine.pool.open(&hash).unwrap_err()));
    let hashes = vec![hash];
    let found = world
        .engine
        .call(|reply| EngineRequest::ReuseBlobs { hashes, is_own: true, reply })
        .unwrap();
    assert!(matches!(found[..], [Reuse::Broken]), "{found:?}");
    // A seal of the good bytes is no hit.
    world.publish("v2", &[("g", b"good bytes")]);
    assert_eq!(world.bytes("1", "f"), b"good bytes");
    assert_eq!(world.bytes("2", "g"), b"good bytes");
    assert_eq!(is_damaged(&world, &hash), Some(false));
    assert_eq!(check(&world), []);
}

#[test]
fn r5_a_mark_outlives_a_restart() {
    let (world, hash) = altered(b"content");
    check(&world);
    let world = world.reopen();
    assert!(is_marked(&world.engine.pool.open(&hash).unwrap_err()));
}

#[test]
fn a_check_without_a_daemon_marks_as_well() {
    let (world, hash) = altered(b"content");
    let closed = world.close();
    let (findings, _) = support::fsck::findings(&closed.path(), true);
    assert!(matches!(findings[..], [Finding::Blob { marked: true, .. }]), "{findings:?}");
    let world = closed.open();
    assert!(is_marked(&world.engine.pool.open(&hash).unwrap_err()));
}

#[test]
fn an_area_gets_an_error_for_what_is_marked_and_can_replace_it() {
    let content = vec![7; 3 << 20];
    for size in [1000, content.len()] {
        let (world, _) = altered(&content[..size]);
        check(&world);
        let area = world.stage("work@1");
        let f = world.open_writer(area, "f");
        assert!(is_marked(&f.read(0, &mut [0; 10]).unwrap_err()));
        assert!(is_marked(&f.seek(0, true).unwrap_err()));
        let now = Timestamp::now();
        assert!(is_marked(&f.write(5, b"part", now).unwrap_err()));
        assert!(is_marked(&f.truncate(900, now).unwrap_err()));
        let copy = world.open_writer(area, "copy");
        assert!(is_marked(&copy.share(&f, now).unwrap_err()), "not by copy_file_range either");
        world.close_writer(&copy);
        f.truncate(0, now).unwrap();
        f.write(0, b"new", now).unwrap();
        let mut read = [0; 3];
        f.read(0, &mut read).unwrap();
        assert_eq!(&read, b"new");
    }
}

#[test]
fn h5_what_was_seen_of_a_file_that_was_replaced_since_marks_nothing() {
    let (world, hash) = altered(b"content");
    let old = Arc::new(File::open(world.engine.layout.blob(&hash)).unwrap());
    world.engine.pool.open(&hash).unwrap();
    check(&world);
    world.publish("v2", &[("g", b"content")]);
    // A reader that began before comes late.
    world.engine.pool.read_failed(&hash, &old, &Errno::IO.into());
    world.engine.report_damage(hash);
    world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
    assert_eq!(is_damaged(&world, &hash), Some(false));
    assert_eq!(world.bytes("1", "f"), b"content");
}

#[test]
fn a_failed_read_in_an_area_marks_the_blob() {
    let world = World::with_repository();
    world.publish("v1", &[("f", b"content")]);
    let hash = BlobHash::of(b"content");
    let path = world.engine.layout.blob(&hash);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"cont").unwrap();
    world.engine.pool.forget_fd(&hash);
    let area = world.stage("work@1");
    let f = world.open_writer(area, "f");
    assert!(is_marked(&f.read(0, &mut [0; 7]).unwrap_err()));
    wait::until("it is noted", || is_damaged(&world, &hash) == Some(true));
    assert!(is_marked(&f.read(0, &mut [0; 2]).unwrap_err()), "what is there neither");
}
