//! The catalog: everything the store knows that is not file content, in SQLite.
//!
//! ```text
//! meta(key, value)                          notes of the engine, and `totals`
//! repositories, versions, tags              what is published
//! trees(hash, refs, interest, page)         directories: counts apart from bytes,
//! tree_pages(page, data)                    so that counting never rewrites a page
//! blobs(hash, size, refs, interest, epoch, state)  files in the pool, and those that buckets have and it lacks
//! areas, nodes, names                       staging
//! doomed(seq, …)                            the deletion queue
//! remotes, syncs, digests(sha256, blob)     where declared content comes from, what was seen of it
//! content_names(sha256, refs, blob)         declared names that trees and areas have
//! sources(sha256, remote, locator, size)    where their content can be had
//! bucket_objects(id, remote, key, bytes)    packs and objects of buckets
//! bucket_places(blob, object, at, …)        where in them a blob can be had
//! ```
//!
//! Invariants: one [`Catalog`] writes, through [`Tx`]; counts never become negative; ids are never
//! used twice; an area's row says how many names the area has. The catalog does not sync by itself: a commit is durable once the WAL has been
//! synced after it ([`crate::store::durable::sync_file`] on [`Layout::wal`]), or a checkpoint ran.
//! What rows mean, and what may be deleted when, is the engine's to know.

mod absent;
mod areas;
mod blobs;
mod checkpoint;
mod codec;
mod connection;
mod content_names;
mod copy;
mod deletion_queue;
mod glance;
mod inspect;
mod meta;
mod migrations;
mod nodes;
mod places;
mod reclaim;
mod remotes;
mod repair;
mod repositories;
mod row;
mod snapshot;
mod sources;
mod tags;
mod totals;
mod trees;
mod unneeded;
mod versions;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::durable;
use super::error::{CatalogErrorKind, Result, StoreError};
use super::layout::Layout;
use crate::model::id::AreaId;
pub use absent::AbsentTotals;
pub use checkpoint::Checkpointer;
use connection::During;
pub use content_names::DeclaredRow;
pub use glance::Glance;
pub use nodes::NameRow;
pub use places::{BucketPlace, PlacesOf, Source, SourceAt};
pub use reclaim::{ReclaimScope, ReclaimableRow, Unreclaimable};
pub use row::{
    AreaRow, AreaState, BlobRow, BlobState, NodeData, NodeRow, OrphanBlob, Presence,
    QueuedDeletion, RepositoryRow, TagRow, Totals, TreeRow, VersionRow,
};
pub use snapshot::{
    AreaFacts, BadRow, BlobFacts, Missized, NodeFacts, RepositoryFacts, Snapshot, Snapshots,
    TABLES, TreeFacts, VersionFacts,
};
pub use sources::SourceRow;
use totals::Sums;
pub use unneeded::{FoundLocation, Location, LocationTable};

/// The one writing connection.
#[derive(Debug)]
pub struct Catalog {
    connection: Connection,
    layout: Layout,
    snapshots: Snapshots,
    unreferences: Cell<u64>,
    loosened: Cell<u64>,
    /// Notes that the next transaction writes in addition to its changes.
    owed: RefCell<Vec<(&'static str, String)>>,
}

impl Catalog {
    /// Makes the catalog of a new store; one that an interrupted `init` made is completed.
    ///
    /// # Errors
    /// When some other database is in its place, or the disk fails.
    pub fn create(layout: &Layout) -> Result<Self> {
        let mut connection = connection::create(&layout.catalog())?;
        migrations::run(&mut connection)?;
        Ok(Self::new(connection, layout))
    }

    /// Opens the catalog; one of an older release is migrated.
    ///
    /// # Errors
    /// When it is not a catalog or one of a newer release, or the disk fails.
    pub fn open(layout: &Layout) -> Result<Self> {
        let mut connection = connection::open_writer(layout)?;
        migrations::run(&mut connection)?;
        Ok(Self::new(connection, layout))
    }

    fn new(connection: Connection, layout: &Layout) -> Self {
        let (layout, snapshots) = (layout.clone(), Snapshots::new(layout.clone()));
        Self {
            connection,
            layout,
            snapshots,
            unreferences: Cell::new(0),
            loosened: Cell::new(0),
            owed: RefCell::default(),
        }
    }

