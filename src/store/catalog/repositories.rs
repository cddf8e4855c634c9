//! Repositories.

use rusqlite::{Row, params};

use super::codec::{text, time};
use super::connection::{During, collect};
use super::{Reader, RepositoryRow, Tx};
use crate::model::id::{RepoId, VersionNumber};
use crate::model::quota::Quota;
use crate::store::error::Result;

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
            "SELECT id, name, mode, uid, gid, created_s, created_ns, changed_s, changed_ns,
                 next_number, policy, quota_bytes, quota_files
             FROM repositories ORDER BY id",
            [],
            from_row,
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
}
