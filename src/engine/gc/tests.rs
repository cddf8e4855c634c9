//! When the collector pauses, slice by slice, and with a reaper that does nothing until it is told to.

use super::*;
use crate::engine::blobs::Blobs;
use crate::engine::now::Now;
use crate::engine::writer::testing::TestWriter;

fn collector(test: &TestWriter) -> Collector {
    let workers = Workers {
        trees: Arc::clone(&test.trees),
        tell: Arc::new(|_| Ok(())),
        stop_points: Arc::default(),
    };
    Collector::new(GcOptions::default(), LastRun::default(), BTreeSet::new(), workers)
}

/// Where too many removed files wait to be closed, the collector pauses. Without an end it would collect no more, and
/// without a pause the metadata thread would do nothing but look.
#[test]
fn g1_a_pause_lasts_for_its_time_and_no_longer() {
    let (test, now) = (TestWriter::new(), Instant::now());
    let mut collector = collector(&test);
    assert!(!collector.is_paused(now) && collector.has_work());
    collector.pause(now);
    assert!(collector.is_paused(now) && collector.has_work());
    assert_eq!(collector.pause_left(now), PAUSE);
    let half = now + PAUSE / 2;
    assert_eq!(collector.pause_left(half), PAUSE - PAUSE / 2);
    assert!(collector.is_paused(half));
    assert!(!collector.is_paused(now + PAUSE));
    assert_eq!(collector.pause_left(now + 2 * PAUSE), Duration::ZERO);
    collector.pause(now + PAUSE);
    assert!(collector.is_paused(now + PAUSE), "it pauses again");
    collector.trigger(&test.writer, RunKind::ORPHANS, Now::read());
    assert!(!collector.is_paused(now + PAUSE), "somebody asks for a run");
}

/// Whoever asks for a run relies on the space being free when it ends.
#[test]
fn g13_a_run_ends_once_the_space_of_removed_files_is_free() {
    let mut test = TestWriter::new();
    let (mut collector, mut now) = (collector(&test), Now::read());
    let mut blobs = Blobs::new(1, 0, std::iter::empty());
    test.remove_file(2);
    collector.trigger(&test.writer, RunKind::ORPHANS, now);
    for _ in 0..9 {
        collector.slice(&mut test.writer, &mut blobs, now);
    }
    assert!(collector.is_paused(now.instant), "there is nothing else to do");
    for _ in 0..3 {
        now.instant += PAUSE;
        assert!(!collector.is_paused(now.instant));
        collector.slice(&mut test.writer, &mut blobs, now);
        assert!(collector.is_paused(now.instant), "the file is still open");
        assert!(collector.run.is_some() && collector.last.lock().is_none());
    }
    let TestWriter { mut writer, reaper, .. } = test;
    let closing = std::thread::spawn(move || reaper.run());
    while !writer.reaper().is_idle() {
        std::thread::yield_now();
    }
    now.instant += PAUSE;
    collector.slice(&mut writer, &mut blobs, now);
    assert!(collector.run.is_none() && collector.last.lock().is_some());
    drop(writer);
    closing.join().unwrap();
}
