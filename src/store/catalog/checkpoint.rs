//! Copies the WAL into the database, from a connection of its own, so that no writer waits for it
//! (H6).

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::Snapshots;
use super::connection::{self, During, PAGE_BYTES, WAL_KEPT_BYTES};
use crate::store::durable;
use crate::store::error::{Result, StoreError};
use crate::store::layout::Layout;
use crate::store::reserve::CHANGE_BYTES;

/// Bytes of a WAL frame: a header and a page.
const FRAME_BYTES: u64 = 24 + PAGE_BYTES as u64;

/// The WAL's file is lengthened when less than this is left of it, by [`AHEAD_BYTES`]: there is room for
/// one change on a disk that somebody fills to the last byte (R3).
const AHEAD_BYTES_MIN: u64 = CHANGE_BYTES;

/// What the WAL's file is lengthened by: a few hundred small transactions.
const AHEAD_BYTES: usize = 2 << 20;

/// To what the WAL's file is cut at a stop.
const STOPPED_BYTES: i64 = 4 << 20;

/// The connection that checkpoints.
#[derive(Debug)]
pub struct Checkpointer {
    connection: Connection,
    snapshots: Snapshots,
    wal: PathBuf,
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
        let connection = connection::open_checkpointer(layout)?;
        Ok(Self { connection, snapshots, wal: layout.wal() })
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

    /// As [`Checkpointer::truncate`], but the file keeps its length, and so its room on the disk. Returns
    /// whether all was copied, so that writing restarts at the front.
    ///
    /// # Errors
    /// The database's.
    pub fn restart(&self) -> Result<bool> {
        if self.snapshots.any_held() {
            return Ok(false);
        }
        let frames = durable::around("checkpoint", Path::new("catalog.db"), || {
            self.checkpoint("PRAGMA wal_checkpoint(RESTART)")
        })?;
        Ok(frames.copied >= frames.in_wal)
    }

    /// Copies all of the WAL into the database, and leaves a file that is empty to whoever reads it but
    /// has room for some changes: at the next start the disk may be full. Nobody may change anything
    /// meanwhile.
    ///
    /// # Errors
    /// The database's; the disk's. Nothing is lost then.
    pub fn leave_room(&self) -> Result<()> {
        let is_empty = self.checkpoint("PRAGMA wal_checkpoint(NOOP)")?.in_wal == 0;
        if !is_empty && self.restart()? {
            connection::set(&self.connection, "journal_size_limit", STOPPED_BYTES)?;
            // A restart takes effect with the next change: that one is written over the front, and
            // what follows it in the file is void from then on.
            let rewritten = durable::around("restart the log", Path::new("catalog.db"), || {
                self.rewrite_schema_version()
            });
            connection::set(&self.connection, "journal_size_limit", WAL_KEPT_BYTES)?;
            rewritten?;
        }
        self.prepare()?;
        Ok(())
    }

    /// A change that changes nothing.
    fn rewrite_schema_version(&self) -> Result<()> {
        let rewrite = || {
            let version: i64 =
                self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            self.connection.pragma_update(None, "user_version", version)
        };
        rewrite().during("restart the log")
    }

    /// From here on, SQLite removes the WAL's file when this connection is the last one to be
    /// closed.
    ///
    /// # Errors
    /// The database's.
    pub fn remove_log_at_close(&self) -> Result<()> {
        connection::keep_log_at_close(&self.connection, false)
    }

    /// Bytes of the WAL that are not in the database yet: what a checkpoint would copy.
    ///
    /// # Errors
    /// The database's.
    pub fn wal_bytes(&self) -> Result<u64> {
        let frames = self.checkpoint("PRAGMA wal_checkpoint(NOOP)")?;
        let waiting = frames.in_wal.saturating_sub(frames.copied);
        Ok(waiting * FRAME_BYTES)
    }

    /// Bytes that can be written to the WAL before its file must become longer.
    ///
    /// # Errors
    /// The database's; the disk's.
    pub fn log_room(&self) -> Result<u64> {
        log_room(&self.connection, &self.wal)
    }

    /// Keeps the WAL's file longer than what is in use of it, by zeros, which SQLite takes for its
    /// end. Syncing what was written over them takes the disk one write; syncing what made the file
    /// longer takes the file system's own journal, too, and with that whatever others changed.
    ///
    /// They are appended at the end of the file, so that they never overwrite what the writer
    /// writes at the same time; the writer may overwrite them. Optional: where it fails, nothing is
    /// lost. Says whether there are new ones, which the next sync of the WAL brings to disk.
    ///
    /// # Errors
    /// The database's; the disk's.
    pub fn prepare(&self) -> Result<bool> {
        if self.log_room()? >= AHEAD_BYTES_MIN {
            return Ok(false);
        }
        let failed = |source| StoreError::Io { action: "lengthen", path: self.wal.clone(), source };
        let mut file = OpenOptions::new().append(true).open(&self.wal).map_err(failed)?;
        // Nothing relies on it: no durable step.
        file.write_all(&vec![0; AHEAD_BYTES]).map_err(failed)?;
        Ok(true)
    }

    fn checkpoint(&self, sql: &'static str) -> Result<Frames> {
        checkpoint(&self.connection, sql)
    }
}

