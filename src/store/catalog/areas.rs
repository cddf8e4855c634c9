//! Staging areas.

use rusqlite::types::ValueRef;
use rusqlite::{Row, params};

use super::codec::{corrupt, optional_root, text, time};
use super::connection::collect;
use super::{AreaRow, AreaState, Reader, Tx};
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::on_stale::OnStale;
use crate::model::tree_format;
use crate::store::error::Result;

/// Numbers of the column `state`; the index of open areas knows the first.
pub(super) const OPEN: i64 = 0;
const DELETED: i64 = 1;

fn state_number(state: AreaState) -> i64 {
    match state {
        AreaState::Open => OPEN,
        AreaState::Deleted => DELETED,
    }
}

pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<AreaState> {
    match row.get_ref(column)? {
        ValueRef::Integer(OPEN) => Ok(AreaState::Open),
        ValueRef::Integer(DELETED) => Ok(AreaState::Deleted),
        other => Err(corrupt(column, format!("unknown state of an area: {other:?}"))),
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<AreaRow> {
    Ok(AreaRow {
        id: AreaId(row.get(0)?),
        repo: RepoId(row.get(1)?),
        name: text(row, 2)?,
        state: state(row, 3)?,
        base: row.get::<_, Option<u64>>(4)?.map(VersionNumber),
        base_root: optional_root(row, 5)?,
        created: time(row, 6)?,
        message: row.get(8)?,
        author: row.get(9)?,
        // An unknown text refuses a stale base, as none does.
        on_stale: OnStale::from_text(row.get_ref(10)?.as_str()?).unwrap_or_default(),
        changed: row.get(11)?,
    })
}

impl Tx<'_> {
    /// Adds an area; its id must be new. The reference on its base tree is the caller's to add.
    ///
    /// # Errors
    /// The database's, also when the id is taken, or the name among the repository's open areas.
    pub fn insert_area(&self, row: &AreaRow) -> Result<()> {
        self.write_area(
            "add an area",
            "INSERT INTO areas(id, repository, name, state, base, base_root, created_s,
                 created_ns, message, author, on_stale, changed_s)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            row,
        )
    }

    /// Replaces an area's row.
    ///
    /// # Errors
    /// The database's, also when there is no such area.
    pub fn update_area(&self, row: &AreaRow) -> Result<()> {
        self.write_area(
            "change an area",
            "UPDATE areas SET repository = ?2, name = ?3, state = ?4, base = ?5, base_root = ?6,
                 created_s = ?7, created_ns = ?8, message = ?9, author = ?10, on_stale = ?11,
                 changed_s = ?12
             WHERE id = ?1",
            row,
        )
    }

    fn write_area(&self, action: &'static str, sql: &str, row: &AreaRow) -> Result<()> {
        self.execute_one(
            action,
            sql,
            params![
                row.id.0,
                row.repo.0,
                row.name.as_str(),
                state_number(row.state),
                row.base.map(|base| base.0),
                row.base_root.as_ref().map(tree_format::encode_root),
                row.created.seconds,
                row.created.nanoseconds,
                row.message,
                row.author,
                row.on_stale.text(),
                row.changed,
            ],
        )
    }

    /// Notes when something in an area changed last; a missing area is fine.
    ///
    /// # Errors
    /// The database's.
    pub fn touch_area(&self, area: AreaId, seconds: i64) -> Result<()> {
        self.execute(
            "touch an area",
            "UPDATE areas SET changed_s = ?2 WHERE id = ?1",
            params![area.0, seconds],
        )?;
        Ok(())
    }

    /// Removes an area's row; a missing one is fine. Its nodes, names and files are the caller's to
    /// remove before.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_area(&self, area: AreaId) -> Result<()> {
        self.execute("remove an area", "DELETE FROM areas WHERE id = ?1", [area.0])?;
        Ok(())
    }
}

impl Reader {
    /// All areas by id, deleted ones too.
    ///
    /// # Errors
    /// The database's.
    pub fn areas(&self) -> Result<Vec<AreaRow>> {
        collect(
            &self.connection,
            "list areas",
            "SELECT id, repository, name, state, base, base_root, created_s, created_ns, message,
                 author, on_stale, changed_s
             FROM areas ORDER BY id",
            [],
            from_row,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::store::catalog::versions::tests::some_root;
    use crate::store::testing::TestStore;

    fn row(id: u64, name: &str) -> AreaRow {
        AreaRow {
            id: AreaId(id),
            repo: RepoId(1),
            name: name.parse().unwrap(),
            state: AreaState::Open,
            base: None,
            base_root: None,
            created: Timestamp::new(-100, 7).unwrap(),
            message: String::new(),
            author: String::new(),
            on_stale: OnStale::Refuse,
            changed: 9,
        }
    }

    #[test]
    fn rows_round_trip() {
        let mut store = TestStore::new();
        let based = AreaRow {
            base: Some(VersionNumber(7)),
            base_root: Some(some_root()),
            message: "why\nand how".to_owned(),
            author: "someone".to_owned(),
            on_stale: OnStale::Merge,
            ..row(3, "x@7")
        };
        let tx = store.catalog.begin().unwrap();
        tx.insert_area(&based).unwrap();
        tx.insert_area(&row(2, "b42")).unwrap();
        assert!(tx.insert_area(&row(2, "other")).is_err(), "the id is taken");
        assert!(tx.insert_area(&row(4, "b42")).is_err(), "the name is taken");
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        assert_eq!(reader.areas().unwrap(), [row(2, "b42"), based.clone()]);

        let deleted = AreaRow { state: AreaState::Deleted, ..row(2, "b42") };
        let tx = store.catalog.begin().unwrap();
        tx.update_area(&deleted).unwrap();
        tx.insert_area(&row(4, "b42")).unwrap();
        tx.delete_area(based.id).unwrap();
        tx.delete_area(based.id).unwrap();
        assert!(tx.update_area(&based).is_err());
        tx.commit().unwrap();
        assert_eq!(reader.areas().unwrap(), [deleted, row(4, "b42")]);
    }
}
