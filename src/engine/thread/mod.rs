//! The metadata thread: `select` an input, apply it, do one slice of background work.
//!
//! It alone writes the catalog and makes or removes links in the pool, so nothing can come between
//! the collector's check and its unlink (G3). It owns its state without locks and never waits for
//! a FUSE worker, the kernel, the network or the disk's flush (H6, H8).

mod apply;
mod stop;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::after::After;
use super::blobs::Blobs;
use super::commit::Commits;
use super::durability::{Durable, Then};
use super::error::{EngineError, Result};
use super::gc::{Collector, FILES_PER_SLICE, RunKind};
use super::journal::{self, Journal};
use super::now::Now;
use super::poison::Blocked;
use super::reply::Reply;
use super::request::Request;
use super::seal::SealResult;
use super::unsaved::Unsaved;
use super::writer::StoreWriter;
use crate::sys::panics;

/// Inputs applied before the journal and the commits get their turn.
const INPUTS_PER_ROUND: usize = 256;

/// While there are requests, a slice of background work is done only every so many rounds.
const BUSY_ROUNDS_PER_SLICE: u32 = 8;

/// How often dirty buffers are looked at when nothing else happens.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);

/// Everything the metadata thread owns.
pub(super) struct MetadataThread {
    pub(super) writer: StoreWriter,
    pub(super) requests: Receiver<Request>,
    pub(super) requests_sender: Sender<Request>,
    pub(super) seal_results: Receiver<Vec<SealResult>>,
    pub(super) wake: Receiver<()>,
    pub(super) blobs: Blobs,
    pub(super) journal: Journal,
    pub(super) gc: Collector,
    pub(super) commits: Commits,
    /// Rounds in which a slice of background work was put off, since the last slice.
    pub(super) rounds_without_slice: u32,
    pub(super) unsaved: Unsaved,
}

impl MetadataThread {
    /// Begins the collection that each start makes (G8), unless the disk was so full that the start could
    /// not be noted. Then the collection begins once somebody has changed something.
    pub(super) fn collect_at_start(&mut self) {
        if self.writer.poison().blocked() == Blocked::No {
            self.gc.trigger(&self.writer, RunKind::ORPHANS, Now::read());
        }
    }

    /// Runs until a [`Request::Stop`].
    pub(super) fn run(mut self) {
        let ended = panics::contain("the metadata thread", || {
            let reply = self.serve_until_stopped();
            self.stop(reply);
        });
        if ended.is_err() {
            // The panic is logged where it is caught.
            panics::contain("the metadata thread's end", || self.refuse_all()).unwrap_or_default();
        }
    }

    /// Applies inputs until the request to stop, whose reply it returns.
    fn serve_until_stopped(&mut self) -> Reply<()> {
        let mut last_housekeeping = Instant::now();
        loop {
            match self.select() {
                Some(Request::Stop { reply }) => return reply,
                Some(request) => self.apply(request),
                None => {}
            }
            self.follow_up();
            for _ in 0..INPUTS_PER_ROUND {
                if let Ok(results) = self.seal_results.try_recv() {
                    self.apply_seals(results);
                    self.follow_up();
                    continue;
                }
                match self.requests.try_recv() {
                    Ok(Request::Stop { reply }) => return reply,
                    Ok(request) => self.apply(request),
                    Err(_) => break,
                }
                self.follow_up();
            }
            let now = Now::read();
            self.advance_journal(now);
            self.writer.advance_obsolete(now.instant);
            self.commits.advance(&mut self.writer, &mut self.blobs, now.instant);
            self.follow_up();
            if now.instant.duration_since(last_housekeeping) >= HOUSEKEEPING_INTERVAL {
                last_housekeeping = now.instant;
                self.unsaved.save_overdue(&self.writer, now.instant);
                self.unsaved.try_again(&mut self.writer, now.instant);
                self.writer.staging().end_seal_delay(|_, due| due <= now.instant);
                // Where the store is served read-only, marks of damage stay in memory.
                if self.writer.poison().blocked() != Blocked::ReadOnly
                    && let Err(error) = self.blobs.mark_all_damage(&mut self.writer, now)
                {
                    log::debug!("damage is not noted yet: {error}");
                }
            }
            self.background(now);
            self.follow_up();
        }
    }

