//! What subtrees of zeros hash to.
//!
//! BLAKE3 hashes each chunk with its number, so a subtree of zeros has another value at each place,
//! and no constant will do. A value depends on nothing else, though: it is computed once, from memory,
//! and kept for whatever file has a hole there. So the first large hole costs what the processor needs
//! for it, and the next ones next to nothing.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root};
use parking_lot::Mutex;

use super::{GROUP_BYTES, group};

/// Groups of the larger subtrees that are kept: 64 MiB.
const BLOCK_GROUPS: u64 = 64;

/// Groups whose values are kept: those of the first 64 GiB, 2 MiB in all.
const GROUPS_KEPT: u64 = 1 << 16;

/// Blocks whose values are kept: those of the first 16 TiB, which no file exceeds, 8 MiB in all.
const BLOCKS_KEPT: u64 = 1 << 18;

/// What is hashed at a time.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Values by place. All zeros stand for one that is not known yet: no subtree hashes to that.
static KNOWN_GROUPS: Mutex<Vec<ChainingValue>> = Mutex::new(Vec::new());
static KNOWN_BLOCKS: Mutex<Vec<ChainingValue>> = Mutex::new(Vec::new());

const UNKNOWN: ChainingValue = [0; 32];

/// How many groups a subtree at group `first` may have whose value is kept, of `groups` in a row.
pub(super) fn largest_tree(first: u64, groups: u64) -> u64 {
    // The first block may be all there is, and then its halves are needed.
    let is_block = first > 0 && first.is_multiple_of(BLOCK_GROUPS) && groups >= BLOCK_GROUPS;
    if is_block { BLOCK_GROUPS } else { groups.min(1) }
}

/// The value of a subtree of 1 or [`BLOCK_GROUPS`] groups of zeros at group `first`.
pub(super) fn tree(first: u64, groups: u64) -> ChainingValue {
    match groups {
        1 => kept(&KNOWN_GROUPS, first, GROUPS_KEPT, || {
            let mut hasher = group(first);
            update(&mut hasher, GROUP_BYTES);
            hasher.finalize_non_root()
        }),
        BLOCK_GROUPS => {
            kept(&KNOWN_BLOCKS, first / BLOCK_GROUPS, BLOCKS_KEPT, || merged(first, BLOCK_GROUPS))
        }
        _ => merged(first, groups),
    }
}

fn merged(first: u64, groups: u64) -> ChainingValue {
    let half = groups / 2;
    merge_subtrees_non_root(&tree(first, half), &tree(first + half, half), Mode::Hash)
}

/// Hashes that many zeros.
pub(super) fn update(hasher: &mut blake3::Hasher, mut length: u64) {
    while length > 0 {
        let now = usize::try_from(length).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(&ZEROS[..now]);
        length -= now as u64;
    }
}

/// The value at `place` if it is known; else computes it, and keeps it if it is among the first `max`.
fn kept(
    known: &Mutex<Vec<ChainingValue>>,
    place: u64,
    max: u64,
    compute: impl FnOnce() -> ChainingValue,
) -> ChainingValue {
    let index = usize::try_from(place).unwrap_or(usize::MAX);
    if let Some(value) = known.lock().get(index).filter(|value| **value != UNKNOWN) {
        return *value;
    }
    // Not under the lock: two that need the same one at once both compute it.
    let value = compute();
    if place < max {
        let mut known = known.lock();
        if known.len() <= index {
            known.resize(index + 1, UNKNOWN);
        }
        known[index] = value;
    }
    value
}
