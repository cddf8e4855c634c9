//! What a content keeps and what it frees, step by step.

use std::sync::Arc;

use super::testing::{NOW, area, contents};
use super::transfer::fallocated_size;
use super::{AfterClose, FileContent};
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, NodeId};
use crate::store::catalog::NodeData;
use crate::store::testing::TestStore;

/// A synced file of five bytes whose blob is, or is not, in the pool.
fn synced(store: &TestStore, hash: BlobHash) -> Arc<FileContent> {
    let (contents, area) = (contents(store), area());
    let file = FileContent::sealed(&contents, &area, NodeId(1), Some(hash.into()), 5, NOW, NOW);
    file.assume_synced();
    Arc::new(file)
}

/// Writes the whole file anew.
fn rewrite(file: &Arc<FileContent>, bytes: &[u8]) {
    file.open_writer();
    file.truncate(0, NOW).unwrap();
    file.write(0, bytes, NOW).unwrap();
}

/// Closes and seals it.
fn seal(file: &Arc<FileContent>, bytes: &[u8]) -> BlobHash {
    assert_ne!(file.close_writer(), AfterClose::Nothing);
    let (hash, generation) = (BlobHash::of(bytes), file.seal_input().unwrap().generation);
    file.seal(generation, hash, None, || Ok(())).unwrap();
    hash
}

#[test]
fn what_replaces_synced_content_is_pinned_until_a_row_names_it() {
    let store = TestStore::new();
    let file = synced(&store, store.add_blob(b"first"));
    rewrite(&file, b"second");
    let second = seal(&file, b"second");
    assert_eq!(file.saved().data, NodeData::Blob(BlobHash::of(b"first").into()), "withheld");
    let pins = &file.store.pins;
    assert!(pins.is_pinned(&second.into()));
    assert!(!file.spill().unwrap(), "it is in a file");
    assert!(pins.is_pinned(&second.into()), "while it is brought to disk");
    assert!(file.settle(Some(&NodeData::Blob(second.into()))));
    assert_eq!(file.saved().data, NodeData::Blob(second.into()));
    assert!(pins.is_pinned(&second.into()), "no row names it yet");
    file.journalled(&NodeData::Blob(second.into()));
    assert!(!pins.is_pinned(&second.into()));
}

#[test]
fn what_was_withheld_of_a_file_that_was_emptied_holds_nothing_up() {
    let store = TestStore::new();
    let file = synced(&store, store.add_blob(b"first"));
    rewrite(&file, b"second");
    let second = seal(&file, b"second");
    assert_eq!(file.store.unsettled.lock().drain(..).count(), 1);
    file.open_writer();
    file.truncate(0, NOW).unwrap();
    assert_eq!(file.close_writer(), AfterClose::Journal);
    assert_eq!(file.saved().data, NodeData::Empty);
    assert!(!file.store.pins.is_pinned(&second.into()), "nobody needs it");
    rewrite(&file, b"third");
    let third = seal(&file, b"third");
    // It is synced while the next content is being written.
    rewrite(&file, b"fourth");
    assert!(file.settle(Some(&NodeData::Blob(third.into()))));
    seal(&file, b"fourth");
    assert_eq!(file.saved().data, NodeData::Blob(third.into()), "withheld");
    assert_eq!(file.store.unsettled.lock().len(), 1, "it will be settled");
}

#[test]
fn a_blob_that_could_not_be_truncated_is_sealed_again() {
    let store = TestStore::new();
    let file = synced(&store, store.add_blob(b"first"));
    file.open_writer();
    // Longer than any file can be.
    file.truncate(1 << 63, NOW).unwrap_err();
    assert_eq!(file.attr().size, 5);
    assert_eq!(seal(&file, b"first"), BlobHash::of(b"first"));
    assert_eq!(file.blob(), Ok(Some(BlobHash::of(b"first").into())));
    assert_eq!(file.area.unsealed(), 0);
}

#[test]
fn an_empty_file_that_could_not_grow_is_empty() {
    let store = TestStore::new();
    let file = synced(&store, store.add_blob(b"first"));
    file.open_writer();
    file.truncate(0, NOW).unwrap();
    file.truncate(1 << 63, NOW).unwrap_err();
    assert_eq!(file.close_writer(), AfterClose::Journal);
    assert_eq!((file.blob(), file.area.unsealed()), (Ok(None), 0));
}

#[test]
fn a_private_file_that_could_not_be_filled_goes() {
    let store = TestStore::new();
    let file = synced(&store, BlobHash::of(b"in no pool"));
    file.open_writer();
    file.truncate(2 << 20, NOW).unwrap_err();
    let made = store.private_files.list(AreaId(1)).unwrap();
    let obsolete: Vec<_> = file.store.obsolete.lock().iter().map(|(_, id)| *id).collect();
    assert_eq!((obsolete, file.attr().size), (made, 5));
    assert_eq!(file.close_writer(), AfterClose::Nothing);
}

#[test]
fn what_is_empty_or_a_blob_is_not_waited_for() {
    let store = TestStore::new();
    let file = synced(&store, store.add_blob(b"first"));
    file.open_writer();
    file.truncate(5, NOW).unwrap();
    assert_eq!(file.close_writer(), AfterClose::Nothing, "it has the length it had");
    // A change that no close follows, and so nobody but a sealer sees the end of.
    file.truncate(0, NOW).unwrap();
    assert_eq!(file.area.unsealed(), 1);
    assert!(file.seal_input().is_none());
    assert_eq!(file.area.unsealed(), 0);
    // A write of nothing, which the kernel does not send, is no change.
    assert_eq!(file.write(3, b"", NOW).unwrap(), None);
    assert_eq!((file.attr().size, file.area.unsealed()), (0, 0));
}

/// What is taken of the quota before the file system is asked. Too little would let a file grow beyond the quota.
#[test]
fn h20_fallocate_is_charged_for_the_most_that_the_file_can_become() {
    const KEEP_SIZE: i32 = 0x01;
    const PUNCH_HOLE: i32 = 0x02;
    const COLLAPSE_RANGE: i32 = 0x08;
    const ZERO_RANGE: i32 = 0x10;
    const INSERT_RANGE: i32 = 0x20;
    for (mode, offset, length, expected) in [
        (0, 0, 50, 100),
        (0, 40, 60, 100),
        (0, 40, 61, 101),
        (0, 200, 10, 210),
        (0, u64::MAX, 2, u64::MAX),
        (KEEP_SIZE, 0, 1000, 100),
        (KEEP_SIZE | PUNCH_HOLE, 50, 1000, 100),
        (ZERO_RANGE, 50, 70, 120),
        (ZERO_RANGE | KEEP_SIZE, 50, 70, 100),
        (COLLAPSE_RANGE, 0, 50, 100),
        (INSERT_RANGE, 0, 50, 150),
        (INSERT_RANGE, 90, 50, 150),
        (INSERT_RANGE, 0, u64::MAX, u64::MAX),
    ] {
        let size = fallocated_size(100, mode, offset, length);
        assert_eq!(size, expected, "mode {mode:#x} at {offset}, {length} bytes");
    }
}
