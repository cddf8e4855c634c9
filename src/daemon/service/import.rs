//! Import: entries from a command become an area that no mount shows, and then a version.
//!
//! The area is not journalled: an import that ends with its connection or a crash leaves nothing
//! but unreferenced blobs. What it puts is pinned until the commit is over.
//!
//! What arrives is stored by a thread of the import's own ([`lane`]), so that the command reads on
//! while the store writes; a failure is the answer to a later request of the import.

mod content;
mod entries;
mod lane;
mod removal;
mod trees;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use self::lane::Lane;
use super::commit::user_name;
use super::errors::control_error;
use super::repositories::REPOSITORY_MODE;
use super::{Answer, StoreService};
use crate::control::import::{ImportId, ImportRequest};
use crate::control::protocol::{ControlError, ErrorKind, HASHES_MAX, check_text};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, ConnectionId};
use crate::engine::Engine;
use crate::engine::commit::{CommitOptions, OnStale};
use crate::engine::error::EngineError;
use crate::engine::pins::{BlobPin, TreePin};
use crate::engine::registry::Repository;
use crate::engine::request::{Owner, Request, Reuse};
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::AreaId;
use crate::model::import::{ImportEntry, ImportOptions, WantedTree};
use crate::model::name::BaseName;
use crate::model::time::Timestamp;

/// Imports that may run at a time, over all connections: each holds what it has put.
const IMPORTS_MAX: usize = 32;

/// Absent contents that are remembered; beyond that they are forgotten, which costs their names
/// some time.
const ABSENT_MAX: usize = 4 * HASHES_MAX;

