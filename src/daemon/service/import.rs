//! Import: which connection has which imports, and what becomes of them; [`Intake`] stores what they put. A sync is an
//! import of no connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::commit::user_name;
use super::errors::control_error;
use super::repositories::REPOSITORY_MODE;
use super::{Answer, StoreService};
use crate::control::commit::CommitReply;
use crate::control::import::{ImportId, ImportRequest};
use crate::control::protocol::{ControlError, ErrorKind, HASHES_MAX, check_text};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, ConnectionId};
use crate::engine::commit::{Asker, CommitOptions};
use crate::engine::error::EngineError;
use crate::engine::intake::{Batch, Intake};
use crate::engine::registry::Repository;
use crate::engine::request::{Owner, Request};
use crate::model::hash::BlobHash;
use crate::model::import::{ImportEntry, ImportOptions, WantedTree};
use crate::model::name::BaseName;
use crate::model::on_stale::OnStale;
use crate::model::time::Timestamp;

/// Imports that may run at a time, over all connections: each holds what it has put.
const IMPORTS_MAX: usize = 32;

/// The permission to run an import; it is free for another import when this is dropped.
struct RunPermit(Arc<AtomicUsize>);

impl RunPermit {
    /// Takes a permission, if one is free. Looking and taking are one atomic step, so that not too
    /// many are taken at once.
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |taken| (taken < IMPORTS_MAX).then_some(taken + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An import under way: of a command, or of a sync.
pub(super) struct RunningImport {
    id: ImportId,
    options: ImportOptions,
    /// The repository was made for this import, and goes with it.
    made: bool,
    repository: Arc<Repository>,
    intake: Intake,
    #[cfg(feature = "net")]
    owner: Owner,
    _permit: RunPermit,
}

/// An import of a command, with the connection that it ends with.
pub(super) struct ConnectedImport {
    connection: ConnectionId,
    running: Arc<RunningImport>,
}

/// How an import is to be published.
pub(super) struct Finish {
    /// Whoever asked for it, by name.
    pub(super) user: String,
    /// Asked whether anybody still waits for it.
    pub(super) asker: Asker,
    /// Publishes even when nothing changed.
    pub(super) allow_empty: bool,
    /// What to do when there is a newer version than the one that it began on.
    pub(super) on_stale: Option<OnStale>,
}

impl RunningImport {
    #[cfg(feature = "net")]
    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    #[cfg(feature = "net")]
    pub(super) fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Who owns what has no owner of its own.
    #[cfg(feature = "net")]
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }
}

impl StoreService {
    pub(super) fn import(
        &self,
        caller: Caller,
        request: ImportRequest,
        attachment: Attachment,
    ) -> Answer {
        match request {
            ImportRequest::Begin(options) => {
                let base = (!options.mirror).then_some(&BaseName::Latest);
                let running = self.begin_on(caller, options, base)?;
                let id = running.id;
                let import =
                    ConnectedImport { connection: caller.connection, running: Arc::new(running) };
                self.imports.lock().insert(id, import);
                Ok(Reply::ImportBegun(id))
            }
            ImportRequest::Known { import, hashes } => self.known(caller, import, hashes),
            ImportRequest::KnownTrees { import, trees } => self.known_trees(caller, import, &trees),
            ImportRequest::Put { import, entries } => self.put(caller, import, entries, attachment),
            ImportRequest::Finish { import, allow_empty } => {
                let running = self.running(caller, import)?;
                let mirror = running.options.mirror;
                // A mirror replaces whatever the newest version is, an addition is merged with it. So
                // an import never fails because another version was published meanwhile.
                let on_stale = Some(if mirror { OnStale::Force } else { OnStale::Merge });
                let (user, asker) = (user_name(caller), self.asker(caller));
                let finish = Finish { user, asker, allow_empty, on_stale };
                let commit = self.finish_import(&running, finish)?;
                self.imports.lock().remove(&import);
                Ok(Reply::Commit(commit))
            }
            ImportRequest::Abort { import } => {
                self.running(caller, import)?;
                self.abort(import);
                Ok(Reply::Done)
            }
        }
    }

    /// Begins an import that starts from `base`, or from nothing. It must be ended by [`Self::end_import`], unless it was
    /// published.
    pub(super) fn begin_on(
        &self,
        caller: Caller,
        options: ImportOptions,
        base: Option<&BaseName>,
    ) -> Result<RunningImport, ControlError> {
        check_text("message", &options.message)?;
        check_text("author", options.author.as_deref().unwrap_or_default())?;
        let name = options.repository.as_str();
        let mut made = options.create && self.engine.registry.by_name(name).is_none();
        if made {
            let mode = Some(REPOSITORY_MODE);
            let making = self.make_repository(caller, options.repository.clone(), mode, true);
            // Somebody else may have made it meanwhile.
            made = making.is_ok() || self.engine.registry.by_name(name).is_none();
            if made {
                making?;
            }
        }
        let repository = self.repository(&options.repository)?;
        let begun = self.begin_in(caller, Arc::clone(&repository), options, base, made);
        if begun.is_err() && made {
            self.remove_made(&repository);
        }
        begun
    }

