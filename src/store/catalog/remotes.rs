//! Remotes, what was last seen of them, and the digests under which others name blobs.

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::{blob_hash, sha256, text};
use super::connection::{During, collect};
use super::{Reader, Snapshot, Tx};
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::id::RepoId;
use crate::model::name::RemoteName;
use crate::store::error::Result;

impl Tx<'_> {
    /// Adds a remote, or gives it other settings.
    ///
    /// # Errors
    /// The database's.
    pub fn put_remote(&self, name: &RemoteName, settings: &str) -> Result<()> {
        self.execute(
            "set a remote",
            "INSERT INTO remotes(name, settings) VALUES(?1, ?2)
             ON CONFLICT(name) DO UPDATE SET settings = excluded.settings",
            params![name.as_str(), settings],
        )?;
        Ok(())
    }

    /// Removes a remote; `false` when there was none.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_remote(&self, name: &RemoteName) -> Result<bool> {
        self.forget_seen(name)?;
        self.forget_sources(name)?;
        let removed = self.execute(
            "remove a remote",
            "DELETE FROM remotes WHERE name = ?1",
            params![name.as_str()],
        )?;
        Ok(removed > 0)
    }

    /// Forgets what was seen of a remote: it does not hold any more.
    ///
    /// # Errors
    /// The database's.
    pub fn forget_seen(&self, remote: &RemoteName) -> Result<()> {
        let sql = "DELETE FROM syncs WHERE remote = ?1";
        self.execute("forget what was seen of a remote", sql, params![remote.as_str()])?;
        Ok(())
    }

    /// Keeps what a sync saw.
    ///
    /// # Errors
    /// The database's.
    pub fn put_sync(&self, repo: RepoId, remote: &RemoteName, state: &str) -> Result<()> {
        self.execute(
            "keep what a sync saw",
            "INSERT OR REPLACE INTO syncs(repository, remote, state) VALUES(?1, ?2, ?3)",
            params![repo.0, remote.as_str(), state],
        )?;
        Ok(())
    }

    /// Notes the digest of a blob. What is noted already of either is replaced: a blob has one digest.
    ///
    /// # Errors
    /// The database's.
    pub fn put_digest(&self, sha256: &Sha256, blob: &BlobHash) -> Result<()> {
        self.execute(
            "note a digest",
            "DELETE FROM digests WHERE blob = ?2 AND sha256 <> ?1",
            params![sha256.as_bytes(), blob.as_bytes()],
        )?;
        self.execute(
            "note a digest",
            "INSERT OR REPLACE INTO digests(sha256, blob) VALUES(?1, ?2)",
            params![sha256.as_bytes(), blob.as_bytes()],
        )?;
        Ok(())
    }

    /// As [`Reader::blob_of`], with what this transaction changed.
    ///
    /// # Errors
    /// The database's.
    pub fn blob_of(&self, sha256: &Sha256) -> Result<Option<BlobHash>> {
        blob_of(&self.transaction, sha256)
    }

    /// As [`Reader::digest_of`], with what this transaction changed.
    ///
    /// # Errors
    /// The database's.
    pub fn digest_of(&self, blob: &BlobHash) -> Result<Option<Sha256>> {
        digest_of(&self.transaction, blob)
    }
}

fn blob_of(connection: &Connection, sha256: &Sha256) -> Result<Option<BlobHash>> {
    let read = || {
        connection
            .prepare_cached(
                "SELECT blob FROM digests WHERE sha256 = ?1
                 UNION ALL SELECT blob FROM content_names WHERE sha256 = ?1 AND blob IS NOT NULL
                 LIMIT 1",
            )?
            .query_row([sha256.as_bytes()], |row| blob_hash(row, 0))
            .optional()
    };
    read().during("look for a digest")
}

fn digest_of(connection: &Connection, blob: &BlobHash) -> Result<Option<Sha256>> {
    let read = || {
        connection
            .prepare_cached("SELECT sha256 FROM digests WHERE blob = ?1")?
            .query_row([blob.as_bytes()], |row| sha256(row, 0))
            .optional()
    };
    read().during("look for the digest of a blob")
}

