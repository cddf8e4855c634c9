//! What each input does: requests, sealed files, and promises of durability that were kept or broken.

use std::time::Instant;

use super::{MetadataThread, answer};
use crate::engine::after::After;
use crate::engine::blobs::{IncomingBlob, NotAdopted};
use crate::engine::commit::rename_prepared;
use crate::engine::durability::Durable;
use crate::engine::error::{EngineError, Result};
use crate::engine::event::Event;
use crate::engine::gc::Leftover;
use crate::engine::now::Now;
use crate::engine::pins::{BlobPin, BlobsHold};
use crate::engine::poison::Blocked;
use crate::engine::repair::Repairs;
use crate::engine::reply::Reply;
use crate::engine::request::Request;
use crate::engine::seal::SealResult;
use crate::engine::unsaved::Remaining;
use crate::metrics::COUNTERS;
use crate::sys::panics;

impl MetadataThread {
    pub(super) fn apply(&mut self, request: Request) {
        panics::point("metadata");
        if self.writer.poison().blocked() == Blocked::ReadOnly {
            if let Some(request) = request.refuse_changes() {
                self.serve(request);
            }
            return;
        }
        self.serve(request);
    }

    fn serve(&mut self, request: Request) {
        let now = Now::read();
        let request = self.serve_change(request).and_then(|other| self.serve_content(other, now));
        let Some(request) = request else { return };
        let writer = &mut self.writer;
        match request {
            Request::ForRename(request) => self.commits.for_rename(request, now.instant),
            Request::Commit { area, options, reply } => {
                self.commits.start(writer, area, options, reply, now.instant);
            }
            Request::PutRemote { name, settings, keeps_seen, reply } => {
                let put = writer.put_remote(&name, settings.as_deref(), keeps_seen);
                self.answer_durable(put, reply);
            }
            Request::NoteRemote { note, reply } => reply(writer.note(&mut self.blobs, &note, now)),
            Request::Flush { reply } => self.journal.wait_for_all(reply),
            Request::FlushNodes { nodes, reply } => self.journal.wait_for_nodes(nodes, reply),
            Request::Save { reply } => reply(Ok(self.save_all(now))),
            Request::Collect { kind, reply } => self.gc.collect(writer, kind, reply, now),
            Request::CommitPages { task, pages } => {
                self.commits.pages(writer, &mut self.blobs, task, &pages, now);
            }
            Request::CommitBuilt { task, built } => {
                self.commits.built(writer, &mut self.blobs, task, built);
            }
            Request::Charged { repo, number, charge } => {
                self.gc.charged(writer, repo, number, charge);
            }
            Request::Accounted => self.gc.accounted(),
            Request::Swept { leftovers } => {
                self.gc.remove_leftovers(writer, &self.blobs, leftovers);
            }
            Request::SweepEnded { result } => {
                self.gc.sweep_ended(writer, &mut self.blobs, result, now);
            }
            Request::Durable { after, result } => self.durable(after, result, now),
            Request::Fsck { job, reply } => {
                let (blobs, journal) = (&mut self.blobs, &mut self.journal);
                Repairs { writer, blobs, commits: &self.commits, journal }.serve(job, reply, now);
            }
            Request::Damaged(damage) => {
                self.blobs.note_damage(writer, &[damage], Box::new(drop), now)
            }
            Request::Stop { reply } => reply(Err(EngineError::Stopping)),
            Request::CreateRepository { .. }
            | Request::ChangeRepository { .. }
            | Request::DeleteRepository { .. }
            | Request::UndeleteRepository { .. }
            | Request::OpenArea { .. }
            | Request::NoteArea { .. }
            | Request::DiscardArea { .. }
            | Request::SetTag { .. }
            | Request::RenameTag { .. }
            | Request::DeleteTag { .. }
            | Request::DeleteVersions { .. }
            | Request::UndeleteVersions { .. }
            | Request::FlagVersions { .. }
            | Request::SetPolicy { .. }
            | Request::ChangePolicy { .. }
            | Request::SetQuota { .. }
            | Request::AdoptBlobs { .. }
            | Request::ReuseBlobs { .. }
            | Request::ReuseTrees { .. }
            | Request::KeepPages { .. }
            | Request::MakeAbsent { .. }
            | Request::RemoveAbsent { .. }
            | Request::ForgetCached { .. }
            | Request::BlobVerified { .. }
            | Request::HoldBlobs { .. } => unreachable!("it is served already"),
        }
    }

