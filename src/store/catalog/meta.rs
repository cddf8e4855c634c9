//! Notes of the engine: durable counters, the boot it ran in, whether it ended cleanly.

use rusqlite::{Connection, OptionalExtension, params};

use super::connection::During;
use super::{Reader, Tx};
use crate::store::error::Result;

pub(super) fn get(connection: &Connection, key: &str) -> Result<Option<String>> {
    let read = || {
        connection
            .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()
    };
    read().during("read a note")
}

impl Tx<'_> {
    /// Reads a note.
    ///
    /// # Errors
    /// The database's.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        get(&self.transaction, key)
    }

    /// Writes a note.
    ///
    /// # Errors
    /// The database's.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        self.execute(
            "write a note",
            "INSERT INTO meta(key, value) VALUES(?1, ?2)
             ON CONFLICT(key) DO UPDATE SET value = excluded.value",
            params![key, value],
        )?;
        Ok(())
    }
}

impl Reader {
    /// Reads a note.
    ///
    /// # Errors
    /// The database's.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        get(&self.connection, key)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::TestStore;

    #[test]
    fn notes_are_kept_when_committed() {
        let mut store = TestStore::new();
        let reader = store.catalog.reader().unwrap();
        let tx = store.catalog.begin().unwrap();
        tx.set_meta("a", "1").unwrap();
        tx.set_meta("a", "2").unwrap();
        assert_eq!(tx.meta("a").unwrap().as_deref(), Some("2"));
        assert_eq!(reader.meta("a").unwrap(), None);
        drop(tx);
        assert_eq!(store.catalog.begin().unwrap().meta("a").unwrap(), None);
        let tx = store.catalog.begin().unwrap();
        tx.set_meta("a", "3").unwrap();
        tx.commit().unwrap();
        assert_eq!(reader.meta("a").unwrap().as_deref(), Some("3"));
    }

    #[test]
    fn a_commit_that_fails_changes_nothing() {
        use crate::store::durable::testing::{Fault, on_this_thread};
        let mut store = TestStore::new();
        let fault = on_this_thread(Fault::full(1));
        let tx = store.catalog.begin().unwrap();
        tx.set_meta("a", "1").unwrap();
        assert!(tx.commit().unwrap_err().is_full());
        drop(fault);
        let tx = store.catalog.begin().unwrap();
        assert_eq!(tx.meta("a").unwrap(), None);
        tx.set_meta("a", "2").unwrap();
        tx.commit().unwrap();
    }

    #[test]
    fn notes_that_are_owed_are_written_with_the_next_change() {
        let mut store = TestStore::new();
        let reader = store.catalog.reader().unwrap();
        let clean = || reader.meta("clean").unwrap();
        store.catalog.owe(vec![("clean", "no".to_owned())]);
        drop(store.catalog.begin().unwrap());
        assert!(store.catalog.is_owing() && clean().is_none());
        store.catalog.begin().unwrap().commit().unwrap();
        assert!(!store.catalog.is_owing());
        assert_eq!(clean().as_deref(), Some("no"));
    }
}
