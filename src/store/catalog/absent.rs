//! What the store lacks and trees name: the rows of absent blobs, which a bucket has, and all absent contents together,
//! those with declared names among them.

use rusqlite::params;

use super::codec::{blob_hash, sha256};
use super::connection::{During, collect};
use super::totals::Sums;
use super::{Reader, Tx};
use crate::model::content_name::ContentName;
use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;
use crate::store::error::{Result, StoreError};

/// What the store lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AbsentTotals {
    /// Contents.
    pub contents: u64,
    /// Their bytes, as their sources say.
    pub bytes: u64,
}

/// The length of an absent content with a declared name: as its sources say, and none where no source is left.
const DECLARED_SIZE: &str =
    "ifnull((SELECT max(size) FROM sources WHERE sources.sha256 = content_names.sha256), 0)";

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

    /// How much is absent of what trees and areas name. The cost follows the number of absent contents.
    ///
    /// # Errors
    /// The database's.
    pub fn absent_totals(&self) -> Result<AbsentTotals> {
        let sum = |sql: &str| {
            self.connection
                .prepare_cached(sql)
                .and_then(|mut sum| sum.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
                .during("add up absent content")
        };
        let (declared, declared_bytes): (u64, u64) = sum(&format!(
            "SELECT count(*), ifnull(sum({DECLARED_SIZE}), 0) FROM content_names WHERE blob IS NULL"
        ))?;
        let (blobs, blobs_bytes): (u64, u64) =
            sum("SELECT count(*), ifnull(sum(size), 0) FROM blobs WHERE state = 2 AND refs > 0")?;
        Ok(AbsentTotals {
            contents: declared + blobs,
            bytes: declared_bytes.saturating_add(blobs_bytes),
        })
    }

    /// Absent contents that trees or areas name, with their lengths: at most `limit` of those that come behind `after`. Those
    /// with declared names come first.
    ///
    /// # Errors
    /// The database's.
    pub fn absent_contents_after(
        &self,
        after: Option<&ContentName>,
        limit: u32,
    ) -> Result<Vec<(ContentName, u64)>> {
        let action = "list absent content";
        let (declared, blobs): (Option<&[u8]>, &[u8]) = match after {
            None => (Some(&[]), &[]),
            Some(ContentName::Sha256(digest)) => (Some(digest.as_bytes()), &[]),
            Some(ContentName::Blake3(blob)) => (None, blob.as_bytes()),
        };
        let mut found = match declared {
            None => Vec::new(),
            Some(after) => {
                let sql = format!(
                    "SELECT sha256, {DECLARED_SIZE} FROM content_names
                     WHERE blob IS NULL AND sha256 > ?1 ORDER BY sha256 LIMIT ?2"
                );
                collect(&self.connection, action, &sql, params![after, limit], |row| {
                    Ok((ContentName::from(sha256(row, 0)?), row.get(1)?))
                })?
            }
        };
        let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        if left > 0 {
            let sql = "SELECT hash, size FROM blobs WHERE state = 2 AND refs > 0 AND hash > ?1
                       ORDER BY hash LIMIT ?2";
            found.extend(collect(&self.connection, action, sql, params![blobs, left], |row| {
                Ok((ContentName::from(blob_hash(row, 0)?), row.get(1)?))
            })?);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Sha256;
    use crate::store::catalog::SourceRow;
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

    /// L9: what nothing names any more, and what is stored, is not absent.
    #[test]
    fn absent_contents_are_counted_and_listed_in_pieces() {
        let mut store = TestStore::new();
        let now = Timestamp::default();
        let declared = [b"a", b"b", b"c"].map(|content| Sha256::of(content));
        let blobs = [b"1", b"2", b"3", b"4"].map(|content| BlobHash::of(content));
        let tx = store.catalog.begin().unwrap();
        for (number, digest) in declared.iter().enumerate() {
            let source = |remote: &str, size| SourceRow {
                remote: remote.parse().unwrap(),
                locator: b"at".as_slice().into(),
                size,
            };
            tx.put_source(digest, &source("one", 10 + number as u64)).unwrap();
            tx.put_source(digest, &source("other", 10 + number as u64)).unwrap();
            tx.add_name_refs(digest, 1).unwrap();
        }
        for blob in &blobs {
            tx.insert_absent_blob(blob, 100, now).unwrap();
            tx.add_blob_refs(blob, 1).unwrap();
        }
        tx.add_blob_refs(&blobs[0], -1).unwrap();
        tx.insert_blob(&blobs[1], 100, 1, 1, now).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        let totals = AbsentTotals { contents: 5, bytes: 10 + 11 + 12 + 200 };
        assert_eq!(reader.absent_totals().unwrap(), totals);
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let some = reader.absent_contents_after(after.as_ref(), 2).unwrap();
            assert!(some.len() <= 2);
            let Some((last, _)) = some.last() else { break };
            after = Some(*last);
            listed.extend(some);
        }
        assert_eq!(listed.iter().map(|(_, bytes)| bytes).sum::<u64>(), totals.bytes);
        let names: Vec<ContentName> = listed.iter().map(|(name, _)| *name).collect();
        let mut expected: Vec<ContentName> = declared.into_iter().map(Into::into).collect();
        expected.sort_unstable();
        let mut stored: Vec<ContentName> = [blobs[2], blobs[3]].map(Into::into).into();
        stored.sort_unstable();
        assert_eq!(names, [expected, stored].concat());
    }
}
