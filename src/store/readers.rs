//! Connections to the catalog for whoever looks something up on a thread of any kind.

use parking_lot::Mutex;

use super::catalog::Reader;
use super::error::Result;

/// Connections that are kept for the next one. If more threads look at once, more are opened.
const IDLE_MAX: usize = 4;

type Open = Box<dyn Fn() -> Result<Reader> + Send + Sync>;

/// Opens connections, and keeps some that are idle.
pub struct Readers {
    open: Open,
    idle: Mutex<Vec<Reader>>,
}

impl Readers {
    /// `open` opens a connection to the catalog.
    pub fn new(open: impl Fn() -> Result<Reader> + Send + Sync + 'static) -> Self {
        Self { open: Box::new(open), idle: Mutex::default() }
    }

    /// Has a connection look something up.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().pop();
        let reader = idle.map_or_else(|| (self.open)(), Ok)?;
        let found = look(&reader);
        let mut idle = self.idle.lock();
        let surplus = if idle.len() < IDLE_MAX {
            idle.push(reader);
            None
        } else {
            Some(reader)
        };
        drop(idle);
        drop(surplus);
        found
    }

    /// How many are idle.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.lock().len()
    }
}
