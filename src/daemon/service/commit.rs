//! Commits.

use super::errors::control_error;
use super::{Answer, StoreService, describe};
use crate::control::commit::{CommitReply, CommitRequest};
use crate::control::protocol::{
    ControlError, DETAIL_VERSIONS_MAX, ErrorDetail, ErrorKind, check_text,
};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::engine::commit::{Asker, CommitOptions, CommitOutcome};
use crate::engine::error::EngineError;
use crate::engine::registry::Repository;
use crate::engine::request::Request;
use crate::model::id::{AreaId, VersionNumber};
use crate::model::name::{AreaName, TagName, parse_number};
use crate::model::on_stale::OnStale;
use crate::model::time::Timestamp;
use crate::sys;

impl StoreService {
    pub(super) fn commit(&self, caller: Caller, request: &CommitRequest) -> Answer {
        check_text("message", request.message.as_deref().unwrap_or_default())?;
        check_text("author", request.author.as_deref().unwrap_or_default())?;
        let (repository, area, name) = self.area(&request.repository, &request.area)?;
        self.engine.load_area(area).map_err(control_error)?;
        let (tag, number) = match &request.tag {
            _ if request.untagged => (None, None),
            Some(tag) => (Some(tag.clone()), None),
            None => own_name(&repository, &name)?,
        };
        let on_stale = match (request.force, request.onto_latest) {
            (true, _) => Some(OnStale::Force),
            (false, true) => Some(OnStale::Merge),
            (false, false) => None,
        };
        let options = CommitOptions {
            tag: tag.clone(),
            number,
            message: request.message.clone(),
            author: request.author.clone(),
            caller: user_name(caller),
            wait: request.wait,
            on_stale,
            in_rename: false,
            allow_empty: request.allow_empty,
            asker: self.asker(caller),
            now: Timestamp::now(),
            copy: None,
        };
        let outcome = self.publish(&repository, area, options)?;
        self.commit_reply(&repository, &outcome, tag).map(Reply::Commit)
    }

    /// The client that asks for a commit, which is given up once the client has closed its
    /// connection.
    pub(super) fn asker(&self, caller: Caller) -> Asker {
        let peer = self.peers.lock().get(&caller.connection).cloned();
        match peer {
            Some(peer) => Asker::new(move || peer.is_gone()),
            None => Asker::default(),
        }
    }

    pub(super) fn publish(
        &self,
        repository: &Repository,
        area: AreaId,
        options: CommitOptions,
    ) -> Result<CommitOutcome, ControlError> {
        self.taking_name(area, || {
            self.engine.call(|reply| Request::Commit { area, options, reply })
        })
        .map_err(|error| self.commit_error(repository, error))
    }

    pub(super) fn commit_reply(
        &self,
        repository: &Repository,
        outcome: &CommitOutcome,
        tag: Option<TagName>,
    ) -> Result<CommitReply, ControlError> {
        let repository = self.repository(&repository.name)?;
        Ok(CommitReply {
            changed: outcome.created,
            version: describe::version(&repository, &outcome.version),
            tag,
            skipped: Vec::new(),
        })
    }

    fn commit_error(&self, repository: &Repository, error: EngineError) -> ControlError {
        let stale = match &error {
            EngineError::StaleBase { base, between } => {
                let current = self.engine.registry.by_id(repository.id);
                let last = &between[between.len().saturating_sub(DETAIL_VERSIONS_MAX)..];
                let versions = current.iter().flat_map(|repository| {
                    let found = last.iter().filter_map(|n| repository.versions.get(n));
                    found.map(|version| describe::version(repository, version))
                });
                let base = (base.0 > 0).then_some(*base);
                Some(ErrorDetail::StaleBase { base, between: versions.collect() })
            }
            _ => None,
        };
        let made = control_error(error);
        match stale {
            Some(detail) => made.with_detail(detail),
            None => made,
        }
    }
}

/// What an area's name asks for, as with `mv staging/REPO/NAME tags/REPO/`: the name of the version, or its
/// number, which must be the next one.
///
/// # Errors
/// The name is taken, or cannot be one of a version. Publishing it without the name that was asked
/// for would surprise whoever looks for that name.
fn own_name(
    repository: &Repository,
    area: &AreaName,
) -> Result<(Option<TagName>, Option<VersionNumber>), ControlError> {
    let label = area.label();
    let hint = "`--tag NAME` gives the version another name, `--untagged` none";
    if let Some(number) = parse_number(label) {
        let next = repository.next_number;
        if number == next {
            return Ok((None, Some(number)));
        }
        let message = format!(
            "an area called {number} becomes version {number}, and the next number is {next}"
        );
        return Err(ControlError::new(ErrorKind::Failed, message).with_hint(hint));
    }
    let Ok(tag) = label.parse::<TagName>() else {
        let message = format!("no version can be named `{label}`, as the area is called");
        return Err(ControlError::new(ErrorKind::Usage, message).with_hint(hint));
    };
    match repository.tags.get(&tag) {
        None => Ok((Some(tag), None)),
        Some(taken) => {
            let (name, number) = (&repository.name, taken.number);
            let message = format!(
                "the version would be named {tag}, as the area is called, and {name}/{tag} is \
                 version {number} already"
            );
            Err(ControlError::new(ErrorKind::Failed, message).with_hint(hint))
        }
    }
}

/// Who committed, when nobody says a name.
pub(super) fn user_name(caller: Caller) -> String {
    sys::user_name(caller.uid).unwrap_or_else(|| format!("uid {}", caller.uid))
}
