//! Stored content that a remote can give back, and how it becomes absent again.

use rusqlite::params;

use super::codec::{blob_hash, sha256};
use super::connection::{During, collect};
use super::{Reader, Tx};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::store::error::Result;

/// A stored content that has one name only, and that a remote has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReclaimableRow {
    /// The name: declared, or of the blob where a bucket has it and nobody stored it here but by fetching it.
    pub name: ContentName,
    /// The blob.
    pub blob: BlobHash,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last used, in seconds since 1970.
    pub last_used: i64,
}

/// Which of the contents that remotes can give back are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReclaimScope {
    /// All of them.
    All,
    /// Those that are kept as a cache only: each remote that has them has the policy `streamed` (L1).
    Cached,
}

/// Why a stored content that came from a remote is not to be reclaimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreclaimable {
    /// No remote is known to have it.
    NoSource,
    /// It has a declared name, and is named by its BLAKE3 as well.
    OtherName,
    /// A file of a staging area has it.
    Area,
    /// Its file is damaged; reading it has it fetched anew.
    Damaged,
}

/// Of all stored contents with declared names, and of those that a bucket has, with why one is not to be reclaimed: null
/// where it may be.
const STORED: &str = "SELECT 1 AS is_declared, content_names.sha256 AS name, blobs.hash AS hash,
        blobs.size AS size, blobs.interest AS interest,
        CASE
            WHEN NOT EXISTS (
                SELECT 1 FROM sources JOIN remotes ON remotes.name = sources.remote
                WHERE sources.sha256 = content_names.sha256 AND sources.size = blobs.size
            ) THEN 0
            WHEN blobs.refs > 1 THEN 1
            WHEN content_names.sha256 IN (SELECT data FROM nodes WHERE data_kind = 6) THEN 2
            WHEN blobs.state <> 0 THEN 3
        END AS reason
    FROM content_names JOIN blobs ON blobs.hash = content_names.blob
    UNION ALL SELECT 0, hash, hash, size, interest,
        CASE
            WHEN NOT EXISTS (
                SELECT 1 FROM bucket_places AS place JOIN bucket_objects ON id = object
                    JOIN remotes ON remotes.name = remote
                WHERE place.blob = hash AND place.size = blobs.size
            ) THEN 0
            WHEN EXISTS (
                SELECT 1 FROM digests JOIN content_names USING(sha256) WHERE digests.blob = hash
            ) THEN 1
            WHEN hash IN (SELECT data FROM nodes WHERE data_kind = 1) THEN 2
            WHEN state <> 0 THEN 3
        END
    FROM (SELECT DISTINCT blob FROM bucket_places) AS known JOIN blobs ON hash = known.blob
    WHERE state <> 2 AND refs > 0";

/// Of what may be reclaimed, that which is kept as a cache only.
const AS_CACHE: &str = "CASE is_declared WHEN 1 THEN NOT EXISTS (
        SELECT 1 FROM sources JOIN remotes ON remotes.name = sources.remote
        WHERE sources.sha256 = stored.name
            AND coalesce(json_extract(remotes.settings, '$.policy'), '') <> 'streamed'
    ) ELSE NOT EXISTS (
        SELECT 1 FROM bucket_places AS place JOIN bucket_objects ON id = object
            JOIN remotes ON remotes.name = remote
        WHERE place.blob = hash
            AND coalesce(json_extract(remotes.settings, '$.policy'), '') <> 'streamed'
    ) END";

impl Reader {
    /// Contents that may be reclaimed, the least recently used first, from the one after `after` on. The cost follows the
    /// number of all stored contents with declared names.
    ///
    /// # Errors
    /// The database's.
    pub fn reclaimable(
        &self,
        scope: ReclaimScope,
        after: Option<&ReclaimableRow>,
        limit: u32,
    ) -> Result<Vec<ReclaimableRow>> {
        let (last_used, hash) = match after {
            Some(row) => (row.last_used, row.blob.as_bytes().as_slice()),
            None => (i64::MIN, [].as_slice()),
        };
        let sql = format!(
            "SELECT * FROM ({STORED}) AS stored
             WHERE reason IS NULL AND {} AND (interest, hash) > (?1, ?2)
             ORDER BY interest, hash LIMIT ?3",
            match scope {
                ReclaimScope::All => "TRUE",
                ReclaimScope::Cached => AS_CACHE,
            }
        );
        let params = params![last_used, hash, limit];
        collect(&self.connection, "list what may be reclaimed", &sql, params, |row| {
            let blob = blob_hash(row, 2)?;
            let name = match row.get(0)? {
                true => sha256(row, 1)?.into(),
                false => blob.into(),
            };
            Ok(ReclaimableRow { name, blob, size: row.get(3)?, last_used: row.get(4)? })
        })
    }

