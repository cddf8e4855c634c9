//! Rows of absent blobs: what trees name, a bucket has, and the store lacks.

use rusqlite::params;

use super::codec::blob_hash;
use super::connection::{During, collect};
use super::totals::Sums;
use super::{Reader, Tx};
use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;
use crate::store::error::{Result, StoreError};

impl Tx<'_> {
    /// Notes a blob that the store does not have and a bucket has. One that has a row keeps its state, and counts as used
    /// now. Returns whether it is absent.
    ///
    /// # Errors
    /// The database's.
    pub fn insert_absent_blob(&self, hash: &BlobHash, size: u64, now: Timestamp) -> Result<bool> {
        self.transaction
            .prepare_cached(
                "INSERT INTO blobs(hash, size, refs, interest, epoch, state)
                 VALUES(?1, ?2, 0, ?3, 0, 2)
                 ON CONFLICT(hash) DO UPDATE SET interest = ?3 RETURNING state = 2",
            )
            .and_then(|mut insert| {
                insert.query_row(params![hash.as_bytes(), size, now.seconds], |row| row.get(0))
            })
            .during("note an absent blob")
    }

    /// Makes a stored blob absent. Its references stay; its file is the caller's to remove once this is on disk.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`]; the database's.
    pub fn let_blob_go(&self, hash: &BlobHash) -> Result<()> {
        let old = self.blob(hash)?.ok_or(StoreError::MissingBlob(*hash))?;
        self.execute_one(
            "make a blob absent",
            "UPDATE blobs SET state = 2, epoch = 0 WHERE hash = ?1",
            [hash.as_bytes()],
        )?;
        self.add_up(Sums::default().minus(old.sums()));
        Ok(())
    }
}

impl Reader {
    /// The blobs that are absent. The cost follows their number.
    ///
    /// # Errors
    /// The database's.
    pub fn absent_blobs(&self) -> Result<Vec<BlobHash>> {
        let sql = "SELECT hash FROM blobs WHERE state = 2";
        collect(&self.connection, "list absent blobs", sql, [], |row| blob_hash(row, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestStore;

    /// H33: an absent blob is counted as any other, is none of the sums, and becomes a stored one with its references.
    #[test]
    fn an_absent_blob_has_references_and_takes_no_space() {
        let mut store = TestStore::new();
        let (blob, now) = (BlobHash::of(b"x"), Timestamp::default());
        let reader = store.catalog.reader().unwrap();
        let before = reader.totals().unwrap();
        let tx = store.catalog.begin().unwrap();
        assert!(tx.insert_absent_blob(&blob, 1, now).unwrap());
        assert!(tx.insert_absent_blob(&blob, 1, now).unwrap(), "it still is");
        tx.add_blob_refs(&blob, 2).unwrap();
        tx.commit().unwrap();
        assert_eq!(reader.absent_blobs().unwrap(), [blob]);
        assert_eq!(reader.damaged_blobs().unwrap(), []);
        assert_eq!(reader.totals().unwrap(), before);
        let tx = store.catalog.begin().unwrap();
        tx.insert_blob(&blob, 1, 3, 1, now).unwrap();
        assert!(!tx.insert_absent_blob(&blob, 1, now).unwrap(), "it is stored");
        tx.commit().unwrap();
        let row = reader.blob(&blob).unwrap().unwrap();
        assert!(row.is_stored() && row.refs == 3);
        assert_eq!(reader.totals().unwrap().bytes, before.bytes + 1);
        let tx = store.catalog.begin().unwrap();
        tx.let_blob_go(&blob).unwrap();
        assert_eq!(tx.blobs_since_epoch(0, 9).unwrap(), [], "nothing of it need be on disk");
        tx.add_blob_refs(&blob, -3).unwrap();
        assert_eq!(tx.orphan_blobs(i64::MAX, None, 9).unwrap()[0].size, 0, "no space comes back");
        tx.delete_blob(&blob).unwrap();
        tx.commit().unwrap();
        assert_eq!(reader.totals().unwrap(), before);
    }
}
