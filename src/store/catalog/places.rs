//! Where content can be had: at a path of a remote, or in an object of a bucket.
//!
//! Of blobs the places in buckets have tables of their own, since there are many. Of content with a declared name the place is
//! in the locator of its source, which no path can be taken for:
//!
//! ```text
//! 0  1  zero           53  8  length of the object
//! 1 32  BLAKE3         61  8  offset, or all bits set where the object is the content, as it is
//! 33 8  length of key  69  8  stored length; zero likewise
//! 41 .. key            (the integers are little-endian, and come after the key)
//! ```
//!
//! What a bucket said of a place may not be so any more, or never have been (H51): who reads there compares the bytes with
//! the name. This room must not know what a key means.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{blob_hash, sha256, text};
use super::connection::{During, collect};
use super::{Reader, Snapshot, SourceRow, Tx};
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, HASH_BYTES};
use crate::model::name::RemoteName;
use crate::store::error::Result;

/// Where a bucket has a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPlace {
    /// The blob that is there.
    pub blob: BlobHash,
    /// Key of the object.
    pub key: Box<[u8]>,
    /// Length of the object in bytes.
    pub object_bytes: u64,
    /// Offset and stored length in it, in bytes; `None` where the object begins with the content, as it is.
    pub entry: Option<(u64, u64)>,
}

/// Where a remote has a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceAt {
    /// At a path.
    Path(Box<[u8]>),
    /// In an object of a bucket.
    Bucket(BucketPlace),
}

/// A remote that has a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The remote.
    pub remote: RemoteName,
    /// Where it has it.
    pub at: SourceAt,
    /// Length of the content in bytes.
    pub size: u64,
}

/// What is known of the blobs whose places are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacesOf {
    /// They have just been fetched from there.
    Fetched,
    /// The store lacks them, and they are to be absent ones that trees may name. The caller has pinned them.
    Absent,
    /// The store has them. Of what has no place in any bucket none is noted: somebody stored it here and relies on this
    /// store.
    Held,
}

impl BucketPlace {
    /// The locator of a source that has a declared content there.
    pub fn to_locator(&self) -> Box<[u8]> {
        let (at, stored) = self.entry.unwrap_or((u64::MAX, 0));
        let mut bytes = vec![0];
        bytes.extend_from_slice(self.blob.as_bytes());
        bytes.extend_from_slice(&(self.key.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.key);
        for number in [self.object_bytes, at, stored] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.into()
    }

    fn from_locator(locator: &[u8]) -> Option<Self> {
        let (blob, rest) = locator.strip_prefix(&[0])?.split_at_checked(HASH_BYTES)?;
        let (length, rest) = number(rest)?;
        let (key, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let (object_bytes, rest) = number(rest)?;
        let (at, rest) = number(rest)?;
        let (stored, rest) = number(rest)?;
        let entry = (at != u64::MAX).then_some((at, stored));
        let blob = BlobHash::from_slice(blob)?;
        rest.is_empty().then(|| Self { blob, key: key.into(), object_bytes, entry })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*first), rest))
}

impl From<SourceRow> for Source {
    fn from(row: SourceRow) -> Self {
        let SourceRow { remote, locator, size } = row;
        let at = match BucketPlace::from_locator(&locator) {
            Some(place) => SourceAt::Bucket(place),
            None => SourceAt::Path(locator),
        };
        Self { remote, at, size }
    }
}