    /// Bytes of the contents that are kept as a cache only. The cost follows the number of all stored contents with
    /// declared names.
    ///
    /// # Errors
    /// The database's.
    pub fn cached_bytes(&self) -> Result<u64> {
        let sql = format!(
            "SELECT coalesce(sum(size), 0) FROM ({STORED}) AS stored
             WHERE reason IS NULL AND {AS_CACHE}"
        );
        self.connection.query_row(&sql, [], |row| row.get(0)).during("sum up what is cached")
    }

    /// Whether any remote's content is kept as a cache only.
    ///
    /// # Errors
    /// The database's.
    pub fn any_streamed(&self) -> Result<bool> {
        let sql = "SELECT EXISTS (
            SELECT 1 FROM remotes WHERE json_extract(settings, '$.policy') = 'streamed'
        )";
        self.connection.query_row(sql, [], |row| row.get(0)).during("look for streamed remotes")
    }

    /// Number and bytes of stored contents with declared names: `None` of those that may be reclaimed.
    ///
    /// # Errors
    /// The database's.
    pub fn reclaimable_totals(&self) -> Result<Vec<(Option<Unreclaimable>, u64, u64)>> {
        let sql = format!("SELECT reason, count(*), sum(size) FROM ({STORED}) GROUP BY reason");
        collect(&self.connection, "sum up what may be reclaimed", &sql, [], |row| {
            let reason = match row.get::<_, Option<u8>>(0)? {
                None => None,
                Some(0) => Some(Unreclaimable::NoSource),
                Some(1) => Some(Unreclaimable::OtherName),
                Some(2) => Some(Unreclaimable::Area),
                Some(_) => Some(Unreclaimable::Damaged),
            };
            Ok((reason, row.get(1)?, row.get(2)?))
        })
    }
}

