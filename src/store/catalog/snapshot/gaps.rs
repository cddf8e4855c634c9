//! Rows that other rows need and that are not there, sizes that others contradict, and ids that are to
//! be given out again.
//!
//! Areas that are being purged lose their rows in slices, so open areas alone are looked at.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::{Missized, Snapshot};
use crate::model::id::{AreaId, NodeId};
use crate::store::catalog::codec::blob_hash;
use crate::store::catalog::connection::{During, collect};
use crate::store::error::Result;

/// What has to have a row in `nodes`: whatever has a name, each directory with a name in it, and the
/// top of each area.
const LOST: &str = "
    SELECT DISTINCT area, id FROM (
        SELECT area, node AS id FROM names WHERE node IS NOT NULL
        UNION ALL SELECT area, parent FROM names WHERE node IS NOT NULL
        UNION ALL SELECT id, id FROM areas) AS needed
    WHERE area IN (SELECT id FROM areas WHERE state = 0)
      AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.area = needed.area AND nodes.id = needed.id)
    ORDER BY area, id";

/// Nodes that no directory has. SQLite looks the names up in an index that it makes for the purpose.
const UNNAMED: &str = "
    SELECT area, id FROM nodes
    WHERE id <> area AND area IN (SELECT id FROM areas WHERE state = 0)
      AND id NOT IN (SELECT node FROM names WHERE node IS NOT NULL)
    ORDER BY area, id";

/// Open areas that have more or fewer names than their rows say.
const MISCOUNTED: &str = "
    SELECT id, names, (SELECT count(*) FROM names WHERE area = areas.id) AS counted FROM areas
    WHERE state = 0 AND names <> counted ORDER BY id";

/// Files of open areas whose row says another size than that of their blob, and empty files with a
/// size.
const MISSIZED: &str = "
    SELECT nodes.area, nodes.id, blobs.hash, nodes.size, blobs.size
    FROM nodes JOIN blobs ON blobs.hash = nodes.data
    WHERE nodes.data_kind = 1 AND nodes.size <> blobs.size
      AND nodes.area IN (SELECT id FROM areas WHERE state = 0)
    UNION ALL SELECT nodes.area, nodes.id, blobs.hash, nodes.size, blobs.size
    FROM nodes JOIN digests ON digests.sha256 = nodes.data JOIN blobs ON blobs.hash = digests.blob
    WHERE nodes.data_kind = 6 AND nodes.size <> blobs.size
      AND nodes.area IN (SELECT id FROM areas WHERE state = 0)
    UNION ALL SELECT area, id, NULL, size, 0 FROM nodes
    WHERE kind = 0 AND data_kind = 0 AND size <> 0
      AND area IN (SELECT id FROM areas WHERE state = 0)
    ORDER BY 1, 2";

/// Areas, nodes and private files take their ids from one counter. The ids of nodes that a base tree
/// has are made from their place in it, and have the bit 2^61.
const HIGHEST: &str = "
    SELECT max(ifnull((SELECT max(id) FROM areas), 0),
               ifnull((SELECT max(id) FROM nodes WHERE id & (1 << 61) = 0), 0),
               ifnull((SELECT max(data) FROM nodes WHERE data_kind = 2), 0))";

impl Snapshot {
    /// The nodes of open areas that names speak of and that have no row.
    ///
    /// # Errors
    /// The database's.
    pub fn lost_nodes(&self) -> Result<Vec<(AreaId, NodeId)>> {
        collect(&self.connection, "look for lost nodes", LOST, [], node)
    }

    /// The nodes of open areas that have a row and no name, without the tops of the areas.
    ///
    /// # Errors
    /// The database's.
    pub fn unnamed_nodes(&self) -> Result<Vec<(AreaId, NodeId)>> {
        collect(&self.connection, "look for lost names", UNNAMED, [], node)
    }

    /// The open areas that have more or fewer names than their rows say: how many they should have,
    /// and how many there are.
    ///
    /// # Errors
    /// The database's.
    pub fn miscounted_areas(&self) -> Result<Vec<(AreaId, u64, u64)>> {
        collect(&self.connection, "count names", MISCOUNTED, [], |row| {
            Ok((AreaId(row.get(0)?), row.get(1)?, row.get(2)?))
        })
    }

    /// The files of open areas whose size is not that of their content.
    ///
    /// # Errors
    /// The database's.
    pub fn missized_nodes(&self) -> Result<Vec<Missized>> {
        collect(&self.connection, "compare sizes", MISSIZED, [], |row| {
            let blob = match row.get_ref(2)? {
                ValueRef::Null => None,
                _ => Some(blob_hash(row, 2)?),
            };
            let (area, node) = node(row)?;
            Ok(Missized { area, node, blob, recorded: row.get(3)?, size: row.get(4)? })
        })
    }

    /// The highest id that a row has; 0 when none has one.
    ///
    /// # Errors
    /// The database's.
    pub fn highest_id(&self) -> Result<u64> {
        self.connection
            .prepare_cached(HIGHEST)
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look for the highest id")
    }

    /// A note of the catalog, if there is one.
    ///
    /// # Errors
    /// The database's.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        crate::store::catalog::meta::get(&self.connection, key)
    }
}

fn node(row: &Row<'_>) -> rusqlite::Result<(AreaId, NodeId)> {
    Ok((AreaId(row.get(0)?), NodeId(row.get(1)?)))
}
