//! Rows that other rows need and that are not there, and ids that are to be given out again.
//!
//! Areas that are being purged lose their rows in slices, so open areas alone are looked at.

use rusqlite::Row;

use super::Snapshot;
use crate::model::id::{AreaId, NodeId};
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
