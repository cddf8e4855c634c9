//! Tags.

use rusqlite::params;

use super::codec::{text, time};
use super::connection::collect;
use super::{Reader, TagRow, Tx};
use crate::model::id::{RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::store::error::Result;

impl Tx<'_> {
    /// Makes or moves a tag.
    ///
    /// # Errors
    /// The database's.
    pub fn put_tag(&self, repo: RepoId, name: &TagName, row: &TagRow) -> Result<()> {
        self.execute_one(
            "set a tag",
            "INSERT OR REPLACE INTO tags(repository, name, number, protects, created_s, created_ns)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                repo.0,
                name.as_str(),
                row.number.0,
                row.protects,
                row.created.seconds,
                row.created.nanoseconds,
            ],
        )
    }

    /// Removes a tag; `false` when there was none.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_tag(&self, repo: RepoId, name: &TagName) -> Result<bool> {
        let removed = self.execute(
            "remove a tag",
            "DELETE FROM tags WHERE repository = ?1 AND name = ?2",
            params![repo.0, name.as_str()],
        )?;
        Ok(removed > 0)
    }
}

impl Reader {
    /// All tags by repository and name.
    ///
    /// # Errors
    /// The database's.
    pub fn tags(&self) -> Result<Vec<(RepoId, TagName, TagRow)>> {
        collect(
            &self.connection,
            "list tags",
            "SELECT name, number, protects, created_s, created_ns, repository
             FROM tags ORDER BY repository, name",
            [],
            |row| {
                let tag = TagRow {
                    number: VersionNumber(row.get(1)?),
                    protects: row.get(2)?,
                    created: time(row, 3)?,
                };
                Ok((RepoId(row.get(5)?), text(row, 0)?, tag))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::store::testing::TestStore;

    #[test]
    fn rows_round_trip() {
        let mut store = TestStore::new();
        let created = Timestamp::new(-1, 0).unwrap();
        let row = |number, protects| TagRow { number: VersionNumber(number), protects, created };
        let (a, b) = ("a".parse::<TagName>().unwrap(), "béta".parse::<TagName>().unwrap());
        let tx = store.catalog.begin().unwrap();
        tx.put_tag(RepoId(1), &b, &row(1, false)).unwrap();
        tx.put_tag(RepoId(1), &a, &row(1, false)).unwrap();
        tx.put_tag(RepoId(1), &a, &row(2, true)).unwrap();
        tx.put_tag(RepoId(2), &a, &row(3, true)).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        let (one, two) = (RepoId(1), RepoId(2));
        let of_two = (two, a.clone(), row(3, true));
        let of_one = [(one, a.clone(), row(2, true)), (one, b.clone(), row(1, false))];
        let expected: Vec<_> = of_one.into_iter().chain([of_two.clone()]).collect();
        assert_eq!(reader.tags().unwrap(), expected);
        let tx = store.catalog.begin().unwrap();
        assert!(tx.delete_tag(RepoId(1), &a).unwrap());
        assert!(!tx.delete_tag(RepoId(1), &a).unwrap());
        tx.commit().unwrap();
        assert_eq!(reader.tags().unwrap(), [(one, b, row(1, false)), of_two]);
    }
}