    /// Serves what takes content into the pool, keeps it there or takes it away; anything else comes back.
    fn serve_content(&mut self, request: Request, now: Now) -> Option<Request> {
        let writer = &mut self.writer;
        match request {
            Request::AdoptBlobs { blobs, reply } => reply(self.adopt_blobs(blobs, now.instant)),
            Request::ReuseBlobs { hashes, is_own, reply } => {
                reply(self.blobs.reuse_blobs(writer, &hashes, is_own, now.instant))
            }
            Request::ReuseTrees { trees, trees_for, reply } => {
                reply(self.blobs.reuse_trees(writer, &trees, trees_for, now.time))
            }
            Request::KeepPages { pages, reply } => {
                reply(self.blobs.keep_pages(writer, &pages, now));
            }
            Request::MakeAbsent { contents, reply } => {
                reply(self.blobs.make_absent(writer, contents));
            }
            Request::RemoveAbsent { contents, reply } => {
                reply(self.blobs.remove_absent(writer, &contents));
            }
            Request::ForgetCached { names, reply } => {
                writer.notify_apart(vec![Event::BlobsHeld(names)], move || reply(Ok(())));
            }
            Request::BlobVerified { hash, intact } => {
                self.blobs.blob_verified(writer, hash, intact, now)
            }
            Request::HoldBlobs { reply } => reply(Ok(BlobsHold::new(self.writer.pins()))),
            other => return Some(other),
        }
        None
    }

    /// Serves what changes repositories, areas, tags and versions; anything else comes back.
    fn serve_change(&mut self, request: Request) -> Option<Request> {
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
            other => return Some(other),
        }
        None
    }

    /// Carries out what was to follow once something is on disk, or cannot be brought there.
    fn durable(&mut self, after: After, result: Result<()>, now: Now) {
        let (writer, blobs) = (&mut self.writer, &mut self.blobs);
        match after {
            After::Answer { events, reply } => writer.notify(events, answer(reply, result)),
            After::CommitSynced { task } => self.commits.synced(writer, blobs, task, result),
            After::Publish { repo, task, publish } => {
                let visible = writer.reveal(repo, task);
                publish(result.and_then(|()| visible.ok_or(EngineError::Stopping)));
                self.gc.wake();
                self.gc.expect_accounting(repo);
            }
            After::Prepared { epoch, reply } => rename_prepared(blobs, epoch, result, reply),
            After::RemoveOrphans { unreferences } => {
                self.gc.orphans_durable(writer, blobs, unreferences, result, now);
            }
            After::RemoveObsolete => {
                writer.rows_durable(result, now.instant);
                self.gc.purge_goes_on();
            }
            After::WalCopied => self.gc.wal_copied(result),
        }
    }

    /// Brings everything that is in memory only into files and the catalog; says what cannot be.
    pub(in crate::engine) fn save_all(&mut self, now: Now) -> Remaining {
        let mut remaining = self.unsaved.save_all(&self.writer);
        let written = self.journal.write(&mut self.writer, &mut self.blobs, &mut self.unsaved, now);
        if let Err(error) = written {
            remaining.reason.get_or_insert(error.to_string());
        }
        remaining
    }

    /// Applies what sealers found: files become blobs, or stay as they are.
    pub(super) fn apply_seals(&mut self, results: Vec<SealResult>) {
        let now = Instant::now();
        for SealResult { content, result } in results {
            let applied = match result {
                Ok(Some(hashed)) => self.blobs.seal(&mut self.writer, &content, hashed, now),
                Ok(None) => Ok(false),
                Err(error) => Err(error),
            };
            match applied {
                Ok(true) => {
                    COUNTERS.sealed_files.add(1);
                    self.journal.note_dirty(now);
                }
                Ok(false) => {}
                Err(error) => {
                    COUNTERS.seal_failures.add(1);
                    // Each file is tried again and again, but the failure is logged only once.
                    if content.area.failed_count() == 0 && self.unsaved.tells() {
                        log::error!("cannot seal a file of area {}: {error}", content.area.id);
                    }
                    self.blobs.seal_failed(&content, &error);
                }
            }
        }
    }

    /// Takes imported files into the pool. What is left of those that cannot be is removed.
    fn adopt_blobs(&mut self, blobs: Vec<IncomingBlob>, now: Instant) -> Result<Vec<BlobPin>> {
        self.blobs.adopt(&self.writer, blobs, now).map_err(|NotAdopted { error, leftovers }| {
            let leftovers = leftovers.into_iter().map(Leftover::Blob).collect();
            self.gc.remove_leftovers(&mut self.writer, &self.blobs, leftovers);
            error
        })
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
}