impl Tx<'_> {
    /// Notes where a bucket has blobs, with their lengths, in place of what was noted of the same blobs and that bucket.
    ///
    /// # Errors
    /// The database's.
    pub fn put_places(&self, remote: &RemoteName, places: &[(BucketPlace, u64)]) -> Result<()> {
        self.loosen_locations();
        // Neighbours are in one object, as a rule.
        let mut last: Option<(&[u8], i64)> = None;
        for (place, size) in places {
            let object = match last {
                Some((key, object)) if *key == *place.key => object,
                _ => self.bucket_object(remote, place)?,
            };
            last = Some((&place.key, object));
            self.execute(
                "note a place",
                "DELETE FROM bucket_places WHERE blob = ?1 AND object <> ?2
                     AND object IN (SELECT id FROM bucket_objects WHERE remote = ?3)",
                params![place.blob.as_bytes(), object, remote.as_str()],
            )?;
            let (at, stored) = place.entry.unzip();
            self.execute(
                "note a place",
                "INSERT OR REPLACE INTO bucket_places(blob, object, at, stored, size)
                 VALUES(?1, ?2, ?3, ?4, ?5)",
                params![place.blob.as_bytes(), object, at, stored, size],
            )?;
        }
        Ok(())
    }

    /// Notes where a bucket has blobs as well that are in one already ([`PlacesOf::Held`]).
    ///
    /// # Errors
    /// The database's.
    pub fn add_places(&self, remote: &RemoteName, places: &[(BucketPlace, u64)]) -> Result<()> {
        let mut known = Vec::with_capacity(places.len());
        for place in places {
            let has_place: bool = self
                .transaction
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM bucket_places WHERE blob = ?1)")
                .and_then(|mut look| look.query_row([place.0.blob.as_bytes()], |row| row.get(0)))
                .during("look for a place")?;
            known.extend(has_place.then(|| place.clone()));
        }
        self.put_places(remote, &known)
    }

    /// Somebody has stored a blob by other means than a fetch: no bucket is asked for it any more.
    ///
    /// # Errors
    /// The database's.
    pub fn forget_places_of(&self, blob: &BlobHash) -> Result<()> {
        self.loosen_locations();
        let sql = "DELETE FROM bucket_places WHERE blob = ?1";
        self.execute("forget the places of a blob", sql, [blob.as_bytes()]).map(drop)
    }

    fn bucket_object(&self, remote: &RemoteName, place: &BucketPlace) -> Result<i64> {
        self.transaction
            .prepare_cached(
                "INSERT INTO bucket_objects(remote, key, bytes) VALUES(?1, ?2, ?3)
                 ON CONFLICT(remote, key) DO UPDATE SET bytes = excluded.bytes RETURNING id",
            )
            .and_then(|mut put| {
                let params = params![remote.as_str(), &*place.key, place.object_bytes];
                put.query_row(params, |row| row.get(0))
            })
            .during("note an object of a bucket")
    }

    /// Forgets what a bucket has.
    ///
    /// # Errors
    /// The database's.
    pub(super) fn forget_places(&self, remote: &RemoteName) -> Result<()> {
        let action = "forget the objects of a bucket";
        let sql = "DELETE FROM bucket_places
                   WHERE object IN (SELECT id FROM bucket_objects WHERE remote = ?1)";
        self.execute(action, sql, [remote.as_str()])?;
        let sql = "DELETE FROM bucket_objects WHERE remote = ?1";
        self.execute(action, sql, [remote.as_str()]).map(drop)
    }
}

const PLACES: &str = "SELECT remote, blob, key, bytes, at, stored, size
    FROM bucket_places JOIN bucket_objects ON id = object";

fn source(row: &Row<'_>) -> rusqlite::Result<Source> {
    let (at, stored): (Option<u64>, Option<u64>) = (row.get(4)?, row.get(5)?);
    let key = row.get_ref(2)?.as_blob()?.into();
    let (blob, object_bytes) = (blob_hash(row, 1)?, row.get(3)?);
    let place = BucketPlace { blob, key, object_bytes, entry: at.zip(stored) };
    Ok(Source { remote: text(row, 0)?, at: SourceAt::Bucket(place), size: row.get(6)? })
}

/// The key of a place, as the database has it.
fn object_of(connection: &Connection, remote: &RemoteName, key: &[u8]) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM bucket_objects WHERE remote = ?1 AND key = ?2")
        .and_then(|mut find| {
            find.query_row(params![remote.as_str(), key], |row| row.get(0)).optional()
        })
        .during("look for an object of a bucket")
}

impl Reader {
    /// Where a content can be had, whichever name it has, by the names of the remotes.
    ///
    /// # Errors
    /// The database's.
    pub fn sources_of(&self, name: &ContentName) -> Result<Vec<Source>> {
        let declared = |digest| -> Result<Vec<Source>> {
            Ok(self.sources(digest)?.into_iter().map(Source::from).collect())
        };
        let blob = match name {
            ContentName::Sha256(digest) => return declared(digest),
            ContentName::Blake3(blob) => blob,
        };
        let sql = format!("{PLACES} WHERE blob = ?1 ORDER BY remote, object");
        let mut sources =
            collect(&self.connection, "look for a place", &sql, [blob.as_bytes()], source)?;
        // Others may declare the same bytes.
        if let Some(digest) = self.digest_of(blob)? {
            sources.extend(declared(&digest)?);
        }
        Ok(sources)
    }

