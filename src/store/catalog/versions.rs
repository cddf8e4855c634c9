//! Versions.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{root, text, time, tree_hash};
use super::connection::{During, collect};
use super::{Reader, Tx};
use crate::model::id::{RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::tree_format;
use crate::model::version::Version;
use crate::store::error::Result;

fn from_row(row: &Row<'_>) -> rusqlite::Result<Version> {
    let name = match row.get_ref(6)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(text::<TagName>(row, 6)?),
    };
    Ok(Version {
        number: VersionNumber(row.get(0)?),
        root: root(row, 1)?,
        hash: tree_hash(row, 2)?,
        created: time(row, 3)?,
        base: row.get::<_, Option<u64>>(5)?.map(VersionNumber),
        name,
        author: row.get(7)?,
        message: row.get(8)?,
        released: row.get(9)?,
        locked: row.get(10)?,
    })
}

fn get(
    connection: &Connection,
    repo: RepoId,
    number: VersionNumber,
) -> rusqlite::Result<Option<Version>> {
    connection
        .prepare_cached(
            "SELECT number, root, hash, created_s, created_ns, base, name, author, message,
                 released, locked
             FROM versions WHERE repository = ?1 AND number = ?2",
        )?
        .query_row([repo.0, number.0], from_row)
        .optional()
}

impl Tx<'_> {
    /// Adds a version. The reference on its tree is the caller's to add.
    ///
    /// # Errors
    /// The database's, also when the number is taken.
    pub fn insert_version(&self, repo: RepoId, version: &Version) -> Result<()> {
        self.execute_one(
            "add a version",
            "INSERT INTO versions(repository, number, root, hash, created_s, created_ns, base,
                 name, author, message, released, locked)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                repo.0,
                version.number.0,
                tree_format::encode_root(&version.root),
                version.hash.as_bytes(),
                version.created.seconds,
                version.created.nanoseconds,
                version.base.map(|base| base.0),
                version.name.as_ref().map(TagName::as_str),
                version.author,
                version.message,
                version.released,
                version.locked,
            ],
        )
    }

    /// Removes a version and returns it; `None` when there is none. The reference on its tree is
    /// the caller's to drop.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_version(&self, repo: RepoId, number: VersionNumber) -> Result<Option<Version>> {
        let Some(version) = get(&self.transaction, repo, number).during("read a version")? else {
            return Ok(None);
        };
        self.execute_one(
            "remove a version",
            "DELETE FROM versions WHERE repository = ?1 AND number = ?2",
            [repo.0, number.0],
        )?;
        Ok(Some(version))
    }

    /// Sets whether a version is released and locked.
    ///
    /// # Errors
    /// The database's, also when there is no such version.
    pub fn update_version_flags(
        &self,
        repo: RepoId,
        number: VersionNumber,
        released: bool,
        locked: bool,
    ) -> Result<()> {
        self.execute_one(
            "change a version",
            "UPDATE versions SET released = ?3, locked = ?4
             WHERE repository = ?1 AND number = ?2",
            params![repo.0, number.0, released, locked],
        )
    }
}

impl Reader {
    /// The versions of a repository, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub fn versions(&self, repo: RepoId) -> Result<Vec<Version>> {
        collect(
            &self.connection,
            "list versions",
            "SELECT number, root, hash, created_s, created_ns, base, name, author, message,
                 released, locked
             FROM versions WHERE repository = ?1 ORDER BY number",
            [repo.0],
            from_row,
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::hash::TreeHash;
    use crate::model::time::Timestamp;
    use crate::model::tree::{Attributes, Root, Summary, Xattrs};
    use crate::store::testing::TestStore;

    pub(in crate::store::catalog) fn some_root() -> Root {
        Root {
            attributes: Attributes {
                mode: 0o755,
                uid: 1,
                gid: 2,
                mtime: Timestamp::new(-1, 5).unwrap(),
                xattrs: Xattrs::new(),
            },
            tree: TreeHash::of(b"tree"),
            summary: Summary { files: 3, bytes: 4, directories: 5, has_links: true },
        }
    }

    fn version(number: u64) -> Version {
        Version {
            number: VersionNumber(number),
            root: some_root(),
            hash: TreeHash::of(b"root"),
            created: Timestamp::new(-62_135_596_800, 123).unwrap(),
            base: (number > 1).then(|| VersionNumber(number - 1)),
            name: (number > 1).then(|| "v1.0".parse().unwrap()),
            author: "Ünal".to_owned(),
            message: "line\nline \u{0} end".to_owned(),
            released: false,
            locked: true,
        }
    }

    #[test]
    fn rows_round_trip() {
        let mut store = TestStore::new();
        let repo = RepoId(4);
        let tx = store.catalog.begin().unwrap();
        tx.insert_version(repo, &version(2)).unwrap();
        tx.insert_version(repo, &version(1)).unwrap();
        tx.insert_version(RepoId(5), &version(1)).unwrap();
        assert!(tx.insert_version(repo, &version(1)).is_err());
        tx.update_version_flags(repo, VersionNumber(2), true, false).unwrap();
        assert!(tx.update_version_flags(repo, VersionNumber(3), true, false).is_err());
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        let changed = Version { released: true, locked: false, ..version(2) };
        assert_eq!(reader.versions(repo).unwrap(), [version(1), changed.clone()]);
        let tx = store.catalog.begin().unwrap();
        assert_eq!(tx.delete_version(repo, VersionNumber(2)).unwrap(), Some(changed));
        assert_eq!(tx.delete_version(repo, VersionNumber(2)).unwrap(), None);
        tx.commit().unwrap();
        assert_eq!(reader.versions(repo).unwrap(), [version(1)]);
    }

    #[test]
    fn an_altered_row_is_reported_not_believed() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        tx.insert_version(RepoId(1), &version(1)).unwrap();
        tx.commit().unwrap();
        store.catalog.connection.execute("UPDATE versions SET created_ns = -1", []).unwrap();
        let error = store.catalog.reader().unwrap().versions(RepoId(1)).unwrap_err();
        use crate::store::error::{CatalogErrorKind, StoreError};
        assert!(
            matches!(error, StoreError::Catalog { kind: CatalogErrorKind::Corrupt, .. }),
            "{error}"
        );
    }
}
