//! What only a repair writes: rows for what was lost, so that storing the content again heals it.
//!
//! A page whose bytes are wrong or gone is *blank*: it keeps its row, its count and the references
//! that it held, and has no bytes. [`Tx::insert_tree`] fills it in.

use rusqlite::{OptionalExtension, params};

use super::connection::During;
use super::totals::Sums;
use super::{Tx, trees};
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::quota::Charge;
use crate::model::time::Timestamp;
use crate::store::error::Result;

impl Tx<'_> {
    /// Fills a blank page in. Tells it by its length, so the bytes of a sound page are not read.
    pub(super) fn heal_page(&self, hash: &TreeHash, bytes: &[u8]) -> Result<()> {
        self.execute(
            "heal a tree",
            "UPDATE tree_pages SET data = ?2
             WHERE page = (SELECT page FROM trees WHERE hash = ?1) AND length(data) = 0",
            params![hash.as_bytes(), bytes],
        )?;
        Ok(())
    }

    /// The bytes of a tree's page; `None` when there are none.
    ///
    /// # Errors
    /// The database's.
    pub fn tree_page(&self, hash: &TreeHash) -> Result<Option<Vec<u8>>> {
        trees::bytes(&self.transaction, hash)
    }

    /// Makes the page of a tree blank; a tree without a row gets one with `refs` references.
    ///
    /// # Errors
    /// The database's.
    pub fn blank_tree(&self, hash: &TreeHash, refs: i64, now: Timestamp) -> Result<()> {
        let page: Option<i64> = self
            .transaction
            .prepare_cached("SELECT page FROM trees WHERE hash = ?1")
            .and_then(|mut find| find.query_row([hash.as_bytes()], |row| row.get(0)).optional())
            .during("look at a tree")?;
        if let Some(page) = page {
            self.execute_one(
                "blank a page",
                "INSERT OR REPLACE INTO tree_pages(page, data) VALUES(?1, x'')",
                [page],
            )?;
            return Ok(());
        }
        let page = self
            .transaction
            .prepare_cached("INSERT INTO tree_pages(data) VALUES(x'')")
            .and_then(|mut insert| insert.insert([]))
            .during("blank a page")?;
        self.execute_one(
            "blank a page",
            "INSERT INTO trees(hash, refs, interest, page) VALUES(?1, ?2, ?3, ?4)",
            params![hash.as_bytes(), refs, now.seconds, page],
        )?;
        self.add_up(Sums { trees: 1, ..Sums::default() });
        Ok(())
    }

    /// Removes a page that belongs to no tree; `false` when it does, or is gone.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_stray_page(&self, page: i64) -> Result<bool> {
        let removed = self.execute(
            "remove a page",
            "DELETE FROM tree_pages
             WHERE page = ?1 AND NOT EXISTS (SELECT 1 FROM trees WHERE trees.page = ?1)",
            [page],
        )?;
        Ok(removed > 0)
    }

    /// Adds a row for a blob that is named and has none, as damaged.
    ///
    /// # Errors
    /// The database's, also when there is a row.
    pub fn insert_lost_blob(
        &self,
        hash: &BlobHash,
        size: u64,
        refs: i64,
        now: Timestamp,
    ) -> Result<()> {
        self.execute_one(
            "add a lost blob",
            "INSERT INTO blobs(hash, size, refs, interest, epoch, state)
             VALUES(?1, ?2, ?3, ?4, 0, 1)",
            params![hash.as_bytes(), size, refs, now.seconds],
        )?;
        self.add_up(Sums { blobs: 1, bytes: size.into(), damaged: 1, trees: 0 });
        Ok(())
    }

    /// Corrects what a version adds to the version that it was compared with; `false` when it has
    /// been compared with another one since, or is gone.
    ///
    /// # Errors
    /// The database's.
    pub fn recharge(&self, repo: RepoId, number: VersionNumber, charge: &Charge) -> Result<bool> {
        let changed = self.execute(
            "charge a version",
            "UPDATE versions SET charge_bytes = ?4, charge_files = ?5
             WHERE repository = ?1 AND number = ?2 AND charge_base = ?3",
            params![repo.0, number.0, charge.base.0, charge.usage.bytes, charge.usage.files],
        )?;
        Ok(changed > 0)
    }

    /// Gives a node that has no name one at the top of its area; `false` when it has a name, or is
    /// gone, or the top is.
    ///
    /// # Errors
    /// The database's, also when that name is taken.
    pub fn name_node(&self, area: AreaId, node: NodeId) -> Result<bool> {
        let added = self.execute(
            "name a node",
            "INSERT INTO names(area, parent, name, node) SELECT ?1, ?1, ?3, ?2
             WHERE EXISTS (SELECT 1 FROM nodes WHERE area = ?1 AND id = ?2)
               AND EXISTS (SELECT 1 FROM nodes WHERE area = ?1 AND id = ?1)
               AND NOT EXISTS (SELECT 1 FROM names WHERE area = ?1 AND node = ?2)",
            params![area.0, node.0, format!("recovered-{node}").as_bytes()],
        )?;
        if added == 0 {
            return Ok(false);
        }
        // The new name replaces the lost one, which the area's row still counts, so the count
        // stays.
        self.execute_one(
            "count the names of an area",
            "UPDATE areas SET names = max(names, (SELECT count(*) FROM names WHERE area = ?1))
             WHERE id = ?1",
            [area.0],
        )?;
        Ok(true)
    }

    /// Takes the names that an area has for all of its names; `false` when they are as many as its row
    /// says, or the area is gone.
    ///
    /// # Errors
    /// The database's.
    pub fn recount_names(&self, area: AreaId) -> Result<bool> {
        self.note_names()?;
        let changed = self.execute(
            "count the names of an area",
            "UPDATE areas SET names = (SELECT count(*) FROM names WHERE area = ?1)
             WHERE id = ?1 AND names <> (SELECT count(*) FROM names WHERE area = ?1)",
            [area.0],
        )?;
        Ok(changed > 0)
    }

    /// Corrects the size of a file of an area; `false` when it is right, or the file has other content
    /// than `blob` meanwhile (`None`: it is not empty any more).
    ///
    /// # Errors
    /// The database's.
    pub fn resize_node(
        &self,
        area: AreaId,
        node: NodeId,
        blob: Option<&BlobHash>,
        size: u64,
    ) -> Result<bool> {
        let changed = self.execute(
            "correct a size",
            "UPDATE nodes SET size = ?4
             WHERE area = ?1 AND id = ?2 AND size <> ?4
               AND (data IS ?3 AND data_kind = (?3 IS NOT NULL)
                    OR data_kind = 6 AND data IN (SELECT sha256 FROM digests WHERE blob = ?3))",
            params![area.0, node.0, blob.map(BlobHash::as_bytes), size],
        )?;
        Ok(changed > 0)
    }

    /// Makes the next version of a repository come after `newest`; `false` when it does already.
    ///
    /// # Errors
    /// The database's.
    pub fn raise_next_number(&self, repo: RepoId, newest: VersionNumber) -> Result<bool> {
        let raised = self.execute(
            "change a repository",
            "UPDATE repositories SET next_number = ?2 + 1 WHERE id = ?1 AND next_number <= ?2",
            [repo.0, newest.0],
        )?;
        Ok(raised > 0)
    }
}
