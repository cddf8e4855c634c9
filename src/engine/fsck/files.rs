//! Files of the store that nothing names.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Leftover};
use super::{Check, Stopped, Suspicion};
use crate::model::id::AreaId;
use crate::store::catalog::{AreaState, Snapshot};
use crate::store::pool::PoolName;

/// Files of `incoming/` reported.
const INCOMING_MAX: usize = 10_000;

impl Check<'_> {
    pub(super) fn check_files(&mut self) -> Result<(), Stopped> {
        let latest = self.subject.snapshots.latest()?;
        self.check_pool_names(&latest)?;
        for path in self.subject.pool.incoming_leftovers(INCOMING_MAX)? {
            self.found(Finding::Leftover(Leftover::Incoming(self.inside(path))));
        }
        self.check_staging(&latest)
    }

    fn stranger(&mut self, path: PathBuf) {
        self.found(Finding::Leftover(Leftover::Stranger(self.inside(path))));
    }

    fn check_pool_names(&mut self, latest: &Snapshot) -> Result<(), Stopped> {
        for path in self.subject.pool.strangers()? {
            self.stranger(path);
        }
        for first_byte in 0..=u8::MAX {
            self.check_cancelled()?;
            self.sink.progress("looking for extra files", u64::from(first_byte), 256);
            for name in self.subject.pool.names(first_byte)? {
                match name {
                    PoolName::Stranger(path) => self.stranger(path),
                    PoolName::Blob(hash) => {
                        if latest.blob(&hash)?.is_none()
                            && self.sink.confirm(Suspicion::ExtraBlob(hash))?
                        {
                            self.found(Finding::Leftover(Leftover::Blob(hash)));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn check_staging(&mut self, latest: &Snapshot) -> Result<(), Stopped> {
        let (areas, strangers) = self.subject.private_files.names(None)?;
        strangers.into_iter().for_each(|path| self.stranger(path));
        for area in areas.into_iter().map(AreaId) {
            self.check_cancelled()?;
            match self.names.areas.get(&area).map(|(_, _, state)| *state) {
                Some(AreaState::Open) => self.check_area_files(latest, area)?,
                // It goes as a whole, with its rows.
                Some(AreaState::Deleted) => {}
                None => {
                    if self.sink.confirm(Suspicion::AreaDirectory(area))? {
                        self.found(Finding::Leftover(Leftover::AreaDirectory(area)));
                    }
                }
            }
        }
        Ok(())
    }

    /// A path as seen from the store's directory: whoever removes it may have opened the store anew.
    fn inside(&self, path: PathBuf) -> PathBuf {
        path.strip_prefix(self.subject.layout.root()).map(Path::to_owned).unwrap_or(path)
    }

    fn check_area_files(&mut self, latest: &Snapshot, area: AreaId) -> Result<(), Stopped> {
        if self.gaps.contains(&area) {
            // They may be the content of files whose rows are lost.
            return Ok(());
        }
        let (files, strangers) = self.subject.private_files.names(Some(area))?;
        // A copy being made has another ending (H1); the next one overwrites what is left of it.
        let strangers = strangers.into_iter().filter(|path| path.extension().is_none());
        for path in strangers.collect::<Vec<_>>() {
            self.stranger(path);
        }
        for file in files.into_iter().map(crate::store::layout::PrivateId) {
            if !latest.names_private(area, file)?
                && self.sink.confirm(Suspicion::Private(area, file))?
            {
                self.found(Finding::Leftover(Leftover::Private(area, file)));
            }
        }
        Ok(())
    }
}
