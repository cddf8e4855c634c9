//! Rows of blobs: what is in the pool, who needs it, and whether its file can be trusted.

use std::iter::once;

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::blob_hash;
use super::connection::{During, changed_count, collect, still_referenced};
use super::totals::{Sums, take_blob};
use super::{BlobRow, BlobState, OrphanBlob, Presence, Reader, Tx};
use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;
use crate::store::error::{Result, StoreError};

fn get(connection: &Connection, hash: &BlobHash) -> Result<Option<BlobRow>> {
    let read = || {
        connection
            .prepare_cached("SELECT size, refs, interest, epoch, state FROM blobs WHERE hash = ?1")?
            .query_row([hash.as_bytes()], |row| {
                let state = match Presence::of(row.get(4)?) {
                    Presence::Stored => BlobState::Stored { epoch: row.get(3)? },
                    Presence::Damaged => BlobState::Damaged,
                    Presence::Absent => BlobState::Absent,
                };
                let (size, refs, last_used) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(BlobRow { size, refs, last_used, state })
            })
            .optional()
    };
    read().during("look at a blob")
}

impl Tx<'_> {
    /// A blob's row; `None` when there is none.
    ///
    /// # Errors
    /// The database's.
    pub fn blob(&self, hash: &BlobHash) -> Result<Option<BlobRow>> {
        get(&self.transaction, hash)
    }

    /// Adds a blob with `refs` references whose file has just been put into the pool. One that has
    /// a row keeps its references and gets these as well; its file is new and right.
    ///
    /// # Errors
    /// The database's.
    pub fn insert_blob(
        &self,
        hash: &BlobHash,
        size: u64,
        epoch: u64,
        refs: u32,
        now: Timestamp,
    ) -> Result<()> {
        let added = self.execute(
            "add a blob",
            "INSERT INTO blobs(hash, size, refs, interest, epoch, state)
             VALUES(?1, ?2, ?5, ?3, ?4, 0) ON CONFLICT(hash) DO NOTHING",
            params![hash.as_bytes(), size, now.seconds, epoch, refs],
        )?;
        let there = Sums::of_blob(size, Presence::Stored);
        if added > 0 {
            self.add_up(there);
            return Ok(());
        }
        let Some(old) = self.blob(hash)? else {
            return Err(StoreError::MissingBlob(*hash));
        };
        self.execute_one(
            "add a blob",
            "UPDATE blobs SET size = ?2, interest = ?3, epoch = ?4, state = 0, refs = refs + ?5
             WHERE hash = ?1",
            params![hash.as_bytes(), size, now.seconds, epoch, refs],
        )?;
        self.add_up(there.minus(old.sums()));
        Ok(())
    }

    /// Sets a blob's last-used time (G5) and adds `refs` references.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`]; the database's.
    pub fn touch_blob(&self, hash: &BlobHash, refs: u32, now: Timestamp) -> Result<()> {
        let changed = self.execute(
            "touch a blob",
            "UPDATE blobs SET interest = ?2, refs = refs + ?3 WHERE hash = ?1",
            params![hash.as_bytes(), now.seconds, refs],
        )?;
        found(changed, hash)
    }

    /// Adds to (or takes from) the references on a blob; returns the new number.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`]; a corrupt catalog when the number would become negative (it
    /// stays as it is); the database's.
    pub fn add_blob_refs(&self, hash: &BlobHash, delta: i64) -> Result<i64> {
        self.count_blob(hash, delta, i64::MIN)
    }

    /// Takes the reference of a tree from a blob. The blob's last use becomes at least `last_used`,
    /// that of the tree: whoever used the tree used what is in it (G5).
    ///
    /// # Errors
    /// As [`Tx::add_blob_refs`].
    pub fn release_blob(&self, hash: &BlobHash, last_used: i64) -> Result<i64> {
        self.count_blob(hash, -1, last_used)
    }

    fn count_blob(&self, hash: &BlobHash, delta: i64, last_used: i64) -> Result<i64> {
        let Some(row) = self.blob(hash)? else {
            return Err(StoreError::MissingBlob(*hash));
        };
        let refs = changed_count("count a blob", hash, row.refs, delta)?;
        if refs == 0 {
            self.unreferences.set(self.unreferences.get() + 1);
        }
        self.execute_one(
            "count a blob",
            "UPDATE blobs SET refs = ?2, interest = max(interest, ?3) WHERE hash = ?1",
            params![hash.as_bytes(), refs, last_used],
        )?;
        Ok(refs)
    }

    /// Removes the row of a blob without references; a missing one is fine. Its file is the
    /// caller's to remove, in the same slice of work (G3).
    ///
    /// # Errors
    /// When it is referenced; the database's.
    pub fn delete_blob(&self, hash: &BlobHash) -> Result<()> {
        let taken = take_blob(&self.transaction, hash.as_bytes()).during("remove a blob")?;
        if let Some(change) = taken {
            self.loosen_locations();
            self.add_up(change);
            return Ok(());
        }
        match self.blob(hash)? {
            Some(row) => Err(still_referenced("remove a blob", hash, row.refs)),
            None => Ok(()),
        }
    }

    /// A blob's file was made anew, of that many bytes, in that sync epoch (H3): whatever was wrong with its row is over.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`]; the database's.
    pub fn renew_blob(&self, hash: &BlobHash, size: u64, epoch: u64) -> Result<()> {
        let Some(old) = self.blob(hash)? else {
            return Err(StoreError::MissingBlob(*hash));
        };
        self.execute_one(
            "change a blob",
            "UPDATE blobs SET size = ?2, epoch = ?3, state = 0 WHERE hash = ?1",
            params![hash.as_bytes(), size, epoch],
        )?;
        self.add_up(Sums::of_blob(size, Presence::Stored).minus(old.sums()));
        Ok(())
    }

    /// Sets whether a blob's file is known to be altered (H5). One that is found to be right after all
    /// is of the epoch that it was of. The caller knows that the blob is not absent.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`]; the database's.
    pub fn set_blob_damaged(&self, hash: &BlobHash, damaged: bool) -> Result<()> {
        let Some(old) = self.blob(hash)? else {
            return Err(StoreError::MissingBlob(*hash));
        };
        self.execute_one(
            "change a blob",
            "UPDATE blobs SET state = ?2 WHERE hash = ?1",
            params![hash.as_bytes(), damaged],
        )?;
        let presence = if damaged { Presence::Damaged } else { Presence::Stored };
        self.add_up(Sums::of_blob(old.size, presence).minus(old.sums()));
        Ok(())
    }

    /// Blobs without references last used in or before that second, oldest first, from
    /// the one after `after` on. The cost depends on `limit` alone (G12).
    ///
    /// # Errors
    /// The database's.
    pub fn orphan_blobs(
        &self,
        last_used_max: i64,
        after: Option<(i64, BlobHash)>,
        limit: u32,
    ) -> Result<Vec<OrphanBlob>> {
        orphan_blobs(&self.transaction, last_used_max, after, limit)
    }

    /// Sets the last use of unreferenced blobs to `seconds` where it is later than that, for at most
    /// `limit` blobs. Returns how many were changed.
    ///
    /// # Errors
    /// The database's.
    pub fn date_orphans_back(&self, seconds: i64, limit: u32) -> Result<usize> {
        self.execute(
            "date orphaned blobs",
            "UPDATE blobs SET interest = ?1 WHERE hash IN
                 (SELECT hash FROM blobs WHERE refs = 0 AND interest > ?1 LIMIT ?2)",
            params![seconds, limit],
        )
    }

    /// Blobs written after `epoch` ended, with their sizes, oldest first: with the last durable
    /// epoch, those that may not be on disk. Blobs that are known to be damaged are left out: they
    /// will not become durable.
    ///
    /// # Errors
    /// The database's.
    pub fn blobs_since_epoch(&self, epoch: u64, limit: u32) -> Result<Vec<(BlobHash, u64)>> {
        collect(
            &self.transaction,
            "list recent blobs",
            // `epoch > 0` is what makes the partial index usable.
            "SELECT hash, size FROM blobs
             WHERE epoch > 0 AND epoch > ?1 AND state = 0 ORDER BY epoch LIMIT ?2",
            params![epoch, limit],
            |row| Ok((blob_hash(row, 0)?, row.get(1)?)),
        )
    }

    /// Forgets the epoch of at most `limit` blobs written in `epoch` or before, which are on disk:
    /// they leave the index of recent blobs. Returns how many there were. Optional upkeep.
    ///
    /// # Errors
    /// The database's.
    pub fn settle_blob_epochs(&self, epoch: u64, limit: u32) -> Result<u64> {
        let settled = self.execute(
            "settle blobs",
            "UPDATE blobs SET epoch = 0 WHERE hash IN (
                 SELECT hash FROM blobs WHERE epoch > 0 AND epoch <= ?1 ORDER BY epoch LIMIT ?2)",
            params![epoch, limit],
        )?;
        Ok(settled as u64)
    }
}

