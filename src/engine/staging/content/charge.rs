//! What a content counts for: nothing while it is its base's, its length once it is the area's.
//!
//! Space is taken before a change and given back after one that shrank or failed, always under the
//! content's lock, so the sum over an area's files is what the area has taken.

use super::{FileContent, FileState};
use crate::model::quota::Usage;
use crate::store::error::StoreError;

impl FileContent {
    /// What it counts for, in bytes; `None` while its content is its base's.
    pub fn charged(&self) -> Option<u64> {
        self.state.lock().charged
    }

    /// Notes that its length, and itself as a file, have been taken.
    pub(in crate::engine) fn set_charged(&self) {
        let mut state = self.state.lock();
        state.charged = Some(state.size);
    }

    /// Gives back what it counts for.
    pub(in crate::engine) fn release_charge(&self) {
        self.release_locked(&mut self.state.lock());
    }

    pub(super) fn release_locked(&self, state: &mut FileState) {
        if let Some(bytes) = state.charged.take() {
            self.area.charge.release(Usage { bytes, files: 1 });
        }
    }

    /// Runs a change that makes the content the area's own, and `size` bytes long at most, with
    /// the space for it taken before.
    pub(super) fn charge_change<T>(
        &self,
        state: &mut FileState,
        size: u64,
        change: impl FnOnce(&mut FileState) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let before = state.charged;
        let wanted = size.max(before.unwrap_or(0));
        self.area.charge.reserve(difference(before, wanted)).map_err(|_| StoreError::OverQuota)?;
        state.charged = Some(wanted);
        let changed = change(state);
        match (&changed, before) {
            (Ok(_), _) => self.charge_exactly(state, Some(state.size)),
            (Err(_), before) => self.charge_exactly(state, before),
        }
        changed
    }

    /// Corrects what is taken to `exact`.
    fn charge_exactly(&self, state: &mut FileState, exact: Option<u64>) {
        match (state.charged, exact) {
            (Some(taken), Some(exact)) if taken >= exact => {
                self.area.charge.release(Usage { bytes: taken - exact, files: 0 });
            }
            (before, Some(exact)) => self.area.charge.restore(difference(before, exact)),
            (Some(bytes), None) => self.area.charge.release(Usage { bytes, files: 1 }),
            (None, None) => {}
        }
        state.charged = exact;
    }
}

fn difference(before: Option<u64>, after: u64) -> Usage {
    Usage { bytes: after.saturating_sub(before.unwrap_or(0)), files: u64::from(before.is_none()) }
}