impl Tx<'_> {
    /// Makes a stored content absent: the blob's row is removed if the content has a declared name, and marked absent
    /// otherwise. The caller must remove the blob's file only after this transaction is on disk; the other way round, a
    /// crash would leave a row that promises a file. Returns `false` and changes nothing where something else needs the
    /// blob or no remote has it any more. An area may begin to use the content meanwhile; that is no harm, since its
    /// content may be absent as well (L13).
    ///
    /// # Errors
    /// The database's.
    pub fn make_absent(&self, content: &ReclaimableRow) -> Result<bool> {
        let ReclaimableRow { name, blob, size, .. } = content;
        let row = self.blob(blob)?;
        let sha256 = match name {
            ContentName::Sha256(sha256) => sha256,
            ContentName::Blake3(_) => {
                let digest = self.digest_of(blob)?;
                let named = digest.map(|digest| self.declared(&digest)).transpose()?.flatten();
                let is_alone =
                    named.is_none() && row.is_some_and(|row| row.is_stored() && row.size == *size);
                if !is_alone || !self.is_in_bucket(blob, *size)? {
                    return Ok(false);
                }
                return self.let_blob_go(blob).map(|()| true);
            }
        };
        let named = self.declared(sha256)?;
        let is_alone = named.is_some_and(|named| named.blob == Some(*blob))
            && row.is_some_and(|row| row.refs == 1 && !row.is_damaged() && row.size == *size);
        if !is_alone || !self.is_at_remote(sha256, *size)? {
            return Ok(false);
        }
        self.execute_one(
            "make content absent",
            "UPDATE content_names SET blob = NULL WHERE sha256 = ?1",
            [sha256.as_bytes()],
        )?;
        self.add_blob_refs(blob, -1)?;
        self.delete_blob(blob)?;
        Ok(true)
    }

    fn is_in_bucket(&self, blob: &BlobHash, size: u64) -> Result<bool> {
        self.transaction
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM bucket_places AS place
                     JOIN bucket_objects ON id = object JOIN remotes ON remotes.name = remote
                 WHERE place.blob = ?1 AND place.size = ?2)",
            )
            .and_then(|mut look| look.query_row(params![blob.as_bytes(), size], |row| row.get(0)))
            .during("look for a place")
    }

    fn is_at_remote(&self, digest: &Sha256, size: u64) -> Result<bool> {
        self.transaction
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM sources JOIN remotes ON remotes.name = sources.remote
                 WHERE sources.sha256 = ?1 AND sources.size = ?2)",
            )
            .and_then(|mut look| look.query_row(params![digest.as_bytes(), size], |row| row.get(0)))
            .during("look for a source")
    }

    /// Notes that a blob was used, where that is later than what is noted. One without a row is fine.
    ///
    /// # Errors
    /// The database's.
    pub fn note_use(&self, blob: &BlobHash, seconds: i64) -> Result<()> {
        self.execute(
            "note a use",
            "UPDATE blobs SET interest = ?2 WHERE hash = ?1 AND interest < ?2",
            params![blob.as_bytes(), seconds],
        )
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::store::catalog::SourceRow;
    use crate::store::testing::TestStore;

    /// A store with a content of each kind: its number is its size, and when it was used.
    fn store() -> TestStore {
        let mut store = TestStore::new();
        let remote = "origin".parse().unwrap();
        let tx = store.catalog.begin().unwrap();
        tx.put_remote(&remote, "{}").unwrap();
        for number in 1..=6_u8 {
            let at = Timestamp::new(i64::from(number), 0).unwrap();
            tx.insert_blob(&blob(number), number.into(), 0, 0, at).unwrap();
            tx.learn_digest(&digest(number), &blob(number)).unwrap();
            tx.add_content_refs(&digest(number).into(), 2).unwrap();
            let size = if number == 4 { 9 } else { number.into() };
            let source = SourceRow { remote: remote.clone(), locator: b"a"[..].into(), size };
            tx.put_source(&digest(number), &source).unwrap();
        }
        tx.add_content_refs(&ContentName::from(blob(5)), 1).unwrap();
        tx.set_blob_damaged(&blob(6), true).unwrap();
        tx.commit().unwrap();
        store
    }

    fn blob(number: u8) -> BlobHash {
        BlobHash::of(&[number])
    }

    fn digest(number: u8) -> Sha256 {
        Sha256::of(&[number])
    }

    fn numbers(store: &TestStore, after: Option<&ReclaimableRow>, limit: u32) -> Vec<u64> {
        let reader = store.catalog.reader().unwrap();
        let rows = reader.reclaimable(ReclaimScope::All, after, limit).unwrap();
        rows.iter().map(|row| row.size).collect()
    }

    #[test]
    fn l12_what_only_its_declared_name_holds_is_listed_by_last_use() {
        let mut store = store();
        assert_eq!(numbers(&store, None, 9), [1, 2, 3]);
        let reader = store.catalog.reader().unwrap();
        let first = reader.reclaimable(ReclaimScope::All, None, 1).unwrap();
        assert_eq!(numbers(&store, first.first(), 1), [2]);
        let mut totals = reader.reclaimable_totals().unwrap();
        totals.sort();
        assert_eq!(
            totals,
            [
                (None, 3, 6),
                (Some(Unreclaimable::NoSource), 1, 4),
                (Some(Unreclaimable::OtherName), 1, 5),
                (Some(Unreclaimable::Damaged), 1, 6),
            ]
        );
        let tx = store.catalog.begin().unwrap();
        tx.note_use(&blob(1), 7).unwrap();
        tx.note_use(&blob(3), 1).unwrap();
        tx.note_use(&blob(99), 1).unwrap();
        tx.commit().unwrap();
        assert_eq!(numbers(&store, None, 9), [2, 3, 1], "a use is never earlier than noted");
    }

    #[test]
    fn l12_content_becomes_absent_unless_something_else_needs_it() {
        let mut store = store();
        let reader = store.catalog.reader().unwrap();
        let totals = reader.totals().unwrap();
        let rows = reader.reclaimable(ReclaimScope::All, None, 9).unwrap();
        let tx = store.catalog.begin().unwrap();
        tx.add_content_refs(&ContentName::from(blob(2)), 1).unwrap();
        let made: Vec<bool> = rows.iter().map(|row| tx.make_absent(row).unwrap()).collect();
        assert_eq!(made, [true, false, true]);
        assert!(!tx.make_absent(&rows[0]).unwrap(), "it is absent already");
        tx.commit().unwrap();
        assert_eq!(reader.blob_of(&digest(1)).unwrap(), None);
        assert_eq!(reader.blob(&blob(1)).unwrap(), None);
        let named = reader.declared(&digest(1)).unwrap().unwrap();
        assert_eq!((named.refs, named.blob), (2, None));
        assert_eq!(reader.totals().unwrap().bytes, totals.bytes - 4);
        let tx = store.catalog.begin().unwrap();
        tx.delete_remote(&"origin".parse().unwrap()).unwrap();
        assert!(!tx.make_absent(&rows[1]).unwrap());
        tx.commit().unwrap();
        assert_eq!(numbers(&store, None, 9), [] as [u64; 0]);
    }

    /// Only content of the right length, at a remote that there still is, can be given back.
    #[test]
    fn l12_content_that_no_remote_can_give_back_stays() {
        let row = |number: u8, size| ReclaimableRow {
            name: digest(number).into(),
            blob: blob(number),
            size,
            last_used: number.into(),
        };
        let mut store = store();
        let tx = store.catalog.begin().unwrap();
        assert!(!tx.make_absent(&row(4, 4)).unwrap(), "its remote has another length");
        assert!(tx.make_absent(&row(1, 1)).unwrap());
        tx.delete_remote(&"origin".parse().unwrap()).unwrap();
        assert!(!tx.make_absent(&row(2, 2)).unwrap(), "there is no remote");
        let remote = "other".parse().unwrap();
        tx.put_remote(&remote, "{}").unwrap();
        assert!(!tx.make_absent(&row(2, 2)).unwrap(), "this one does not have it");
        let source = SourceRow { remote, locator: b"a"[..].into(), size: 2 };
        tx.put_source(&digest(3), &source).unwrap();
        assert!(!tx.make_absent(&row(2, 2)).unwrap(), "what it has is something else");
        tx.put_source(&digest(2), &source).unwrap();
        assert!(tx.make_absent(&row(2, 2)).unwrap());
        tx.commit().unwrap();
    }

    /// What somebody stored here by other means than a fetch has no place in a bucket any more, and stays.
    #[test]
    fn l12_what_a_bucket_has_is_reclaimed_unless_it_is_stored_here_as_well() {
        use crate::store::catalog::BucketPlace;
        let mut store = TestStore::new();
        let remote = "bucket".parse().unwrap();
        let tx = store.catalog.begin().unwrap();
        tx.put_remote(&remote, r#"{"policy":"streamed"}"#).unwrap();
        for number in 1..=4_u8 {
            let at = Timestamp::new(i64::from(number), 0).unwrap();
            tx.insert_blob(&blob(number), number.into(), 0, 1, at).unwrap();
            let (key, entry) = (b"pack"[..].into(), Some((0, 1)));
            let place = BucketPlace { blob: blob(number), key, object_bytes: 9, entry };
            tx.put_places(&remote, &[(place, number.into())]).unwrap();
        }
        tx.forget_places_of(&blob(2)).unwrap();
        tx.learn_digest(&digest(3), &blob(3)).unwrap();
        tx.add_content_refs(&digest(3).into(), 1).unwrap();
        tx.commit().unwrap();
        assert_eq!(numbers(&store, None, 9), [1, 4]);
        let reader = store.catalog.reader().unwrap();
        assert_eq!(reader.cached_bytes().unwrap(), 5);
        let rows = reader.reclaimable(ReclaimScope::Cached, None, 9).unwrap();
        let before = reader.totals().unwrap();
        let tx = store.catalog.begin().unwrap();
        assert!(tx.make_absent(&rows[0]).unwrap());
        assert!(!tx.make_absent(&rows[0]).unwrap(), "it is absent already");
        tx.commit().unwrap();
        let row = reader.blob(&blob(1)).unwrap().unwrap();
        assert!(row.is_absent() && row.refs == 1);
        assert_eq!(reader.totals().unwrap().bytes, before.bytes - 1);
        assert_eq!(numbers(&store, None, 9), [4]);
    }

    /// What a remote has whose content is kept when it was read is no cache, whoever has it beside that one.
    #[test]
    fn l1_a_cache_is_what_only_streamed_remotes_have() {
        let mut store = store();
        let (origin, mirror) = ("origin".parse().unwrap(), "mirror".parse().unwrap());
        let cached = |store: &TestStore| {
            let reader = store.catalog.reader().unwrap();
            let rows = reader.reclaimable(ReclaimScope::Cached, None, 9).unwrap();
            let sizes: Vec<_> = rows.iter().map(|row| row.size).collect();
            assert_eq!(reader.cached_bytes().unwrap(), sizes.iter().sum::<u64>());
            sizes
        };
        assert_eq!(cached(&store), [] as [u64; 0]);
        assert!(!store.catalog.reader().unwrap().any_streamed().unwrap());
        let tx = store.catalog.begin().unwrap();
        tx.put_remote(&origin, r#"{"policy":"streamed"}"#).unwrap();
        tx.put_remote(&mirror, r#"{"policy":"on_demand"}"#).unwrap();
        let source = SourceRow { remote: mirror.clone(), locator: b"a"[..].into(), size: 2 };
        tx.put_source(&digest(2), &source).unwrap();
        tx.commit().unwrap();
        assert_eq!(cached(&store), [1, 3]);
        assert!(store.catalog.reader().unwrap().any_streamed().unwrap());
        let tx = store.catalog.begin().unwrap();
        tx.delete_remote(&mirror).unwrap();
        tx.commit().unwrap();
        assert_eq!(cached(&store), [1, 2, 3]);
    }
}