impl BlobRow {
    /// What it is in the sums over the store.
    pub(super) fn sums(&self) -> Sums {
        let presence = match self.state {
            BlobState::Stored { .. } => Presence::Stored,
            BlobState::Damaged => Presence::Damaged,
            BlobState::Absent => Presence::Absent,
        };
        Sums::of_blob(self.size, presence)
    }
}

fn found(changed: usize, hash: &BlobHash) -> Result<()> {
    if changed == 0 { Err(StoreError::MissingBlob(*hash)) } else { Ok(()) }
}

/// Blobs without references last used in or before a second, by last use and hash, from the one after
/// `after` on.
pub(super) fn orphan_blobs(
    connection: &Connection,
    last_used_max: i64,
    after: Option<(i64, BlobHash)>,
    limit: u32,
) -> Result<Vec<OrphanBlob>> {
    let (last_used, hash) = after.unzip();
    let hash = hash.as_ref().map_or([].as_slice(), |hash| hash.as_bytes());
    collect(
        connection,
        "list orphaned blobs",
        "SELECT hash, iif(state = 2, 0, size), interest FROM blobs
         WHERE refs = 0 AND interest <= ?1 AND (interest, hash) > (?2, ?3)
         ORDER BY interest, hash LIMIT ?4",
        params![last_used_max, last_used.unwrap_or(i64::MIN), hash, limit],
        |row| {
            let hash = blob_hash(row, 0)?;
            Ok(OrphanBlob { hash, size: row.get(1)?, last_used: row.get(2)? })
        },
    )
}

