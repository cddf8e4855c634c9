//! The schema, as numbered steps from an empty database; `user_version` counts those taken.
//!
//! A step that was released is never changed: a new one is added below it.

use rusqlite::{Connection, TransactionBehavior};

use super::connection::During;
use crate::store::durable;
use crate::store::error::{Result, StoreError};

const MIGRATIONS: [&str; 11] = [
    include_str!("migration_1.sql"),
    include_str!("migration_2.sql"),
    include_str!("migration_3.sql"),
    include_str!("migration_4.sql"),
    include_str!("migration_5.sql"),
    include_str!("migration_6.sql"),
    include_str!("migration_7.sql"),
    include_str!("migration_8.sql"),
    include_str!("migration_9.sql"),
    include_str!("migration_10.sql"),
    include_str!("migration_11.sql"),
];

/// Takes the steps that are missing, in one transaction.
pub(super) fn run(connection: &mut Connection) -> Result<()> {
    let taken: u32 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .during("read the schema's version")?;
    let supported = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if taken > supported {
        return Err(StoreError::NewerFormat { found: taken, supported });
    }
    if taken == supported {
        return Ok(());
    }
    let missing = MIGRATIONS.iter().skip(usize::try_from(taken).unwrap_or(usize::MAX));
    durable::around("catalog migration", "catalog.db".as_ref(), || {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .during("migrate")?;
        for step in missing {
            transaction.execute_batch(step).during("migrate")?;
        }
        transaction.pragma_update(None, "user_version", supported).during("migrate")?;
        transaction.commit().during("migrate")
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Catalog, connection};
    use super::*;
    use crate::store::Store;
    use crate::store::testing::TestStore;

    /// The schema that this release makes; it changes with a new migration only.
    const GOLDEN: &str = include_str!("schema.golden.sql");

    fn schema(connection: &Connection) -> String {
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC, name")
            .unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|sql| sql.unwrap() + ";\n").collect()
    }

    #[test]
    fn the_schema_is_the_golden_one() {
        let store = TestStore::new();
        let found = schema(&store.catalog.connection);
        assert_eq!(found, GOLDEN, "the schema is:\n{found}");
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        crate::store::init(directory.path()).unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.catalog.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        let error = Store::open(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found: 99, supported: 11 }), "{error}");
    }

    #[test]
    fn a_foreign_database_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        crate::store::init(directory.path()).unwrap();
        let layout = crate::store::layout::Layout::new(directory.path());
        for foreign in ["CREATE TABLE t(a)", "PRAGMA application_id = 7", "VACUUM"] {
            durable::unlink(&layout.catalog()).unwrap();
            let connection = Connection::open(layout.catalog()).unwrap();
            connection.execute_batch(foreign).unwrap();
            drop(connection);
            let error = Catalog::open(&layout).unwrap_err();
            assert!(matches!(error, StoreError::ForeignCatalog { .. }), "{foreign}: {error}");
        }
        std::fs::write(layout.catalog(), "no database at all, just text".repeat(9)).unwrap();
        let error = Catalog::open(&layout).unwrap_err();
        assert!(matches!(error, StoreError::ForeignCatalog { .. }), "{error}");
    }

    #[test]
    fn an_interrupted_creation_is_completed() {
        let directory = tempfile::tempdir().unwrap();
        let layout = crate::store::layout::Layout::new(directory.path());
        drop(connection::create(&layout.catalog()).unwrap());
        drop(Catalog::create(&layout).unwrap());
        Catalog::open(&layout).unwrap();
    }
}