/// Bytes that can be written to the WAL at `path` before its file must become longer.
pub(super) fn log_room(connection: &Connection, path: &Path) -> Result<u64> {
    let frames = checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)")?;
    // Once all of the WAL is copied, writing restarts at its front, so the whole file can be used.
    let in_use = if frames.copied < frames.in_wal { frames.in_wal } else { 0 };
    let length = std::fs::metadata(path).map_err(StoreError::io("look at", path))?.len();
    Ok(length.saturating_sub(in_use * FRAME_BYTES))
}

fn checkpoint(connection: &Connection, sql: &'static str) -> Result<Frames> {
    connection
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::store::catalog::Catalog;
    use crate::store::layout::Layout;
    use crate::store::testing::TestStore;

    fn write(store: &mut TestStore, value: &str) {
        let tx = store.catalog.begin().unwrap();
        tx.set_meta("k", value).unwrap();
        tx.commit().unwrap();
    }

    #[test]
    fn checkpoints_empty_the_wal_beside_the_writer() {
        let mut store = TestStore::new();
        let checkpointer = store.catalog.checkpointer().unwrap();
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

    /// H6: a checkpoint that waits for a reader holds up the writer, so it does not wait for long.
    #[test]
    fn h6_a_reader_that_stays_keeps_no_writer_waiting() {
        let mut store = TestStore::new();
        let checkpointer = store.catalog.checkpointer().unwrap();
        write(&mut store, "1");
        let reader = super::connection::open_checkpointer(&store.layout).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        reader.query_row("SELECT count(*) FROM meta", [], |_| Ok(())).unwrap();
        write(&mut store, "2");
        let begun = Instant::now();
        let truncating = std::thread::spawn(move || {
            let truncated = checkpointer.truncate();
            (checkpointer, truncated)
        });
        while !truncating.is_finished() {
            write(&mut store, "3");
        }
        let (checkpointer, truncated) = truncating.join().unwrap();
        assert!(!truncated.unwrap(), "the reader needs what is in the WAL");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        reader.execute_batch("COMMIT").unwrap();
        assert!(checkpointer.truncate().unwrap());
    }

    #[test]
    fn rows_go_over_what_was_prepared_and_survive_a_crash() {
        let mut store = TestStore::new();
        let checkpointer = store.catalog.checkpointer().unwrap();
        let wal = store.layout.wal();
        let length = || std::fs::metadata(&wal).unwrap().len();
        checkpointer.prepare().unwrap();
        let prepared = length();
        for number in 0..20 {
            let tx = store.catalog.begin().unwrap();
            tx.set_meta("k", &number.to_string()).unwrap();
            tx.commit().unwrap();
            checkpointer.prepare().unwrap();
        }
        assert_eq!(length(), prepared, "no transaction made it longer, and no look at it");
        // What a crash leaves: the files as they are, and none of what was in memory.
        let elsewhere = tempfile::tempdir().unwrap();
        let layout = Layout::new(elsewhere.path());
        std::fs::copy(store.layout.catalog(), layout.catalog()).unwrap();
        std::fs::copy(&wal, layout.wal()).unwrap();
        let survived = Catalog::open(&layout).unwrap().reader().unwrap().meta("k").unwrap();
        assert_eq!(survived.as_deref(), Some("19"));
        assert!(checkpointer.passive().unwrap());
        checkpointer.prepare().unwrap();
        assert_eq!(length(), prepared, "writing restarts at the front");
        let long = "x".repeat(super::AHEAD_BYTES);
        let tx = store.catalog.begin().unwrap();
        tx.set_meta("long", &long).unwrap();
        tx.commit().unwrap();
        checkpointer.prepare().unwrap();
        assert!(length() > prepared, "little was left");
        assert_eq!(store.catalog.reader().unwrap().meta("long").unwrap(), Some(long));
    }

    #[test]
    fn a_stop_leaves_a_log_that_is_empty_and_has_room() {
        let home = tempfile::tempdir().unwrap();
        let own = Layout::new(home.path());
        drop(Catalog::create(&own).unwrap());
        for (round, bytes) in [1, super::AHEAD_BYTES * 4, 1].into_iter().enumerate() {
            let value = format!("{round}{}", "x".repeat(bytes));
            let mut catalog = Catalog::open(&own).unwrap();
            let tx = catalog.begin().unwrap();
            tx.set_meta("k", &value).unwrap();
            tx.commit().unwrap();
            catalog.checkpointer().unwrap().leave_room().unwrap();
            drop(catalog);
            // The database is whole without the log.
            let elsewhere = tempfile::tempdir().unwrap();
            let layout = Layout::new(elsewhere.path());
            std::fs::copy(own.catalog(), layout.catalog()).unwrap();
            let alone = Catalog::open(&layout).unwrap().reader().unwrap().meta("k").unwrap();
            assert_eq!(alone.as_ref(), Some(&value));
            let length = std::fs::metadata(own.wal()).unwrap().len();
            assert!(length <= super::STOPPED_BYTES.unsigned_abs(), "{length}");
            let catalog = Catalog::open(&own).unwrap();
            assert!(catalog.log_room().unwrap() >= super::AHEAD_BYTES_MIN);
            assert_eq!(catalog.reader().unwrap().meta("k").unwrap(), Some(value));
        }
    }

    #[test]
    fn the_wal_can_be_synced_as_soon_as_the_catalog_is_open() {
        let store = TestStore::new();
        crate::store::durable::sync_file(&store.layout.wal()).unwrap();
    }
}
