//! R7: what is held in memory of files being written has one bound for all

use std::sync::atomic::Ordering;

use cairn::engine::staging::content::{BUFFER_BYTES_MAX, BUFFERED_BYTES_MAX};
use cairn::model::time::Timestamp;

use crate::world::World;

#[test]
fn a_buffer_that_grows_when_there_is_no_room_goes_to_disk() {
    let world = World::with_repository();
    let area = world.stage("v1");
    let held = &world.engine.staging.store.buffered_bytes;
    let (first, second) = (world.open_writer(area, "first"), world.open_writer(area, "second"));
    let now = Timestamp::now();
    first.write(0, b"in memory", now).unwrap();
    assert!(first.is_buffered());
    // Others take all there is.
    held.fetch_add(BUFFERED_BYTES_MAX, Ordering::Relaxed);
    first.write(0, b"IN", now).unwrap();
    assert!(first.is_buffered(), "it takes no more than it did");
    first.write(9, b", and on", now).unwrap();
    second.write(0, b"anew", now).unwrap();
    assert!(!first.is_buffered() && !second.is_buffered());
    held.fetch_sub(BUFFERED_BYTES_MAX, Ordering::Relaxed);
    assert_eq!(held.load(Ordering::Relaxed), 0, "what went to disk is counted no more");
    let mut text = [0; 17];
    assert_eq!(first.read(0, &mut text).unwrap(), 17);
    assert_eq!(&text, b"IN memory, and on");
    for content in [&first, &second] {
        world.engine.staging.content_modified(content);
        world.close_writer(content);
    }
    world.commit("v1");
}

#[test]
fn one_file_has_a_bound_too() {
    let world = World::with_repository();
    let area = world.stage("v1");
    let file = world.open_writer(area, "file");
    file.write(BUFFER_BYTES_MAX - 1, b"x", Timestamp::now()).unwrap();
    assert!(file.is_buffered());
    file.write(BUFFER_BYTES_MAX, b"x", Timestamp::now()).unwrap();
    assert!(!file.is_buffered());
    world.close_writer(&file);
}

/// The sum over all files is kept along with each change. If it drifted, writers would be sent to the disk for
/// nothing, or take more memory than there is.
#[test]
fn r7_what_is_held_is_counted_through_all_that_happens_to_a_file() {
    let world = World::with_repository();
    world.publish("v1", &[("file", &[1; 1000]), ("other", &[2; 500])]);
    let area = world.stage("v2@1");
    let held = || world.engine.staging.store.buffered_bytes.load(Ordering::Relaxed);
    let now = Timestamp::now();
    assert_eq!(held(), 0);
    let file = world.open_writer(area, "file");
    file.write(0, b"x", now).unwrap();
    assert_eq!(held(), 1000, "the blob was read into memory");
    file.write(990, &[3; 20], now).unwrap();
    assert_eq!(held(), 1010, "only what is longer counts");
    file.write(1010, &[4; 90], now).unwrap();
    file.write(1200, b"y", now).unwrap();
    assert_eq!(held(), 1201, "with the hole");
    file.truncate(300, now).unwrap();
    assert_eq!(held(), 300);
    file.truncate(700, now).unwrap();
    assert_eq!(held(), 700);
    let other = world.open_writer(area, "other");
    other.truncate(200, now).unwrap();
    assert_eq!(held(), 900, "what is cut off is not read");
    file.write(BUFFER_BYTES_MAX, b"z", now).unwrap();
    assert!(!file.is_buffered());
    assert_eq!(held(), 200, "the large one is on disk");
    file.write(BUFFER_BYTES_MAX * 2, &[5; 4096], now).unwrap();
    file.truncate(10, now).unwrap();
    assert_eq!(held(), 200, "and stays there");
    world.engine.staging.content_modified(&other);
    world.close_writer(&other);
    world.wait_sealed(area, "other");
    assert_eq!(held(), 0, "a sealed file is in the pool");
    let third = world.open_writer(area, "third");
    third.write(0, &[6; 100], now).unwrap();
    assert_eq!(held(), 100);
    world.close_writer(&third);
    world.remove(area, "third");
    assert_eq!(held(), 0, "nobody has it any more");
    world.close_writer(&file);
}
