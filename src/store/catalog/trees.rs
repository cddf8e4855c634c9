//! Tree pages and the references on them.
//!
//! Counts and bytes are apart: a count changes often and is a small row, a page never changes and
//! may have a quarter of a megabyte.

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::tree_hash;
use super::connection::{During, changed_count, collect, still_referenced};
use super::totals::Sums;
use super::{Reader, Tx};
use crate::model::hash::TreeHash;
use crate::model::time::Timestamp;
use crate::store::error::{Result, StoreError};

/// Reads a page by its hash.
const PAGE_BYTES: &str = "SELECT data FROM trees JOIN tree_pages USING(page) WHERE hash = ?1";

fn refs(connection: &Connection, hash: &TreeHash) -> Result<Option<i64>> {
    let read = || {
        connection
            .prepare_cached("SELECT refs FROM trees WHERE hash = ?1")?
            .query_row([hash.as_bytes()], |row| row.get(0))
            .optional()
    };
    read().during("look at a tree")
}

pub(super) fn bytes(connection: &Connection, hash: &TreeHash) -> Result<Option<Vec<u8>>> {
    let read = || {
        connection
            .prepare_cached(PAGE_BYTES)?
            .query_row([hash.as_bytes()], |row| row.get(0))
            .optional()
    };
    read().during("read a tree")
}