    /// Starts a transaction.
    ///
    /// # Errors
    /// The database's.
    pub fn begin(&mut self) -> Result<Tx<'_>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .during("begin a transaction")?;
        let (unreferences, owed) = (&self.unreferences, &self.owed);
        let tx = Tx {
            transaction,
            unreferences,
            loosened: &self.loosened,
            owed,
            sums: Cell::default(),
            names: RefCell::default(),
        };
        for (key, value) in owed.borrow().iter() {
            tx.set_meta(key, value)?;
        }
        Ok(tx)
    }

    /// Has the next transaction that is committed write these notes as well, so that they are there
    /// before any change. For notes that could not be written by themselves, on a full disk.
    pub fn owe(&self, notes: Vec<(&'static str, String)>) {
        *self.owed.borrow_mut() = notes;
    }

    /// How often a blob has lost its last reference since the catalog was opened; transactions that
    /// were not committed count too. If this did not change since a flush of the WAL, the flush
    /// covers the cause of every orphan that there is (H2).
    pub fn unreferences(&self) -> u64 {
        self.unreferences.get()
    }

    /// How often something happened since the catalog was opened by which a [`Location`] may have become unneeded;
    /// transactions that were not committed count too. If this did not change since all of them were looked at, there
    /// is nothing to find.
    pub fn loosened_locations(&self) -> u64 {
        self.loosened.get()
    }

    /// Whether there are such notes, and so nothing has been changed since.
    pub fn is_owing(&self) -> bool {
        !self.owed.borrow().is_empty()
    }

    /// Opens a connection that reads what is committed. Use it from one thread at a time.
    ///
    /// # Errors
    /// The database's.
    pub fn reader(&self) -> Result<Reader> {
        Reader::open(&self.layout)
    }

    /// Opens the connection that copies the WAL into the database.
    ///
    /// # Errors
    /// The database's.
    pub fn checkpointer(&self) -> Result<Checkpointer> {
        Checkpointer::open(&self.layout, self.snapshots.clone())
    }

    /// Bytes that can be written to the WAL before its file must become longer.
    ///
    /// # Errors
    /// The database's; the disk's.
    pub fn log_room(&self) -> Result<u64> {
        checkpoint::log_room(&self.connection, &self.layout.wal())
    }

    /// Takes snapshots of the catalog, on any thread.
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }
}

/// A transaction: its changes happen together at [`Tx::commit`], or not at all.
#[derive(Debug)]
pub struct Tx<'c> {
    transaction: Transaction<'c>,
    unreferences: &'c Cell<u64>,
    loosened: &'c Cell<u64>,
    owed: &'c RefCell<Vec<(&'static str, String)>>,
    /// What it adds to the sums over the store.
    sums: Cell<Sums>,
    /// How many names it adds to areas.
    names: RefCell<BTreeMap<AreaId, i64>>,
}

impl Tx<'_> {
    /// Runs a statement; returns the number of rows it changed.
    fn execute(
        &self,
        action: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<usize> {
        self.transaction
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .during(action)
    }

    /// Runs a statement that must change exactly one row.
    fn execute_one(
        &self,
        action: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<()> {
        match self.execute(action, sql, params)? {
            1 => Ok(()),
            rows => Err(StoreError::Catalog {
                action,
                kind: CatalogErrorKind::Corrupt,
                source: format!("{rows} rows where one was expected").into(),
            }),
        }
    }

    /// Makes the changes visible to readers, in an order that survives a crash of the process.
    /// They survive a power loss once the WAL has been synced.
    ///
    /// # Errors
    /// The database's; nothing has changed then, but the catalog cannot be trusted to accept more.
    pub fn commit(self) -> Result<()> {
        self.note_sums()?;
        self.note_names()?;
        durable::around("catalog commit", Path::new("catalog.db"), || {
            self.transaction.commit().during("commit")
        })?;
        self.owed.borrow_mut().clear();
        Ok(())
    }
}

/// A reading connection: short statements only, each sees the last commit.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens one; a [`Catalog`] of the same store must be open.
    ///
    /// # Errors
    /// The database's.
    pub fn open(layout: &Layout) -> Result<Self> {
        Ok(Self { connection: connection::open_reader(layout)? })
    }
}
