//! The versions of a repository, with what each adds to the one before it.
//!
//! What all use together, and which charges are out of date, is kept up at each change: a commit
//! and a deletion look at the version and its successor, however many there are.

use std::ops::Deref;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::model::id::VersionNumber;
use crate::model::quota::{Charge, Usage};
use crate::model::version::Version;

/// Sums wide enough for any number of sizes: what was added can be taken away again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    bytes: u128,
    files: u128,
}

impl Sum {
    fn add(&mut self, charge: &Charge) {
        self.bytes += u128::from(charge.usage.bytes);
        self.files += u128::from(charge.usage.files);
    }

    fn take(&mut self, charge: &Charge) {
        self.bytes -= u128::from(charge.usage.bytes);
        self.files -= u128::from(charge.usage.files);
    }
}

/// Published versions by number; reads as their map.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    live: RedBlackTreeMapSync<VersionNumber, Arc<Version>>,
    /// Of deleted versions, too, until they are gone for good.
    charges: RedBlackTreeMapSync<VersionNumber, Charge>,
    /// Of the live ones.
    sum: Sum,
    /// Live versions without a charge, or with one against another version than the one before.
    uncharged: RedBlackTreeMapSync<VersionNumber, ()>,
}

impl Deref for Versions {
    type Target = RedBlackTreeMapSync<VersionNumber, Arc<Version>>;

    fn deref(&self) -> &Self::Target {
        &self.live
    }
}

impl Versions {
    /// The newest version before `number`.
    pub fn before(&self, number: VersionNumber) -> Option<&Arc<Version>> {
        self.live.range(..number).next_back().map(|(_, version)| version)
    }

    /// What a version adds to the one before it, as far as it was computed.
    pub fn charge(&self, number: VersionNumber) -> Option<&Charge> {
        self.charges.get(&number)
    }

    /// What they use together, as far as it was computed.
    pub fn usage(&self) -> Usage {
        let fits = |sum| u64::try_from(sum).unwrap_or(u64::MAX);
        Usage { bytes: fits(self.sum.bytes), files: fits(self.sum.files) }
    }

    /// Versions whose charge was computed against another version than the one before them, or
    /// never.
    pub fn uncharged(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.uncharged.keys().filter_map(|number| self.live.get(number))
    }

    /// Adds a version, or puts it in the place of the one of its number.
    pub fn insert(&mut self, version: Arc<Version>) {
        let number = version.number;
        let replaced = self.live.contains_key(&number);
        self.live.insert_mut(number, version);
        if replaced {
            return;
        }
        if let Some(charge) = self.charges.get(&number) {
            self.sum.add(charge);
        }
        self.check(number);
        self.check_after(number);
    }

    /// Takes a version out; its charge stays for its return.
    pub fn remove(&mut self, number: VersionNumber) -> Option<Arc<Version>> {
        let version = Arc::clone(self.live.get(&number)?);
        self.live.remove_mut(&number);
        if let Some(charge) = self.charges.get(&number) {
            self.sum.take(charge);
        }
        self.uncharged.remove_mut(&number);
        self.check_after(number);
        Some(version)
    }

    /// Notes what a version adds.
    pub fn set_charge(&mut self, number: VersionNumber, charge: Charge) {
        let before = self.charges.get(&number).copied();
        self.charges.insert_mut(number, charge);
        if self.live.contains_key(&number) {
            before.iter().for_each(|charge| self.sum.take(charge));
            self.sum.add(&charge);
            self.check(number);
        }
    }

    /// Forgets what a version that is gone for good added.
    pub fn forget_charge(&mut self, number: VersionNumber) {
        if !self.live.contains_key(&number) {
            self.charges.remove_mut(&number);
        }
    }

    /// Looks whether the charge of a live version is out of date.
    fn check(&mut self, number: VersionNumber) {
        let base = self.before(number).map_or(VersionNumber(0), |version| version.number);
        match self.charges.get(&number) {
            Some(charge) if charge.base == base => {
                self.uncharged.remove_mut(&number);
            }
            Some(_) | None => self.uncharged.insert_mut(number, ()),
        }
    }

    fn check_after(&mut self, number: VersionNumber) {
        let next = self.live.range(VersionNumber(number.0.saturating_add(1))..).next();
        if let Some(next) = next.map(|(number, _)| *number) {
            self.check(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::hash::TreeHash;
    use crate::model::time::Timestamp;
    use crate::model::tree::{Attributes, Root, Summary, Xattrs};

    fn version(number: u64) -> Arc<Version> {
        let attributes = Attributes {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: Xattrs::new(),
        };
        let tree = TreeHash::of(b"tree");
        Arc::new(Version {
            number: VersionNumber(number),
            root: Root { attributes, tree, summary: Summary::default() },
            hash: tree,
            created: Timestamp::default(),
            base: None,
            name: None,
            author: String::new(),
            message: String::new(),
            released: false,
            locked: false,
        })
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64),
        Remove(u64),
        Charge(u64, u64, u64),
        Forget(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = || 1_u64..12;
        let bytes = prop_oneof![0_u64..9, Just(u64::MAX)];
        prop_oneof![
            number().prop_map(Step::Insert),
            number().prop_map(Step::Remove),
            (number(), 0_u64..12, bytes).prop_map(|(n, base, bytes)| Step::Charge(n, base, bytes)),
            number().prop_map(Step::Forget),
        ]
    }

    /// Counted anew.
    fn recount(versions: &Versions) -> (Sum, Vec<VersionNumber>) {
        let (mut sum, mut uncharged, mut before) = (Sum::default(), Vec::new(), VersionNumber(0));
        for number in versions.live.keys() {
            let charge = versions.charges.get(number);
            charge.iter().for_each(|charge| sum.add(charge));
            if charge.is_none_or(|charge| charge.base != before) {
                uncharged.push(*number);
            }
            before = *number;
        }
        (sum, uncharged)
    }

    proptest! {
        #[test]
        fn what_is_kept_up_is_what_counting_anew_gives(
            steps in proptest::collection::vec(step(), 0..80),
        ) {
            let mut versions = Versions::default();
            for step in steps {
                match step {
                    Step::Insert(number) => versions.insert(version(number)),
                    Step::Remove(number) => drop(versions.remove(VersionNumber(number))),
                    Step::Charge(number, base, bytes) => {
                        let usage = Usage { bytes, files: 1 };
                        let charge = Charge { base: VersionNumber(base), usage };
                        versions.set_charge(VersionNumber(number), charge);
                    }
                    Step::Forget(number) => versions.forget_charge(VersionNumber(number)),
                }
                let (sum, uncharged) = recount(&versions);
                prop_assert_eq!(versions.sum, sum);
                let kept: Vec<_> = versions.uncharged().map(|version| version.number).collect();
                prop_assert_eq!(kept, uncharged);
            }
        }
    }
}
