//! Where declared content can be had, and what only one remote has.

use rusqlite::params;

use super::codec::text;
use super::connection::{During, collect};
use super::{Reader, Snapshot, Source, SourceAt, Tx};
use crate::model::digest::Sha256;
use crate::model::name::RemoteName;
use crate::store::error::Result;

/// A place where a content can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// The remote.
    pub remote: RemoteName,
    /// The content's path in the remote.
    pub locator: Box<[u8]>,
    /// Its length in bytes.
    pub size: u64,
}

impl Tx<'_> {
    /// Adds a place from which a content can be fetched. A remote may have the content at several paths, and all of them are
    /// kept. Of a bucket only the newest place is kept: objects are replaced there, and an older place may be gone.
    ///
    /// # Errors
    /// The database's.
    pub fn put_source(&self, digest: &Sha256, source: &SourceRow) -> Result<()> {
        // What is noted before anything names it stays behind if nothing ever does.
        self.loosen_locations();
        if source.locator.first() == Some(&0) {
            self.execute(
                "note a source",
                "DELETE FROM sources WHERE sha256 = ?1 AND remote = ?2",
                params![digest.as_bytes(), source.remote.as_str()],
            )?;
        }
        self.execute(
            "note a source",
            "INSERT OR REPLACE INTO sources(sha256, remote, locator, size) VALUES(?1, ?2, ?3, ?4)",
            params![digest.as_bytes(), source.remote.as_str(), &*source.locator, source.size],
        )?;
        Ok(())
    }

    /// Forgets what can be had of a remote.
    ///
    /// # Errors
    /// The database's.
    pub fn forget_sources(&self, remote: &RemoteName) -> Result<()> {
        let sql = "DELETE FROM sources WHERE remote = ?1";
        self.execute("forget the sources of a remote", sql, [remote.as_str()])?;
        self.forget_places(remote)
    }
}

impl Reader {
    /// Where a content can be had, by the names of the remotes.
    ///
    /// # Errors
    /// The database's.
    pub fn sources(&self, digest: &Sha256) -> Result<Vec<SourceRow>> {
        let sql =
            "SELECT remote, locator, size FROM sources WHERE sha256 = ?1 ORDER BY remote, locator";
        collect(&self.connection, "look for a source", sql, [digest.as_bytes()], |row| {
            let locator = row.get_ref(1)?.as_blob()?.into();
            Ok(SourceRow { remote: text(row, 0)?, locator, size: row.get(2)? })
        })
    }

    /// How many contents are absent that nobody but this remote has, and some of their paths in it. Of a bucket they are
    /// names of contents.
    ///
    /// # Errors
    /// The database's.
    pub fn only_at(&self, remote: &RemoteName, limit: u32) -> Result<(u64, Vec<Box<[u8]>>)> {
        const ONLY: &str = "FROM sources JOIN content_names USING(sha256)
             WHERE sources.remote = ?1 AND content_names.blob IS NULL AND NOT EXISTS (
                 SELECT 1 FROM sources AS other
                 WHERE other.sha256 = sources.sha256 AND other.remote <> ?1)";
        let count: u64 = self
            .connection
            .prepare_cached(&format!("SELECT count(DISTINCT sources.sha256) {ONLY}"))
            .and_then(|mut count| count.query_row([remote.as_str()], |row| row.get(0)))
            .during("look what only a remote has")?;
        let sql = format!("SELECT sources.locator {ONLY} ORDER BY sources.locator LIMIT ?2");
        let params = params![remote.as_str(), limit];
        let mut some =
            collect(&self.connection, "look what only a remote has", &sql, params, |row| {
                let locator: Box<[u8]> = row.get_ref(0)?.as_blob()?.into();
                Ok(match Source::from(SourceRow { remote: remote.clone(), locator, size: 0 }).at {
                    SourceAt::Path(path) => path,
                    SourceAt::Bucket(place) => place.blob.to_string().into_bytes().into(),
                })
            })?;
        let (blobs, more) = self.blobs_only_at(remote, limit)?;
        some.extend(more.iter().map(|blob| blob.to_string().into_bytes().into()));
        some.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok((count + blobs, some))
    }

    /// How many contents with declared names are absent. The cost follows their number.
    ///
    /// # Errors
    /// The database's.
    pub fn absent_names_count(&self) -> Result<u64> {
        self.connection
            .prepare_cached("SELECT count(*) FROM content_names WHERE blob IS NULL")
            .and_then(|mut count| count.query_row([], |row| row.get(0)))
            .during("count absent names")
    }

    /// How many contents are absent by their rows, which follow what is stored in a moment. The cost follows their number.
    ///
    /// # Errors
    /// The database's.
    pub fn absent_count(&self) -> Result<u64> {
        self.connection
            .prepare_cached(
                "SELECT (SELECT count(*) FROM content_names WHERE blob IS NULL)
                     + (SELECT count(*) FROM blobs WHERE state = 2)",
            )
            .and_then(|mut count| count.query_row([], |row| row.get(0)))
            .during("count absent content")
    }
}

impl Snapshot {
    /// Whether a content can be had anywhere.
    ///
    /// # Errors
    /// The database's.
    pub fn has_source(&self, digest: &Sha256) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM sources WHERE sha256 = ?1)")
            .and_then(|mut look| look.query_row([digest.as_bytes()], |row| row.get(0)))
            .during("look for a source")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestStore;

    #[test]
    fn sources_are_told_apart_by_remote() {
        let mut store = TestStore::new();
        let reader = store.catalog.reader().unwrap();
        let source = |remote: &str, locator: &str| SourceRow {
            remote: remote.parse().unwrap(),
            locator: locator.as_bytes().into(),
            size: 1,
        };
        let (here, there) = (source("here", "a"), source("there", "b/c"));
        let (shared, only) = (Sha256::of(b"shared"), Sha256::of(b"only"));
        let tx = store.catalog.begin().unwrap();
        tx.put_source(&shared, &there).unwrap();
        tx.put_source(&shared, &here).unwrap();
        tx.put_source(&only, &there).unwrap();
        tx.put_source(&only, &source("there", "moved")).unwrap();
        for digest in [&shared, &only] {
            tx.add_name_refs(digest, 1).unwrap();
        }
        tx.commit().unwrap();
        assert_eq!(reader.sources(&shared).unwrap(), [here, there.clone()]);
        assert_eq!(reader.absent_count().unwrap(), 2);
        let (count, some) = reader.only_at(&there.remote, 9).unwrap();
        assert_eq!((count, &some[..]), (1, &[there.locator.clone(), b"moved"[..].into()][..]));
        assert_eq!(reader.only_at(&"here".parse().unwrap(), 9).unwrap().0, 0);
        let tx = store.catalog.begin().unwrap();
        tx.forget_sources(&there.remote).unwrap();
        tx.commit().unwrap();
        assert_eq!(reader.sources(&only).unwrap(), []);
        let snapshot = store.catalog.snapshots().latest().unwrap();
        assert!(snapshot.has_source(&shared).unwrap() && !snapshot.has_source(&only).unwrap());
    }
}
