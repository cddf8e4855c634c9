//! All rows of a table, one by one, the bad ones too.

use rusqlite::{Row, params};

use super::{
    AreaFacts, BadRow, BlobFacts, NodeFacts, RepositoryFacts, Scan, Snapshot, TreeFacts,
    VersionFacts,
};
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::quota::{Charge, Usage};
use crate::store::catalog::codec::{blob_hash, optional_root, root, text, time, tree_hash, xattrs};
use crate::store::catalog::{NameRow, Presence, QueuedDeletion, areas, deletion_queue, nodes};
use crate::store::error::Result;

/// A page and its bytes.
type Page = (i64, Vec<u8>);

impl Snapshot {
    /// Visits all repositories.
    ///
    /// # Errors
    /// The database's.
    pub fn repositories(
        &self,
        each: &mut dyn FnMut(std::result::Result<RepositoryFacts, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT id, name, next_number, created_s, created_ns, changed_s, changed_ns
                   FROM repositories ORDER BY id";
        let scan = Scan { table: "repositories", sql, keys: &[0, 1] };
        self.scan(
            scan,
            [],
            |row| {
                time(row, 3)?;
                time(row, 5)?;
                let next_number = VersionNumber(row.get(2)?);
                Ok(RepositoryFacts { id: RepoId(row.get(0)?), name: text(row, 1)?, next_number })
            },
            each,
        )
    }

    /// Visits the deleted repositories that can be brought back.
    ///
    /// # Errors
    /// The database's.
    pub fn deleted_repositories(
        &self,
        each: &mut dyn FnMut(std::result::Result<RepositoryFacts, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT id, name, next_number FROM deleted_repositories ORDER BY id";
        let scan = Scan { table: "deleted_repositories", sql, keys: &[0, 1] };
        self.scan(
            scan,
            [],
            |row| {
                let next_number = VersionNumber(row.get(2)?);
                Ok(RepositoryFacts { id: RepoId(row.get(0)?), name: text(row, 1)?, next_number })
            },
            each,
        )
    }

    /// Visits all versions, deleted ones that can be brought back included.
    ///
    /// # Errors
    /// The database's.
    pub fn versions(
        &self,
        each: &mut dyn FnMut(std::result::Result<VersionFacts, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT repository, number, root, hash, created_s, created_ns, name,
                       charge_base, charge_bytes, charge_files
                   FROM versions ORDER BY repository, number";
        let scan = Scan { table: "versions", sql, keys: &[0, 1] };
        self.scan(
            scan,
            [],
            |row| {
                time(row, 4)?;
                if row.get_ref(6)? != rusqlite::types::ValueRef::Null {
                    text::<TagName>(row, 6)?;
                }
                let usage = Usage { bytes: row.get(8)?, files: row.get(9)? };
                let base = row.get::<_, Option<u64>>(7)?.map(VersionNumber);
                Ok(VersionFacts {
                    repo: RepoId(row.get(0)?),
                    number: VersionNumber(row.get(1)?),
                    root: root(row, 2)?,
                    hash: tree_hash(row, 3)?,
                    charge: base.map(|base| Charge { base, usage }),
                })
            },
            each,
        )
    }

    /// Visits all tags: repository, name, number.
    ///
    /// # Errors
    /// The database's.
    pub fn tags(
        &self,
        each: &mut dyn FnMut(std::result::Result<(RepoId, TagName, VersionNumber), BadRow>),
    ) -> Result<()> {
        let sql = "SELECT repository, name, number, created_s, created_ns
                   FROM tags ORDER BY repository, name";
        let scan = Scan { table: "tags", sql, keys: &[0, 1] };
        self.scan(
            scan,
            [],
            |row| {
                time(row, 3)?;
                Ok((RepoId(row.get(0)?), text(row, 1)?, VersionNumber(row.get(2)?)))
            },
            each,
        )
    }

    /// Visits all areas, deleted ones too.
    ///
    /// # Errors
    /// The database's.
    pub fn areas(
        &self,
        each: &mut dyn FnMut(std::result::Result<AreaFacts, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT id, repository, name, state, base_root, created_s, created_ns
                   FROM areas ORDER BY id";
        let scan = Scan { table: "areas", sql, keys: &[0, 2] };
        self.scan(
            scan,
            [],
            |row| {
                time(row, 5)?;
                Ok(AreaFacts {
                    id: AreaId(row.get(0)?),
                    repo: RepoId(row.get(1)?),
                    name: text(row, 2)?,
                    state: areas::state(row, 3)?,
                    base: optional_root(row, 4)?.map(|root| root.tree),
                })
            },
            each,
        )
    }

    /// Visits the nodes of all areas.
    ///
    /// # Errors
    /// The database's.
    pub fn nodes(
        &self,
        each: &mut dyn FnMut(std::result::Result<NodeFacts, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT area, id, kind, data_kind, data, xattrs, mtime_s, mtime_ns, ctime_s,
                       ctime_ns, size
                   FROM nodes ORDER BY area, id";
        let scan = Scan { table: "nodes", sql, keys: &[0, 1] };
        self.scan(
            scan,
            [],
            |row| {
                nodes::kind(row, 2)?;
                xattrs(row, 5)?;
                time(row, 6)?;
                time(row, 8)?;
                let (area, id) = (AreaId(row.get(0)?), NodeId(row.get(1)?));
                Ok(NodeFacts { area, id, size: row.get(10)?, data: nodes::data(row, 3, 4)? })
            },
            each,
        )
    }

    /// Visits the names in all areas.
    ///
    /// # Errors
    /// The database's.
    pub fn names(
        &self,
        each: &mut dyn FnMut(std::result::Result<(AreaId, NameRow), BadRow>),
    ) -> Result<()> {
        let sql = "SELECT parent, name, node, area FROM names ORDER BY area, parent, name";
        let scan = Scan { table: "names", sql, keys: &[3, 0, 1] };
        self.scan(scan, [], |row| Ok((AreaId(row.get(3)?), nodes::name_from_row(row)?)), each)
    }

    /// Visits the deletion queue.
    ///
    /// # Errors
    /// The database's.
    pub fn deletion_queue(
        &self,
        each: &mut dyn FnMut(std::result::Result<QueuedDeletion, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT seq, tree, area FROM doomed ORDER BY seq";
        let scan = Scan { table: "doomed", sql, keys: &[0] };
        self.scan(scan, [], |row| deletion_queue::from_row(row).map(|(_, deletion)| deletion), each)
    }

    /// Visits the rows of all trees by hash.
    ///
    /// # Errors
    /// The database's.
    pub fn trees(
        &self,
        each: &mut dyn FnMut(std::result::Result<TreeFacts, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT hash, refs, page FROM trees ORDER BY hash";
        let scan = Scan { table: "trees", sql, keys: &[0] };
        self.scan(
            scan,
            [],
            |row| Ok(TreeFacts { hash: tree_hash(row, 0)?, refs: row.get(1)?, page: row.get(2)? }),
            each,
        )
    }

    /// Visits the pages of trees after `after`, at most `limit`, by their place: one pass over the
    /// disk.
    ///
    /// # Errors
    /// The database's.
    pub fn pages(
        &self,
        after: i64,
        limit: u32,
        each: &mut dyn FnMut(std::result::Result<Page, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT page, data FROM tree_pages WHERE page > ?1 ORDER BY page LIMIT ?2";
        let scan = Scan { table: "tree_pages", sql, keys: &[0] };
        self.scan(scan, params![after, limit], |row| Ok((row.get(0)?, row.get(1)?)), each)
    }

    /// Visits the rows of blobs after `after`, at most `limit`, by hash.
    ///
    /// # Errors
    /// The database's.
    pub fn blobs(
        &self,
        after: Option<BlobHash>,
        limit: u32,
        each: &mut dyn FnMut(std::result::Result<BlobFacts, BadRow>),
    ) -> Result<()> {
        let sql = "SELECT hash, size, refs, state FROM blobs WHERE hash > ?1
                   ORDER BY hash LIMIT ?2";
        let scan = Scan { table: "blobs", sql, keys: &[0] };
        let after: &[u8] = after.as_ref().map_or(&[], |hash| hash.as_bytes());
        self.scan(scan, params![after, limit], blob_facts, each)
    }
}

/// The columns hash, size, refs, state.
pub(super) fn blob_facts(row: &Row<'_>) -> rusqlite::Result<BlobFacts> {
    Ok(BlobFacts {
        hash: blob_hash(row, 0)?,
        size: row.get(1)?,
        refs: row.get(2)?,
        presence: Presence::of(row.get(3)?),
    })
}
