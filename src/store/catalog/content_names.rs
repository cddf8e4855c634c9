//! Counts of the names that remotes declared, and the blobs that they stand for.
//!
//! A reference counts under the name as the tree or the area has it: under the blob, or here. The row of a name
//! whose content is stored holds one reference on the blob. It is there as long as somebody has the name.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{blob_hash, sha256};
use super::connection::{During, changed_count, collect};
use super::snapshot::{BadRow, Scan, Snapshot};
use super::{Reader, Tx};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::store::error::Result;

/// A declared name that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclaredRow {
    /// The declared digest.
    pub sha256: Sha256,
    /// Number of tree entries and staging nodes that have it; at least 1.
    pub refs: i64,
    /// Its content, which it holds; `None` when that is not stored.
    pub blob: Option<BlobHash>,
}

/// What a change of names takes from a blob or gives to it.
type Held = Option<(BlobHash, i64)>;

impl Tx<'_> {
    /// Adds to (or takes from) the references on a declared name. Returns what that changes of the references on
    /// a blob, which is the caller's to count: the first reference holds the content, the last lets it go.
    ///
    /// # Errors
    /// A corrupt catalog when the number would become negative; the database's.
    pub fn add_name_refs(&self, digest: &Sha256, delta: i64) -> Result<Held> {
        let found = self.declared(digest)?;
        let refs = changed_count("count a name", digest, found.map_or(0, |row| row.refs), delta)?;
        let Some(row) = found else {
            if refs == 0 {
                return Ok(None);
            }
            let blob = self.blob_of(digest)?;
            self.put_declared(&DeclaredRow { sha256: *digest, refs, blob })?;
            return Ok(blob.map(|blob| (blob, 1)));
        };
        if refs > 0 {
            self.put_declared(&DeclaredRow { refs, ..row })?;
            return Ok(None);
        }
        self.delete_declared(digest)?;
        Ok(row.blob.map(|blob| (blob, -1)))
    }

    /// Adds to (or takes from) the references on a content, whichever name it has.
    ///
    /// # Errors
    /// As [`Tx::add_blob_refs`] and [`Tx::add_name_refs`].
    pub fn add_content_refs(&self, name: &ContentName, delta: i64) -> Result<()> {
        let change = match name {
            ContentName::Blake3(blob) => Some((*blob, delta)),
            ContentName::Sha256(digest) => self.add_name_refs(digest, delta)?,
        };
        change.map_or(Ok(()), |(blob, delta)| self.add_blob_refs(&blob, delta).map(drop))
    }

    /// Takes the reference of a tree from a content; see [`Tx::release_blob`].
    ///
    /// # Errors
    /// As [`Tx::add_content_refs`].
    pub fn release_content(&self, name: &ContentName, last_used: i64) -> Result<()> {
        match name {
            ContentName::Blake3(blob) => self.release_blob(blob, last_used).map(drop),
            ContentName::Sha256(digest) => match self.add_name_refs(digest, -1)? {
                Some((blob, _)) => self.release_blob(&blob, last_used).map(drop),
                None => Ok(()),
            },
        }
    }

    /// Notes which blob a digest has. Returns whether a name that is in use holds the blob from now on, which is
    /// the caller's to count.
    ///
    /// # Errors
    /// The database's.
    pub fn learn_digest(&self, digest: &Sha256, blob: &BlobHash) -> Result<bool> {
        self.put_digest(digest, blob)?;
        let learnt = self.execute(
            "learn what a name stands for",
            "UPDATE content_names SET blob = ?2 WHERE sha256 = ?1 AND blob IS NULL",
            params![digest.as_bytes(), blob.as_bytes()],
        )?;
        Ok(learnt > 0)
    }

    /// The row of a name; `None` while nobody has it.
    ///
    /// # Errors
    /// The database's.
    pub fn declared(&self, digest: &Sha256) -> Result<Option<DeclaredRow>> {
        declared(&self.transaction, digest)
    }

    /// Says which blob has a digest, and that its name, if it is in use, stands for that; `None` for no blob at all.
    /// References on blobs stay as they are counted.
    ///
    /// # Errors
    /// The database's.
    pub fn correct_name(&self, digest: &Sha256, blob: Option<&BlobHash>) -> Result<()> {
        match blob {
            Some(blob) => self.put_digest(digest, blob)?,
            None => {
                self.loosen_locations();
                let sql = "DELETE FROM digests WHERE sha256 = ?1";
                self.execute("forget a digest", sql, [digest.as_bytes()])?;
            }
        }
        self.execute(
            "correct a name",
            "UPDATE content_names SET blob = ?2 WHERE sha256 = ?1",
            params![digest.as_bytes(), blob.map(BlobHash::as_bytes)],
        )?;
        Ok(())
    }

    /// Writes the row of a name, for [`Tx::add_name_refs`] and for repairs. What it holds is the caller's to count.
    ///
    /// # Errors
    /// The database's.
    pub fn put_declared(&self, row: &DeclaredRow) -> Result<()> {
        let blob = row.blob.as_ref().map(|blob| blob.as_bytes());
        self.execute_one(
            "write a name",
            "INSERT OR REPLACE INTO content_names(sha256, refs, blob) VALUES(?1, ?2, ?3)",
            params![row.sha256.as_bytes(), row.refs, blob],
        )
    }

    /// Removes the row of a name; a missing one is fine. What it held is the caller's to count.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_declared(&self, digest: &Sha256) -> Result<()> {
        self.loosen_locations();
        let sql = "DELETE FROM content_names WHERE sha256 = ?1";
        self.execute("remove a name", sql, [digest.as_bytes()]).map(drop)
    }
}

