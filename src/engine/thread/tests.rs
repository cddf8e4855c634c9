//! Rounds of the metadata thread, one by one.

use std::collections::BTreeSet;

use crossbeam_channel::{bounded, never};

use super::*;
use crate::engine::gc::{GcOptions, LastRun};
use crate::engine::reaper::WAITING_MAX;
use crate::engine::workers::Workers;
use crate::engine::writer::testing::TestWriter;

fn workers<T>(test: &TestWriter) -> Workers<T> {
    let (trees, stop_points) = (Arc::clone(&test.trees), Arc::default());
    Workers { trees, tell: Arc::new(|_| Ok(())), stop_points }
}

/// A collection closes no file itself: a large one takes the filesystem longer than a request may wait. So it does
/// nothing while the reaper could not take what a slice may remove.
#[test]
fn g1_a_collection_pauses_while_the_reaper_has_no_room() {
    let test = TestWriter::new();
    let (requests_sender, requests) = bounded(1);
    let (options, last) = (GcOptions::default(), LastRun::default());
    let gc = Collector::new(options, Arc::clone(&last), BTreeSet::new(), workers(&test));
    let commits = Commits::new(workers(&test), Instant::now());
    (0..=(WAITING_MAX - FILES_PER_SLICE) as u64).for_each(|id| test.remove_file(id));
    let TestWriter { writer, reaper, .. } = test;
    let mut thread = MetadataThread {
        writer,
        requests,
        requests_sender,
        seal_results: never(),
        wake: never(),
        blobs: Blobs::new(1, 0, std::iter::empty()),
        journal: Journal::new(1 << 20),
        gc,
        commits,
        rounds_without_slice: 0,
        unsaved: Unsaved::default(),
    };
    thread.collect_at_start();
    let mut now = Now::read();
    for _ in 0..50 {
        thread.background(now);
        assert!(thread.gc.is_paused(now.instant) && thread.gc.has_work());
        now.instant += thread.gc.pause_left(now.instant);
    }
    assert_eq!(thread.rounds_without_slice, 0, "no slice was even wanted");
    let closing = std::thread::spawn(move || reaper.run());
    while !thread.writer.reaper().is_idle() {
        std::thread::yield_now();
    }
    for _ in 0..50 {
        thread.background(now);
        now.instant += thread.gc.pause_left(now.instant);
    }
    assert!(last.lock().is_some() && !thread.gc.has_work(), "it goes on once there is room");
    drop(thread);
    closing.join().unwrap();
}