    /// After a panic this thread's state cannot be trusted. Nothing is written any more (R4), and whoever
    /// waits or still asks is refused.
    fn refuse_all(&mut self) {
        self.writer.poison().set("the metadata thread panicked");
        // Sealers end when nobody takes their results.
        self.seal_results = crossbeam_channel::never();
        self.journal.fail_waiters(|| EngineError::Poisoned);
        // Replies among them are dropped, which tells whoever waits that it failed.
        drop(self.writer.effects().take());
        self.gc.abort_run();
        for task in self.commits.end(|| EngineError::Poisoned) {
            task.refuse(EngineError::Poisoned);
        }
        self.writer.forget_unpublished();
        for operation in self.writer.staging().thaw() {
            self.writer.notify(Vec::new(), operation);
        }
        while let Ok(request) = self.requests.recv() {
            if let Request::Stop { reply } = request {
                self.writer.close();
                return reply(Err(EngineError::Poisoned));
            }
            // The request is dropped with its reply, which tells whoever waits that it failed.
        }
    }

    /// Does a slice of background work if nobody waits; on a busy store at least every
    /// [`BUSY_ROUNDS_PER_SLICE`] rounds, or garbage would fill the disk.
    fn background(&mut self, now: Now) {
        if self.writer.poison().blocked() == Blocked::ReadOnly {
            return;
        }
        self.gc.tick(&self.writer, now);
        self.gc.tidy_wal(&self.writer);
        if !self.gc.has_work() || self.gc.is_paused(now.instant) {
            return;
        }
        if !self.writer.reaper().has_room(FILES_PER_SLICE) {
            return self.gc.pause(now.instant);
        }
        let idle = self.requests.is_empty() && self.seal_results.is_empty();
        self.rounds_without_slice += 1;
        if idle || self.rounds_without_slice >= BUSY_ROUNDS_PER_SLICE {
            self.rounds_without_slice = 0;
            self.gc.slice(&mut self.writer, &mut self.blobs, now);
        }
    }

    /// Waits for the next input, no longer than the journal or background work can wait.
    fn select(&mut self) -> Option<Request> {
        // Where changes are refused, no background work is done, so pending work must not shorten the wait.
        let refused =
            matches!(self.writer.poison().blocked(), Blocked::Poisoned | Blocked::ReadOnly);
        let timeout = if self.gc.has_work() && !refused {
            self.gc.pause_left(Instant::now())
        } else if self.journal.is_waiting() || self.commits.are_any() {
            Duration::from_millis(1)
        } else if self.writer.staging().news() > 0 || self.blobs.are_pending() {
            journal::INTERVAL
        } else {
            HOUSEKEEPING_INTERVAL
        };
        crossbeam_channel::select! {
            recv(self.requests) -> request => request.ok(),
            recv(self.seal_results) -> results => {
                if let Ok(results) = results {
                    self.apply_seals(results);
                }
                None
            }
            recv(self.wake) -> _ => {
                self.journal.note_dirty(Instant::now());
                None
            }
            default(timeout) => None,
        }
    }

    /// Writes the journal when it is due.
    fn advance_journal(&mut self, now: Now) {
        let unsettled = std::mem::take(&mut *self.writer.staging().store.unsettled.lock());
        if !unsettled.is_empty() {
            self.writer.durability().settle(unsettled);
        }
        self.journal.advance(&mut self.writer, &mut self.blobs, &mut self.unsaved, now);
    }

    /// Sees to what a change has made necessary elsewhere.
    fn follow_up(&mut self) {
        let Some(effects) = self.writer.effects().take() else { return };
        for (what, after) in effects.durable {
            self.when_durable(what, after);
        }
        if effects.collect {
            self.gc.trigger(&self.writer, RunKind::ORPHANS, Now::read());
        }
        if effects.purge {
            self.gc.wake();
        }
        for repo in effects.uncharged {
            self.gc.expect_accounting(repo);
        }
        if effects.room_was_made {
            self.journal.room_was_made();
        }
    }

    /// The one way to have something happen once something is on disk. This thread does not wait: the
    /// durability thread sends `after` back as a [`Request::Durable`], or carries it out itself.
    fn when_durable(&self, what: Durable, after: After) {
        let then = match after {
            After::Answer { events, reply } => {
                let observer = Arc::clone(self.writer.observer());
                Then::new(move |result| observer.notify(events, answer(reply, result)))
            }
            after => {
                let requests = self.requests_sender.clone();
                // If this thread has ended, `after` is dropped, which tells whoever waits that it failed.
                Then::new(move |result| drop(requests.send(Request::Durable { after, result })))
            }
        };
        self.writer.durability().when(what, then);
    }
}

fn answer(reply: Reply<()>, result: Result<()>) -> Box<dyn FnOnce() + Send> {
    Box::new(move || reply(result))
}

#[cfg(test)]
mod tests;