    /// Whether any bucket is known to have blobs.
    ///
    /// # Errors
    /// The database's.
    pub fn any_places(&self) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM bucket_places)")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look for places in buckets")
    }

    /// Whether another bucket than this is known to have blobs.
    ///
    /// # Errors
    /// The database's.
    pub fn any_places_beside(&self, remote: &RemoteName) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM bucket_objects WHERE remote <> ?1)")
            .and_then(|mut statement| statement.query_row([remote.as_str()], |row| row.get(0)))
            .during("look for objects of other buckets")
    }

    /// Whether any absent content is known to be in a bucket.
    ///
    /// # Errors
    /// The database's.
    pub fn any_absent_at(&self, remote: &RemoteName) -> Result<bool> {
        self.connection
            .prepare_cached(
                "SELECT EXISTS (
                     SELECT 1 FROM blobs JOIN bucket_places ON blob = hash
                         JOIN bucket_objects ON id = object
                     WHERE state = 2 AND remote = ?1)
                 OR EXISTS (
                     SELECT 1 FROM content_names JOIN sources USING(sha256)
                     WHERE content_names.blob IS NULL AND remote = ?1)",
            )
            .and_then(|mut statement| statement.query_row([remote.as_str()], |row| row.get(0)))
            .during("look for absent content of a bucket")
    }

    /// Whether a bucket is known to have blobs.
    ///
    /// # Errors
    /// The database's.
    pub fn any_places_at(&self, remote: &RemoteName) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM bucket_objects WHERE remote = ?1)")
            .and_then(|mut statement| statement.query_row([remote.as_str()], |row| row.get(0)))
            .during("look for objects of a bucket")
    }

    /// The contents that are absent. The cost follows their number.
    ///
    /// # Errors
    /// The database's.
    pub fn absent_contents(&self) -> Result<Vec<ContentName>> {
        let sql = "SELECT sha256 FROM content_names WHERE blob IS NULL";
        let declared = collect(&self.connection, "list absent names", sql, [], |row| {
            sha256(row, 0).map(ContentName::from)
        })?;
        let blobs = self.absent_blobs()?.into_iter().map(ContentName::from);
        Ok(blobs.chain(declared).collect())
    }

    /// Absent blobs that are in an object of a bucket from an offset on, in their order in it.
    ///
    /// # Errors
    /// The database's.
    pub fn absent_neighbours(
        &self,
        remote: &RemoteName,
        key: &[u8],
        (from, to): (u64, u64),
        limit: u32,
    ) -> Result<Vec<Source>> {
        let Some(object) = object_of(&self.connection, remote, key)? else { return Ok(Vec::new()) };
        let sql = format!(
            "{PLACES} WHERE object = ?1 AND at >= ?2 AND at < ?3
                 AND (SELECT state FROM blobs WHERE hash = blob) = 2
             ORDER BY at LIMIT ?4"
        );
        let action = "look for what is near in a pack";
        collect(&self.connection, action, &sql, params![object, from, to, limit], source)
    }

    /// How many blobs are absent that nobody but this bucket has, and some of them.
    pub(super) fn blobs_only_at(
        &self,
        remote: &RemoteName,
        limit: u32,
    ) -> Result<(u64, Vec<BlobHash>)> {
        const ONLY: &str = "FROM blobs JOIN bucket_places ON blob = hash
                JOIN bucket_objects ON id = object
             WHERE state = 2 AND remote = ?1 AND NOT EXISTS (
                 SELECT 1 FROM bucket_places AS place JOIN bucket_objects AS other
                     ON other.id = place.object
                 WHERE place.blob = hash AND other.remote <> ?1)";
        let action = "look what only a bucket has";
        let count = self
            .connection
            .prepare_cached(&format!("SELECT count(DISTINCT hash) {ONLY}"))
            .and_then(|mut count| count.query_row([remote.as_str()], |row| row.get(0)))
            .during(action)?;
        let sql = format!("SELECT DISTINCT hash {ONLY} ORDER BY hash LIMIT ?2");
        let params = params![remote.as_str(), limit];
        let some = collect(&self.connection, action, &sql, params, |row| blob_hash(row, 0))?;
        Ok((count, some))
    }
}

