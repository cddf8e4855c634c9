//! Waiting, before a RENAME that publishes, for what its commit would wait for.
//!
//! A RENAME between directories holds the rename lock of the whole mount until it is answered, so it
//! must be short. If the area is not ready, the mount has the kernel ask again, and the commit is prepared
//! before the kernel does: without freezing the area, this waits until no file is open for writing or left
//! to be sealed, as the commit itself would, and brings the sealed content to disk. It promises nothing:
//! the commit waits for whatever changes afterwards.

use std::time::{Duration, Instant};

use super::super::after::After;
use super::super::blobs::Blobs;
use super::super::durability::{Durable, Scope};
use super::super::error::{EngineError, Result};
use super::super::reply::Reply;
use super::super::staging::area::Phase;
use super::super::writer::StoreWriter;
use super::wait::{Wait, to_be_sealed};
use super::{Commits, unsynced};
use crate::model::id::AreaId;

/// Time between two looks whether anybody still waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Says whether nobody waits for it any more.
pub type GivenUp = Box<dyn Fn() -> bool + Send>;

/// What the mount asks for, so that a RENAME is short.
pub enum ForRename {
    /// To wait for what a commit of the area would wait for. Answered when the commit would not wait any
    /// more, whether it would then go on or be refused, or when nobody waits for the answer.
    Prepare {
        /// The area.
        area: AreaId,
        /// Whether nobody waits.
        given_up: GivenUp,
        /// Tells that it is over; dropped when it cannot be.
        reply: Reply<()>,
    },
    /// To run something at a certain time, unless the engine ends before.
    Remind {
        /// When.
        due: Instant,
        /// What.
        late: Box<dyn FnOnce() + Send>,
    },
}

impl std::fmt::Debug for ForRename {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForRename").finish_non_exhaustive()
    }
}

/// What was asked for and is not done.
#[derive(Default)]
pub(super) struct Renames {
    preparations: Vec<Preparation>,
    reminders: Vec<(Instant, Box<dyn FnOnce() + Send>)>,
}

impl Renames {
    /// Answers all preparations with an error: nothing will be prepared any more.
    pub(super) fn end(&mut self, reason: impl Fn() -> EngineError) {
        for preparation in self.preparations.drain(..) {
            (preparation.reply)(Err(reason()));
        }
    }

    pub(super) fn are_prepared(&self) -> bool {
        !self.preparations.is_empty()
    }

    pub(super) fn put_off(&mut self, pause: Duration) {
        for preparation in &mut self.preparations {
            preparation.writers.put_off(pause);
            preparation.seals.put_off(pause);
        }
    }
}

/// A preparation under way.
struct Preparation {
    area: AreaId,
    writers: Wait,
    seals: Wait,
    given_up: GivenUp,
    looked: Instant,
    reply: Reply<()>,
}

impl Preparation {
    fn is_given_up(&mut self, now: Instant) -> bool {
        if now.duration_since(self.looked) < LOOK_INTERVAL {
            return false;
        }
        self.looked = now;
        (self.given_up)()
    }
}

impl Commits {
    /// Does what is asked for, or begins it.
    pub(in crate::engine) fn for_rename(&mut self, request: ForRename, now: Instant) {
        match request {
            ForRename::Prepare { area, given_up, reply } => {
                self.expect(now);
                let (writers, seals) = Wait::before_rename(now);
                let looked = now;
                let preparation = Preparation { area, writers, seals, given_up, looked, reply };
                self.renames.preparations.push(preparation);
            }
            ForRename::Remind { due, late } => self.renames.reminders.push((due, late)),
        }
    }

    /// Answers the preparations that are over, and runs what is due.
    pub(super) fn advance_renames(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        now: Instant,
    ) {
        for (_, late) in self.renames.reminders.extract_if(.., |(due, _)| *due <= now) {
            late();
        }
        for mut preparation in std::mem::take(&mut self.renames.preparations) {
            if preparation.is_given_up(now) {
                (preparation.reply)(Ok(()));
            } else if is_prepared(writer, blobs, &mut preparation, now) {
                flush_prepared(writer, blobs, preparation.reply);
            } else {
                self.renames.preparations.push(preparation);
            }
        }
    }
}

/// Answers a preparation: the content of all blobs up to this epoch is on disk, or cannot be brought there.
pub(in crate::engine) fn rename_prepared(
    blobs: &mut Blobs,
    epoch: u64,
    result: Result<()>,
    reply: Reply<()>,
) {
    // It is not noted in the catalog, so after an outage some blobs are checked that need not be.
    if result.is_ok() {
        blobs.note_durable(epoch);
    }
    reply(result);
}

/// Brings the content of all blobs to disk, as the commit would, and then answers.
fn flush_prepared(writer: &mut StoreWriter, blobs: &mut Blobs, reply: Reply<()>) {
    let epoch = blobs.close_epoch();
    let scope = unsynced(writer, blobs);
    if matches!(&scope, Scope::Blobs(blobs) if blobs.is_empty()) {
        return reply(Ok(()));
    }
    writer.effects().when_durable(Durable::Content(scope), After::Prepared { epoch, reply });
}

/// Whether a commit of the area would go on to build its trees, or be refused.
fn is_prepared(
    writer: &StoreWriter,
    blobs: &Blobs,
    preparation: &mut Preparation,
    now: Instant,
) -> bool {
    let shared = {
        let state = writer.staging().read();
        let open = |phase| phase == Phase::Open;
        match state.areas.get(&preparation.area).filter(|area| open(area.phase)) {
            Some(area) => std::sync::Arc::clone(&area.shared),
            None => return true,
        }
    };
    let writers = shared.writers();
    if writers > 0 {
        return preparation.writers.is_over(u64::from(writers), now);
    }
    let unverified = blobs.unverified_count();
    if unverified == 0 && to_be_sealed(&shared, shared.failed_count()) == 0 {
        return true;
    }
    writer.staging().end_seal_delay(|content, _| content.area.id == preparation.area);
    preparation.seals.is_over(shared.sealing_steps().wrapping_add(unverified), now)
}
