//! Rows that say where content can be had, and whether any content needs them (L8).
//!
//! Such a row is a *location*: a source, a place in a bucket, or an object of a bucket. A source is needed while
//! its digest is named by a tree or an area, or is that of a blob; a place while its blob has a row; an object
//! while it has a place. What is going to name content without having a row yet (a sync under way, a pin) is
//! unknown here: the caller must ask before it removes anything.

use rusqlite::{Row, params};

use super::Tx;
use super::codec::{blob_hash, sha256};
use super::connection::collect;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::store::error::Result;

/// The key of a row that says where content can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A source of a declared content.
    Source {
        /// The content.
        sha256: Sha256,
        /// Name of the remote.
        remote: Box<str>,
        /// The content's path in the remote.
        locator: Box<[u8]>,
    },
    /// A place of a blob in an object of a bucket.
    Place {
        /// The blob.
        blob: BlobHash,
        /// The object's number.
        object: i64,
    },
    /// An object of a bucket.
    Object {
        /// Its number.
        id: i64,
    },
}

/// The tables of locations, in the order in which they are looked through: what goes from one may leave rows of
/// the next unneeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LocationTable {
    /// `sources`
    #[default]
    Sources,
    /// `bucket_places`
    Places,
    /// `bucket_objects`
    Objects,
}

impl LocationTable {
    /// The table to look through after this one.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Sources => Some(Self::Places),
            Self::Places => Some(Self::Objects),
            Self::Objects => None,
        }
    }
}

/// A location that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLocation {
    /// Which one.
    pub location: Location,
    /// Whether rows of content need it.
    pub is_needed: bool,
}

