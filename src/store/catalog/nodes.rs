//! Files and directories of staging areas, and their names.
//!
//! ```text
//! data_kind   0 none   1 blob    2 private file   3 tree   4 target   5 device number   6 SHA-256
//! data        NULL     32 bytes  number           32 bytes bytes      number            32 bytes
//! ```

use std::collections::BTreeSet;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{OptionalExtension, Row, params};

use super::codec::{blob_hash, corrupt, encode_xattrs, sha256, time, tree_hash, xattrs};
use super::connection::{During, collect};
use super::{NodeData, NodeRow, Reader, Tx};
use crate::model::content_name::ContentName;
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, NodeId};
use crate::model::kind::FileKind;
use crate::model::name::EntryName;
use crate::model::quota::Usage;
use crate::store::error::Result;
use crate::store::layout::PrivateId;

/// A name in a directory of a staging area: directory, name, and what it names. `None` hides the
/// name that the base has (a whiteout).
pub type NameRow = (NodeId, EntryName, Option<NodeId>);

const COLUMNS: &str = "id, kind, mode, uid, gid, mtime_s, mtime_ns, ctime_s, ctime_ns, size, \
                       data_kind, data, xattrs, charged";

const KINDS: [FileKind; 7] = [
    FileKind::File,
    FileKind::Directory,
    FileKind::Symlink,
    FileKind::Fifo,
    FileKind::Socket,
    FileKind::CharDevice,
    FileKind::BlockDevice,
];

/// The number of a kind: its position in [`KINDS`].
fn kind_number(kind: FileKind) -> u8 {
    match kind {
        FileKind::File => 0,
        FileKind::Directory => 1,
        FileKind::Symlink => 2,
        FileKind::Fifo => 3,
        FileKind::Socket => 4,
        FileKind::CharDevice => 5,
        FileKind::BlockDevice => 6,
    }
}

fn encode_data(data: &NodeData) -> rusqlite::Result<(u8, Value)> {
    Ok(match data {
        NodeData::Empty => (0, Value::Null),
        NodeData::Blob(ContentName::Blake3(hash)) => (1, Value::Blob(hash.as_bytes().to_vec())),
        NodeData::Blob(ContentName::Sha256(digest)) => (6, Value::Blob(digest.as_bytes().to_vec())),
        NodeData::Private(id) => {
            let id = i64::try_from(id.0)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            (2, Value::Integer(id))
        }
        NodeData::BaseTree(hash) => (3, Value::Blob(hash.as_bytes().to_vec())),
        NodeData::Target(target) => (4, Value::Blob(target.to_vec())),
        NodeData::Rdev(rdev) => (5, Value::Integer(i64::from(*rdev))),
    })
}

pub(super) fn data(row: &Row<'_>, kind: usize, column: usize) -> rusqlite::Result<NodeData> {
    Ok(match row.get::<_, u8>(kind)? {
        0 => NodeData::Empty,
        1 => NodeData::Blob(blob_hash(row, column)?.into()),
        2 => NodeData::Private(PrivateId(row.get(column)?)),
        3 => NodeData::BaseTree(tree_hash(row, column)?),
        4 => NodeData::Target(row.get_ref(column)?.as_blob()?.into()),
        5 => NodeData::Rdev(row.get(column)?),
        6 => NodeData::Blob(sha256(row, column)?.into()),
        other => return Err(corrupt(kind, format!("unknown kind of data: {other}"))),
    })
}