/// A place among the imports that may run, free again when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place, if there is one: looked at and taken in one step, however many ask at once.
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |taken| (taken < IMPORTS_MAX).then_some(taken + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An import with the connection that it ends with.
pub(super) struct RunningImport {
    connection: ConnectionId,
    options: ImportOptions,
    /// The repository was made for this import, and goes with it.
    made: bool,
    import: Arc<Import>,
    lane: Lane,
    _place: Place,
}

/// What an import stores into.
struct Import {
    engine: Arc<Engine>,
    caller: Caller,
    repository: Arc<Repository>,
    area: AreaId,
    /// Content that was found or stored, with its size: what entries may name. Held until the
    /// commit is over.
    held: Mutex<BTreeMap<BlobHash, (u64, BlobPin)>>,
    /// Content that was asked for and has no row: what is stored of it gets its name at once.
    absent: Mutex<HashSet<BlobHash>>,
    /// Directories that were found: what entries may name. Held as long.
    held_trees: Mutex<BTreeMap<TreeHash, TreePin>>,
    /// Nothing said yet what the root directory is like, neither an entry nor a base.
    root_unknown: AtomicBool,
}

impl StoreService {
    pub(super) fn import(
        &self,
        caller: Caller,
        request: ImportRequest,
        attachment: Attachment,
    ) -> Answer {
        match request {
            ImportRequest::Begin(options) => self.begin(caller, options),
            ImportRequest::Known { import, hashes } => self.known(caller, import, hashes),
            ImportRequest::KnownTrees { import, trees } => self.known_trees(caller, import, trees),
            ImportRequest::Put { import, entries } => self.put(caller, import, entries, attachment),
            ImportRequest::Finish { import, allow_empty } => {
                self.finish(caller, import, allow_empty)
            }
            ImportRequest::Abort { import } => {
                self.running(caller, import)?;
                self.abort(import);
                Ok(Reply::Done)
            }
        }
    }

    fn begin(&self, caller: Caller, options: ImportOptions) -> Answer {
        check_text("message", &options.message)?;
        check_text("author", options.author.as_deref().unwrap_or_default())?;
        let name = options.repository.as_str();
        let made = options.create && self.engine.registry.by_name(name).is_none();
        if made {
            self.make_repository(caller, options.repository.clone(), Some(REPOSITORY_MODE), true)?;
        }
        let repository = self.repository(&options.repository)?;
        let begun = self.begin_in(caller, Arc::clone(&repository), options, made);
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
        made: bool,
    ) -> Answer {
        if let Some(tag) = options.tag.as_ref().filter(|tag| repository.tags.contains_key(*tag)) {
            return Err(control_error(EngineError::TagExists(tag.to_string())));
        }
        let place = Place::take(&self.import_places).ok_or_else(|| {
            let message = format!("{IMPORTS_MAX} imports are running already");
            ControlError::new(ErrorKind::Busy, message).with_hint("try again")
        })?;
        let id = self.new_import();
        let base = (!options.mirror).then_some(&BaseName::Latest);
        let owner = Owner { mode: REPOSITORY_MODE, uid: caller.uid, gid: caller.gid };
        let area = self.hidden_area(&repository, base, owner).map_err(control_error)?;
        let root_unknown = {
            let state = self.engine.staging.read();
            let base = state.areas.get(&area).and_then(|area| area.base.as_ref());
            base.is_none_or(|base| base.root.is_none())
        };
        let import = Arc::new(Import {
            engine: Arc::clone(&self.engine),
            caller,
            repository,
            area,
            held: Mutex::default(),
            absent: Mutex::default(),
            held_trees: Mutex::default(),
            root_unknown: AtomicBool::new(root_unknown),
        });
        let running = RunningImport {
            connection: caller.connection,
            options,
            made,
            lane: Lane::start(id, &import).inspect_err(|_| self.drop_hidden(area))?,
            import,
            _place: place,
        };
        self.imports.lock().insert(id, Arc::new(running));
        Ok(Reply::ImportBegun(id))
    }

    fn running(&self, caller: Caller, id: ImportId) -> Result<Arc<RunningImport>, ControlError> {
        let running = self.imports.lock().get(&id).cloned();
        running
            .filter(|running| running.connection == caller.connection)
            .ok_or_else(|| control_error(EngineError::NoImport(id.0)))
    }

    fn known(&self, caller: Caller, id: ImportId, hashes: Vec<BlobHash>) -> Answer {
        check_number(hashes.len())?;
        let running = self.running(caller, id)?;
        let asked = hashes.clone();
        let found = self
            .engine
            .call(|reply| Request::ReuseBlobs { hashes: asked, reply })
            .map_err(control_error)?;
        let mut held = running.import.held.lock();
        let mut absent = running.import.absent.lock();
        if absent.len() > ABSENT_MAX {
            absent.clear();
        }
        let known = hashes.into_iter().zip(found).map(|(hash, found)| match found {
            Reuse::Whole(pin, size) => {
                held.insert(hash, (size, pin));
                true
            }
            Reuse::Broken => false,
            Reuse::Nothing => {
                absent.insert(hash);
                false
            }
        });
        Ok(Reply::Known(known.collect()))
    }

    fn known_trees(&self, caller: Caller, id: ImportId, wanted: Vec<WantedTree>) -> Answer {
        check_number(wanted.len())?;
        let running = self.running(caller, id)?;
        let trees = wanted.iter().map(|wanted| wanted.tree).collect();
        let pins = self
            .engine
            .call(|reply| Request::ReuseTrees { trees, reply })
            .map_err(control_error)?;
        let known: Result<Vec<bool>, ControlError> = wanted
            .iter()
            .zip(pins)
            .map(|(wanted, pin)| match pin {
                Some(pin) => running.import.hold_tree(wanted, pin),
                None => Ok(false),
            })
            .collect();
        Ok(Reply::Known(known?))
    }

    fn put(
        &self,
        caller: Caller,
        id: ImportId,
        entries: Vec<ImportEntry>,
        attachment: Attachment,
    ) -> Answer {
        let running = self.running(caller, id)?;
        // The command looks at attached files again after the answer: had they been changed?
        let wait = !attachment.files.is_empty() || entries.is_empty();
        running.lane.put(entries, attachment)?;
        if wait {
            running.lane.settle()?;
        }
        Ok(Reply::Done)
    }

    fn finish(&self, caller: Caller, id: ImportId, allow_empty: bool) -> Answer {
        let running = self.running(caller, id)?;
        running.lane.settle()?;
        let import = &running.import;
        let options = CommitOptions {
            tag: running.options.tag.clone(),
            number: None,
            message: Some(running.options.message.clone()),
            author: running.options.author.clone(),
            caller: user_name(import.caller),
            wait: false,
            // A mirror says what the version shall be, an addition what shall be in it: both can
            // be said of any newest version.
            on_stale: Some(if running.options.mirror { OnStale::Force } else { OnStale::Merge }),
            in_rename: false,
            allow_empty,
            asker: self.asker(caller),
            now: Timestamp::now(),
        };
        let outcome = self.publish(&import.repository, import.area, options);
        if outcome.is_ok() {
            self.imports.lock().remove(&id);
        }
        let outcome = outcome?;
        self.commit_reply(&import.repository, &outcome, running.options.tag.clone())
    }

    fn abort(&self, id: ImportId) {
        let Some(running) = self.imports.lock().remove(&id) else {
            return;
        };
        running.lane.end();
        // Before the area: what only this import held is looked for after that.
        running.import.held.lock().clear();
        running.import.held_trees.lock().clear();
        self.drop_hidden(running.import.area);
        if running.made {
            self.remove_made(&running.import.repository);
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
            let theirs = imports.iter().filter(|(_, running)| running.connection == connection);
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

/// An error that says which entry it is about.
fn at(entry: &ImportEntry, error: ControlError) -> ControlError {
    let path = String::from_utf8_lossy(entry.path.as_bytes());
    let message = if path.is_empty() {
        format!("the root: {}", error.message)
    } else {
        format!("{path}: {}", error.message)
    };
    ControlError { message, ..error }
}
