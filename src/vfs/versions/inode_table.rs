//! The inodes that the kernel knows, with its lookup counts.
//!
//! Invariants: an inode is in the table exactly while the kernel's count of it is above zero; it
//! is found under one number, and that number is not given to anything else meanwhile. The number
//! is the one that its hash asks for, unless another inode holds that: then the next free one.
//! The table knows nothing of trees, blobs or FUSE.
//!
//! Locks: one per shard, held for a hash table operation. The callbacks of [`Table::enter`] and
//! [`Table::with`] run under it and may take leaf locks only.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{BuildHasherDefault, Hasher};

use parking_lot::Mutex;

/// Number of independently locked shards; a power of two well above the number of workers.
const SHARDS: u64 = 64;

/// The low bits of a number count up when a number is taken; the bits above choose the shard, so
/// that the search stays within one shard.
const PROBE_BITS: u32 = 48;
const PROBE_MASK: u64 = (1 << PROBE_BITS) - 1;

/// A shard with fewer slots than this is never shrunk.
const SHRINK_SLOTS_MIN: usize = 1024;

/// What the table must know of an inode.
pub(super) trait Inode {
    /// Whether both stand for the same thing (full identity, not the hash).
    fn is_same(&self, other: &Self) -> bool;
    /// The kernel's lookup count.
    fn lookups(&mut self) -> &mut u64;
}

/// Numbers are hashes already: one multiplication spreads them to the upper bits as well.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte) ^ self.0);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Boxed, so that empty slots of the table stay small.
type Inodes<T> = HashMap<u64, Box<T>, BuildHasherDefault<NumberHasher>>;

struct Shard<T> {
    inodes: Inodes<T>,
    /// The greatest distance at which an inode of this shard was ever placed from the number that
    /// its hash asks for. Almost always 0.
    displacement_max: u64,
}

/// Inodes by number.
pub(super) struct Table<T> {
    shards: Vec<Mutex<Shard<T>>>,
    number_of: Box<dyn Fn(&T) -> u64 + Send + Sync>,
}

impl<T: Inode> Table<T> {
    /// Makes an empty table; `number_of` is the number that an inode's hash asks for.
    pub(super) fn new(number_of: impl Fn(&T) -> u64 + Send + Sync + 'static) -> Self {
        let shard = || Mutex::new(Shard { inodes: Inodes::default(), displacement_max: 0 });
        let number_of = Box::new(number_of);
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), number_of }
    }

    fn shard(&self, number: u64) -> &Mutex<Shard<T>> {
        let index = (number >> PROBE_BITS) % SHARDS;
        &self.shards[usize::try_from(index).unwrap_or(0)]
    }

    /// Counts one lookup of an inode, adding it if it is not there, and returns its number.
    /// `on_add` runs only when it is added, before any other thread can see it.
    pub(super) fn enter(&self, mut inode: T, on_add: impl FnOnce(&T)) -> u64 {
        let wanted = (self.number_of)(&inode);
        let mut shard = self.shard(wanted).lock();
        let Shard { inodes, displacement_max } = &mut *shard;
        match search(inodes, *displacement_max, wanted, &inode) {
            Spot::Known(number) => {
                if let Some(known) = inodes.get_mut(&number) {
                    *known.lookups() += 1;
                }
                number
            }
            Spot::Free { number, displacement } => {
                *displacement_max = displacement.max(*displacement_max);
                *inode.lookups() = 1;
                on_add(&inode);
                inodes.insert(number, Box::new(inode));
                number
            }
        }
    }

    /// The number that [`Table::enter`] would return, without counting a lookup.
    pub(super) fn number(&self, inode: &T) -> u64 {
        let wanted = (self.number_of)(inode);
        let shard = self.shard(wanted).lock();
        match search(&shard.inodes, shard.displacement_max, wanted, inode) {
            Spot::Known(number) | Spot::Free { number, .. } => number,
        }
    }

    /// Looks at the inode of that number. `None` when the kernel does not hold it.
    pub(super) fn with<R>(&self, number: u64, look: impl FnOnce(&T) -> R) -> Option<R> {
        let shard = self.shard(number).lock();
        shard.inodes.get(&number).map(|inode| look(inode))
    }

    /// Takes `count` lookups back, and returns the inode if none is left.
    pub(super) fn forget(&self, number: u64, count: u64) -> Option<Box<T>> {
        let mut shard = self.shard(number).lock();
        let Slot::Occupied(mut slot) = shard.inodes.entry(number) else {
            log::warn!("the kernel forgot inode {number:#x}, which is not known");
            return None;
        };
        let lookups = slot.get_mut().lookups();
        if *lookups < count {
            log::warn!("the kernel forgot inode {number:#x} more often than it looked it up");
        }
        *lookups = lookups.saturating_sub(count);
        if *lookups > 0 {
            return None;
        }
        let inode = slot.remove();
        let inodes = &mut shard.inodes;
        if inodes.capacity() > SHRINK_SLOTS_MIN && inodes.len() < inodes.capacity() / 8 {
            inodes.shrink_to(inodes.len() * 2);
        }
        Some(inode)
    }

    /// Removes all inodes.
    pub(super) fn drain(&self, mut each: impl FnMut(Box<T>)) {
        for shard in &self.shards {
            let inodes = std::mem::take(&mut shard.lock().inodes);
            inodes.into_values().for_each(&mut each);
        }
    }

    /// The numbers of the inodes that `wanted` chooses; shards are looked at one by one.
    pub(super) fn numbers(&self, wanted: impl Fn(&T) -> bool) -> Vec<u64> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let chosen = shard.inodes.iter().filter(|(_, inode)| wanted(inode));
            found.extend(chosen.map(|(number, _)| *number));
        }
        found.sort_unstable();
        found
    }

    /// Number of inodes held.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().inodes.len()).sum()
    }
}

