//! The whole catalog as it was at one instant, row by row, even if rows are damaged.
//!
//! Counts and the rows that they count agree in every committed state and in no mixture of two, so
//! they are compared within one [`Snapshot`]. While one is held, SQLite cannot restart the WAL: a
//! holder looks at [`Snapshot::is_overdue`] and lets go, and [`super::Checkpointer`] does not wait
//! for it (H6).
//!
//! A row that breaks a rule is reported as a [`BadRow`] and the rest is read, since this is for
//! finding damage. Column types are SQLite's to check ([`Snapshot::problems`]).

mod facts;
mod gaps;
mod visit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::connection::{self, During};
use super::trees;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::AreaId;
use crate::store::error::Result;
use crate::store::layout::{Layout, PrivateId};
pub use facts::{
    AreaFacts, BadRow, BlobFacts, Missized, NodeFacts, RepositoryFacts, TreeFacts, VersionFacts,
};

/// How long the WAL's file may become while a snapshot is held.
const WAL_BYTES_MAX: u64 = 1 << 30;

/// Tables of the catalog, in the order in which a reader of a report wants them.
pub const TABLES: [&str; 19] = [
    "meta",
    "repositories",
    "deleted_repositories",
    "versions",
    "tags",
    "trees",
    "tree_pages",
    "blobs",
    "areas",
    "nodes",
    "names",
    "doomed",
    "remotes",
    "syncs",
    "digests",
    "content_names",
    "sources",
    "bucket_objects",
    "bucket_places",
];

/// Takes snapshots, and knows whether any is held.
#[derive(Debug, Clone)]
pub struct Snapshots {
    layout: Layout,
    held: Arc<AtomicU32>,
}

impl Snapshots {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, held: Arc::default() }
    }

    /// Whether a snapshot is held.
    pub(super) fn any_held(&self) -> bool {
        self.held.load(Ordering::SeqCst) > 0
    }

    /// Takes one.
    ///
    /// # Errors
    /// The database's.
    pub fn take(&self) -> Result<Snapshot> {
        let mut snapshot = self.latest()?;
        self.held.fetch_add(1, Ordering::SeqCst);
        snapshot.held = true;
        // A transaction sees the state of its first read.
        snapshot
            .connection
            .execute_batch("BEGIN; SELECT count(*) FROM meta;")
            .during("begin to read")?;
        Ok(snapshot)
    }

    /// Opens a reader that holds no snapshot: each statement sees the last commit before it.
    ///
    /// # Errors
    /// The database's.
    pub fn latest(&self) -> Result<Snapshot> {
        let connection = connection::open_reader(&self.layout)?;
        Ok(Snapshot { connection, source: self.clone(), held: false })
    }
}

/// The catalog at one instant. Use it from one thread, and not for long.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) connection: Connection,
    source: Snapshots,
    held: bool,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if self.held {
            self.source.held.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// How a table is read: its name, the statement, and the columns that identify a row.
#[derive(Clone, Copy)]
pub(super) struct Scan {
    pub(super) table: &'static str,
    pub(super) sql: &'static str,
    pub(super) keys: &'static [usize],
}

impl Snapshot {
    /// Whether it has been held for so long that the WAL has grown beyond its limit.
    pub fn is_overdue(&self) -> bool {
        let wal = self.source.layout.wal();
        std::fs::metadata(wal).is_ok_and(|found| found.len() > WAL_BYTES_MAX)
    }

    /// What SQLite finds wrong with a table of [`TABLES`], at most `limit` sentences; none when it
    /// is sound. `thorough` compares its indexes too.
    ///
    /// # Errors
    /// The database's, other than being damaged.
    pub fn problems(&self, table: &str, thorough: bool, limit: u32) -> Result<Vec<String>> {
        let check = if thorough { "integrity_check" } else { "quick_check" };
        let read = || -> rusqlite::Result<Vec<String>> {
            // `check(table)`: SQLite takes either a name or a number here.
            let sql = format!("SELECT * FROM pragma_{check}(?1) LIMIT ?2");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let lines = statement.query_map(params![table, limit], |row| row.get(0))?;
            lines.collect()
        };
        match read().during("check the catalog") {
            Ok(lines) => Ok(lines.into_iter().filter(|line| line != "ok").collect()),
            Err(error) if error.is_corrupt() => Ok(vec![error.to_string()]),
            Err(error) => Err(error),
        }
    }

    pub(super) fn scan<T>(
        &self,
        scan: Scan,
        params: impl rusqlite::Params,
        from_row: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        each: &mut dyn FnMut(std::result::Result<T, BadRow>),
    ) -> Result<()> {
        let run = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(scan.sql)?;
            let mut rows = statement.query(params)?;
            while let Some(row) = rows.next()? {
                each(from_row(row).map_err(|error| BadRow {
                    table: scan.table,
                    key: key(row, scan.keys),
                    problem: error.to_string(),
                }));
            }
            Ok(())
        };
        match run().during("read the catalog") {
            // What lies behind a torn page cannot be read; the rest is still reported.
            Err(error) if error.is_corrupt() => {
                let problem = error.to_string();
                each(Err(BadRow { table: scan.table, key: "the rest".to_owned(), problem }));
                Ok(())
            }
            other => other,
        }
    }

    /// One blob's row; `None` when there is none.
    ///
    /// # Errors
    /// The database's.
    pub fn blob(&self, hash: &BlobHash) -> Result<Option<BlobFacts>> {
        let sql = "SELECT hash, size, refs, state FROM blobs WHERE hash = ?1";
        let find = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_row([hash.as_bytes()], visit::blob_facts).optional()
        };
        find().during("look at a blob")
    }

    /// Number of blobs that are not absent, and their bytes. Reads all their rows.
    ///
    /// # Errors
    /// The database's.
    pub fn blob_totals(&self) -> Result<(u64, u64)> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT count(*), ifnull(sum(size), 0) FROM blobs WHERE state <> 2",
                )?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        read().during("add up the blobs")
    }

    /// The bytes of a tree's page; `None` when there are none.
    ///
    /// # Errors
    /// The database's.
    pub fn tree(&self, hash: &TreeHash) -> Result<Option<Vec<u8>>> {
        trees::bytes(&self.connection, hash)
    }

    /// Whether a node's row names this private file.
    ///
    /// # Errors
    /// The database's.
    pub fn names_private(&self, area: AreaId, file: PrivateId) -> Result<bool> {
        let find = || {
            let sql = "SELECT 1 FROM nodes WHERE area = ?1 AND data_kind = 2 AND data = ?2";
            self.connection.prepare_cached(sql)?.exists([area.0, file.0])
        };
        find().during("look at a node")
    }
}

/// The identifying columns as text, whatever their type is.
fn key(row: &Row<'_>, columns: &[usize]) -> String {
    use rusqlite::types::ValueRef;
    let show = |column: &usize| match row.get_ref(*column) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Real(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Ok(ValueRef::Blob(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Ok(ValueRef::Null) | Err(_) => "?".to_owned(),
    };
    columns.iter().map(show).collect::<Vec<_>>().join(" ")
}
