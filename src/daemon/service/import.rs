//! Import: entries from a command become an area that no mount shows, and then a version.
//!
//! The area is not journalled: an import that ends with its connection or a crash leaves nothing
//! but unreferenced blobs. What it puts is pinned until the commit is over.

mod content;
mod entries;

use std::sync::Arc;

use parking_lot::Mutex;

use super::commit::user_name;
use super::errors::control_error;
use super::repositories::REPOSITORY_MODE;
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind, check_text};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, ConnectionId};
use crate::control::transfer::{HASHES_MAX, ImportEntry, ImportId, ImportRequest};
use crate::engine::commit::{CommitOptions, OnStale};
use crate::engine::error::EngineError;
use crate::engine::pins::BlobPin;
use crate::engine::registry::Repository;
use crate::engine::request::{Owner, Request};
use crate::model::hash::BlobHash;
use crate::model::id::AreaId;
use crate::model::name::{AreaName, RepoName, TagName};
use crate::model::time::Timestamp;

/// A running import.
pub(super) struct Import {
    connection: ConnectionId,
    caller: Caller,
    repository: Arc<Repository>,
    area: AreaId,
    mirror: bool,
    message: String,
    author: Option<String>,
    tag: Option<TagName>,
    /// Content that was found or stored; held until the commit is over.
    pins: Vec<BlobPin>,
}

/// What to begin an import with.
struct Begin {
    repository: RepoName,
    create: bool,
    mirror: bool,
    message: String,
    author: Option<String>,
    tag: Option<TagName>,
}

impl StoreService {
    pub(super) fn import(
        &self,
        caller: Caller,
        request: ImportRequest,
        attachment: &Attachment,
    ) -> Answer {
        match request {
            ImportRequest::Begin { repository, create, mirror, message, author, tag } => {
                self.begin(caller, Begin { repository, create, mirror, message, author, tag })
            }
            ImportRequest::Known { import, hashes } => self.known(caller, import, hashes),
            ImportRequest::Put { import, entries } => {
                self.put(caller, import, &entries, attachment)
            }
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

    fn begin(&self, caller: Caller, begin: Begin) -> Answer {
        check_text("message", &begin.message)?;
        check_text("author", begin.author.as_deref().unwrap_or_default())?;
        let name = begin.repository.as_str();
        if begin.create && self.engine.registry.by_name(name).is_none() {
            self.create(caller, begin.repository.clone(), Some(REPOSITORY_MODE))?;
        }
        let repository = self.repository(&begin.repository)?;
        if let Some(tag) = begin.tag.as_ref().filter(|tag| repository.tags.contains_key(*tag)) {
            return Err(control_error(EngineError::TagExists(tag.to_string())));
        }
        let id = self.new_import();
        let base = if begin.mirror { "" } else { "@latest" };
        let area_name: AreaName = format!("import-{id}{base}", id = id.0)
            .parse()
            .map_err(|error| ControlError::new(ErrorKind::Failed, format!("{error}")))?;
        let owner = Owner { mode: REPOSITORY_MODE, uid: caller.uid, gid: caller.gid };
        let (repo, now) = (repository.id, Timestamp::now());
        let area = self
            .engine
            .call(|reply| Request::OpenArea {
                repo,
                name: area_name,
                owner,
                journalled: false,
                now,
                reply,
            })
            .map_err(control_error)?;
        let import = Import {
            connection: caller.connection,
            caller,
            repository,
            area,
            mirror: begin.mirror,
            message: begin.message,
            author: begin.author,
            tag: begin.tag,
            pins: Vec::new(),
        };
        self.imports.lock().insert(id, Arc::new(Mutex::new(import)));
        Ok(Reply::ImportBegun(id))
    }

    fn running(&self, caller: Caller, id: ImportId) -> Result<Arc<Mutex<Import>>, ControlError> {
        let import = self.imports.lock().get(&id).cloned();
        import
            .filter(|import| import.lock().connection == caller.connection)
            .ok_or_else(|| control_error(EngineError::NoImport(id.0)))
    }

    fn known(&self, caller: Caller, id: ImportId, hashes: Vec<BlobHash>) -> Answer {
        if hashes.len() > HASHES_MAX {
            let message = format!("{} hashes, at most {HASHES_MAX} are answered", hashes.len());
            return Err(ControlError::new(ErrorKind::Usage, message));
        }
        let import = self.running(caller, id)?;
        let pins = self
            .engine
            .call(|reply| Request::ReuseBlobs { hashes, reply })
            .map_err(control_error)?;
        let known = pins.iter().map(Option::is_some).collect();
        import.lock().pins.extend(pins.into_iter().flatten());
        Ok(Reply::Known(known))
    }

    fn put(
        &self,
        caller: Caller,
        id: ImportId,
        entries: &[ImportEntry],
        attachment: &Attachment,
    ) -> Answer {
        let import = self.running(caller, id)?;
        let mut import = import.lock();
        let contents = self.store_contents(&mut import, entries, attachment)?;
        for (entry, content) in entries.iter().zip(contents) {
            self.put_entry(&import, entry, content).map_err(|error| {
                let path = String::from_utf8_lossy(entry.path.as_bytes()).into_owned();
                ControlError::new(error.kind, format!("{path}: {}", error.message))
            })?;
        }
        Ok(Reply::Done)
    }

    fn finish(&self, caller: Caller, id: ImportId, allow_empty: bool) -> Answer {
        let import = self.running(caller, id)?;
        let import = import.lock();
        let options = CommitOptions {
            tag: import.tag.clone(),
            number: None,
            message: Some(import.message.clone()),
            author: import.author.clone(),
            caller: user_name(import.caller),
            wait: false,
            // A mirror says what the version shall be, an addition what shall be in it: both can
            // be said of any newest version.
            on_stale: Some(if import.mirror { OnStale::Force } else { OnStale::Merge }),
            allow_empty,
            now: Timestamp::now(),
        };
        let outcome = self.publish(&import.repository, import.area, options);
        if outcome.is_ok() {
            self.imports.lock().remove(&id);
        }
        let outcome = outcome?;
        self.commit_reply(&import.repository, &outcome, import.tag.clone())
    }

    fn abort(&self, id: ImportId) {
        let Some(import) = self.imports.lock().remove(&id) else {
            return;
        };
        let area = import.lock().area;
        let reply = Box::new(move |result| {
            if let Err(error) = result {
                log::warn!("cannot discard the area of an import: {error}");
            }
        });
        if self.engine.submit(Request::DiscardArea { area, reply }).is_err() {
            log::debug!("an import ended after the engine");
        }
    }

    /// Ends the imports of a connection that is gone.
    pub(super) fn abort_imports(&self, connection: ConnectionId) {
        let all: Vec<_> =
            self.imports.lock().iter().map(|(id, import)| (*id, Arc::clone(import))).collect();
        for (id, import) in all {
            if import.lock().connection == connection {
                self.abort(id);
            }
        }
    }
}
