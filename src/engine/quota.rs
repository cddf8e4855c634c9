//! What a repository uses and may use, kept while it runs.
//!
//! A write reserves its space before it takes bytes: an error at close or commit would reach nobody (H20).
//! One [`Account`] per repository is shared by its areas; the metadata thread sets what its versions use.
//! Must not know of files: callers say how much they take or give back.
//!
//! Lock order: an area's charge, then the account; nothing is called with either held.

use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use crate::model::quota::{Quota, Usage};

/// A reservation that the quota does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the repository's quota is used up")]
pub struct OverQuota;

#[derive(Debug, Default)]
struct State {
    quota: Quota,
    versions: Usage,
    areas: Usage,
}

/// Quota and usage of one repository.
#[derive(Debug, Default)]
pub struct Account {
    state: Mutex<State>,
    /// Private files that are open.
    pub(super) open_files: AtomicU64,
}

impl Account {
    /// What may be used.
    pub fn quota(&self) -> Quota {
        self.state.lock().quota
    }

    /// What versions and areas use together.
    pub fn usage(&self) -> Usage {
        let state = self.state.lock();
        state.versions + state.areas
    }

    /// What the areas use.
    pub fn areas(&self) -> Usage {
        self.state.lock().areas
    }

    pub(super) fn set_quota(&self, quota: Quota) {
        self.state.lock().quota = quota;
    }

    pub(super) fn set_versions(&self, usage: Usage) {
        self.state.lock().versions = usage;
    }

    /// Adds what an area takes. `force` is for what is there already.
    fn take(&self, usage: Usage, force: bool) -> Result<(), OverQuota> {
        let mut state = self.state.lock();
        let areas = state.areas + usage;
        // A request for bytes alone is not refused because the files are used up, and the other way round.
        let asked = Quota {
            bytes: state.quota.bytes.filter(|_| usage.bytes > 0),
            files: state.quota.files.filter(|_| usage.files > 0),
        };
        if !force && !asked.allows(state.versions + areas) {
            return Err(OverQuota);
        }
        state.areas = areas;
        Ok(())
    }

    fn give_back(&self, usage: Usage) {
        let mut state = self.state.lock();
        state.areas = less(state.areas, usage);
    }
}

fn less(from: Usage, usage: Usage) -> Usage {
    assert!(
        from.bytes >= usage.bytes && from.files >= usage.files,
        "more was given back than taken"
    );
    Usage { bytes: from.bytes - usage.bytes, files: from.files - usage.files }
}

#[derive(Debug)]
struct Taken {
    /// `None` once the area is published or discarded: its files count no more.
    usage: Option<Usage>,
    /// Whether what an earlier run took is in it.
    counted: bool,
}

/// What one area took of its repository's account, until the area is closed.
#[derive(Debug)]
pub struct AreaCharge {
    account: std::sync::Arc<Account>,
    taken: Mutex<Taken>,
}

impl AreaCharge {
    /// Of an area that has taken nothing yet.
    pub fn new(account: std::sync::Arc<Account>) -> Self {
        let taken = Taken { usage: Some(Usage::default()), counted: true };
        Self { account, taken: Mutex::new(taken) }
    }

    /// Of an area that an earlier run left; what it took is not known before [`AreaCharge::count`]
    /// or [`AreaCharge::correct`], which must come before the area changes or a quota is set.
    pub fn uncounted(account: std::sync::Arc<Account>) -> Self {
        let taken = Taken { usage: Some(Usage::default()), counted: false };
        Self { account, taken: Mutex::new(taken) }
    }

    /// Whether all is known that the area took.
    pub fn is_counted(&self) -> bool {
        self.taken.lock().counted
    }

    /// Takes what an earlier run took, if that is not known yet.
    pub fn count(&self, usage: Usage) {
        if !std::mem::replace(&mut self.taken.lock().counted, true) {
            self.restore(usage);
        }
    }

    /// The account of the repository.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What the area has taken.
    pub fn taken(&self) -> Usage {
        self.taken.lock().usage.unwrap_or_default()
    }

    /// Takes space before it is used.
    ///
    /// # Errors
    /// When the quota does not allow it; nothing is taken then.
    pub fn reserve(&self, usage: Usage) -> Result<(), OverQuota> {
        self.take(usage, false)
    }