impl Tx<'_> {
    /// Adds a page without references, or, where it exists, renews its last-used time.
    /// Returns whether it is new: then the references that it holds are the caller's to add, in
    /// this transaction (H7).
    ///
    /// # Errors
    /// The database's.
    pub fn insert_tree(&self, hash: &TreeHash, bytes: &[u8], now: Timestamp) -> Result<bool> {
        if self.renew_tree(hash, now)? {
            self.heal_page(hash, bytes)?;
            return Ok(false);
        }
        let insert = || -> rusqlite::Result<i64> {
            self.transaction
                .prepare_cached("INSERT INTO tree_pages(data) VALUES(?1)")?
                .insert([bytes])
        };
        let page = insert().during("add a tree's page")?;
        self.execute_one(
            "add a tree",
            "INSERT INTO trees(hash, refs, interest, page) VALUES(?1, 0, ?2, ?3)",
            params![hash.as_bytes(), now.seconds, page],
        )?;
        self.add_up(Sums { trees: 1, ..Sums::default() });
        Ok(true)
    }

    /// Renews a page's last-used time, and so that of what it holds (G5); `false` when there
    /// is none.
    ///
    /// # Errors
    /// The database's.
    pub fn renew_tree(&self, hash: &TreeHash, now: Timestamp) -> Result<bool> {
        let renewed = self.execute(
            "renew a tree",
            "UPDATE trees SET interest = ?2 WHERE hash = ?1",
            params![hash.as_bytes(), now.seconds],
        )?;
        Ok(renewed > 0)
    }

    /// The number of references on a page; `None` when there is none.
    ///
    /// # Errors
    /// The database's.
    pub fn tree_refs(&self, hash: &TreeHash) -> Result<Option<i64>> {
        refs(&self.transaction, hash)
    }

    /// Adds to (or takes from) the references on a page; returns the new number.
    ///
    /// # Errors
    /// [`StoreError::MissingTree`]; a corrupt catalog when the number would become negative (it
    /// stays as it is); the database's.
    pub fn add_tree_refs(&self, hash: &TreeHash, delta: i64) -> Result<i64> {
        self.count_tree(hash, delta, i64::MIN)
    }

    /// Takes the reference of another page from a page. The page's last use becomes at least
    /// `last_used`, that of the other page: whoever used that used what is in it (G5).
    ///
    /// # Errors
    /// As [`Tx::add_tree_refs`].
    pub fn release_tree(&self, hash: &TreeHash, last_used: i64) -> Result<i64> {
        self.count_tree(hash, -1, last_used)
    }

    fn count_tree(&self, hash: &TreeHash, delta: i64, last_used: i64) -> Result<i64> {
        let Some(refs) = self.tree_refs(hash)? else {
            return Err(StoreError::MissingTree(*hash));
        };
        let refs = changed_count("count a tree", hash, refs, delta)?;
        self.execute_one(
            "count a tree",
            "UPDATE trees SET refs = ?2, interest = max(interest, ?3) WHERE hash = ?1",
            params![hash.as_bytes(), refs, last_used],
        )?;
        Ok(refs)
    }

    /// Removes a page without references and returns its bytes, so that the references it held can
    /// be dropped; `None` when there is none.
    ///
    /// # Errors
    /// When it is referenced; [`StoreError::MissingTree`] when there is a count but no bytes, since
    /// nobody knows then what it referenced; the database's.
    pub fn delete_tree(&self, hash: &TreeHash) -> Result<Option<Vec<u8>>> {
        let read = || {
            self.transaction
                .prepare_cached(
                    "SELECT refs, page, data FROM trees LEFT JOIN tree_pages USING(page)
                     WHERE hash = ?1",
                )?
                .query_row([hash.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()
        };
        let Some((refs, page, bytes)): Option<(i64, i64, Option<Vec<u8>>)> =
            read().during("read a tree")?
        else {
            return Ok(None);
        };
        if refs != 0 {
            return Err(still_referenced("remove a tree", hash, refs));
        }
        let Some(bytes) = bytes else {
            return Err(StoreError::MissingTree(*hash));
        };
        self.execute_one("remove a tree", "DELETE FROM trees WHERE hash = ?1", [hash.as_bytes()])?;
        self.execute_one("remove a tree's page", "DELETE FROM tree_pages WHERE page = ?1", [page])?;
        self.add_up(Sums { trees: -1, ..Sums::default() });
        Ok(Some(bytes))
    }

    /// Pages without references and when they were last used, oldest first, from the one after `after` on.
    /// The cost depends on `limit` alone (G12).
    ///
    /// # Errors
    /// The database's.
    pub fn orphan_trees(
        &self,
        after: Option<(i64, TreeHash)>,
        limit: u32,
    ) -> Result<Vec<(i64, TreeHash)>> {
        let (last_used, hash) = after.unzip();
        let hash = hash.as_ref().map_or([].as_slice(), |hash| hash.as_bytes());
        collect(
            &self.transaction,
            "list orphaned trees",
            "SELECT interest, hash FROM trees
             WHERE refs = 0 AND (interest, hash) > (?1, ?2) ORDER BY interest, hash LIMIT ?3",
            params![last_used.unwrap_or(i64::MIN), hash, limit],
            |row| Ok((row.get(0)?, tree_hash(row, 1)?)),
        )
    }
}

impl Reader {
    /// The bytes of a page; `None` when there is none.
    ///
    /// # Errors
    /// The database's.
    pub fn tree(&self, hash: &TreeHash) -> Result<Option<Vec<u8>>> {
        bytes(&self.connection, hash)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::error::CatalogErrorKind;
    use crate::store::testing::TestStore;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 500).unwrap()
    }

    #[test]
    fn pages_are_kept_once_and_counted() {
        let mut store = TestStore::new();
        let large = vec![9; 256 << 10];
        let hash = TreeHash::of(&large);
        let tx = store.catalog.begin().unwrap();
        assert!(tx.insert_tree(&hash, &large, at(10)).unwrap());
        assert!(!tx.insert_tree(&hash, &large, at(20)).unwrap());
        assert_eq!(tx.add_tree_refs(&hash, 3).unwrap(), 3);
        assert_eq!(tx.add_tree_refs(&hash, -1).unwrap(), 2);
        assert_eq!(tx.tree_refs(&hash).unwrap(), Some(2));
        assert!(tx.delete_tree(&hash).is_err(), "it is referenced");
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        assert_eq!(reader.tree(&hash).unwrap(), Some(large.clone()));
        let tx = store.catalog.begin().unwrap();
        tx.add_tree_refs(&hash, -2).unwrap();
        assert_eq!(tx.delete_tree(&hash).unwrap(), Some(large));
        assert_eq!(tx.delete_tree(&hash).unwrap(), None);
        tx.commit().unwrap();
        assert_eq!(reader.tree(&hash).unwrap(), None);
    }

    #[test]
    fn a_statement_is_compiled_once_whatever_is_bound_to_it() {
        let mut store = TestStore::new();
        let pages: Vec<[u8; 1]> = (0..9).map(|number| [number]).collect();
        let tx = store.catalog.begin().unwrap();
        for page in &pages {
            tx.insert_tree(&TreeHash::of(page), page, at(1)).unwrap();
        }
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        for page in &pages {
            assert_eq!(reader.tree(&TreeHash::of(page)).unwrap(), Some(page.to_vec()));
        }
        let statement = reader.connection.prepare_cached(PAGE_BYTES).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Run), 9, "it is the one that was kept");
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }

    #[test]
    fn counts_never_become_negative() {
        let mut store = TestStore::new();
        let hash = TreeHash::of(b"t");
        let tx = store.catalog.begin().unwrap();
        assert!(matches!(tx.add_tree_refs(&hash, 1), Err(StoreError::MissingTree(_))));
        tx.insert_tree(&hash, b"t", at(1)).unwrap();
        tx.add_tree_refs(&hash, 1).unwrap();
        let error = tx.add_tree_refs(&hash, -2).unwrap_err();
        assert!(matches!(error, StoreError::Catalog { kind: CatalogErrorKind::Corrupt, .. }));
        assert_eq!(tx.tree_refs(&hash).unwrap(), Some(1));
    }

    #[test]
    fn orphans_are_old_and_unreferenced() {
        let mut store = TestStore::new();
        let hashes: Vec<TreeHash> = (0_u8..4).map(|n| TreeHash::of(&[n])).collect();
        let tx = store.catalog.begin().unwrap();
        for (hash, seconds) in hashes.iter().zip([30, 10, 20, 15]) {
            tx.insert_tree(hash, b"page", at(seconds)).unwrap();
        }
        tx.add_tree_refs(&hashes[3], 1).unwrap();
        let by_age = [(10, hashes[1]), (20, hashes[2]), (30, hashes[0])];
        assert_eq!(tx.orphan_trees(None, 10).unwrap(), by_age);
        assert_eq!(tx.orphan_trees(None, 1).unwrap(), by_age[..1]);
        assert_eq!(tx.orphan_trees(Some(by_age[0]), 1).unwrap(), by_age[1..2]);
        assert_eq!(tx.orphan_trees(Some(by_age[2]), 9).unwrap(), []);
        tx.insert_tree(&hashes[1], b"page", at(40)).unwrap();
        tx.add_tree_refs(&hashes[3], -1).unwrap();
        let by_age = [(15, hashes[3]), (20, hashes[2]), (30, hashes[0]), (40, hashes[1])];
        assert_eq!(tx.orphan_trees(None, 10).unwrap(), by_age);
    }
}