pub(super) fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<FileKind> {
    let number = row.get::<_, u8>(column)?;
    let kind = KINDS.get(usize::from(number)).copied();
    kind.ok_or_else(|| corrupt(column, format!("unknown kind of node: {number}")))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<NodeRow> {
    Ok(NodeRow {
        id: NodeId(row.get(0)?),
        kind: kind(row, 1)?,
        mode: row.get(2)?,
        uid: row.get(3)?,
        gid: row.get(4)?,
        mtime: time(row, 5)?,
        ctime: time(row, 7)?,
        size: row.get(9)?,
        data: data(row, 10, 11)?,
        xattrs: xattrs(row, 12)?,
        charged: row.get(13)?,
    })
}

pub(super) fn name_from_row(row: &Row<'_>) -> rusqlite::Result<NameRow> {
    let name = EntryName::new(row.get_ref(1)?.as_blob()?).map_err(|error| corrupt(1, error))?;
    let node = match row.get_ref(2)? {
        ValueRef::Null => None,
        _ => Some(NodeId(row.get(2)?)),
    };
    Ok((NodeId(row.get(0)?), name, node))
}

impl Tx<'_> {
    /// Writes a node, replacing the one of its id. References on what it names are the caller's.
    ///
    /// # Errors
    /// The database's.
    pub fn put_node(&self, area: AreaId, row: &NodeRow) -> Result<()> {
        let (data_kind, data) = encode_data(&row.data).during("write a node")?;
        self.execute_one(
            "write a node",
            "INSERT OR REPLACE INTO nodes(area, id, kind, mode, uid, gid, mtime_s, mtime_ns,
                 ctime_s, ctime_ns, size, data_kind, data, xattrs, charged)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            params![
                area.0,
                row.id.0,
                kind_number(row.kind),
                row.mode,
                row.uid,
                row.gid,
                row.mtime.seconds,
                row.mtime.nanoseconds,
                row.ctime.seconds,
                row.ctime.nanoseconds,
                row.size,
                data_kind,
                data,
                encode_xattrs(&row.xattrs),
                row.charged,
            ],
        )
    }

    /// Removes a node; a missing one is fine.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_node(&self, area: AreaId, node: NodeId) -> Result<()> {
        self.execute(
            "remove a node",
            "DELETE FROM nodes WHERE area = ?1 AND id = ?2",
            [area.0, node.0],
        )?;
        Ok(())
    }

    /// Writes a name, replacing the one that is equal; without a node it hides the base's.
    ///
    /// # Errors
    /// The database's.
    pub fn put_name(
        &self,
        area: AreaId,
        parent: NodeId,
        name: &EntryName,
        node: Option<NodeId>,
    ) -> Result<()> {
        let row = params![area.0, parent.0, name.as_bytes(), node.map(|node| node.0)];
        let sql = "INSERT OR IGNORE INTO names(area, parent, name, node) VALUES(?1, ?2, ?3, ?4)";
        if self.execute("write a name", sql, row)? == 1 {
            self.add_names(area, 1);
            return Ok(());
        }
        self.execute_one(
            "write a name",
            "UPDATE names SET node = ?4 WHERE area = ?1 AND parent = ?2 AND name = ?3",
            row,
        )
    }

    /// Removes a name; a missing one is fine.
    ///
    /// # Errors
    /// The database's.
    pub fn delete_name(&self, area: AreaId, parent: NodeId, name: &EntryName) -> Result<()> {
        let removed = self.execute(
            "remove a name",
            "DELETE FROM names WHERE area = ?1 AND parent = ?2 AND name = ?3",
            params![area.0, parent.0, name.as_bytes()],
        )?;
        self.add_names(area, -i64::from(removed > 0));
        Ok(())
    }

    /// Remembers how many names of an area this transaction adds or removes.
    fn add_names(&self, area: AreaId, change: i64) {
        *self.names.borrow_mut().entry(area).or_insert(0) += change;
    }

    /// Notes how many names the areas have more or less after this transaction.
    pub(super) fn note_names(&self) -> Result<()> {
        for (area, change) in self.names.take() {
            if change != 0 {
                self.execute(
                    "count the names of an area",
                    "UPDATE areas SET names = names + ?2 WHERE id = ?1",
                    params![area.0, change],
                )?;
            }
        }
        Ok(())
    }

    /// Removes at most `limit` nodes of an area and returns them; none when there are no more.
    ///
    /// # Errors
    /// The database's.
    pub fn take_nodes(&self, area: AreaId, limit: u32) -> Result<Vec<NodeRow>> {
        collect(
            &self.transaction,
            "remove nodes",
            &format!(
                "DELETE FROM nodes WHERE area = ?1 AND id IN (
                     SELECT id FROM nodes WHERE area = ?1 ORDER BY id LIMIT ?2)
                 RETURNING {COLUMNS}"
            ),
            params![area.0, limit],
            from_row,
        )
    }

    /// Removes at most `limit` names of an area; returns how many, 0 when there are no more.
    ///
    /// # Errors
    /// The database's.
    pub fn take_names(&self, area: AreaId, limit: u32) -> Result<u64> {
        let removed = self.execute(
            "remove names",
            "DELETE FROM names WHERE area = ?1 AND (parent, name) IN (
                 SELECT parent, name FROM names WHERE area = ?1 ORDER BY parent, name LIMIT ?2)",
            params![area.0, limit],
        )?;
        Ok(removed as u64)
    }
}

