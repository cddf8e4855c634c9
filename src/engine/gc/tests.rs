//! When the collector pauses, slice by slice, and with a reaper that does nothing until it is told to.

use crossbeam_channel::{Receiver, unbounded};

use super::*;
use crate::engine::blobs::Blobs;
use crate::engine::durability::DurabilityJob;
use crate::engine::event::NoObserver;
use crate::engine::now::Now;
use crate::engine::pins::Pins;
use crate::engine::reaper::{ReaperThread, reaper};
use crate::engine::registry::Registry;
use crate::engine::staging::Staging;
use crate::engine::staging::content::ContentStore;
use crate::engine::writer::{Parts, StoreWriter};
use crate::model::id::AreaId;
use crate::store::Store;
use crate::store::catalog::Reader;
use crate::store::layout::PrivateId;
use crate::store::tree_cache::TreeCache;

/// What the metadata thread has, without the thread.
struct Bench {
    collector: Collector,
    writer: StoreWriter,
    blobs: Blobs,
    reaper: ReaperThread,
    _durability_jobs: Receiver<DurabilityJob>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        crate::store::init(directory.path()).unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (layout, pins) = (store.layout.clone(), Arc::new(Pins::default()));
        let open = move || Reader::open(&layout);
        let trees = Arc::new(TreeCache::new(open, 1 << 20, store.pool.absent()));
        let contents = ContentStore::new(&store, trees.blob_names(), &pins, 1);
        let ((reaper, reaper_thread), (jobs, durability_jobs)) = (reaper(), unbounded());
        let writer = StoreWriter::new(Parts {
            reader: store.catalog.reader().unwrap(),
            store,
            reaper,
            registry: Arc::new(Registry::default()),
            staging: Arc::new(Staging::new(contents).0),
            pins,
            observer: Arc::new(NoObserver),
            durability_jobs: jobs,
            first_id: 1,
        });
        let (options, last) = (GcOptions::default(), LastRun::default());
        Self {
            collector: Collector::new(options, last, BTreeSet::new(), workers(&trees)),
            writer,
            blobs: Blobs::new(1, 0, std::iter::empty()),
            reaper: reaper_thread,
            _durability_jobs: durability_jobs,
            _directory: directory,
        }
    }

    fn slice(&mut self, now: Now) {
        self.collector.slice(&mut self.writer, &mut self.blobs, now);
    }
}

fn workers<T>(trees: &Arc<TreeCache>) -> Workers<T> {
    let (trees, stop_points) = (Arc::clone(trees), Arc::default());
    Workers { trees, tell: Arc::new(|_| Ok(())), stop_points }
}

/// Where too many removed files wait to be closed, the collector pauses. Without an end it would collect no more, and
/// without a pause the metadata thread would do nothing but look.
#[test]
fn g1_a_pause_lasts_for_its_time_and_no_longer() {
    let (mut bench, now) = (Bench::new(), Instant::now());
    let collector = &mut bench.collector;
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
    collector.trigger(&bench.writer, RunKind::ORPHANS, Now::read());
    assert!(!collector.is_paused(now + PAUSE), "somebody asks for a run");
}

/// Whoever asks for a run relies on the space being free when it ends.
#[test]
fn g13_a_run_ends_once_the_space_of_removed_files_is_free() {
    let mut bench = Bench::new();
    let (area, file) = (AreaId(1), PrivateId(2));
    let store = bench.writer.store();
    store.private_files.create(area, file).unwrap().set_len(1 << 20).unwrap();
    let removed = store.private_files.remove(&store.lock, area, file).unwrap();
    bench.writer.let_go(removed);
    let mut now = Now::read();
    bench.collector.trigger(&bench.writer, RunKind::ORPHANS, now);
    for _ in 0..9 {
        bench.slice(now);
    }
    assert!(bench.collector.is_paused(now.instant), "there is nothing else to do");
    for _ in 0..3 {
        now.instant += PAUSE;
        assert!(!bench.collector.is_paused(now.instant));
        bench.slice(now);
        assert!(bench.collector.is_paused(now.instant), "the file is still open");
        assert!(bench.collector.run.is_some() && bench.collector.last.lock().is_none());
    }
    let Bench { mut collector, mut writer, mut blobs, reaper, .. } = bench;
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