impl Snapshot {
    /// The absent blobs that can be had nowhere.
    ///
    /// # Errors
    /// The database's.
    pub fn lost_absent_blobs(&self) -> Result<Vec<(BlobHash, i64)>> {
        let sql = "SELECT hash, refs FROM blobs
                   WHERE state = 2 AND refs > 0
                     AND NOT EXISTS (SELECT 1 FROM bucket_places WHERE blob = hash)
                   ORDER BY hash";
        let from_row = |row: &Row<'_>| Ok((blob_hash(row, 0)?, row.get(1)?));
        collect(&self.connection, "look for absent content that nobody has", sql, [], from_row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Sha256;
    use crate::model::time::Timestamp;
    use crate::store::testing::TestStore;

    fn place(content: &[u8], key: &[u8], entry: Option<(u64, u64)>) -> (BucketPlace, u64) {
        let blob = BlobHash::of(content);
        (BucketPlace { blob, key: key.into(), object_bytes: 1000, entry }, content.len() as u64)
    }

    fn found(store: &TestStore, content: &[u8]) -> Vec<(String, BucketPlace)> {
        let reader = store.catalog.reader().unwrap();
        let sources = reader.sources_of(&BlobHash::of(content).into()).unwrap();
        let place = |source: Source| match source.at {
            SourceAt::Bucket(place) => (source.remote.to_string(), place),
            SourceAt::Path(path) => panic!("{path:?}"),
        };
        sources.into_iter().map(place).collect()
    }

    #[test]
    fn l8_a_later_place_in_the_same_bucket_replaces_the_earlier_one() {
        let mut store = TestStore::new();
        let (one, two): (RemoteName, RemoteName) = ("one".parse().unwrap(), "two".parse().unwrap());
        let (old, new) = (place(b"x", b"old", Some((8, 3))), place(b"x", b"new", None));
        let tx = store.catalog.begin().unwrap();
        tx.put_places(&one, std::slice::from_ref(&old)).unwrap();
        tx.put_places(&two, std::slice::from_ref(&old)).unwrap();
        tx.put_places(&one, &[new.clone(), new.clone()]).unwrap();
        tx.insert_absent_blob(&new.0.blob, 1, Timestamp::default()).unwrap();
        tx.commit().unwrap();
        let both = [("one".to_owned(), new.0), ("two".to_owned(), old.0.clone())];
        assert_eq!(found(&store, b"x"), both);
        let reader = store.catalog.reader().unwrap();
        assert_eq!(reader.only_at(&one, 9).unwrap().0, 0, "the other has it, too");
        let tx = store.catalog.begin().unwrap();
        tx.forget_sources(&one).unwrap();
        tx.commit().unwrap();
        assert_eq!(found(&store, b"x"), [("two".to_owned(), old.0)]);
        assert_eq!(reader.only_at(&two, 9).unwrap().0, 1, "L7");
        assert_eq!(reader.absent_count().unwrap(), 1);
    }

    #[test]
    fn places_go_with_their_blob() {
        let mut store = TestStore::new();
        let (remote, there) = ("one".parse().unwrap(), place(b"x", b"k", Some((0, 1))));
        let tx = store.catalog.begin().unwrap();
        tx.put_places(&remote, std::slice::from_ref(&there)).unwrap();
        assert!(tx.insert_absent_blob(&there.0.blob, 1, Timestamp::default()).unwrap());
        tx.commit().unwrap();
        let lost = |store: &TestStore| {
            store.catalog.snapshots().latest().unwrap().lost_absent_blobs().unwrap().len()
        };
        assert_eq!(lost(&store), 0);
        let tx = store.catalog.begin().unwrap();
        tx.delete_blob(&there.0.blob).unwrap();
        tx.insert_absent_blob(&there.0.blob, 1, Timestamp::default()).unwrap();
        tx.add_blob_refs(&there.0.blob, 1).unwrap();
        tx.commit().unwrap();
        assert_eq!(found(&store, b"x"), []);
        assert_eq!(lost(&store), 1);
    }

    #[test]
    fn neighbours_in_a_pack_come_in_its_order_and_only_absent_ones() {
        let mut store = TestStore::new();
        let remote = "one".parse().unwrap();
        let packed = |n: u8| place(&[n], b"pack", Some((u64::from(n) * 10, 10)));
        let places: Vec<_> = [3, 1, 2, 4, 5].into_iter().map(packed).collect();
        let tx = store.catalog.begin().unwrap();
        tx.put_places(&remote, &places).unwrap();
        for (place, size) in &places {
            tx.insert_absent_blob(&place.blob, *size, Timestamp::default()).unwrap();
        }
        tx.insert_blob(&BlobHash::of(&[3]), 1, 0, 0, Timestamp::default()).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        let near = |key: &[u8], from, to| -> Vec<BlobHash> {
            let near = reader.absent_neighbours(&remote, key, (from, to), 9).unwrap();
            let blob = |source: Source| match source.at {
                SourceAt::Bucket(place) => place.blob,
                SourceAt::Path(path) => panic!("{path:?}"),
            };
            near.into_iter().map(blob).collect()
        };
        assert_eq!(near(b"pack", 20, 50), [BlobHash::of(&[2]), BlobHash::of(&[4])]);
        assert_eq!(near(b"other", 0, 99), []);
    }

    #[test]
    fn a_place_in_a_locator_round_trips_and_is_no_path() {
        for entry in [None, Some((7, 9))] {
            let place = place(b"x", b"some key", entry).0;
            let row =
                SourceRow { remote: "one".parse().unwrap(), locator: place.to_locator(), size: 1 };
            let mut store = TestStore::new();
            let digest = Sha256::of(b"x");
            let tx = store.catalog.begin().unwrap();
            tx.put_source(&digest, &row).unwrap();
            tx.commit().unwrap();
            let found = store.catalog.reader().unwrap().sources_of(&digest.into()).unwrap();
            assert_eq!(found[0].at, SourceAt::Bucket(place));
        }
        for path in [&b"a/b"[..], b"", b"\0", &[0; 50]] {
            assert_eq!(BucketPlace::from_locator(path), None);
        }
    }
}