/// Where an inode is, or would be put.
enum Spot {
    Known(u64),
    Free { number: u64, displacement: u64 },
}

/// Searches for an inode from the number it wants on. A free number does not end the search before
/// `displacement_max`: the inode may have been displaced by one that was forgotten since.
fn search<T: Inode>(inodes: &Inodes<T>, displacement_max: u64, wanted: u64, inode: &T) -> Spot {
    let mut free = None;
    for displacement in 0..=PROBE_MASK {
        let number = (wanted & !PROBE_MASK) | (wanted.wrapping_add(displacement) & PROBE_MASK);
        match inodes.get(&number) {
            Some(known) if known.is_same(inode) => return Spot::Known(number),
            Some(_) => {}
            None => {
                free.get_or_insert(Spot::Free { number, displacement });
            }
        }
        if displacement >= displacement_max
            && let Some(free) = free
        {
            return free;
        }
    }
    panic!("2^48 inodes with colliding hashes do not fit into memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Number {
        identity: u64,
        lookups: u64,
    }

    impl Inode for Number {
        fn is_same(&self, other: &Self) -> bool {
            self.identity == other.identity
        }
        fn lookups(&mut self) -> &mut u64 {
            &mut self.lookups
        }
    }

    fn inode(identity: u64) -> Number {
        Number { identity, lookups: 0 }
    }

    /// A hash of three values: nearly everything collides.
    fn tiny(inode: &Number) -> u64 {
        inode.identity % 3
    }

    #[test]
    fn colliding_inodes_get_numbers_of_their_own_and_keep_them() {
        let table = Table::new(tiny);
        let numbers: Vec<u64> = (0..20).map(|i| table.enter(inode(i), |_| {})).collect();
        let mut unique = numbers.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 20);
        // Free every second one: the others must not move into the gaps.
        for i in (0..20).step_by(2) {
            assert!(table.forget(numbers[i], 1).is_some());
        }
        for i in (1..20_u64).step_by(2) {
            let index = usize::try_from(i).unwrap();
            assert_eq!(table.number(&inode(i)), numbers[index]);
            assert_eq!(table.enter(inode(i), |_| panic!()), numbers[index]);
            assert_eq!(table.with(numbers[index], |n| n.identity), Some(i));
        }
        assert_eq!(table.len(), 10);
    }

    #[test]
    fn an_inode_goes_when_all_its_lookups_are_forgotten() {
        let table = Table::new(tiny);
        let number = table.enter(inode(5), |_| {});
        table.enter(inode(5), |_| {});
        table.enter(inode(5), |_| {});
        assert!(table.forget(number, 2).is_none());
        assert_eq!(table.forget(number, 1), Some(Box::new(inode(5))));
        assert_eq!(table.with(number, |_| ()), None);
        // Neither too many nor unknown ones do harm.
        assert!(table.forget(number, 1).is_none());
        let number = table.enter(inode(5), |_| {});
        assert!(table.forget(number, 9).is_some());
    }

    #[test]
    fn a_shard_shrinks_after_its_inodes_are_gone() {
        let table = Table::new(|n: &Number| n.identity);
        for i in 0..100_000 {
            table.enter(inode(i), |_| {});
        }
        for i in 0..100_000 {
            table.forget(i, 1);
        }
        let capacity = table.shard(0).lock().inodes.capacity();
        assert!(capacity <= SHRINK_SLOTS_MIN, "{capacity}");
    }
}
