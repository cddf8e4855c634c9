//! A copy of the whole catalog as it is at one instant, in a file of its own.
//!
//! Pages are copied as they are, so it takes as long as the disk does. The snapshot is held for
//! that long, and let go when the WAL grows beyond its limit meanwhile (H6).

use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::OptionalExtension;
use rusqlite::backup::{Backup, StepResult};

use super::connection::{self, During};
use super::{Reader, Snapshots};
use crate::model::id::RepoId;
use crate::store::durable;
use crate::store::error::{CatalogErrorKind, Result, StoreError};

/// Pages copied between two looks at whether to go on: 4 MiB.
const PAGES_PER_STEP: i32 = 1024;

impl Snapshots {
    /// Copies the catalog into a new file at `path`. `go_on` is told how many pages of how many
    /// are copied, and may end it. Whatever the outcome, the file is the caller's to remove.
    ///
    /// # Errors
    /// The database's; that too much changed meanwhile.
    pub fn copy_to(
        &self,
        path: &Path,
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<ControlFlow<()>> {
        let snapshot = self.take()?;
        durable::around("copy the catalog", path, || {
            let mut target = connection::open_copy(path)?;
            let copy = Backup::new(&snapshot.connection, &mut target).during("copy the catalog")?;
            loop {
                let step = copy.step(PAGES_PER_STEP).during("copy the catalog")?;
                let progress = copy.progress();
                let count = |pages: i32| u64::from(pages.max(0).unsigned_abs());
                let total = count(progress.pagecount);
                let ended = !go_on(total.saturating_sub(count(progress.remaining)), total);
                match step {
                    StepResult::Done => return Ok(ControlFlow::Continue(())),
                    _ if ended => return Ok(ControlFlow::Break(())),
                    _ if snapshot.is_overdue() => return Err(overdue()),
                    _ => {}
                }
            }
        })
    }
}

fn overdue() -> StoreError {
    StoreError::Catalog {
        action: "copy the catalog",
        kind: CatalogErrorKind::Other,
        source: "too much changes meanwhile; try again when there is less to do".into(),
    }
}

impl Reader {
    /// The id of the repository made last, whether or not it still exists.
    ///
    /// # Errors
    /// The database's.
    pub fn last_repository(&self) -> Result<RepoId> {
        let read = || {
            self.connection
                .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'repositories'")?
                .query_row([], |row| row.get(0))
                .optional()
        };
        read().during("look at repositories").map(|id| RepoId(id.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::catalog::Catalog;
    use crate::store::layout::Layout;
    use crate::store::testing::TestStore;

    fn note(store: &mut TestStore, value: &str) {
        let tx = store.catalog.begin().unwrap();
        tx.set_meta("k", value).unwrap();
        tx.commit().unwrap();
    }

    #[test]
    fn a_copy_is_a_catalog_and_shows_one_instant() {
        let mut store = TestStore::new();
        note(&mut store, "before");
        let elsewhere = tempfile::tempdir().unwrap();
        let layout = Layout::new(elsewhere.path());
        let snapshots = store.catalog.snapshots();
        let mut steps = 0;
        let copied = snapshots.copy_to(&layout.catalog(), &mut |_, _| {
            // The writer goes on.
            note(&mut store, "meanwhile");
            steps += 1;
            true
        });
        assert_eq!(copied.unwrap(), ControlFlow::Continue(()));
        assert!(steps > 0);
        let copy = Catalog::open(&layout).unwrap();
        assert_eq!(copy.reader().unwrap().meta("k").unwrap().as_deref(), Some("before"));
        assert!(copy.checkpointer().unwrap().truncate().unwrap());
    }

    #[test]
    fn a_copy_can_be_ended_and_does_not_follow_a_symlink() {
        let store = TestStore::new();
        let elsewhere = tempfile::tempdir().unwrap();
        let snapshots = store.catalog.snapshots();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(elsewhere.path().join("victim"), &link).unwrap();
        snapshots.copy_to(&link, &mut |_, _| true).unwrap_err();
        assert!(!elsewhere.path().join("victim").exists());
    }
}
