//! Queries that explain where space goes. They only read, and run on a connection of the caller,
//! never on that of the metadata thread.

use rusqlite::{OptionalExtension, params};

use super::blobs;
use super::codec::{blob_hash, corrupt, sha256, tree_hash};
use super::connection::{During, collect};
use super::{OrphanBlob, QueuedDeletion, Reader, TreeRow};
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId};
use crate::store::error::Result;

impl Reader {
    /// The counts of a page; `None` when there is no such page.
    ///
    /// # Errors
    /// The database's.
    pub fn tree_row(&self, hash: &TreeHash) -> Result<Option<TreeRow>> {
        let read = || {
            self.connection
                .prepare_cached("SELECT refs, interest FROM trees WHERE hash = ?1")?
                .query_row([hash.as_bytes()], |row| {
                    Ok(TreeRow { refs: row.get(0)?, last_used: row.get(1)? })
                })
                .optional()
        };
        read().during("look at a tree")
    }

    /// Pages without references. The cost follows their number.
    ///
    /// # Errors
    /// The database's.
    pub fn orphan_trees(&self) -> Result<Vec<TreeHash>> {
        collect(
            &self.connection,
            "list orphaned trees",
            "SELECT hash FROM trees WHERE refs = 0",
            [],
            |row| tree_hash(row, 0),
        )
    }

    /// Blobs without references by last use and hash, from the one after `after` on. The cost
    /// depends on `limit` alone.
    ///
    /// # Errors
    /// The database's.
    pub fn orphan_blobs(
        &self,
        after: Option<(i64, BlobHash)>,
        limit: u32,
    ) -> Result<Vec<OrphanBlob>> {
        blobs::orphan_blobs(&self.connection, i64::MAX, after, limit)
    }

    /// The deletion queue, first what was queued first.
    ///
    /// # Errors
    /// The database's.
    pub fn queued_deletions(&self) -> Result<Vec<QueuedDeletion>> {
        collect(
            &self.connection,
            "read the deletion queue",
            "SELECT tree, area FROM doomed ORDER BY seq",
            [],
            |row| {
                Ok(match row.get::<_, Option<u64>>(1)? {
                    Some(area) => QueuedDeletion::Area(AreaId(area)),
                    None => {
                        QueuedDeletion::Tree(tree_hash(row, 0).map_err(|error| corrupt(0, error))?)
                    }
                })
            },
        )
    }

    /// The blobs that nodes of an area name, by node, from the one after `after` on: at most
    /// `limit`.
    ///
    /// # Errors
    /// The database's.
    pub fn area_content(
        &self,
        area: AreaId,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<(NodeId, ContentName)>> {
        collect(
            &self.connection,
            "list the content of an area",
            "SELECT id, data, data_kind FROM nodes
             WHERE area = ?1 AND id > ?2 AND data_kind IN (1, 6) ORDER BY id LIMIT ?3",
            params![area.0, after.map_or(0, |node| node.0), limit],
            |row| {
                let name = match row.get(2)? {
                    1_u8 => blob_hash(row, 1)?.into(),
                    _ => sha256(row, 1)?.into(),
                };
                Ok((NodeId(row.get(0)?), name))
            },
        )
    }

    /// The nodes of all areas that name a blob. Reads the rows of all areas.
    ///
    /// # Errors
    /// The database's.
    pub fn nodes_naming(&self, blob: &BlobHash) -> Result<Vec<(AreaId, NodeId)>> {
        collect(
            &self.connection,
            "look for a blob in areas",
            "SELECT area, id FROM nodes WHERE data_kind = 1 AND data = ?1
                 OR data_kind = 6 AND data IN (SELECT sha256 FROM digests WHERE blob = ?1)
             ORDER BY area, id",
            [blob.as_bytes()],
            |row| Ok((AreaId(row.get(0)?), NodeId(row.get(1)?))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind::FileKind;
    use crate::model::time::Timestamp;
    use crate::model::tree::Xattrs;
    use crate::store::catalog::{NodeData, NodeRow};
    use crate::store::testing::TestStore;

    fn file(id: u64, data: NodeData) -> NodeRow {
        NodeRow {
            id: NodeId(id),
            kind: FileKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            xattrs: Xattrs::new(),
            charged: true,
            size: 1,
            data,
        }
    }

    #[test]
    fn orphans_and_the_queue_are_seen_as_the_collector_sees_them() {
        let mut store = TestStore::new();
        let trees: Vec<TreeHash> = (0_u8..3).map(|n| TreeHash::of(&[n])).collect();
        let blobs: Vec<BlobHash> = (0_u8..3).map(|n| BlobHash::of(&[n])).collect();
        let at = |seconds| Timestamp::new(seconds, 0).unwrap();
        let tx = store.catalog.begin().unwrap();
        for tree in &trees {
            tx.insert_tree(tree, b"page", at(1)).unwrap();
        }
        for (blob, seconds) in blobs.iter().zip([30, 10, 20]) {
            tx.insert_blob(blob, 5, 1, 0, at(seconds)).unwrap();
        }
        tx.add_tree_refs(&trees[0], 2).unwrap();
        tx.add_blob_refs(&blobs[1], 1).unwrap();
        tx.queue_deletion(&QueuedDeletion::Tree(trees[0])).unwrap();
        tx.queue_deletion(&QueuedDeletion::Area(AreaId(9))).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        let row = TreeRow { refs: 2, last_used: 1 };
        assert_eq!(reader.tree_row(&trees[0]).unwrap(), Some(row));
        assert_eq!(reader.tree_row(&TreeHash::of(b"none")).unwrap(), None);
        let mut orphans = reader.orphan_trees().unwrap();
        orphans.sort();
        let mut expected = trees[1..].to_vec();
        expected.sort();
        assert_eq!(orphans, expected);
        let listed = |after| -> Vec<BlobHash> {
            reader.orphan_blobs(after, 9).unwrap().into_iter().map(|orphan| orphan.hash).collect()
        };
        assert_eq!(listed(None), [blobs[2], blobs[0]]);
        assert_eq!(listed(Some((20, blobs[2]))), [blobs[0]]);
        let queue = reader.queued_deletions().unwrap();
        assert_eq!(queue, [QueuedDeletion::Tree(trees[0]), QueuedDeletion::Area(AreaId(9))]);
    }

    #[test]
    fn blobs_of_areas_are_found_from_both_sides() {
        let mut store = TestStore::new();
        let (one, two) = (BlobHash::of(b"1"), BlobHash::of(b"2"));
        let tx = store.catalog.begin().unwrap();
        tx.put_node(AreaId(3), &file(1, NodeData::Blob(one.into()))).unwrap();
        tx.put_node(AreaId(3), &file(2, NodeData::Empty)).unwrap();
        tx.put_node(AreaId(3), &file(4, NodeData::Blob(two.into()))).unwrap();
        tx.put_node(AreaId(5), &file(6, NodeData::Blob(one.into()))).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        let blobs = |after| reader.area_content(AreaId(3), after, 1).unwrap();
        assert_eq!(blobs(None), [(NodeId(1), one.into())]);
        assert_eq!(blobs(Some(NodeId(1))), [(NodeId(4), two.into())]);
        assert_eq!(blobs(Some(NodeId(4))), []);
        let naming = reader.nodes_naming(&one).unwrap();
        assert_eq!(naming, [(AreaId(3), NodeId(1)), (AreaId(5), NodeId(6))]);
    }
}