impl Reader {
    /// Whether any tree or area has a declared name.
    ///
    /// # Errors
    /// The database's.
    pub fn any_declared(&self) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM content_names)")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look for declared names")
    }

    /// As [`Tx::declared`].
    ///
    /// # Errors
    /// The database's.
    pub fn declared(&self, digest: &Sha256) -> Result<Option<DeclaredRow>> {
        declared(&self.connection, digest)
    }
}

fn declared(connection: &Connection, digest: &Sha256) -> Result<Option<DeclaredRow>> {
    let read = || {
        connection
            .prepare_cached("SELECT sha256, refs, blob FROM content_names WHERE sha256 = ?1")?
            .query_row([digest.as_bytes()], from_row)
            .optional()
    };
    read().during("look at a name")
}

/// A digest, and the blob that its name and that the digests say it has.
type Disputed = (Sha256, Option<BlobHash>, Option<BlobHash>);

impl Snapshot {
    /// Names in use that stand for another blob than the one that has their digest, or for none.
    ///
    /// # Errors
    /// The database's.
    pub fn disputed_names(&self) -> Result<Vec<Disputed>> {
        let sql = "SELECT content_names.sha256, content_names.blob, digests.blob
                   FROM content_names LEFT JOIN digests USING(sha256)
                   WHERE content_names.blob IS NOT digests.blob ORDER BY content_names.sha256";
        collect(&self.connection, "compare names and digests", sql, [], |row| {
            Ok((sha256(row, 0)?, optional_blob(row, 1)?, optional_blob(row, 2)?))
        })
    }

    /// Visits the digests that are noted.
    ///
    /// # Errors
    /// The database's.
    pub fn digests(
        &self,
        each: &mut dyn FnMut(std::result::Result<(Sha256, BlobHash), BadRow>),
    ) -> Result<()> {
        let sql = "SELECT sha256, blob FROM digests ORDER BY sha256";
        let from_row = |row: &Row<'_>| Ok((sha256(row, 0)?, blob_hash(row, 1)?));
        self.scan(Scan { table: "digests", sql, keys: &[0] }, [], from_row, each)
    }

    /// Visits the names that are in use.
    ///
    /// # Errors
    /// The database's.
    pub fn content_names(
        &self,
        each: &mut dyn FnMut(std::result::Result<DeclaredRow, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT sha256, refs, blob FROM content_names ORDER BY sha256";
        self.scan(Scan { table: "content_names", sql, keys: &[0] }, [], from_row, each)
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<DeclaredRow> {
    Ok(DeclaredRow { sha256: sha256(row, 0)?, refs: row.get(1)?, blob: optional_blob(row, 2)? })
}

fn optional_blob(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<BlobHash>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => blob_hash(row, column).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::store::testing::TestStore;

    fn refs(store: &TestStore, blob: &BlobHash) -> i64 {
        store.catalog.reader().unwrap().blob(blob).unwrap().unwrap().refs
    }

    /// H41: references are counted for each name of a content. However many a declared name has, it adds one to the blob.
    #[test]
    fn a_declared_name_holds_its_blob_once() {
        let mut store = TestStore::new();
        let (digest, blob) = (Sha256::of(b"x"), BlobHash::of(b"x"));
        let (declared, own) = (ContentName::from(digest), ContentName::from(blob));
        let tx = store.catalog.begin().unwrap();
        tx.insert_blob(&blob, 1, 0, 0, Timestamp::now()).unwrap();
        assert!(!tx.learn_digest(&digest, &blob).unwrap(), "nobody has the name yet");
        tx.add_content_refs(&own, 1).unwrap();
        tx.add_content_refs(&declared, 2).unwrap();
        tx.add_content_refs(&declared, 1).unwrap();
        assert_eq!(
            tx.declared(&digest).unwrap(),
            Some(DeclaredRow { sha256: digest, refs: 3, blob: Some(blob) })
        );
        tx.commit().unwrap();
        assert_eq!(refs(&store, &blob), 2);
        let tx = store.catalog.begin().unwrap();
        tx.release_content(&own, 0).unwrap();
        tx.add_content_refs(&declared, -2).unwrap();
        tx.commit().unwrap();
        assert_eq!(refs(&store, &blob), 1);
        let tx = store.catalog.begin().unwrap();
        tx.release_content(&declared, 9).unwrap();
        assert_eq!(tx.declared(&digest).unwrap(), None);
        tx.add_content_refs(&declared, -1).unwrap_err();
        tx.commit().unwrap();
        assert_eq!(refs(&store, &blob), 0);
    }

    #[test]
    fn a_name_learns_what_it_stands_for_later() {
        let mut store = TestStore::new();
        let (digest, blob) = (Sha256::of(b"x"), BlobHash::of(b"x"));
        let tx = store.catalog.begin().unwrap();
        assert_eq!(tx.add_name_refs(&digest, 2).unwrap(), None);
        assert!(tx.learn_digest(&digest, &blob).unwrap());
        assert!(!tx.learn_digest(&digest, &blob).unwrap(), "it is known already");
        assert_eq!(tx.add_name_refs(&digest, -2).unwrap(), Some((blob, -1)));
        assert_eq!(tx.add_name_refs(&digest, 0).unwrap(), None);
    }
}
