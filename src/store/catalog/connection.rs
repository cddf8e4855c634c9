//! Connections and their settings; SQLite's errors as ours.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::model::text::count;
use crate::store::error::{CatalogErrorKind, Result, StoreError};
use crate::store::layout::{CATALOG, Layout, shown};

/// `application_id` of a catalog: "cair" in ASCII.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"cair");

/// Bytes per database page. Most writes are single rows under random hashes, each of which puts a
/// whole page into the WAL: the smallest page that is no smaller than the disk's is best.
pub(super) const PAGE_BYTES: u32 = 4096;

/// SQLite's way of using files. This one keeps the index of the WAL in this process's memory, not in
/// a file `catalog.db-shm` that is mapped: where the disk has no room for a page of that, opening the
/// catalog fails, or the process dies of SIGBUS. While the catalog is open, no other process can open
/// it. None tries: a store is locked by the one process that uses it ([`crate::store::root_lock`]).
const VFS: &str = "unix-excl";

/// How long a connection waits for another one's lock. They are held for microseconds, except by
/// a truncating checkpoint.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the writer waits. Only a checkpoint of this process can keep it waiting, for as long as the disk needs: an
/// error would have the store refuse all changes where it is only slow.
const WRITER_BUSY_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a truncating checkpoint waits for readers. It holds up the writer meanwhile, and is made again later.
const CHECKPOINT_BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// Page cache of the writer, in KiB: the inner pages and recent leaves of the hash tables.
const WRITER_CACHE_KIB: i64 = 64 << 10;

/// Page cache of a reader, in KiB; the kernel has the rest in its own. The database is mapped by nobody: a page that a failing
/// disk does not give would be SIGBUS, the end of the process, where a read is an error.
const READER_CACHE_KIB: i64 = 4 << 10;

/// To what the WAL file is cut once all of it has been copied and writing restarts at its front.
/// More than what accumulates between two checkpoints: cutting a file costs the writer time.
pub(super) const WAL_KEPT_BYTES: i64 = 64 << 20;

/// Statements kept compiled per connection: all that there are.
const STATEMENTS: usize = 96;

/// Adds what was tried to SQLite's errors.
pub(super) trait During<T> {
    /// `action` completes "cannot …".
    fn during(self, action: &'static str) -> Result<T>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, action: &'static str) -> Result<T> {
        self.map_err(|error| StoreError::Catalog {
            action,
            kind: kind(&error),
            source: error.into(),
        })
    }
}

fn kind(error: &rusqlite::Error) -> CatalogErrorKind {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => return CatalogErrorKind::Corrupt,
        _ => {}
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => CatalogErrorKind::Full,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            CatalogErrorKind::Io
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => CatalogErrorKind::Corrupt,
        Some(_) | None => CatalogErrorKind::Other,
    }
}

/// How often the store may be moved while its catalog is opened.
const MOVES_MAX: u32 = 8;

/// Opens the catalog where the store is now. SQLite follows links by itself, and only when it opens a
/// file: the store must be at one place meanwhile, and `open` must read something, which opens the WAL.
/// At the end SQLite sees for itself that a file was moved, and removes nothing at its old place.
fn in_place(layout: &Layout, open: impl Fn(&Path) -> Result<Connection>) -> Result<Connection> {
    let place = || layout.place().map_err(StoreError::io("find", layout.root()));
    let mut before = place()?;
    for _ in 0..MOVES_MAX {
        let opened = open(&before.join(CATALOG));
        let after = place()?;
        if before == after {
            return opened;
        }
        before = after;
    }
    Err(StoreError::Catalog {
        action: "open the database",
        kind: CatalogErrorKind::Other,
        source: "the store is being moved all the time".into(),
    })
}

/// Makes an empty catalog, or opens what an interrupted `init` left of one.
pub(super) fn create(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = open(path, flags)?;
    let empty = read_number(&connection, "SELECT count(*) FROM sqlite_schema", path)? == 0
        && read_number(&connection, "PRAGMA user_version", path)? == 0;
    if empty {
        set(&connection, "page_size", i64::from(PAGE_BYTES))?;
        set(&connection, "application_id", i64::from(APPLICATION_ID))?;
    }
    check_application(&connection, path)?;
    configure_writer(&connection)?;
    // What `init` makes is on disk when it returns.
    set(&connection, "synchronous", 2)?;
    Ok(connection)
}

/// Opens an existing catalog for writing.
pub(super) fn open_writer(layout: &Layout) -> Result<Connection> {
    in_place(layout, |path| {
        let connection = open_existing(path)?;
        check_application(&connection, path)?;
        configure_writer(&connection)?;
        Ok(connection)
    })
}

/// Opens an existing catalog for reading. SQLite keeps the index of the WAL in memory for connections
/// that may write only, so it is one of those that writes nothing.
pub(super) fn open_reader(layout: &Layout) -> Result<Connection> {
    in_place(layout, |path| {
        let connection = open_existing(path)?;
        set(&connection, "query_only", 1)?;
        set(&connection, "mmap_size", 0)?;
        set(&connection, "cache_size", -READER_CACHE_KIB)?;
        check_application(&connection, path)?;
        Ok(connection)
    })
}

