//! The queue of what is being taken apart in the background.

use rusqlite::{Row, params};

use super::codec::{corrupt, tree_hash};
use super::connection::{During, collect};
use super::{QueuedDeletion, Reader, Tx};
use crate::model::id::AreaId;
use crate::store::error::Result;

/// An entry of the queue: its number, the tree, the area.
pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<(u64, QueuedDeletion)> {
    let deletion = match row.get::<_, Option<u64>>(2)? {
        Some(area) => QueuedDeletion::Area(AreaId(area)),
        None => QueuedDeletion::Tree(tree_hash(row, 1).map_err(|error| corrupt(1, error))?),
    };
    Ok((row.get(0)?, deletion))
}

impl Tx<'_> {
    /// Appends to the queue.
    ///
    /// # Errors
    /// The database's.
    pub fn queue_deletion(&self, deletion: &QueuedDeletion) -> Result<()> {
        let (tree, area) = match deletion {
            QueuedDeletion::Tree(hash) => (Some(hash.as_bytes()), None),
            QueuedDeletion::Area(area) => (None, Some(area.0)),
        };
        self.execute_one(
            "queue a deletion",
            "INSERT INTO doomed(tree, area) VALUES(?1, ?2)",
            params![tree, area],
        )
    }

    /// The front of the queue, with the numbers to remove them by.
    ///
    /// # Errors
    /// The database's.
    pub fn deletion_queue(&self, limit: u32) -> Result<Vec<(u64, QueuedDeletion)>> {
        collect(
            &self.transaction,
            "read the deletion queue",
            "SELECT seq, tree, area FROM doomed ORDER BY seq LIMIT ?1",
            [limit],
            from_row,
        )
    }

    /// Removes an entry of the queue; a missing one is fine.
    ///
    /// # Errors
    /// The database's.
    pub fn finish_deletion(&self, seq: u64) -> Result<()> {
        self.execute("finish a deletion", "DELETE FROM doomed WHERE seq = ?1", [seq])?;
        Ok(())
    }
}

impl Reader {
    /// Length of the queue.
    ///
    /// # Errors
    /// The database's.
    pub fn deletion_queue_len(&self) -> Result<u64> {
        self.connection
            .prepare_cached("SELECT count(*) FROM doomed")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("read the deletion queue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hash::TreeHash;
    use crate::store::testing::TestStore;

    #[test]
    fn the_queue_keeps_its_order() {
        let mut store = TestStore::new();
        let entries = [
            QueuedDeletion::Tree(TreeHash::of(b"t")),
            QueuedDeletion::Area(AreaId(4)),
            QueuedDeletion::Area(AreaId(2)),
        ];
        let tx = store.catalog.begin().unwrap();
        for entry in &entries {
            tx.queue_deletion(entry).unwrap();
        }
        let queue = tx.deletion_queue(2).unwrap();
        assert_eq!(queue.iter().map(|(_, entry)| *entry).collect::<Vec<_>>(), entries[..2]);
        tx.finish_deletion(queue[0].0).unwrap();
        tx.finish_deletion(queue[0].0).unwrap();
        tx.commit().unwrap();
        assert_eq!(store.catalog.reader().unwrap().deletion_queue_len().unwrap(), 2);
        let tx = store.catalog.begin().unwrap();
        assert_eq!(tx.deletion_queue(9).unwrap()[0].1, entries[1]);
    }
}
