//! Recorded and counted references by hash, for millions of hashes: sorted, 48 bytes each.

/// A hash with both counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountedRow {
    pub(super) hash: [u8; 32],
    pub(super) recorded: i64,
    pub(super) counted: i64,
}

/// Values of the first two bytes of a hash.
const BUCKETS: usize = 1 << 16;

/// Slots in the order of their hashes.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<CountedRow>,
    /// Where the slots of each bucket begin; hashes spread evenly, so a bucket is short.
    starts: Vec<usize>,
}

impl Table {
    /// Takes slots in ascending order of their hashes.
    pub(super) fn new(slots: Vec<CountedRow>) -> Self {
        let mut starts = Vec::with_capacity(BUCKETS + 1);
        for (index, slot) in slots.iter().enumerate() {
            while starts.len() <= bucket(&slot.hash) {
                starts.push(index);
            }
        }
        starts.resize(BUCKETS + 1, slots.len());
        Self { slots, starts }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn find(&self, hash: &[u8; 32]) -> Option<usize> {
        let bucket = bucket(hash);
        let start = self.starts[bucket];
        let range = &self.slots[start..self.starts[bucket + 1]];
        range.binary_search_by(|slot| slot.hash.cmp(hash)).ok().map(|index| start + index)
    }

    pub(super) fn slot(&self, index: usize) -> &CountedRow {
        &self.slots[index]
    }

    /// Counts a reference; `false` when there is no such hash.
    pub(super) fn count(&mut self, hash: &[u8; 32]) -> bool {
        let found = self.find(hash);
        if let Some(index) = found {
            self.slots[index].counted += 1;
        }
        found.is_some()
    }

    /// The slots whose counts differ.
    pub(super) fn wrong(&self) -> impl Iterator<Item = &CountedRow> {
        self.slots.iter().filter(|slot| slot.recorded != slot.counted)
    }
}

fn bucket(hash: &[u8; 32]) -> usize {
    usize::from(u16::from_be_bytes([hash[0], hash[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let mut hashes: Vec<[u8; 32]> =
            (0_u32..3000).map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
        hashes.push([0; 32]);
        hashes.push([0xff; 32]);
        hashes.sort_unstable();
        let slots = hashes.iter().map(|hash| CountedRow { hash: *hash, recorded: 1, counted: 0 });
        let mut table = Table::new(slots.collect());
        for hash in &hashes {
            assert!(table.count(hash));
        }
        assert!(!table.count(blake3::hash(b"other").as_bytes()));
        assert_eq!(table.wrong().count(), 0);
        table.count(&hashes[7]);
        assert_eq!(table.wrong().map(|slot| slot.hash).collect::<Vec<_>>(), [hashes[7]]);
        assert_eq!(Table::new(Vec::new()).find(&[1; 32]), None);
    }
}