    /// Takes space that is in use already: what an earlier run wrote, or what another thread has
    /// written meanwhile.
    pub fn restore(&self, usage: Usage) {
        // With `force` it never fails.
        self.take(usage, true).ok();
    }

    fn take(&self, usage: Usage, force: bool) -> Result<(), OverQuota> {
        let mut taken = self.taken.lock();
        if let Some(taken) = taken.usage.as_mut() {
            self.account.take(usage, force)?;
            *taken = *taken + usage;
        }
        Ok(())
    }

    /// Gives space back.
    ///
    /// # Panics
    /// When more is given back than was taken: the accounting would be wrong from then on.
    pub fn release(&self, usage: Usage) {
        let mut taken = self.taken.lock();
        if let Some(taken) = taken.usage.as_mut() {
            *taken = less(*taken, usage);
            self.account.give_back(usage);
        }
    }

    /// Corrects what is taken to what was counted.
    pub fn correct(&self, exact: Usage) {
        self.taken.lock().counted = true;
        let before = self.taken();
        self.restore(Usage {
            bytes: exact.bytes.saturating_sub(before.bytes),
            files: exact.files.saturating_sub(before.files),
        });
        self.release(Usage {
            bytes: before.bytes.saturating_sub(exact.bytes),
            files: before.files.saturating_sub(exact.files),
        });
    }

    /// Gives everything back: the area is published or discarded.
    pub fn close(&self) {
        let mut taken = self.taken.lock();
        if let Some(taken) = taken.usage.take() {
            self.account.give_back(taken);
        }
    }
}

impl Drop for AreaCharge {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn usage(bytes: u64, files: u64) -> Usage {
        Usage { bytes, files }
    }

    #[test]
    fn areas_and_versions_share_the_quota() {
        let account = Arc::new(Account::default());
        let (first, second) =
            (AreaCharge::new(Arc::clone(&account)), AreaCharge::new(Arc::clone(&account)));
        first.reserve(usage(1000, 10)).unwrap();
        account.set_quota(Quota { bytes: Some(1500), files: Some(12) });
        account.set_versions(usage(300, 1));
        assert_eq!(second.reserve(usage(201, 0)), Err(OverQuota));
        assert_eq!(second.reserve(usage(0, 2)), Err(OverQuota));
        second.reserve(usage(200, 1)).unwrap();
        assert_eq!(account.usage(), usage(1500, 12));
        first.release(usage(100, 0));
        assert_eq!(second.reserve(usage(50, 1)), Err(OverQuota), "no file is left");
        second.reserve(usage(50, 0)).unwrap();
        first.close();
        first.release(usage(900, 10));
        assert_eq!(account.areas(), usage(250, 1));
        drop(second);
        assert_eq!(account.usage(), usage(300, 1));
    }

    #[test]
    fn what_an_earlier_run_took_is_counted_once() {
        let account = Arc::new(Account::default());
        let [loaded, summed, closed] =
            std::array::from_fn(|_| AreaCharge::uncounted(Arc::clone(&account)));
        loaded.correct(usage(10, 1));
        loaded.count(usage(7, 7));
        assert_eq!(loaded.taken(), usage(10, 1), "it may have changed since it was loaded");
        assert!(!summed.is_counted());
        summed.count(usage(20, 2));
        summed.count(usage(20, 2));
        summed.correct(usage(21, 2));
        assert!(summed.is_counted());
        assert_eq!(account.areas(), usage(31, 3));
        closed.close();
        closed.count(usage(5, 5));
        assert_eq!(account.areas(), usage(31, 3));
    }

    #[test]
    fn what_is_there_is_counted_beyond_the_quota_and_can_shrink() {
        let account = Arc::new(Account::default());
        account.set_quota(Quota { bytes: Some(10), files: Some(1) });
        let area = AreaCharge::new(Arc::clone(&account));
        area.restore(usage(100, 5));
        assert_eq!(area.reserve(usage(1, 0)), Err(OverQuota));
        area.reserve(usage(0, 0)).unwrap();
        area.release(usage(95, 5));
        area.reserve(usage(5, 1)).unwrap();
        assert_eq!(area.taken(), usage(10, 1));
    }
}
