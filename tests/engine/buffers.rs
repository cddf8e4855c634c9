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
