//! Before the stages: the documents that declare the content are fetched, parsed and checked as a whole before anything that
//! they declare is asked for (H26, H27).

use std::fs::File;
use std::io;

use super::document::{Before, Found, place};
use super::sort::{Line, Sorted, Sorter};
use super::{Destination, Origin, SyncError, Watch, debian, list};
use crate::model::manifest::check_neighbours;

/// What a remote declares.
pub(super) struct Declared {
    pub(super) entries: Sorted,
    pub(super) found: Found,
}

/// Fetches what declares the content and hands on what it declares, in its order and unchecked but for each line. `None`
/// when all of it is as it was `before`.
pub(super) fn look(
    origin: &Origin<'_>,
    before: Before<'_>,
    store: Option<&dyn Destination>,
    into: File,
    watch: Watch<'_>,
    take: &mut dyn FnMut(Line) -> Result<(), SyncError>,
) -> Result<Option<Found>, SyncError> {
    match origin.debian {
        Some(settings) => debian::declare(origin, settings, before, store, into, watch, take),
        None => list::look(origin, before.seen(), into, watch, take),
    }
}

/// Fetches, parses, sorts, checks. `None` when all of it is as it was `before`.
pub(super) fn declare(
    origin: &Origin<'_>,
    before: Before<'_>,
    destination: &dyn Destination,
    watch: Watch<'_>,
) -> Result<Option<Declared>, SyncError> {
    let temporary = || destination.temporary();
    let into = temporary().map_err(SyncError::io("make a temporary file"))?;
    let mut sorter = Sorter::new(&temporary);
    let found = look(origin, before, Some(destination), into, watch, &mut |line| {
        super::check_stop(watch.stop)?;
        sorter.push(line).map_err(SyncError::io("sort what is declared"))
    })?;
    let Some(found) = found else { return Ok(None) };
    let entries = sorter.finish(|first, second| {
        // Several indexes of an archive may list one file, if they say the same of it.
        let is_same = origin.debian.is_some() && first.file == second.file;
        if is_same {
            return Ok(false);
        }
        let checked = check_neighbours(&first.file.path, &second.file.path);
        checked.map(|()| true).map_err(|error| {
            let (document, line) = place(first.number.max(second.number));
            SyncError::Overlap {
                line,
                url: found.places.get(document).cloned().unwrap_or_default(),
                error,
            }
        })
    })?;
    if entries.count == 0 {
        let below = origin.subpath.map_or_else(String::new, |path| format!(" below {path}"));
        return Err(SyncError::Nothing(found.places.join(" and "), below));
    }
    Ok(Some(Declared { entries, found }))
}

impl From<io::Error> for SyncError {
    fn from(error: io::Error) -> Self {
        Self::Io { action: "sort what is declared", error }
    }
}