impl Reader {
    /// The nodes of an area by id.
    ///
    /// # Errors
    /// The database's.
    pub fn nodes(&self, area: AreaId) -> Result<Vec<NodeRow>> {
        collect(
            &self.connection,
            "list nodes",
            &format!("SELECT {COLUMNS} FROM nodes WHERE area = ?1 ORDER BY id"),
            [area.0],
            from_row,
        )
    }

    /// The private files that nodes of an area name.
    ///
    /// # Errors
    /// The database's.
    pub fn private_files(&self, area: AreaId) -> Result<BTreeSet<PrivateId>> {
        let found = collect(
            &self.connection,
            "list private files",
            "SELECT data FROM nodes WHERE area = ?1 AND data_kind = 2",
            [area.0],
            |row| row.get(0).map(PrivateId),
        )?;
        Ok(found.into_iter().collect())
    }

    /// What the nodes of an area count for, those that it did not change left out.
    ///
    /// # Errors
    /// The database's.
    pub fn charged(&self, area: AreaId) -> Result<Usage> {
        self.connection
            .prepare_cached(
                "SELECT coalesce(sum(size), 0), count(*) FROM nodes
                 WHERE area = ?1 AND charged <> 0",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([area.0], |row| Ok(Usage { bytes: row.get(0)?, files: row.get(1)? }))
            })
            .during("sum an area up")
    }

    /// How many names an area is said to have; `None` when there is no such area. Names that are
    /// fewer were lost.
    ///
    /// # Errors
    /// The database's.
    pub fn name_count(&self, area: AreaId) -> Result<Option<u64>> {
        self.connection
            .prepare_cached("SELECT names FROM areas WHERE id = ?1")
            .and_then(|mut find| find.query_row([area.0], |row| row.get(0)).optional())
            .during("look at an area")
    }

    /// The files of an area whose size is not that of their blob: with the blob and its length.
    ///
    /// # Errors
    /// The database's.
    pub fn missized(&self, area: AreaId) -> Result<Vec<(NodeId, BlobHash, u64)>> {
        collect(
            &self.connection,
            "compare sizes",
            "SELECT nodes.id, blobs.hash, blobs.size FROM nodes JOIN blobs ON blobs.hash = nodes.data
             WHERE nodes.area = ?1 AND nodes.data_kind = 1 AND nodes.size <> blobs.size
             UNION ALL SELECT nodes.id, blobs.hash, blobs.size
             FROM nodes JOIN digests ON digests.sha256 = nodes.data
                 JOIN blobs ON blobs.hash = digests.blob
             WHERE nodes.area = ?1 AND nodes.data_kind = 6 AND nodes.size <> blobs.size",
            [area.0],
            |row| Ok((NodeId(row.get(0)?), blob_hash(row, 1)?, row.get(2)?)),
        )
    }

    /// The names in an area, by directory and name.
    ///
    /// # Errors
    /// The database's.
    pub fn names(&self, area: AreaId) -> Result<Vec<NameRow>> {
        collect(
            &self.connection,
            "list names",
            "SELECT parent, name, node FROM names WHERE area = ?1 ORDER BY parent, name",
            [area.0],
            name_from_row,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Sha256;
    use crate::model::hash::TreeHash;
    use crate::model::time::Timestamp;
    use crate::model::tree::Xattrs;
    use crate::store::testing::TestStore;

    const AREA: AreaId = AreaId(3);

    fn row(id: u64, kind: FileKind, data: NodeData) -> NodeRow {
        NodeRow {
            id: NodeId(id),
            kind,
            mode: 0o7777,
            uid: u32::MAX,
            gid: 0,
            mtime: Timestamp::new(-1_000_000_000_000, 999_999_999).unwrap(),
            ctime: Timestamp::new(0, 0).unwrap(),
            xattrs: Xattrs::new(),
            charged: kind == FileKind::File,
            size: id,
            data,
        }
    }

    fn rows() -> Vec<NodeRow> {
        let mut xattrs = Xattrs::new();
        xattrs.insert(b"user.\xff".as_slice().into(), vec![0; 70_000].into());
        let target: Box<[u8]> = b"../\xfe\n".as_slice().into();
        vec![
            row(1, FileKind::Directory, NodeData::Empty),
            row(2, FileKind::Directory, NodeData::BaseTree(TreeHash::of(b"t"))),
            NodeRow { xattrs, ..row(3, FileKind::File, NodeData::Blob(BlobHash::of(b"b").into())) },
            row(4, FileKind::File, NodeData::Private(PrivateId(i64::MAX.unsigned_abs()))),
            row(5, FileKind::Symlink, NodeData::Target(target)),
            row(6, FileKind::Fifo, NodeData::Empty),
            row(7, FileKind::Socket, NodeData::Empty),
            row(8, FileKind::CharDevice, NodeData::Rdev(u32::MAX)),
            row(9, FileKind::BlockDevice, NodeData::Rdev(0)),
            row(10, FileKind::File, NodeData::Blob(Sha256::of(b"b").into())),
        ]
    }

    #[test]
    fn nodes_round_trip() {
        let mut store = TestStore::new();
        let tx = store.catalog.begin().unwrap();
        for row in rows() {
            tx.put_node(AREA, &NodeRow { mode: 0, ..row.clone() }).unwrap();
            tx.put_node(AREA, &row).unwrap();
        }
        tx.put_node(AreaId(4), &rows()[0]).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        assert_eq!(reader.nodes(AREA).unwrap(), rows());
        let tx = store.catalog.begin().unwrap();
        tx.delete_node(AREA, NodeId(1)).unwrap();
        tx.delete_node(AREA, NodeId(1)).unwrap();
        let mut taken = tx.take_nodes(AREA, 5).unwrap();
        taken.extend(tx.take_nodes(AREA, 5).unwrap());
        assert_eq!(taken, rows()[1..]);
        assert_eq!(tx.take_nodes(AREA, 5).unwrap(), []);
        tx.commit().unwrap();
        assert_eq!(reader.nodes(AREA).unwrap(), []);
        assert_eq!(reader.nodes(AreaId(4)).unwrap().len(), 1);
    }

    #[test]
    fn names_of_any_bytes_round_trip() {
        let mut store = TestStore::new();
        let name = |bytes: &[u8]| EntryName::new(bytes).unwrap();
        let names = [
            (NodeId(1), name(b"\n"), Some(NodeId(2))),
            (NodeId(1), name(b"a"), None),
            (NodeId(1), name(b"\xff\xfe"), Some(NodeId(3))),
            (NodeId(2), name(b"a"), Some(NodeId(4))),
        ];
        let tx = store.catalog.begin().unwrap();
        for (parent, name, node) in &names {
            tx.put_name(AREA, *parent, name, Some(NodeId(99))).unwrap();
            tx.put_name(AREA, *parent, name, *node).unwrap();
        }
        tx.put_name(AreaId(4), NodeId(1), &names[0].1, None).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        assert_eq!(reader.names(AREA).unwrap(), names);
        let tx = store.catalog.begin().unwrap();
        tx.delete_name(AREA, NodeId(1), &names[1].1).unwrap();
        tx.delete_name(AREA, NodeId(1), &names[1].1).unwrap();
        assert_eq!(tx.take_names(AREA, 2).unwrap(), 2);
        assert_eq!(tx.take_names(AREA, 2).unwrap(), 1);
        assert_eq!(tx.take_names(AREA, 2).unwrap(), 0);
        tx.commit().unwrap();
        assert_eq!(reader.names(AREA).unwrap(), []);
        assert_eq!(reader.names(AreaId(4)).unwrap().len(), 1);
    }

    #[test]
    fn kinds_are_numbered_by_position() {
        for (position, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(usize::from(kind_number(kind)), position);
        }
    }

    #[test]
    fn taking_a_slice_reads_only_that_slice() {
        let store = TestStore::new();
        for table in ["nodes", "names"] {
            let sql = if table == "nodes" {
                "EXPLAIN QUERY PLAN DELETE FROM nodes WHERE area = 1 AND id IN (
                     SELECT id FROM nodes WHERE area = 1 ORDER BY id LIMIT 2)"
            } else {
                "EXPLAIN QUERY PLAN DELETE FROM names WHERE area = 1 AND (parent, name) IN (
                     SELECT parent, name FROM names WHERE area = 1 ORDER BY parent, name LIMIT 2)"
            };
            let mut statement = store.catalog.connection.prepare(sql).unwrap();
            let plan: Vec<String> =
                statement.query_map([], |row| row.get(3)).unwrap().map(|l| l.unwrap()).collect();
            let key = if table == "nodes" { "id=?" } else { "parent=?" };
            assert!(plan[0].contains(&format!("area=? AND {key}")), "{plan:?}");
            assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{plan:?}");
        }
    }
}
