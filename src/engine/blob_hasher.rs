//! BLAKE3 of a file that is given from beginning to end, where runs of zeros are given as a length.
//!
//! BLAKE3 hashes a tree of chunks. Here that tree is put together from subtrees of [`GROUP_BYTES`], so
//! that the known value of a subtree of zeros ([`zeros`]) is used instead of hashing the zeros. The result
//! is the ordinary BLAKE3 hash of all bytes. Must not know where the bytes come from.

mod zeros;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::model::hash::BlobHash;

/// Bytes of one subtree that is hashed in one piece.
const GROUP_BYTES: u64 = 1 << 20;

/// The state of one hash.
#[derive(Debug, Clone)]
pub(super) struct BlobHasher {
    /// Values of complete subtrees from left to right. Two of equal size are merged only once something
    /// follows them, because the very last merge is computed differently: it makes the root.
    trees: Vec<ChainingValue>,
    /// Groups in `trees`.
    groups: u64,
    /// The group that is being filled. It is moved to `trees` once it is full and something follows.
    group: blake3::Hasher,
}

impl BlobHasher {
    /// Has been given no bytes yet.
    pub(super) fn new() -> Self {
        Self { trees: Vec::new(), groups: 0, group: blake3::Hasher::new() }
    }

    /// How many bytes it has been given.
    pub(super) fn length(&self) -> u64 {
        self.groups * GROUP_BYTES + self.group.count()
    }

    /// Goes on with the bytes that follow.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let now = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            self.group.update(&bytes[..now]);
            bytes = &bytes[now..];
        }
    }

    /// Goes on with that many zeros.
    pub(super) fn zeros(&mut self, mut length: u64) {
        while length > 0 {
            let room = self.room();
            let groups = zeros::largest_tree(self.groups, length / GROUP_BYTES);
            // A subtree with nothing before or behind it would be the root, which is hashed otherwise.
            let is_part = self.groups > 0 || length > GROUP_BYTES;
            if room == GROUP_BYTES && groups > 0 && is_part {
                self.push(zeros::tree(self.groups, groups), groups);
                length -= groups * GROUP_BYTES;
                continue;
            }
            let now = room.min(length);
            zeros::update(&mut self.group, now);
            length -= now;
        }
    }

    /// The hash of all bytes that it has been given.
    pub(super) fn hash(&self) -> BlobHash {
        if self.groups == 0 {
            return self.group.finalize().into();
        }
        let mut trees = self.trees.clone();
        let last = if self.group.count() > 0 {
            merge_whole(&mut trees, self.groups);
            Some(self.group.finalize_non_root())
        } else {
            trees.pop()
        };
        let mut right = last.expect("groups make trees");
        while let Some(left) = trees.pop() {
            if trees.is_empty() {
                return merge_subtrees_root(&left, &right, Mode::Hash).into();
            }
            right = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        unreachable!("a subtree that is all there is was not moved to the others")
    }

    /// Bytes that the next group can take.
    fn room(&mut self) -> u64 {
        if self.group.count() == GROUP_BYTES {
            self.push(self.group.finalize_non_root(), 1);
        }
        GROUP_BYTES - self.group.count()
    }

    /// Adds a subtree of so many groups. Its place is a multiple of its size.
    fn push(&mut self, value: ChainingValue, groups: u64) {
        merge_whole(&mut self.trees, self.groups);
        self.trees.push(value);
        self.groups += groups;
        self.group = group(self.groups);
    }
}

/// The hasher of a group by its number.
fn group(number: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(number * GROUP_BYTES);
    hasher
}

/// Merges neighbours of equal size into complete subtrees, given that something follows them. One is left
/// for each bit that is set in the number of groups.
fn merge_whole(trees: &mut Vec<ChainingValue>, groups: u64) {
    let left = groups.count_ones() as usize;
    while trees.len() > left {
        if let (Some(second), Some(first)) = (trees.pop(), trees.pop()) {
            trees.push(merge_subtrees_non_root(&first, &second, Mode::Hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROUP: usize = 1 << 20;

    #[derive(Debug, Clone)]
    enum Part {
        Bytes(usize),
        Zeros(usize),
    }

    /// Lengths around the places where something special happens.
    fn length() -> impl Strategy<Value = usize> {
        let near = |bytes: usize| bytes.saturating_sub(2)..bytes + 3;
        prop_oneof![
            0..3000_usize,
            near(GROUP),
            near(2 * GROUP),
            near(5 * GROUP),
            Just(GROUP),
            Just(2 * GROUP),
            Just(3 * GROUP),
        ]
    }

    fn check(parts: &[Part]) {
        let (mut ours, mut plain) = (BlobHasher::new(), blake3::Hasher::new());
        let mut number = 0_u8;
        for part in parts {
            let bytes = match part {
                Part::Bytes(length) => {
                    number = number.wrapping_add(1);
                    let bytes = vec![number; *length];
                    ours.update(&bytes);
                    bytes
                }
                Part::Zeros(length) => {
                    ours.zeros(*length as u64);
                    vec![0; *length]
                }
            };
            plain.update(&bytes);
            assert_eq!(ours.length(), plain.count(), "{parts:?}");
            assert_eq!(ours.hash(), plain.finalize().into(), "{parts:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn it_is_the_plain_hash(
            parts in proptest::collection::vec(
                prop_oneof![length().prop_map(Part::Bytes), length().prop_map(Part::Zeros)],
                1..8,
            )
        ) {
            check(&parts);
        }
    }

    #[test]
    fn zeros_are_hashed_by_large_subtrees_as_well() {
        for parts in [
            &[Part::Zeros(128 * GROUP)][..],
            &[Part::Zeros(64 * GROUP), Part::Zeros(64 * GROUP), Part::Bytes(1)],
            &[Part::Bytes(64 * GROUP), Part::Zeros(64 * GROUP)],
            &[Part::Bytes(3), Part::Zeros(200 * GROUP), Part::Bytes(GROUP), Part::Zeros(GROUP)],
        ] {
            check(parts);
        }
    }
}
