//! Which blob a declared name stands for: two tables say it, and both must say what is true.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::ControlFlow;

use super::finding::Finding;
use super::{Check, Stopped};
use crate::model::digest::{Sha256, Sha256Hasher};
use crate::model::hash::BlobHash;
use crate::store::hash_file::hash_file;

/// Blobs of names as they should be, where the catalog has something else.
pub(super) type TrueNames = BTreeMap<Sha256, Option<BlobHash>>;

impl Check<'_> {
    /// Compares what the tables say, and with `full` the digests with the content. Whoever counts references goes by
    /// what is found here: a count that a wrong name explains is no wrong count.
    pub(super) fn check_names(&mut self) -> Result<(), Stopped> {
        if ["content_names", "digests"].iter().any(|table| self.bad_tables.contains(table)) {
            return Ok(());
        }
        let snapshot = self.subject.snapshots.latest()?;
        for (sha256, recorded, noted) in snapshot.disputed_names()? {
            self.check_cancelled()?;
            let mut found = None;
            for blob in [noted, recorded].into_iter().flatten() {
                if found.is_none() && self.has_digest(&blob, &sha256) {
                    found = Some(blob);
                }
            }
            self.true_names.insert(sha256, found);
            self.found(Finding::NameBlob { sha256, recorded: recorded.or(noted), found });
        }
        if !self.options.full {
            return Ok(());
        }
        let mut digests = Vec::new();
        snapshot.digests(&mut |row| digests.extend(row.ok()))?;
        for (sha256, blob) in digests {
            self.check_cancelled()?;
            // Damaged content tells nothing of its digest, and is reported itself.
            let known =
                self.true_names.contains_key(&sha256) || self.subject.pool.is_damaged(&blob);
            if !known && self.is_other(&blob, &sha256) {
                self.true_names.insert(sha256, None);
                self.found(Finding::NameBlob { sha256, recorded: Some(blob), found: None });
            }
        }
        Ok(())
    }

    fn has_digest(&self, blob: &BlobHash, sha256: &Sha256) -> bool {
        self.digest(blob).is_some_and(|(own, digest)| own == *blob && digest == *sha256)
    }

    /// Whether a blob that is as it was stored has another digest.
    fn is_other(&self, blob: &BlobHash, sha256: &Sha256) -> bool {
        self.digest(blob).is_some_and(|(own, digest)| own == *blob && digest != *sha256)
    }

    /// Both digests of a blob's file; `None` where it cannot be read.
    fn digest(&self, blob: &BlobHash) -> Option<(BlobHash, Sha256)> {
        let file = File::open(self.subject.pool.path(blob)).ok()?;
        let mut hasher = Sha256Hasher::default();
        let mut look = |_, piece: &[u8]| {
            hasher.update(piece);
            ControlFlow::<()>::Continue(())
        };
        match hash_file(&file, u64::MAX, &mut look).ok()? {
            ControlFlow::Continue(own) => Some((own, hasher.finish())),
            ControlFlow::Break(()) => None,
        }
    }
}
