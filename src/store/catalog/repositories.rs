//! Repositories.

use rusqlite::{Row, params};

use super::codec::{text, time};
use super::connection::{During, collect};
use super::{Reader, RepositoryRow, Tx};
use crate::model::id::{RepoId, VersionNumber};
use crate::model::quota::Quota;
use crate::store::error::Result;

const COLUMNS: &str = "id, name, mode, uid, gid, created_s, created_ns, changed_s, changed_ns, \
                       next_number, policy, quota_bytes, quota_files";

fn from_row(row: &Row<'_>) -> rusqlite::Result<RepositoryRow> {
    Ok(RepositoryRow {
        id: RepoId(row.get(0)?),
        name: text(row, 1)?,
        mode: row.get(2)?,
        uid: row.get(3)?,
        gid: row.get(4)?,
        created: time(row, 5)?,
        changed: time(row, 7)?,
        next_number: VersionNumber(row.get(9)?),
        policy: row.get(10)?,
        quota: Quota { bytes: row.get(11)?, files: row.get(12)? },
    })
}

impl Tx<'_> {
    /// Adds a repository under a new id, which it returns; the row's own is ignored.
    ///
    /// # Errors
    /// The database's, also when the name is taken.
    pub fn insert_repository(&self, row: &RepositoryRow) -> Result<RepoId> {
        let insert = || {
            self.transaction
                .prepare_cached(
                    "INSERT INTO repositories(name, mode, uid, gid, created_s, created_ns,
                         changed_s, changed_ns, next_number, policy, quota_bytes, quota_files)
                     VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) RETURNING id",
                )?
                .query_row(
                    params![
                        row.name.as_str(),
                        row.mode,
                        row.uid,
                        row.gid,
                        row.created.seconds,
                        row.created.nanoseconds,
                        row.changed.seconds,
                        row.changed.nanoseconds,
                        row.next_number.0,
                        row.policy,
                        row.quota.bytes,
                        row.quota.files,
                    ],
                    |row| row.get(0).map(RepoId),
                )
        };
        insert().during("add a repository")
    }

    /// Replaces a repository's row.
    ///
    /// # Errors
    /// The database's.
    pub fn update_repository(&self, row: &RepositoryRow) -> Result<()> {
        self.execute_one(
            "change a repository",
            "UPDATE repositories SET name = ?2, mode = ?3, uid = ?4, gid = ?5, created_s = ?6,
                 created_ns = ?7, changed_s = ?8, changed_ns = ?9, next_number = ?10,
                 policy = ?11, quota_bytes = ?12, quota_files = ?13
             WHERE id = ?1",
            params![
                row.id.0,
                row.name.as_str(),
                row.mode,
                row.uid,
                row.gid,
                row.created.seconds,
                row.created.nanoseconds,
                row.changed.seconds,
                row.changed.nanoseconds,
                row.next_number.0,
                row.policy,
                row.quota.bytes,
                row.quota.files,
            ],
        )
    }

    /// Deletes a repository so that it can be brought back. Its versions are deleted, its tags and
    /// areas gone; that is the caller's to see to before.
    ///
    /// # Errors
    /// The database's, also when there is no such repository.
    pub fn retire_repository(&self, repo: RepoId, seconds: i64) -> Result<()> {
        self.execute_one(
            "delete a repository",
            &format!(
                "INSERT INTO deleted_repositories({COLUMNS}, deleted_s)
                 SELECT {COLUMNS}, ?2 FROM repositories WHERE id = ?1"
            ),
            params![repo.0, seconds],
        )?;
        self.delete_repository(repo)
    }

    /// Brings a deleted repository back.
    ///
    /// # Errors
    /// The database's, also when it is not deleted, and when its name is taken.
    pub fn restore_repository(&self, repo: RepoId) -> Result<()> {
        self.execute_one(
            "bring a repository back",
            &format!(
                "INSERT INTO repositories({COLUMNS})
                 SELECT {COLUMNS} FROM deleted_repositories WHERE id = ?1"
            ),
            [repo.0],
        )?;
        self.forget_repository(repo)
    }

    /// Gives a deleted repository up. Its versions are the caller's to remove before.
    ///
    /// # Errors
    /// The database's, also when it is not deleted.
    pub fn forget_repository(&self, repo: RepoId) -> Result<()> {
        self.execute_one(
            "give a repository up",
            "DELETE FROM deleted_repositories WHERE id = ?1",
            [repo.0],
        )
    }

    /// Notes another time for the deletion of a repository.
    ///
    /// # Errors
    /// The database's, also when it is not deleted.
    pub fn date_retirement(&self, repo: RepoId, seconds: i64) -> Result<()> {
        self.execute_one(
            "date a deletion",
            "UPDATE deleted_repositories SET deleted_s = ?2 WHERE id = ?1",
            params![repo.0, seconds],
        )
    }

    /// Removes a repository's row. Its versions, tags and areas are the caller's to remove before.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_repository(&self, repo: RepoId) -> Result<()> {
        self.execute_one("remove a repository", "DELETE FROM repositories WHERE id = ?1", [repo.0])
    }
}

