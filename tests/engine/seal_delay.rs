//! H21: a large file that is changed again and again is not copied and hashed each time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn::engine::staging::content::{AfterClose, BUFFER_BYTES_MAX, FileContent};
use cairn::model::id::AreaId;
use cairn::model::time::Timestamp;

use crate::world::World;
use support::wait;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(3600);

fn large_file(world: &World, area: AreaId) -> (Arc<FileContent>, Vec<u8>) {
    let bytes = vec![7; usize::try_from(BUFFER_BYTES_MAX).unwrap() + 1];
    let file = world.open_writer(area, "file");
    file.write(0, &bytes, Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&file);
    assert_eq!(file.close_writer(), AfterClose::Seal, "nothing was copied for it");
    world.engine.staging.after_close(&file, AfterClose::Seal);
    world.wait_sealed(area, "file");
    (file, bytes)
}

/// Opens, appends and closes.
fn append(world: &World, file: &Arc<FileContent>, bytes: &mut Vec<u8>) -> AfterClose {
    file.open_writer();
    file.write(bytes.len() as u64, b"more", Timestamp::now()).unwrap();
    bytes.extend_from_slice(b"more");
    world.engine.staging.content_modified(file);
    file.close_writer()
}

#[test]
fn h21_many_changes_copy_once_and_a_commit_does_not_wait_for_the_delay() {
    let world = World::with_repository();
    let area = world.stage("v1");
    let (file, mut bytes) = large_file(&world, area);
    let ids = || world.engine.staging.store.next_id.load(Ordering::Relaxed);
    let before = ids();
    for _ in 0..5 {
        assert!(matches!(append(&world, &file, &mut bytes), AfterClose::SealAfter(_)));
        world.engine.staging.after_close(&file, AfterClose::SealAfter(LONG));
        assert!(file.blob().is_err(), "its seal is delayed");
    }
    assert_eq!(ids() - before, 1, "one private copy");
    world.commit("v1");
    assert_eq!(world.bytes("1", "file"), bytes);
}

#[test]
fn h21_a_file_is_sealed_after_the_delay() {
    let world = World::with_repository();
    let area = world.stage("v1");
    let (file, mut bytes) = large_file(&world, area);
    append(&world, &file, &mut bytes);
    world.engine.staging.after_close(&file, AfterClose::SealAfter(Duration::ZERO));
    wait::until("it is sealed", || file.blob().is_ok());
    // Written anew, it shares nothing with what it was.
    file.open_writer();
    file.truncate(0, Timestamp::now()).unwrap();
    file.write(0, &bytes, Timestamp::now()).unwrap();
    assert_eq!(file.close_writer(), AfterClose::Seal);
}

#[test]
fn h21_a_file_whose_seal_is_delayed_survives_a_stop() {
    let world = World::with_repository();
    let area = world.stage("v1");
    let (file, mut bytes) = large_file(&world, area);
    append(&world, &file, &mut bytes);
    world.engine.staging.after_close(&file, AfterClose::SealAfter(LONG));
    drop(file);
    let world = world.reopen();
    world.commit("v1");
    assert_eq!(world.bytes("1", "file"), bytes);
}

#[test]
fn h21_more_than_may_be_delayed_are_sealed_at_once() {
    let world = World::with_repository();
    let area = world.stage("v1");
    let (file, mut bytes) = large_file(&world, area);
    // Each keeps a descriptor, so there is a bound; what their content is does not matter.
    let others: Vec<_> = (0..32).map(|n| world.open_writer(area, &format!("other{n}"))).collect();
    for other in &others {
        world.engine.staging.after_close(other, AfterClose::SealAfter(LONG));
    }
    append(&world, &file, &mut bytes);
    world.engine.staging.after_close(&file, AfterClose::SealAfter(LONG));
    wait::until("it is sealed", || file.blob().is_ok());
    for other in &others {
        world.close_writer(other);
    }
}
