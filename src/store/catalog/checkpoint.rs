//! Copying the WAL into the database, from a connection of its own: no writer waits for it (H6).

use std::path::Path;

use rusqlite::Connection;

use super::Snapshots;
use super::connection::{self, During, PAGE_BYTES};
use crate::store::durable;
use crate::store::error::Result;
use crate::store::layout::Layout;

/// Bytes of a WAL frame beside its page.
const FRAME_HEADER_BYTES: u64 = 24;

/// The connection that checkpoints.
#[derive(Debug)]
pub struct Checkpointer {
    connection: Connection,
    snapshots: Snapshots,
}

/// Frames in the WAL, and how many of them the database has.
struct Frames {
    in_wal: u64,
    copied: u64,
}

impl Checkpointer {
    /// Opens one; a [`super::Catalog`] of the same store must be open.
    ///
    /// # Errors
    /// The database's.
    pub(super) fn open(layout: &Layout, snapshots: Snapshots) -> Result<Self> {
        let connection = connection::open_checkpointer(&layout.catalog())?;
        Ok(Self { connection, snapshots })
    }

    /// Syncs the WAL and copies into the database what no reader needs from it, waiting for nobody
    /// but the disk. Returns whether that was all; then writing restarts at the WAL's front.
    ///
    /// # Errors
    /// The database's.
    pub fn passive(&self) -> Result<bool> {
        let frames = durable::around("checkpoint", Path::new("catalog.db"), || {
            self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)")
        })?;
        Ok(frames.copied >= frames.in_wal)
    }

    /// As [`Checkpointer::passive`], waiting for readers and writers, and empties the WAL. While a
    /// snapshot is held it does nothing: it would keep the writer waiting for the snapshot's end.
    ///
    /// # Errors
    /// The database's.
    pub fn truncate(&self) -> Result<bool> {
        if self.snapshots.any_held() {
            return Ok(false);
        }
        let frames = durable::around("checkpoint", Path::new("catalog.db"), || {
            self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)")
        })?;
        Ok(frames.in_wal == 0)
    }

    /// Bytes of the WAL that are not in the database yet: what a checkpoint would copy.
    ///
    /// # Errors
    /// The database's.
    pub fn wal_bytes(&self) -> Result<u64> {
        let frames = self.checkpoint("PRAGMA wal_checkpoint(NOOP)")?;
        let waiting = frames.in_wal.saturating_sub(frames.copied);
        Ok(waiting * (u64::from(PAGE_BYTES) + FRAME_HEADER_BYTES))
    }

    fn checkpoint(&self, sql: &'static str) -> Result<Frames> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.query_row([], |row| {
                    // -1 for both while there is no WAL.
                    let count = |column| row.get::<_, i64>(column).map(|n| n.max(0).unsigned_abs());
                    Ok(Frames { in_wal: count(1)?, copied: count(2)? })
                })
            })
            .during("checkpoint")
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::TestStore;

    #[test]
    fn checkpoints_empty_the_wal_beside_the_writer() {
        let mut store = TestStore::new();
        let checkpointer = store.catalog.checkpointer().unwrap();
        let write = |store: &mut TestStore, value: &str| {
            let tx = store.catalog.begin().unwrap();
            tx.set_meta("k", value).unwrap();
            tx.commit().unwrap();
        };
        write(&mut store, "1");
        let waiting = checkpointer.wal_bytes().unwrap();
        assert!(waiting > 0);
        write(&mut store, "2");
        assert!(checkpointer.wal_bytes().unwrap() > waiting);
        assert!(checkpointer.passive().unwrap());
        assert_eq!(checkpointer.wal_bytes().unwrap(), 0);
        write(&mut store, "3");
        assert!(checkpointer.wal_bytes().unwrap() > 0);
        assert!(checkpointer.truncate().unwrap());
        assert_eq!(std::fs::metadata(store.layout.wal()).unwrap().len(), 0);
        assert_eq!(store.catalog.reader().unwrap().meta("k").unwrap().as_deref(), Some("3"));
    }

    #[test]
    fn the_wal_can_be_synced_as_soon_as_the_catalog_is_open() {
        let store = TestStore::new();
        crate::store::durable::sync_file(&store.layout.wal()).unwrap();
    }
}
