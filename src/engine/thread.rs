//! The metadata thread: `select` an input, apply it, do one slice of background work.
//!
//! It alone writes the catalog and makes or removes links in the pool, so nothing can come between
//! the collector's check and its unlink (G3). It owns its state without locks and never waits for
//! a FUSE worker, the kernel, the network or the disk's flush (H6, H8).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::after::After;
use super::commit::Commits;
use super::damage::Unverified;
use super::durability::{Durable, Then};
use super::error::{EngineError, Result};
use super::event::Event;
use super::gc::{Collector, FILES_PER_SLICE, RunKind};
use super::journal::Journal;
use super::pins::BlobsHold;
use super::poison::Blocked;
use super::reply::{Reply, Tell};
use super::request::Request;
use super::seal::SealResult;
use super::stop_point::StopPoints;
use super::unsaved::Unsaved;
use super::writer::StoreWriter;
use crate::store::error::StoreError;
use crate::store::tree_cache::TreeCache;
use crate::sys::panics;

/// How long a change waits for others before its rows are written: one transaction for all. Rows
/// are keyed by hashes and names, so each touches a page of its own; a file that is created,
/// written, renamed and given its times within the interval costs them once.
const JOURNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Rows that are written at once without waiting for more.
const JOURNAL_ROWS_MAX: usize = 4000;

/// Inputs applied before the journal and the commits get their turn.
const INPUTS_PER_ROUND: usize = 256;

/// Rounds that a slice of background work waits while there are requests.
const BUSY_ROUNDS_PER_SLICE: u32 = 8;

/// How often dirty buffers are looked at when nothing else happens.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);

/// Wait for the next try after the store was full.
const FULL_RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Everything the metadata thread owns.
pub(super) struct MetadataThread {
    pub(super) writer: StoreWriter,
    pub(super) trees: Arc<TreeCache>,
    pub(super) requests: Receiver<Request>,
    pub(super) requests_sender: Sender<Request>,
    pub(super) seal_results: Receiver<Vec<SealResult>>,
    pub(super) wake: Receiver<()>,
    pub(super) journal: Journal,
    pub(super) gc: Collector,
    pub(super) commits: Commits,
    /// Epoch that new blobs belong to.
    pub(super) epoch: u64,
    /// Blobs of this epoch and before have been flushed to disk.
    pub(super) durable_epoch: u64,
    /// Blobs that are not trusted.
    pub(super) unverified: Unverified,
    /// Rounds since the last slice of background work that had to be put off.
    pub(super) rounds_without_slice: u32,
    /// Where tests hold threads.
    pub(super) stop_points: Arc<StopPoints>,
    /// Why the last seal failed, and whether the disk was full.
    pub(super) last_seal_error: (bool, String),
    pub(super) unsaved: Unsaved,
}

impl MetadataThread {
    /// Runs until a [`Request::Stop`].
    pub(super) fn run(mut self) {
        let ended = panics::contain("the metadata thread", || {
            let reply = self.serve();
            self.stop(reply);
        });
        if ended.is_err() {
            // Logged, and answered for by the end of the process.
            panics::contain("the metadata thread's end", || self.refuse_all()).unwrap_or_default();
        }
    }