impl Reader {
    /// The blobs that are marked damaged. The cost follows their number.
    ///
    /// # Errors
    /// The database's.
    pub fn damaged_blobs(&self) -> Result<Vec<BlobHash>> {
        let sql = "SELECT hash FROM blobs WHERE state = 1";
        collect(&self.connection, "list damaged blobs", sql, [], |row| blob_hash(row, 0))
    }

    /// The earliest last use after that second among the blobs without references.
    ///
    /// # Errors
    /// The database's.
    pub fn oldest_orphan_after(&self, seconds: i64) -> Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT min(interest) FROM blobs WHERE refs = 0 AND interest > ?1")
            .and_then(|mut statement| statement.query_row([seconds], |row| row.get(0)))
            .during("look for orphaned blobs")
    }

    /// Number and bytes of the blobs without references last used in or before that
    /// second. The cost follows their number.
    ///
    /// # Errors
    /// The database's.
    pub fn orphan_totals(&self, last_used_max: i64) -> Result<(u64, u64)> {
        self.connection
            .prepare_cached(
                "SELECT count(*), coalesce(sum(size), 0) FROM blobs
                 WHERE refs = 0 AND interest <= ?1 AND state <> 2",
            )
            .and_then(|mut statement| {
                statement.query_row([last_used_max], |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .during("sum orphaned blobs up")
    }

    /// A blob's row; `None` when there is none.
    ///
    /// # Errors
    /// The database's.
    pub fn blob(&self, hash: &BlobHash) -> Result<Option<BlobRow>> {
        get(&self.connection, hash)
    }

    /// The rows of some blobs, in their order, all as of one commit. One look costs a lock of the
    /// catalog whether it is for one row or for many.
    ///
    /// # Errors
    /// The database's.
    pub fn blobs(
        &self,
        hashes: impl IntoIterator<Item = BlobHash>,
    ) -> Result<Vec<Option<BlobRow>>> {
        let mut hashes = hashes.into_iter().peekable();
        let Some(first) = hashes.next() else { return Ok(Vec::new()) };
        if hashes.peek().is_none() {
            // A statement sees one commit by itself.
            return Ok(vec![get(&self.connection, &first)?]);
        }
        self.run("begin to look at blobs", "BEGIN")?;
        let rows = once(first).chain(hashes).map(|hash| get(&self.connection, &hash)).collect();
        self.run("end to look at blobs", "COMMIT")?;
        rows
    }

    /// Runs a statement that is kept compiled.
    fn run(&self, action: &'static str, sql: &str) -> Result<()> {
        let run = || self.connection.prepare_cached(sql)?.execute([]);
        run().map(drop).during(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::catalog::Totals;
    use crate::store::error::CatalogErrorKind;
    use crate::store::testing::TestStore;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0).unwrap()
    }

    fn hash(number: u8) -> BlobHash {
        BlobHash::of(&[number])
    }

    #[test]
    fn rows_round_trip() {
        let mut store = TestStore::new();
        let reader = store.catalog.reader().unwrap();
        let tx = store.catalog.begin().unwrap();
        let size = i64::MAX.unsigned_abs();
        tx.insert_blob(&hash(1), size, 5, 0, at(-7)).unwrap();
        let row = BlobRow { size, refs: 0, last_used: -7, state: BlobState::Stored { epoch: 5 } };
        assert_eq!(tx.blob(&hash(1)).unwrap(), Some(row));
        tx.touch_blob(&hash(1), 1, at(8)).unwrap();
        tx.renew_blob(&hash(1), size, 6).unwrap();
        tx.set_blob_damaged(&hash(1), true).unwrap();
        assert_eq!(tx.add_blob_refs(&hash(1), 1).unwrap(), 2);
        tx.commit().unwrap();
        assert_eq!(reader.damaged_blobs().unwrap(), [hash(1)]);
        let row = BlobRow { size, refs: 2, last_used: 8, state: BlobState::Damaged };
        assert_eq!(reader.blob(&hash(1)).unwrap(), Some(row));
        assert_eq!(
            reader.totals().unwrap(),
            Totals { blobs: 1, bytes: size, damaged: 1, trees: 0 }
        );
        let tx = store.catalog.begin().unwrap();
        tx.insert_blob(&hash(1), 4, 7, 1, at(9)).unwrap();
        let healed =
            BlobRow { size: 4, refs: 3, last_used: 9, state: BlobState::Stored { epoch: 7 } };
        assert_eq!(tx.blob(&hash(1)).unwrap(), Some(healed));
    }

    #[test]
    fn a_lost_last_reference_is_counted() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        tx.insert_blob(&hash(1), 4, 1, 2, at(1)).unwrap();
        tx.add_blob_refs(&hash(1), -1).unwrap();
        tx.commit().unwrap();
        assert_eq!(store.catalog.unreferences(), 0);
        let tx = store.catalog.begin().unwrap();
        tx.add_blob_refs(&hash(1), -1).unwrap();
        tx.commit().unwrap();
        assert_eq!(store.catalog.unreferences(), 1);
    }

    #[test]
    fn missing_blobs_are_named() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        let missing = |result: Result<()>| matches!(result, Err(StoreError::MissingBlob(_)));
        assert!(missing(tx.touch_blob(&hash(1), 0, at(0))));
        assert!(missing(tx.renew_blob(&hash(1), 1, 1)));
        assert!(missing(tx.set_blob_damaged(&hash(1), true)));
        assert!(missing(tx.add_blob_refs(&hash(1), 1).map(drop)));
        tx.delete_blob(&hash(1)).unwrap();
        assert!(tx.insert_blob(&hash(1), u64::MAX, 0, 0, at(0)).is_err(), "no file is that large");
    }

    #[test]
    fn counts_never_become_negative_and_protect_the_row() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        tx.insert_blob(&hash(1), 1, 1, 0, at(0)).unwrap();
        tx.add_blob_refs(&hash(1), 1).unwrap();
        for refused in [tx.add_blob_refs(&hash(1), -2).map(drop), tx.delete_blob(&hash(1))] {
            let error = refused.unwrap_err();
            assert!(
                matches!(error, StoreError::Catalog { kind: CatalogErrorKind::Corrupt, .. }),
                "{error}"
            );
        }
        assert_eq!(tx.blob(&hash(1)).unwrap().unwrap().refs, 1);
        assert_eq!(tx.add_blob_refs(&hash(1), -1).unwrap(), 0);
        tx.delete_blob(&hash(1)).unwrap();
        assert_eq!(tx.blob(&hash(1)).unwrap(), None);
    }

    #[test]
    fn orphans_are_old_and_unreferenced() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        for (number, seconds) in [(0, 30), (1, 10), (2, 20), (3, 15)] {
            tx.insert_blob(&hash(number), u64::from(number), 1, 0, at(seconds)).unwrap();
        }
        tx.add_blob_refs(&hash(3), 1).unwrap();
        let orphans = |limit, after: Option<u8>| -> Vec<u64> {
            let after = after.map(|number| (i64::from(number) * 10, hash(number)));
            let found = tx.orphan_blobs(limit, after, 9).unwrap();
            found.into_iter().map(|orphan| orphan.size).collect()
        };
        assert_eq!(orphans(20, None), [1, 2]);
        assert_eq!(orphans(20, Some(1)), [2]);
        assert!(orphans(20, Some(2)).is_empty());
        assert_eq!(orphans(99, Some(2)), [0]);
        assert_eq!(tx.orphan_blobs(20, None, 1).unwrap().len(), 1);
        tx.touch_blob(&hash(1), 0, at(21)).unwrap();
        assert_eq!(orphans(20, None), [2]);
        tx.add_blob_refs(&hash(3), -1).unwrap();
        assert_eq!(orphans(20, None), [3, 2]);
        tx.add_blob_refs(&hash(2), 1).unwrap();
        assert_eq!(tx.date_orphans_back(29, 9).unwrap(), 1);
        assert_eq!(tx.date_orphans_back(29, 9).unwrap(), 0);
        assert_eq!(tx.date_orphans_back(10, 1).unwrap(), 1);
        tx.touch_blob(&hash(0), 0, at(30)).unwrap();
        tx.touch_blob(&hash(1), 0, at(21)).unwrap();
        tx.touch_blob(&hash(3), 0, at(15)).unwrap();
        tx.add_blob_refs(&hash(2), -1).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        assert_eq!(reader.oldest_orphan_after(14).unwrap(), Some(15));
        assert_eq!(reader.oldest_orphan_after(15).unwrap(), Some(20));
        assert_eq!(reader.oldest_orphan_after(30).unwrap(), None);
        assert_eq!(reader.orphan_totals(20).unwrap(), (2, 5));
        assert_eq!(reader.orphan_totals(i64::MAX).unwrap(), (4, 6));
    }

    #[test]
    fn recent_blobs_are_found_by_epoch() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        for epoch in 1..=5_u8 {
            tx.insert_blob(&hash(epoch), u64::from(epoch), u64::from(epoch), 0, at(0)).unwrap();
        }
        assert_eq!(tx.blobs_since_epoch(3, 9).unwrap(), [(hash(4), 4), (hash(5), 5)]);
        assert_eq!(tx.blobs_since_epoch(0, 1).unwrap(), [(hash(1), 1)]);
        assert_eq!(tx.settle_blob_epochs(3, 2).unwrap(), 2);
        assert_eq!(tx.settle_blob_epochs(3, 2).unwrap(), 1);
        assert_eq!(tx.settle_blob_epochs(3, 2).unwrap(), 0);
        let left: Vec<u64> =
            tx.blobs_since_epoch(0, 9).unwrap().into_iter().map(|(_, size)| size).collect();
        assert_eq!(left, [4, 5]);
    }
}