impl Reader {
    /// All repositories by id.
    ///
    /// # Errors
    /// The database's.
    pub fn repositories(&self) -> Result<Vec<RepositoryRow>> {
        collect(
            &self.connection,
            "list repositories",
            &format!("SELECT {COLUMNS} FROM repositories ORDER BY id"),
            [],
            from_row,
        )
    }

    /// The deleted repositories that can be brought back by id, each with the second of its
    /// deletion.
    ///
    /// # Errors
    /// The database's.
    pub fn deleted_repositories(&self) -> Result<Vec<(RepositoryRow, i64)>> {
        collect(
            &self.connection,
            "list deleted repositories",
            &format!("SELECT {COLUMNS}, deleted_s FROM deleted_repositories ORDER BY id"),
            [],
            |row| Ok((from_row(row)?, row.get(13)?)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::store::testing::TestStore;

    fn row(name: &str) -> RepositoryRow {
        RepositoryRow {
            id: RepoId(0),
            name: name.parse().unwrap(),
            mode: 0o2775,
            uid: u32::MAX,
            gid: 7,
            created: Timestamp::new(-5, 999_999_999).unwrap(),
            changed: Timestamp::new(1_700_000_000, 1).unwrap(),
            next_number: VersionNumber(1),
            policy: Some("{}".to_owned()),
            quota: Quota { bytes: Some(7), files: None },
        }
    }

    #[test]
    fn rows_round_trip_and_ids_are_never_used_twice() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        let first = tx.insert_repository(&row("einsé")).unwrap();
        let second = tx.insert_repository(&row("two")).unwrap();
        assert!(tx.insert_repository(&row("two")).is_err());
        tx.delete_repository(second).unwrap();
        assert!(tx.delete_repository(second).is_err());
        let third = tx.insert_repository(&row("two")).unwrap();
        assert!(first < second && second < third);
        let changed = RepositoryRow { id: third, next_number: VersionNumber(9), ..row("three") };
        tx.update_repository(&changed).unwrap();
        assert!(tx.update_repository(&RepositoryRow { id: second, ..row("x") }).is_err());
        tx.commit().unwrap();
        let found = store.catalog.reader().unwrap().repositories().unwrap();
        assert_eq!(found, [RepositoryRow { id: first, ..row("einsé") }, changed]);
    }

    #[test]
    fn a_deleted_repository_comes_back_as_it_was_unless_its_name_is_taken() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        let id = tx.insert_repository(&row("web")).unwrap();
        assert!(tx.restore_repository(id).is_err(), "it is not deleted");
        tx.retire_repository(id, 50).unwrap();
        assert!(tx.retire_repository(id, 50).is_err());
        let other = tx.insert_repository(&row("web")).unwrap();
        assert!(other > id);
        tx.commit().unwrap();
        let tx = store.catalog.begin().unwrap();
        assert!(tx.restore_repository(id).is_err(), "the name is taken");
        drop(tx);
        let deleted = RepositoryRow { id, ..row("web") };
        let reader = store.catalog.reader().unwrap();
        assert_eq!(reader.deleted_repositories().unwrap(), [(deleted.clone(), 50)]);
        let tx = store.catalog.begin().unwrap();
        tx.date_retirement(id, 40).unwrap();
        tx.retire_repository(other, 60).unwrap();
        tx.restore_repository(id).unwrap();
        tx.forget_repository(other).unwrap();
        assert!(tx.forget_repository(id).is_err());
        tx.commit().unwrap();
        assert_eq!(reader.repositories().unwrap(), [deleted]);
        assert_eq!(reader.deleted_repositories().unwrap(), []);
    }
}