impl Tx<'_> {
    /// Looks at the next rows of a table, in the order of their keys: those behind `after`, which is a row of that
    /// table, or the first. The cost follows `limit`, whether the rows are needed or not.
    ///
    /// # Errors
    /// The database's.
    pub fn locations(
        &self,
        table: LocationTable,
        after: Option<&Location>,
        limit: u32,
    ) -> Result<Vec<FoundLocation>> {
        match table {
            LocationTable::Sources => self.found_sources(after, limit),
            LocationTable::Places => self.found_places(after, limit),
            LocationTable::Objects => self.found_objects(after, limit),
        }
    }

    fn found_sources(&self, after: Option<&Location>, limit: u32) -> Result<Vec<FoundLocation>> {
        // No key is less than the empty blob, and none equals it.
        let (digest, remote, locator) = match after {
            Some(Location::Source { sha256, remote, locator }) => {
                (&sha256.as_bytes()[..], &**remote, &**locator)
            }
            _ => (&[][..], "", &[][..]),
        };
        let sql = "SELECT sha256, remote, locator,
                     EXISTS (SELECT 1 FROM content_names WHERE sha256 = sources.sha256)
                     OR EXISTS (SELECT 1 FROM digests WHERE sha256 = sources.sha256)
                 FROM sources WHERE (sha256, remote, locator) > (?1, ?2, ?3)
                 ORDER BY sha256, remote, locator LIMIT ?4";
        let from_row = |row: &Row<'_>| {
            let location = Location::Source {
                sha256: sha256(row, 0)?,
                remote: row.get::<_, String>(1)?.into(),
                locator: row.get_ref(2)?.as_blob()?.into(),
            };
            Ok(FoundLocation { location, is_needed: row.get(3)? })
        };
        let params = params![digest, remote, locator, limit];
        collect(&self.transaction, "look for unneeded sources", sql, params, from_row)
    }

    fn found_places(&self, after: Option<&Location>, limit: u32) -> Result<Vec<FoundLocation>> {
        let (blob, object) = match after {
            Some(Location::Place { blob, object }) => (&blob.as_bytes()[..], *object),
            _ => (&[][..], 0),
        };
        let sql = "SELECT blob, object, EXISTS (SELECT 1 FROM blobs WHERE hash = blob)
                 FROM bucket_places WHERE (blob, object) > (?1, ?2)
                 ORDER BY blob, object LIMIT ?3";
        let from_row = |row: &Row<'_>| {
            let location = Location::Place { blob: blob_hash(row, 0)?, object: row.get(1)? };
            Ok(FoundLocation { location, is_needed: row.get(2)? })
        };
        let params = params![blob, object, limit];
        collect(&self.transaction, "look for unneeded places", sql, params, from_row)
    }

    fn found_objects(&self, after: Option<&Location>, limit: u32) -> Result<Vec<FoundLocation>> {
        let after = match after {
            Some(Location::Object { id }) => *id,
            _ => i64::MIN,
        };
        let sql = "SELECT id, EXISTS (SELECT 1 FROM bucket_places WHERE object = id)
                 FROM bucket_objects WHERE id > ?1 ORDER BY id LIMIT ?2";
        let from_row = |row: &Row<'_>| {
            Ok(FoundLocation {
                location: Location::Object { id: row.get(0)? },
                is_needed: row.get(1)?,
            })
        };
        let action = "look for unneeded objects of buckets";
        collect(&self.transaction, action, sql, params![after, limit], from_row)
    }

    /// Removes a location. One that is gone already is fine, so a removal can be done again after a crash.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_location(&self, location: &Location) -> Result<()> {
        let action = "remove an unneeded location";
        let removed = match location {
            Location::Source { sha256, remote, locator } => self.execute(
                action,
                "DELETE FROM sources WHERE sha256 = ?1 AND remote = ?2 AND locator = ?3",
                params![sha256.as_bytes(), &**remote, &**locator],
            ),
            Location::Place { blob, object } => self.execute(
                action,
                "DELETE FROM bucket_places WHERE blob = ?1 AND object = ?2",
                params![blob.as_bytes(), object],
            ),
            Location::Object { id } => {
                self.execute(action, "DELETE FROM bucket_objects WHERE id = ?1", [id])
            }
        };
        removed.map(drop)
    }

    /// Counts that locations may have become unneeded.
    pub(super) fn loosen_locations(&self) {
        self.loosened.set(self.loosened.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::store::catalog::{BucketPlace, SourceRow};
    use crate::store::testing::TestStore;

    /// All rows of a table, read in parts of two.
    fn all(tx: &Tx<'_>, table: LocationTable) -> Vec<FoundLocation> {
        let mut found: Vec<FoundLocation> = Vec::new();
        loop {
            let after = found.last().map(|found| &found.location);
            let more = tx.locations(table, after, 2).unwrap();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    #[test]
    fn l8_each_location_is_looked_at_once_with_what_needs_it() {
        let mut store = TestStore::new();
        let now = Timestamp::default();
        let source = |remote: &str, locator: &str| SourceRow {
            remote: remote.parse().unwrap(),
            locator: locator.as_bytes().into(),
            size: 1,
        };
        let place = |content: &[u8], key: &[u8]| {
            let blob = BlobHash::of(content);
            (BucketPlace { blob, key: key.into(), object_bytes: 9, entry: None }, 1)
        };
        let [named, stored, gone] = [&b"named"[..], b"stored", b"gone"].map(Sha256::of);
        let tx = store.catalog.begin().unwrap();
        for digest in [&named, &stored, &gone] {
            for (remote, locator) in [("one", "a"), ("one", "b"), ("two", "a")] {
                tx.put_source(digest, &source(remote, locator)).unwrap();
            }
        }
        tx.add_name_refs(&named, 1).unwrap();
        tx.insert_blob(&BlobHash::of(b"stored"), 1, 0, 0, now).unwrap();
        tx.learn_digest(&stored, &BlobHash::of(b"stored")).unwrap();
        let bucket = "bucket".parse().unwrap();
        let places = [place(b"stored", b"k1"), place(b"no row", b"k2"), place(b"stored", b"k2")];
        tx.put_places(&bucket, &places).unwrap();
        let found = all(&tx, LocationTable::Sources);
        assert_eq!(found.len(), 9);
        for FoundLocation { location, is_needed } in &found {
            let Location::Source { sha256, .. } = location else { panic!("{location:?}") };
            assert_eq!(*is_needed, *sha256 != gone);
        }
        let needed = |table| -> Vec<bool> {
            all(&tx, table).into_iter().map(|found| found.is_needed).collect()
        };
        // The first place of the stored blob was replaced by its later one, which left its object empty.
        assert_eq!(needed(LocationTable::Objects), [false, true]);
        let places = all(&tx, LocationTable::Places);
        assert_eq!(places.len(), 2);
        for found in found.iter().chain(&places).filter(|found| !found.is_needed) {
            tx.delete_location(&found.location).unwrap();
            tx.delete_location(&found.location).unwrap();
        }
        assert_eq!(needed(LocationTable::Sources), [true; 6]);
        assert_eq!(needed(LocationTable::Places), [true]);
    }
}
