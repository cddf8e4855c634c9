//! What each version counts for in its repository's quota, against what it adds.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::links::{Pages, Unread};
use super::{Check, Stopped};
use crate::model::hash::TreeHash;
use crate::model::id::{RepoId, VersionNumber};
use crate::model::quota::{self, Charge};

impl Check<'_> {
    /// Computes again what each version adds to the version that it was compared with. The cost is
    /// that of the differences. What is not computed yet, or was against a version that is gone, the
    /// engine computes anew by itself.
    pub(super) fn check_charges(&mut self) -> Result<(), Stopped> {
        let damaged = ["versions", "trees", "tree_pages"];
        if damaged.iter().any(|table| self.bad_tables.contains(table)) {
            return Ok(());
        }
        let snapshot = self.subject.snapshots.take()?;
        let mut versions: BTreeMap<(RepoId, VersionNumber), (TreeHash, Option<Charge>)> =
            BTreeMap::new();
        snapshot.versions(&mut |row| {
            if let Ok(facts) = row {
                versions.insert((facts.repo, facts.number), (facts.root.tree, facts.charge));
            }
        })?;
        let mut wrong = Vec::new();
        let total = versions.len() as u64;
        for (done, ((repo, number), (tree, charge))) in versions.iter().enumerate() {
            self.sink.progress("adding up quotas", done as u64, total);
            if snapshot.is_overdue() {
                break;
            }
            let Some(charge) = charge else { continue };
            let before = match charge.base {
                VersionNumber(0) => None,
                base => match versions.get(&(*repo, base)) {
                    Some((tree, _)) => Some(tree),
                    None => continue,
                },
            };
            let counted = quota::added(&Pages::new(&snapshot, self), before, tree);
            let counted = match counted {
                Ok(counted) if counted == charge.usage => continue,
                Ok(counted) => counted,
                // A damaged directory has been reported.
                Err(Unread::Page) => continue,
                Err(Unread::Stopped(stopped)) => return Err(stopped),
            };
            // Whether a declared content and a blob are the same bytes is known while both are here. When the version was
            // compared, they may have been, or not.
            let pages = Pages::by_names(&snapshot, self);
            let most = quota::added(&pages, before, tree);
            let usage = charge.usage;
            let may_be = pages.was_asked()
                && most.is_ok_and(|most| usage.bytes <= most.bytes && usage.files <= most.files);
            if !may_be {
                wrong.push((*repo, *number, *charge, counted));
            }
        }
        drop(snapshot);
        for (repo, number, Charge { base, usage: recorded }, counted) in wrong {
            let version = format!("{}/{number}", self.names.repository(repo));
            self.found(Finding::Charge { repo, number, version, base, recorded, counted });
        }
        Ok(())
    }
}