impl Reader {
    /// All remotes by name, with their settings.
    ///
    /// # Errors
    /// The database's.
    pub fn remotes(&self) -> Result<Vec<(RemoteName, String)>> {
        let sql = "SELECT name, settings FROM remotes ORDER BY name";
        collect(&self.connection, "list remotes", sql, [], |row| Ok((text(row, 0)?, row.get(1)?)))
    }

    /// The settings of a remote.
    ///
    /// # Errors
    /// The database's.
    pub fn remote(&self, name: &RemoteName) -> Result<Option<String>> {
        let read = || {
            self.connection
                .prepare_cached("SELECT settings FROM remotes WHERE name = ?1")?
                .query_row([name.as_str()], |row| row.get(0))
                .optional()
        };
        read().during("look at a remote")
    }

    /// What the last sync saw.
    ///
    /// # Errors
    /// The database's.
    pub fn sync_state(&self, repo: RepoId, remote: &RemoteName) -> Result<Option<String>> {
        let read = || {
            self.connection
                .prepare_cached("SELECT state FROM syncs WHERE repository = ?1 AND remote = ?2")?
                .query_row(params![repo.0, remote.as_str()], |row| row.get(0))
                .optional()
        };
        read().during("look at what a sync saw")
    }

    /// The blob of a digest, as far as it is known. The blob may be gone since.
    ///
    /// # Errors
    /// The database's.
    pub fn blob_of(&self, sha256: &Sha256) -> Result<Option<BlobHash>> {
        blob_of(&self.connection, sha256)
    }

    /// A digest of a blob, as far as one is known.
    ///
    /// # Errors
    /// The database's.
    pub fn digest_of(&self, blob: &BlobHash) -> Result<Option<Sha256>> {
        digest_of(&self.connection, blob)
    }
}

impl Snapshot {
    /// As [`Reader::blob_of`].
    ///
    /// # Errors
    /// The database's.
    pub fn blob_of(&self, sha256: &Sha256) -> Result<Option<BlobHash>> {
        blob_of(&self.connection, sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestStore;

    #[test]
    fn other_settings_forget_what_was_seen() {
        let mut store = TestStore::new();
        let reader = store.catalog.reader().unwrap();
        let (name, other): (RemoteName, RemoteName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let tx = store.catalog.begin().unwrap();
        tx.put_remote(&name, "1").unwrap();
        tx.put_remote(&other, "2").unwrap();
        tx.put_sync(RepoId(1), &name, "seen").unwrap();
        tx.put_sync(RepoId(1), &other, "seen").unwrap();
        tx.commit().unwrap();
        assert_eq!(reader.sync_state(RepoId(1), &name).unwrap().as_deref(), Some("seen"));
        let tx = store.catalog.begin().unwrap();
        tx.put_remote(&name, "3").unwrap();
        tx.forget_seen(&name).unwrap();
        assert!(tx.delete_remote(&other).unwrap() && !tx.delete_remote(&other).unwrap());
        tx.commit().unwrap();
        assert_eq!(reader.remotes().unwrap(), [(name.clone(), "3".to_owned())]);
        assert_eq!(reader.remote(&name).unwrap().as_deref(), Some("3"));
        for name in [name, other] {
            assert_eq!(reader.sync_state(RepoId(1), &name).unwrap(), None);
        }
    }

    #[test]
    fn a_digest_goes_with_its_blob() {
        let mut store = TestStore::new();
        let reader = store.catalog.reader().unwrap();
        let (sha256, blob) = (Sha256::of(b"x"), BlobHash::of(b"x"));
        let tx = store.catalog.begin().unwrap();
        tx.put_digest(&sha256, &blob).unwrap();
        tx.put_digest(&Sha256::of(b"y"), &BlobHash::of(b"y")).unwrap();
        tx.insert_blob(&blob, 1, 0, 0, crate::model::time::Timestamp::now()).unwrap();
        tx.commit().unwrap();
        assert_eq!(reader.blob_of(&sha256).unwrap(), Some(blob));
        assert_eq!(reader.digest_of(&blob).unwrap(), Some(sha256));
        let tx = store.catalog.begin().unwrap();
        tx.delete_blob(&blob).unwrap();
        tx.commit().unwrap();
        assert_eq!(reader.blob_of(&sha256).unwrap(), None);
        assert_eq!(reader.digest_of(&blob).unwrap(), None);
        assert!(reader.blob_of(&Sha256::of(b"y")).unwrap().is_some());
    }
}