    fn begin_in(
        &self,
        caller: Caller,
        repository: Arc<Repository>,
        options: ImportOptions,
        base: Option<&BaseName>,
        made: bool,
    ) -> Result<RunningImport, ControlError> {
        if let Some(tag) = options.tag.as_ref().filter(|tag| repository.tags.contains_key(*tag)) {
            return Err(control_error(EngineError::TagExists(tag.to_string())));
        }
        let permit = RunPermit::take(&self.running_imports).ok_or_else(|| {
            let message = format!("{IMPORTS_MAX} imports and syncs are running already");
            ControlError::new(ErrorKind::Busy, message).with_hint("try again")
        })?;
        let id = self.new_import();
        let owner = Owner { mode: REPOSITORY_MODE, uid: caller.uid, gid: caller.gid };
        let area = self.hidden_area(&repository, base, owner).map_err(control_error)?;
        let intake = Intake::begin(&self.engine, id.0, area, owner)
            .inspect_err(|_| self.drop_hidden(area))
            .map_err(control_error)?;
        Ok(RunningImport {
            id,
            options,
            made,
            repository,
            intake,
            #[cfg(feature = "net")]
            owner,
            _permit: permit,
        })
    }

    pub(super) fn running(
        &self,
        caller: Caller,
        id: ImportId,
    ) -> Result<Arc<RunningImport>, ControlError> {
        let imports = self.imports.lock();
        let import = imports.get(&id).filter(|import| import.connection == caller.connection);
        import
            .map(|import| Arc::clone(&import.running))
            .ok_or_else(|| control_error(EngineError::NoImport(id.0)))
    }

    fn known(&self, caller: Caller, id: ImportId, hashes: Vec<BlobHash>) -> Answer {
        check_number(hashes.len())?;
        let running = self.running(caller, id)?;
        running.intake.known(hashes).map(Reply::Known).map_err(control_error)
    }

    fn known_trees(&self, caller: Caller, id: ImportId, wanted: &[WantedTree]) -> Answer {
        check_number(wanted.len())?;
        let running = self.running(caller, id)?;
        running.intake.known_trees(wanted).map(Reply::Known).map_err(control_error)
    }

    fn put(
        &self,
        caller: Caller,
        id: ImportId,
        entries: Vec<ImportEntry>,
        attachment: Attachment,
    ) -> Answer {
        let running = self.running(caller, id)?;
        // After the answer, the command checks whether attached files changed meanwhile. So they
        // must have been copied by then.
        let wait = !attachment.files.is_empty() || entries.is_empty();
        let Attachment { payload, files } = attachment;
        running.intake.put(Batch { entries, payload, files }).map_err(control_error)?;
        if wait {
            running.intake.settle().map_err(control_error)?;
        }
        Ok(Reply::Done)
    }

    /// Publishes what an import put.
    pub(super) fn finish_import(
        &self,
        running: &RunningImport,
        finish: Finish,
    ) -> Result<CommitReply, ControlError> {
        running.intake.settle().map_err(control_error)?;
        let options = CommitOptions {
            tag: running.options.tag.clone(),
            number: None,
            message: Some(running.options.message.clone()),
            author: running.options.author.clone(),
            caller: finish.user,
            wait: false,
            on_stale: finish.on_stale,
            in_rename: false,
            allow_empty: finish.allow_empty,
            asker: finish.asker,
            now: Timestamp::now(),
            copy: None,
        };
        let outcome = self.publish(&running.repository, running.intake.area(), options)?;
        self.commit_reply(&running.repository, &outcome, running.options.tag.clone())
    }

    fn abort(&self, id: ImportId) {
        let import = self.imports.lock().remove(&id);
        if let Some(import) = import {
            self.end_import(&import.running);
        }
    }

    /// Lets go of an import that was not published.
    pub(super) fn end_import(&self, running: &RunningImport) {
        // Before the area is discarded: the collector then looks for blobs that only this import
        // held.
        running.intake.end();
        self.drop_hidden(running.intake.area());
        if running.made {
            self.remove_made(&running.repository);
        }
    }

    /// Removes a repository that was made for an import that came to nothing, unless somebody has
    /// found use for it meanwhile.
    fn remove_made(&self, repository: &Repository) {
        let repo = repository.id;
        let unused = self.engine.registry.by_id(repo).is_some_and(|now| {
            now.deleted.is_empty() && now.tags.is_empty() && now.versions.is_empty()
        });
        if !unused {
            return;
        }
        let now = Timestamp::now();
        match self.engine.call(|reply| Request::DeleteRepository { repo, now, reply }) {
            Ok(()) | Err(EngineError::RepositoryNotEmpty { .. }) => {}
            Err(error) => log::warn!("{} stays, with nothing in it: {error}", repository.name),
        }
    }

    /// Ends the imports of a connection that is gone.
    pub(super) fn abort_imports(&self, connection: ConnectionId) {
        let mut ended: Vec<ImportId> = {
            let imports = self.imports.lock();
            let theirs = imports.iter().filter(|(_, import)| import.connection == connection);
            theirs.map(|(id, _)| *id).collect()
        };
        ended.sort_unstable();
        for id in ended {
            self.abort(id);
        }
    }
}

fn check_number(hashes: usize) -> Result<(), ControlError> {
    if hashes <= HASHES_MAX {
        return Ok(());
    }
    let message = format!("{hashes} hashes, at most {HASHES_MAX} are answered");
    Err(ControlError::new(ErrorKind::Usage, message))
}
