//! Removing rows that say where content can be had which nothing names any more: a mirror whose content is fetched
//! when it is read notes some with each sync (L8).
//!
//! A run looks through all of them, some hundreds per slice, so its cost follows their number and not only what goes.
//! So it does this only if something happened by which one may have become unneeded, if it is a full run, or if
//! somebody asked for it: of what happened before the last start nothing is known.
//!
//! A sync or a pull notes where content can be had before its version names it. While one runs nothing is removed
//! ([`SourcesHold`](crate::engine::pins::SourcesHold)); the next run does it. What is removed twice or half does no
//! harm, so nothing is waited for.

use std::time::Instant;

use super::{Collector, RunPhase, SLICE_TIME_MAX};
use crate::engine::blobs::Blobs;
use crate::engine::error::Result;
use crate::engine::now::Now;
use crate::engine::stop_point::StopPoint;
use crate::engine::writer::StoreWriter;
use crate::model::content_name::ContentName;
use crate::store::catalog::{FoundLocation, Location, LocationTable};

/// Rows that a slice looks at: about half a millisecond of SQL. How many of them it removes its time limits, too.
const ROWS_PER_SLICE: u32 = 256;

/// How far the look through the locations has come.
#[derive(Debug)]
pub(super) struct Progress {
    table: LocationTable,
    /// The last row that was looked at: the next slice goes on behind it.
    after: Option<Location>,
    /// [`Catalog::loosened_locations`](crate::store::catalog::Catalog::loosened_locations) when the look under way
    /// began; `None` where something had to be left, so that the next run looks again.
    began: Option<u64>,
    /// The same of the last look that came to its end and left nothing. What is unneeded since before the start of
    /// the process goes when somebody asks for a run, and with the next full run.
    looked: Option<u64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { table: LocationTable::default(), after: None, began: None, looked: Some(0) }
    }
}

impl Progress {
    /// The look under way is over, wherever it is.
    pub(super) fn stop(&mut self) {
        self.table = LocationTable::default();
        self.after = None;
    }
}

impl Collector {
    /// The phase after the blobs, whose removal may have been what made locations unneeded.
    pub(super) fn begin_unneeded(&mut self, writer: &mut StoreWriter, blobs: &mut Blobs, now: Now) {
        let loosened = writer.store().catalog.loosened_locations();
        let is_asked_for =
            self.run.as_ref().is_some_and(|run| run.kind.full || !run.waiters.is_empty());
        if !is_asked_for && self.unneeded.looked == Some(loosened) {
            return self.sweep(writer, blobs, now);
        }
        self.unneeded.stop();
        self.unneeded.began = Some(loosened);
        self.enter(RunPhase::Locations);
    }

    /// Looks at some locations and removes those that nothing needs. What fails is left to the next run, and this one goes
    /// on with its next phase (G11).
    pub(super) fn unneeded_slice(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        now: Now,
    ) -> Result<()> {
        let Err(error) = self.look_for_unneeded(writer, blobs, now) else { return Ok(()) };
        writer.check_writable()?;
        if error.is_full() {
            return Err(error);
        }
        self.fail(format!("notes of where content can be had are not looked through: {error}"));
        self.unneeded.began = None;
        self.end_unneeded(writer, blobs, now);
        Ok(())
    }

    fn look_for_unneeded(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        now: Now,
    ) -> Result<()> {
        let stop_points = &self.workers.stop_points;
        if self.unneeded.after.is_some() && stop_points.is_held(StopPoint::LocationsLooked) {
            stop_points.reached(StopPoint::LocationsLooked);
            return Ok(());
        }
        // Asked in each slice: who takes a hold has the metadata thread write nothing before this slice is over.
        if writer.pins().are_sources_held() {
            log::debug!("where content can be had is looked through once no sync runs any more");
            self.unneeded.began = None;
            self.end_unneeded(writer, blobs, now);
            return Ok(());
        }
        let table = self.unneeded.table;
        let listed = {
            let tx = writer.begin()?;
            tx.locations(table, self.unneeded.after.as_ref(), ROWS_PER_SLICE)?
        };
        if listed.is_empty() {
            self.unneeded.after = None;
            match table.next() {
                Some(next) => self.unneeded.table = next,
                None => self.end_unneeded(writer, blobs, now),
            }
            return Ok(());
        }
        self.remove_unneeded(writer, blobs, listed)
    }

    fn remove_unneeded(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &Blobs,
        listed: Vec<FoundLocation>,
    ) -> Result<()> {
        let began = Instant::now();
        let mut looked = Vec::with_capacity(listed.len());
        for FoundLocation { location, is_needed } in listed {
            let is_held = !is_needed && is_location_held(writer, blobs, &location);
            if is_held {
                self.unneeded.began = None;
            }
            looked.push((location, is_needed || is_held));
        }
        if looked.iter().any(|(_, stays)| !stays) {
            let (done, removed) = writer.write(|tx| {
                let (mut done, mut removed) = (0, 0);
                while done < looked.len() && (done == 0 || began.elapsed() < SLICE_TIME_MAX) {
                    let (location, stays) = &looked[done];
                    if !stays {
                        tx.delete_location(location)?;
                        removed += 1;
                    }
                    done += 1;
                }
                Ok((done, removed))
            })?;
            looked.truncate(done);
            self.note_removed(writer, removed);
            self.report(|report| report.locations += removed);
        }
        self.unneeded.after = looked.pop().map(|(location, _)| location);
        Ok(())
    }

    fn end_unneeded(&mut self, writer: &mut StoreWriter, blobs: &mut Blobs, now: Now) {
        self.unneeded.looked = self.unneeded.began.take();
        self.sweep(writer, blobs, now);
    }
}

/// Whether somebody reads the content, or is about to give it a row.
fn is_location_held(writer: &StoreWriter, blobs: &Blobs, location: &Location) -> bool {
    match location {
        Location::Source { sha256, .. } => writer.pins().watch(&ContentName::from(*sha256)),
        Location::Place { blob, .. } => blobs.is_pending(blob) || writer.watch_blob(blob),
        Location::Object { .. } => false,
    }
}
