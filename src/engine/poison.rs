//! Poison: whether the store accepts changes, and the one signal that it does not any more (R4).
//!
//! After a failed fsync or database commit nobody can say what is on disk, and a second try may
//! succeed without having written anything. So whoever meets such a failure calls [`Poison::set`]:
//! reads go on, every change is refused, and only a restart, which looks at the disk, ends that.
//!
//! Must not know who asks, nor what is refused.

use std::sync::atomic::{AtomicU8, Ordering};

use super::error::{EngineError, Result};

/// Why no change is accepted at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// Changes are accepted.
    No,
    /// The store is full: nothing may grow, deletes go on (R3).
    Full,
    /// A database commit or fsync failed: nothing changes until a restart (R4).
    Poisoned,
    /// The store was opened for reading.
    ReadOnly,
}

/// Whether changes are accepted, shared by all threads.
#[derive(Debug, Default)]
pub struct Poison(AtomicU8);

impl Poison {
    /// Whether changes are accepted.
    pub fn blocked(&self) -> Blocked {
        match self.0.load(Ordering::Relaxed) {
            0 => Blocked::No,
            1 => Blocked::Full,
            2 => Blocked::ReadOnly,
            _ => Blocked::Poisoned,
        }
    }

    /// Refuses all changes from now on, and logs `why`.
    pub(super) fn set(&self, why: &str) {
        log::error!("{why}: the store refuses changes until restarted");
        self.block(Blocked::Poisoned);
    }

    /// The store was opened for reading.
    pub(super) fn read_only(&self) {
        self.block(Blocked::ReadOnly);
    }

    /// The disk is full.
    pub(super) fn full(&self) {
        self.block(Blocked::Full);
    }

    /// There is room again. Poison stays, and a store that was opened for reading still refuses changes.
    pub(super) fn has_room(&self) {
        self.block(Blocked::No);
    }

    fn block(&self, blocked: Blocked) {
        match self.blocked() {
            Blocked::Poisoned => return,
            Blocked::ReadOnly if blocked != Blocked::Poisoned => return,
            Blocked::ReadOnly | Blocked::No | Blocked::Full => {}
        }
        let value = match blocked {
            Blocked::No => 0,
            Blocked::Full => 1,
            Blocked::ReadOnly => 2,
            Blocked::Poisoned => 3,
        };
        self.0.store(value, Ordering::Relaxed);
    }

    /// # Errors
    /// Why nothing may be written. A full disk is no reason: deletes need a few rows, too.
    pub(super) fn check(&self) -> Result<()> {
        match self.blocked() {
            Blocked::Poisoned => Err(EngineError::Poisoned),
            Blocked::ReadOnly => Err(EngineError::ReadOnly),
            Blocked::No | Blocked::Full => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_nothing_takes_poison_away() {
        let poison = Poison::default();
        poison.full();
        assert_eq!((poison.blocked(), poison.check().is_ok()), (Blocked::Full, true));
        poison.has_room();
        assert_eq!(poison.blocked(), Blocked::No);
        poison.set("a test");
        poison.has_room();
        poison.full();
        poison.read_only();
        assert_eq!(poison.blocked(), Blocked::Poisoned);
        assert!(matches!(poison.check(), Err(EngineError::Poisoned)));
    }

    #[test]
    fn a_store_opened_for_reading_accepts_nothing_whatever_its_disk_does() {
        let poison = Poison::default();
        poison.read_only();
        poison.full();
        poison.has_room();
        assert_eq!(poison.blocked(), Blocked::ReadOnly);
        assert!(matches!(poison.check(), Err(EngineError::ReadOnly)));
        poison.set("a test");
        assert_eq!(poison.blocked(), Blocked::Poisoned);
    }
}
