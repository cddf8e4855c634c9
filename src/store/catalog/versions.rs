//! Versions.

use rusqlite::{OptionalExtension, Row, params};

use super::codec::{root, text, time, tree_hash};
use super::connection::{During, collect};
use super::{Reader, Tx, VersionRow};
use crate::model::id::{RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::quota::{Charge, Usage};
use crate::model::tree_format;
use crate::model::version::Version;
use crate::store::error::Result;

const COLUMNS: &str = "number, root, hash, created_s, created_ns, base, name, author, message, \
                       released, locked, charge_base, charge_bytes, charge_files, deleted_s";

fn from_row(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
    let name = match row.get_ref(6)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(text::<TagName>(row, 6)?),
    };
    let version = Version {
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
    };
    let base = row.get::<_, Option<u64>>(11)?.map(VersionNumber);
    let usage = Usage { bytes: row.get(12)?, files: row.get(13)? };
    let charge = base.map(|base| Charge { base, usage });
    Ok(VersionRow { version, charge, deleted: row.get(14)? })
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

    /// Marks a version as deleted: nobody sees it any more, and its number stays taken. The
    /// reference on its tree stays until [`Tx::remove_version`].
    ///
    /// # Errors
    /// The database's, also when there is no such version.
    pub fn delete_version(&self, repo: RepoId, number: VersionNumber, now: i64) -> Result<()> {
        self.execute_one(
            "delete a version",
            "UPDATE versions SET deleted_s = ?3
             WHERE repository = ?1 AND number = ?2 AND deleted_s IS NULL",
            params![repo.0, number.0, now],
        )
    }

    /// Takes a deletion back.
    ///
    /// # Errors
    /// The database's, also when there is no such deleted version.
    pub fn undelete_version(&self, repo: RepoId, number: VersionNumber) -> Result<()> {
        self.execute_one(
            "bring a version back",
            "UPDATE versions SET deleted_s = NULL
             WHERE repository = ?1 AND number = ?2 AND deleted_s IS NOT NULL",
            [repo.0, number.0],
        )
    }

    /// Removes a deleted version for good and returns it; `None` when there is none. The reference
    /// on its tree is the caller's to drop.
    ///
    /// # Errors
    /// The database's.
    pub fn remove_version(&self, repo: RepoId, number: VersionNumber) -> Result<Option<Version>> {
        let read = || {
            self.transaction
                .prepare_cached(&format!(
                    "DELETE FROM versions
                     WHERE repository = ?1 AND number = ?2 AND deleted_s IS NOT NULL
                     RETURNING {COLUMNS}"
                ))?
                .query_row([repo.0, number.0], from_row)
                .optional()
        };
        Ok(read().during("remove a version")?.map(|row| row.version))
    }

    /// Versions that were deleted in or before that second, the longest ago first: at most
    /// `limit`. The cost depends on `limit` alone (G12).
    ///
    /// # Errors
    /// The database's.
    pub fn versions_deleted_by(
        &self,
        seconds: i64,
        limit: u32,
    ) -> Result<Vec<(RepoId, VersionNumber)>> {
        collect(
            &self.transaction,
            "list deleted versions",
            "SELECT repository, number FROM versions
             WHERE deleted_s IS NOT NULL AND deleted_s <= ?1
             ORDER BY deleted_s, repository, number LIMIT ?2",
            params![seconds, limit],
            |row| Ok((RepoId(row.get(0)?), VersionNumber(row.get(1)?))),
        )
    }

    /// Versions that were deleted after that second, at most `limit`.
    ///
    /// # Errors
    /// The database's.
    pub fn versions_deleted_after(
        &self,
        seconds: i64,
        limit: u32,
    ) -> Result<Vec<(RepoId, VersionNumber)>> {
        collect(
            &self.transaction,
            "list deleted versions",
            "SELECT repository, number FROM versions
             WHERE deleted_s IS NOT NULL AND deleted_s > ?1 LIMIT ?2",
            params![seconds, limit],
            |row| Ok((RepoId(row.get(0)?), VersionNumber(row.get(1)?))),
        )
    }

    /// Notes another time for a deletion.
    ///
    /// # Errors
    /// The database's, also when there is no such deleted version.
    pub fn date_deletion(&self, repo: RepoId, number: VersionNumber, seconds: i64) -> Result<()> {
        self.execute_one(
            "date a deletion",
            "UPDATE versions SET deleted_s = ?3
             WHERE repository = ?1 AND number = ?2 AND deleted_s IS NOT NULL",
            params![repo.0, number.0, seconds],
        )
    }

    /// Sets what a version adds to the one before it.
    ///
    /// # Errors
    /// The database's, also when there is no such version.
    pub fn set_charge(&self, repo: RepoId, number: VersionNumber, charge: &Charge) -> Result<()> {
        self.execute_one(
            "charge a version",
            "UPDATE versions SET charge_base = ?3, charge_bytes = ?4, charge_files = ?5
             WHERE repository = ?1 AND number = ?2",
            params![repo.0, number.0, charge.base.0, charge.usage.bytes, charge.usage.files],
        )
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
    /// All versions by repository, oldest first; deleted ones are among them until they are
    /// removed.
    ///
    /// # Errors
    /// The database's.
    pub fn versions(&self) -> Result<Vec<(RepoId, VersionRow)>> {
        collect(
            &self.connection,
            "list versions",
            &format!("SELECT {COLUMNS}, repository FROM versions ORDER BY repository, number"),
            [],
            |row| Ok((RepoId(row.get(15)?), from_row(row)?)),
        )
    }

    /// The earliest deletion after that second among the deleted versions.
    ///
    /// # Errors
    /// The database's.
    pub fn oldest_deletion_after(&self, seconds: i64) -> Result<Option<i64>> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT min(deleted_s) FROM versions
                     WHERE deleted_s IS NOT NULL AND deleted_s > ?1",
                )?
                .query_row([seconds], |row| row.get(0))
        };
        read().during("look for deleted versions")
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

    fn row(number: u64) -> VersionRow {
        VersionRow::from(version(number))
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
        let changed = VersionRow::from(changed);
        let rows = [(repo, row(1)), (repo, changed), (RepoId(5), row(1))];
        assert_eq!(reader.versions().unwrap(), rows);
    }

    #[test]
    fn a_deletion_can_be_undone_until_it_is_final() {
        let mut store = TestStore::new();
        let repo = RepoId(4);
        let (one, two) = (VersionNumber(1), VersionNumber(2));
        let tx = store.catalog.begin().unwrap();
        tx.insert_version(repo, &version(1)).unwrap();
        tx.insert_version(repo, &version(2)).unwrap();
        assert!(tx.undelete_version(repo, one).is_err(), "it is not deleted");
        assert_eq!(tx.remove_version(repo, one).unwrap(), None, "it is not deleted");
        tx.delete_version(repo, one, 50).unwrap();
        assert!(tx.delete_version(repo, one, 60).is_err(), "it is deleted already");
        tx.delete_version(repo, two, 40).unwrap();
        assert_eq!(tx.versions_deleted_by(39, 9).unwrap(), []);
        assert_eq!(tx.versions_deleted_by(50, 9).unwrap(), [(repo, two), (repo, one)]);
        assert_eq!(tx.versions_deleted_by(50, 1).unwrap(), [(repo, two)]);
        assert_eq!(tx.versions_deleted_after(39, 1).unwrap().len(), 1);
        assert_eq!(tx.versions_deleted_after(40, 9).unwrap(), [(repo, one)]);
        assert_eq!(tx.versions_deleted_after(50, 9).unwrap(), []);
        tx.date_deletion(repo, one, 30).unwrap();
        assert_eq!(tx.versions_deleted_by(39, 9).unwrap(), [(repo, one)]);
        tx.date_deletion(repo, one, 50).unwrap();
        assert!(tx.date_deletion(repo, VersionNumber(3), 1).is_err(), "it is not deleted");
        tx.undelete_version(repo, two).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        let deleted = VersionRow { deleted: Some(50), ..row(1) };
        assert_eq!(reader.versions().unwrap(), [(repo, deleted), (repo, row(2))]);
        assert_eq!(reader.oldest_deletion_after(49).unwrap(), Some(50));
        assert_eq!(reader.oldest_deletion_after(50).unwrap(), None);
        let tx = store.catalog.begin().unwrap();
        assert_eq!(tx.remove_version(repo, one).unwrap(), Some(version(1)));
        assert_eq!(tx.remove_version(repo, one).unwrap(), None);
        tx.commit().unwrap();
        assert_eq!(reader.versions().unwrap(), [(repo, row(2))]);
    }

    #[test]
    fn charges_are_kept_with_their_base() {
        let mut store = TestStore::new();
        let repo = RepoId(4);
        let tx = store.catalog.begin().unwrap();
        tx.insert_version(repo, &version(1)).unwrap();
        let usage = Usage { bytes: u64::try_from(i64::MAX).unwrap(), files: 3 };
        let charge = Charge { base: VersionNumber(0), usage };
        tx.set_charge(repo, VersionNumber(1), &charge).unwrap();
        assert!(tx.set_charge(repo, VersionNumber(2), &charge).is_err());
        tx.commit().unwrap();
        let charged = VersionRow { charge: Some(charge), ..row(1) };
        assert_eq!(store.catalog.reader().unwrap().versions().unwrap(), [(repo, charged)]);
    }

    #[test]
    fn an_altered_row_is_reported_not_believed() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        tx.insert_version(RepoId(1), &version(1)).unwrap();
        tx.commit().unwrap();
        store.catalog.connection.execute("UPDATE versions SET created_ns = -1", []).unwrap();
        let error = store.catalog.reader().unwrap().versions().unwrap_err();
        use crate::store::error::{CatalogErrorKind, StoreError};
        assert!(
            matches!(error, StoreError::Catalog { kind: CatalogErrorKind::Corrupt, .. }),
            "{error}"
        );
    }
}