/// Makes a file to copy a catalog into. It is of no use before it is complete, so nothing is done
/// to make it survive a crash.
pub(super) fn open_copy(path: &Path) -> Result<Connection> {
    // SQLite must follow no link (NOFOLLOW), but the path of a descriptor is one, so the real path
    // is taken.
    let path = &shown(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = open(path, flags | OpenFlags::SQLITE_OPEN_NOFOLLOW)?;
    set(&connection, "synchronous", 0)?;
    connection
        .query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))
        .during("configure the connection")?;
    Ok(connection)
}

/// Opens an existing catalog for checkpoints.
pub(super) fn open_checkpointer(layout: &Layout) -> Result<Connection> {
    in_place(layout, |path| {
        let connection = open_existing(path)?;
        check_application(&connection, path)?;
        configure_journal(&connection)?;
        connection.busy_timeout(CHECKPOINT_BUSY_TIMEOUT).during("open the database")?;
        Ok(connection)
    })
}

/// Opens what exists, and keeps the WAL when the last connection is closed: its file has the room for
/// the first changes of the next run, which the disk may not have by then.
fn open_existing(path: &Path) -> Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    keep_log_at_close(&connection, true)?;
    Ok(connection)
}

/// Says whether the WAL stays when this connection is the last one that is closed. Otherwise SQLite
/// copies it into the database and removes it.
pub(super) fn keep_log_at_close(connection: &Connection, keep: bool) -> Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)
        .during("open the database")?;
    Ok(())
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection> {
    // Each connection is used by one thread at a time: no mutex of SQLite's own.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection =
        Connection::open_with_flags_and_vfs(path, flags, VFS).during("open the database")?;
    connection.busy_timeout(BUSY_TIMEOUT).during("open the database")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans never depend on the values that are bound. Otherwise SQLite compiles a statement anew
    // at each use where a value might have mattered, which costs more than most of them do.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .during("open the database")?;
    Ok(connection)
}

fn configure_writer(connection: &Connection) -> Result<()> {
    configure_journal(connection)?;
    connection.busy_timeout(WRITER_BUSY_TIMEOUT).during("configure the connection")?;
    set(connection, "cache_size", -WRITER_CACHE_KIB)?;
    // References are counted, not declared: counts are checked where they change.
    set(connection, "foreign_keys", 0)?;
    set(connection, "temp_store", 2)
}

/// WAL without syncs and checkpoints of its own: the durability thread does both (H6). `NORMAL` still
/// syncs before a checkpoint overwrites pages, so the database itself is never torn.
fn configure_journal(connection: &Connection) -> Result<()> {
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .during("switch to WAL")?;
    if mode != "wal" {
        return Err(StoreError::Catalog {
            action: "switch to WAL",
            kind: CatalogErrorKind::Other,
            source: format!("the journal mode stays {mode}").into(),
        });
    }
    set(connection, "synchronous", 1)?;
    set(connection, "wal_autocheckpoint", 0)?;
    set(connection, "journal_size_limit", WAL_KEPT_BYTES)
}

fn check_application(connection: &Connection, path: &Path) -> Result<()> {
    match read_number(connection, "PRAGMA application_id", path)? {
        id if id == i64::from(APPLICATION_ID) => Ok(()),
        _ => Err(StoreError::ForeignCatalog { path: path.to_owned() }),
    }
}

/// The first reads of the file, which find out whether it is a database at all.
fn read_number(connection: &Connection, sql: &str, path: &Path) -> Result<i64> {
    match connection.query_row(sql, [], |row| row.get(0)) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            Err(StoreError::ForeignCatalog { path: path.to_owned() })
        }
        read => read.during("read the database"),
    }
}

pub(super) fn set(connection: &Connection, name: &str, value: i64) -> Result<()> {
    connection.pragma_update(None, name, value).during("configure the connection")
}

/// Runs a query and collects its rows.
pub(super) fn collect<T>(
    connection: &Connection,
    action: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
    from_row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_map(params, from_row)?.collect())
        .during(action)
}

/// A count of references after `delta`. One that would be negative is an error: something was
/// dropped twice.
pub(super) fn changed_count(
    action: &'static str,
    hash: &impl std::fmt::Display,
    refs: i64,
    delta: i64,
) -> Result<i64> {
    refs.checked_add(delta).filter(|refs| *refs >= 0).ok_or_else(|| {
        contradiction(
            action,
            format!("{hash} has {}, {delta} cannot be added", count(refs, "reference")),
        )
    })
}

/// The error of removing what is referenced.
pub(super) fn still_referenced(
    action: &'static str,
    hash: &impl std::fmt::Display,
    refs: i64,
) -> StoreError {
    contradiction(action, format!("{hash} still has {}", count(refs, "reference")))
}

fn contradiction(action: &'static str, message: String) -> StoreError {
    StoreError::Catalog { action, kind: CatalogErrorKind::Corrupt, source: message.into() }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_failure_keeps_sqlite_s_own_error_as_its_source() {
        let connection = Connection::open_in_memory().unwrap();
        let error = connection.execute("nonsense", []).during("ask").unwrap_err();
        assert!(error.to_string().starts_with("catalog: cannot ask: near \"nonsense\""), "{error}");
        assert!(error.source().is_some_and(|source| source.is::<rusqlite::Error>()));
    }
}
