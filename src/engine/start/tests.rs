//! What a start finds unfinished, and what it makes of that.

use super::*;
use crate::model::on_stale::OnStale;
use crate::model::time::Timestamp;
use crate::store::catalog::{AreaRow, AreaState};
use crate::store::testing::TestStore;

/// Deletion of an area takes many slices, and a restart may come between any two of them.
#[test]
fn g10_an_area_that_is_being_purged_is_queued_once() {
    let directory = tempfile::tempdir().unwrap();
    crate::store::init(directory.path()).unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let tx = store.catalog.begin().unwrap();
    for (id, name) in [(2, "queued"), (3, "half-made")] {
        tx.insert_area(&deleted_area(id, name)).unwrap();
    }
    tx.queue_deletion(&QueuedDeletion::Area(AreaId(2))).unwrap();
    tx.commit().unwrap();
    drop(store);
    for _ in 0..3 {
        let opened = open(directory.path(), false).unwrap();
        let queue = opened.reader.queued_deletions().unwrap();
        assert_eq!(queue, [2, 3].map(|id| QueuedDeletion::Area(AreaId(id))));
    }
}

fn deleted_area(id: u64, name: &str) -> AreaRow {
    AreaRow {
        id: AreaId(id),
        repo: RepoId(1),
        name: name.parse().unwrap(),
        state: AreaState::Deleted,
        base: None,
        base_root: None,
        created: Timestamp::now(),
        changed: 0,
        message: String::new(),
        author: String::new(),
        on_stale: OnStale::default(),
    }
}

/// The blobs that a start finds unverified.
fn unverified(store: &mut TestStore) -> Vec<BlobHash> {
    let (layout, reader) = (store.layout.clone(), store.catalog.reader().unwrap());
    let recovered = recover(&layout, &mut store.catalog, &reader).unwrap();
    note_start(&mut store.catalog).unwrap();
    recovered.unverified.into_iter().map(|(hash, _)| hash).collect()
}

fn note(store: &mut TestStore, notes: &[(&str, &str)]) {
    let tx = store.catalog.begin().unwrap();
    notes.iter().for_each(|(key, value)| tx.set_meta(key, value).unwrap());
    tx.commit().unwrap();
}

#[test]
fn what_an_outage_left_in_doubt_is_so_until_it_was_checked() {
    let mut store = TestStore::new();
    let [kept, late, later] = [b"kept", b"late", b"more"].map(|data| BlobHash::of(data));
    assert_eq!(unverified(&mut store), []);
    let tx = store.catalog.begin().unwrap();
    for (hash, epoch) in [(kept, 3), (late, 4), (later, 5)] {
        tx.insert_blob(&hash, 4, epoch, 0, Timestamp::now()).unwrap();
    }
    tx.commit().unwrap();
    note(&mut store, &[(DURABLE_EPOCH, "3"), ("clean", "no")]);
    assert_eq!(unverified(&mut store), [], "the daemon was killed");
    note(&mut store, &[("boot", "another")]);
    assert_eq!(unverified(&mut store), [late, later], "the power was lost");
    assert_eq!(unverified(&mut store), [late, later], "killed before they were checked");
    note(&mut store, &[("clean", "yes")]);
    assert_eq!(unverified(&mut store), [late, later], "stopped before they were checked");
    note(&mut store, &[(DURABLE_EPOCH, "4"), ("boot", "another")]);
    assert_eq!(unverified(&mut store), [late, later], "the power was lost again");
    note(&mut store, &[(UNCHECKED, "")]);
    assert_eq!(unverified(&mut store), [], "they were checked");
    note(&mut store, &[("boot", "another")]);
    assert_eq!(unverified(&mut store), [later], "the power was lost once more");
}