    /// Applies inputs until the request to stop, whose reply it returns.
    fn serve(&mut self) -> Reply<()> {
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
            let now = Instant::now();
            self.advance_journal(now);
            self.writer.advance_obsolete(now);
            self.advance_commits(now);
            self.follow_up();
            if now.duration_since(last_housekeeping) >= HOUSEKEEPING_INTERVAL {
                last_housekeeping = now;
                self.save_overdue(now);
                self.try_again(now);
                self.writer.staging().end_seal_delay(|_, due| due <= now);
                // What is served read-only keeps the marks for itself.
                if self.writer.poison().blocked() != Blocked::ReadOnly
                    && let Err(error) = self.mark_all_damage()
                {
                    log::debug!("damage is not noted yet: {error}");
                }
            }
            self.background(now);
            self.follow_up();
        }
    }

    /// After a panic nothing of this thread's state can be trusted: nothing is written any more (R4),
    /// and whoever waits, or comes, is refused.
    fn refuse_all(&mut self) {
        self.writer.poison().set("the metadata thread panicked");
        // Sealers end when nobody takes their results.
        self.seal_results = crossbeam_channel::never();
        self.journal.fail_waiters(|| EngineError::Poisoned);
        self.abort_run();
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
            // A reply that is dropped is an error to whoever waits for it.
        }
    }

    /// A slice of background work, unless somebody waits; but never so long that a busy store
    /// would fill up.
    fn background(&mut self, now: Instant) {
        if self.writer.poison().blocked() == Blocked::ReadOnly {
            return;
        }
        self.tick_collector(now);
        self.tidy_wal();
        if !self.gc.has_work() || self.gc.is_paused(now) {
            return;
        }
        if !self.writer.reaper().has_room(FILES_PER_SLICE) {
            return self.gc.pause(now);
        }
        let idle = self.requests.is_empty() && self.seal_results.is_empty();
        self.rounds_without_slice += 1;
        if idle || self.rounds_without_slice >= BUSY_ROUNDS_PER_SLICE {
            self.rounds_without_slice = 0;
            self.collector_slice();
        }
    }

    /// Waits for the next input, no longer than the journal or background work can wait.
    fn select(&mut self) -> Option<Request> {
        // A store that takes no changes does no background work, and must not spin over it.
        let refused =
            matches!(self.writer.poison().blocked(), Blocked::Poisoned | Blocked::ReadOnly);
        let timeout = if self.gc.has_work() && !refused {
            self.gc.pause_left(Instant::now())
        } else if self.journal.is_waiting() || self.commits.are_any() {
            Duration::from_millis(1)
        } else if self.writer.staging().news() > 0 || self.journal.has_pending_blobs() {
            JOURNAL_INTERVAL
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

    fn apply(&mut self, request: Request) {
        panics::point("metadata");
        if self.writer.poison().blocked() == Blocked::ReadOnly {
            if let Some(request) = request.refuse_changes() {
                self.serve_request(request);
            }
            return;
        }
        self.serve_request(request);
    }

    fn serve_request(&mut self, request: Request) {
        let writer = &mut self.writer;
        match request {
            Request::CreateRepository { name, owner, provisional, now, reply } => {
                let made = writer.create_repository(name, owner, provisional, now);
                self.answer_notified(made, reply);
            }
            Request::ChangeRepository { repo, change, now, reply } => {
                let changed = writer.change_repository(repo, change, now);
                self.answer_notified(changed, reply);
            }
            Request::DeleteRepository { repo, now, reply } => {
                let deleted = writer.delete_repository(repo, now);
                self.answer_notified(deleted, reply);
            }
            Request::UndeleteRepository { name, now, reply } => {
                match writer.restore_repository(&name, now) {
                    Ok((events, numbers)) => {
                        let reply = Box::new(move |done: Result<()>| reply(done.map(|()| numbers)));
                        self.when_durable(Durable::Rows, After::Answer { events, reply });
                    }
                    Err(error) => reply(Err(error)),
                }
            }
            Request::OpenArea { repo, name, owner, journalled, now, reply } => {
                reply(writer.open_area(repo, &name, owner, journalled, now));
            }
            Request::NoteArea { area, notes, reply } => reply(writer.note_area(area, notes)),
            Request::DiscardArea { area, reply } => {
                let discarded = writer.discard(area).map(|events| ((), events));
                self.answer_notified(discarded, reply);
            }
            Request::ForRename(request) => self.for_rename(request),
            Request::Commit { area, options, reply } => self.start_commit(area, options, reply),
            Request::SetTag { repo, tag, number, fresh, now, reply } => {
                let set = writer.set_tag(repo, &tag, number, fresh, now);
                self.answer_durable(set, reply);
            }
            Request::RenameTag { repo, from, to, now, reply } => {
                let renamed = writer.rename_tag(repo, &from, &to, now);
                self.answer_durable(renamed, reply);
            }
            Request::DeleteTag { repo, tag, now, reply } => {
                let deleted = writer.delete_tag(repo, &tag, now);
                self.answer_durable(deleted, reply);
            }
            Request::DeleteVersions { repo, numbers, force, now, reply } => {
                let deleted = writer.delete_versions(repo, &numbers, force, now);
                self.answer_durable(deleted, reply);
            }
            Request::UndeleteVersions { repo, numbers, now, reply } => {
                let undeleted = writer.undelete_versions(repo, &numbers, now);
                self.answer_durable(undeleted, reply);
            }
            Request::FlagVersions { repo, numbers, change, reply } => {
                let flagged = writer.flag_versions(repo, &numbers, change);
                self.answer_durable(flagged, reply);
            }
            Request::SetPolicy { repo, policy, reply } => {
                let set = writer.set_policy(repo, policy);
                self.answer_durable(set, reply);
            }
            Request::ChangePolicy { repo, rules, reply } => {
                let changed = writer.change_policy(repo, rules);
                self.answer_durable(changed, reply);
            }
            Request::SetQuota { repo, quota, reply } => {
                let set = writer.set_quota(repo, quota);
                self.answer_durable(set, reply);
            }
            Request::Flush { reply } => self.journal.wait_for_all(reply),
            Request::FlushNodes { nodes, reply } => self.journal.wait_for_nodes(nodes, reply),
            Request::Save { reply } => reply(Ok(self.save_all())),
            Request::AdoptBlobs { blobs, reply } => reply(self.adopt_blobs(blobs)),
            Request::ReuseBlobs { hashes, reply } => reply(self.reuse_blobs(&hashes)),
            Request::ReuseTrees { trees, reply } => reply(self.reuse_trees(&trees)),
            Request::HoldBlobs { reply } => reply(Ok(BlobsHold::new(self.writer.pins()))),
            Request::Collect { kind, reply } => self.collect(kind, reply),
            Request::CommitPages { task, pages } => self.commit_pages(task, &pages),
            Request::CommitBuilt { task, built } => self.commit_built(task, built),
            Request::Charged { repo, number, charge } => self.charged(repo, number, charge),
            Request::Accounted => self.accounted(),
            Request::Swept { leftovers } => self.remove_leftovers(leftovers),
            Request::SweepEnded { result } => self.sweep_ended(result),
            Request::Durable { after, result } => self.durable(after, result),
            Request::BlobVerified { hash, intact } => self.blob_verified(hash, intact),
            Request::Fsck { job, reply } => self.fsck(job, reply),
            Request::Damaged(damage) => self.note_damage(&[damage], Box::new(drop)),
            Request::Stop { reply } => reply(Err(EngineError::Stopping)),
        }
    }

    /// What was to be on disk is there, or is not.
    fn durable(&mut self, after: After, result: Result<()>) {
        match after {
            After::Answer { events, reply } => self.writer.notify(events, answer(reply, result)),
            After::CommitSynced { task } => self.commit_synced(task, result),
            After::Publish { repo, task, publish } => {
                let visible = self.writer.reveal(repo, task);
                publish(result.and_then(|()| visible.ok_or(EngineError::Stopping)));
                self.gc.wake();
                self.gc.expect_accounting(repo);
            }
            After::Prepared { epoch, reply } => self.rename_prepared(epoch, result, reply),
            After::RemoveOrphans { unreferences } => self.orphans_durable(unreferences, result),
            After::RemoveObsolete => {
                self.writer.rows_durable(result, Instant::now());
                self.gc.purge_goes_on();
            }
            After::WalCopied => self.wal_copied(result),
        }
    }

    /// Writes the journal when it is due.
    fn advance_journal(&mut self, now: Instant) {
        let unsettled = std::mem::take(&mut *self.writer.staging().store.unsettled.lock());
        if !unsettled.is_empty() {
            self.writer.durability().settle(unsettled);
        }
        if let Some(until) = self.journal.retry_at
            && now < until
        {
            return;
        }
        self.journal.advance_waiters();
        let is_much = self.writer.staging().news() >= JOURNAL_ROWS_MAX;
        let due = self.journal.is_due(now, JOURNAL_INTERVAL, is_much);
        if due && let Err(error) = self.write_journal() {
            self.journal_failed(&error, now);
        }
        if self.journal.is_pending_due(now)
            && self.writer.poison().blocked() == Blocked::No
            && let Err(error) = self.write_pending()
        {
            // They stay pending; a full store is emptied, a failed one refuses changes.
            log::warn!("rows of new content wait: {error}");
            self.journal.retry_at = Some(now + FULL_RETRY_INTERVAL);
        }
    }

    fn journal_failed(&mut self, error: &StoreError, now: Instant) {
        if error.is_full() {
            if self.journal.retry_at.is_none() {
                log::error!("the store is full, changes wait: {error}");
                self.writer.make_room();
            }
            self.journal.retry_at = Some(now + FULL_RETRY_INTERVAL);
            self.writer.poison().full();
            self.journal.fail_waiters(|| EngineError::Unsealed {
                count: 0,
                reason: "no space left on device".to_owned(),
                full: true,
            });
        } else {
            self.writer.write_failed(error);
            self.journal.fail_waiters(|| EngineError::Poisoned);
        }
    }

    /// A line on which a thread that works for this one tells it something.
    pub(super) fn line<T: Into<Request>>(&self) -> Tell<T> {
        let requests = self.requests_sender.clone();
        Arc::new(move |told: T| requests.send(told.into()).map_err(|_| EngineError::Stopping))
    }

    /// Sees to what a change has made necessary elsewhere.
    fn follow_up(&mut self) {
        let Some(effects) = self.writer.effects().take() else { return };
        for (what, after) in effects.durable {
            self.when_durable(what, after);
        }
        if effects.collect {
            self.trigger(RunKind::ORPHANS);
        }
        if effects.purge {
            self.gc.wake();
        }
        for repo in effects.uncharged {
            self.gc.expect_accounting(repo);
        }
        if effects.room_was_made {
            self.journal.retry_at = None;
        }
    }

    /// Answers once the rows of a change are on disk, and the kernel has forgotten what it made stale.
    fn answer_durable(&self, changed: Result<Vec<Event>>, reply: Reply<()>) {
        match changed {
            Ok(events) => self.when_durable(Durable::Rows, After::Answer { events, reply }),
            Err(error) => reply(Err(error)),
        }
    }

    /// Answers once the kernel has forgotten what a change made stale: whoever gets the answer
    /// sees the change on both mounts.
    fn answer_notified<T: Send + 'static>(
        &self,
        changed: Result<(T, Vec<Event>)>,
        reply: Reply<T>,
    ) {
        match changed {
            Ok((value, events)) => self.writer.notify(events, Box::new(move || reply(Ok(value)))),
            Err(error) => reply(Err(error)),
        }
    }

    /// The one way to have something happen once something is on disk. This thread does not wait: `after`
    /// comes back to it as [`Request::Durable`], or needs it no more.
    fn when_durable(&self, what: Durable, after: After) {
        let then = match after {
            After::Answer { events, reply } => {
                let observer = Arc::clone(self.writer.observer());
                Then::new(move |result| observer.notify(events, answer(reply, result)))
            }
            after => {
                let requests = self.requests_sender.clone();
                // When this thread has ended, who waits hears of it as `after` is dropped.
                Then::new(move |result| drop(requests.send(Request::Durable { after, result })))
            }
        };
        self.writer.durability().when(what, then);
    }
}

fn answer(reply: Reply<()>, result: Result<()>) -> Box<dyn FnOnce() + Send> {
    Box::new(move || reply(result))
}
