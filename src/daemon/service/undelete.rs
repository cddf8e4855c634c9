//! Deleted versions: listing them, and bringing them back (H25).

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind, VERSIONS_MAX};
use crate::control::reply::Reply;
use crate::control::undelete::DeletedInfo;
use crate::control::utc::{Deleted, Until};
use crate::engine::gc;
use crate::engine::registry::{DeletedVersion, Repository};
use crate::engine::request::Request;
use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, RepoName};
use crate::model::time::Timestamp;

impl StoreService {
    pub(super) fn deleted(&self, name: &RepoName, after: Option<VersionNumber>) -> Answer {
        let repository = self.repository(name)?;
        let first = VersionNumber(after.map_or(0, |after| after.0.saturating_add(1)));
        let deleted = repository.deleted.range(first..).take(VERSIONS_MAX);
        let list = deleted.map(|(number, gone)| DeletedInfo {
            repository: repository.name.clone(),
            number: *number,
            name: gone.version.name.clone(),
            deleted: Deleted::at(gone.deleted),
            until: self.undoable_until(gone),
        });
        Ok(Reply::DeletedVersions(list.collect()))
    }

    /// Until when a version can be brought back at least.
    pub(super) fn undoable_until(&self, gone: &DeletedVersion) -> Until {
        Until::at(self.protected_until(gone.deleted))
    }

    /// When the protection of what happened at a time ends, in seconds since 1970.
    pub(super) fn protected_until(&self, seconds: i64) -> i64 {
        gc::protected_until(seconds, Timestamp::now(), self.engine.gc_options.protect_seconds)
    }

    pub(super) fn undelete(&self, name: &RepoName, versions: &[BaseName]) -> Answer {
        let repository = self.repository(name)?;
        let mut numbers = Vec::new();
        for version in versions {
            numbers.push(find(&repository, version)?);
        }
        numbers.sort();
        numbers.dedup();
        let (repo, back, now) = (repository.id, numbers.clone(), Timestamp::now());
        self.engine
            .call(|reply| Request::UndeleteVersions { repo, numbers, now, reply })
            .map_err(control_error)?;
        Ok(Reply::Numbers(back))
    }

    pub(super) fn undelete_repository(&self, name: RepoName) -> Answer {
        let now = Timestamp::now();
        let back = self
            .engine
            .call(|reply| Request::UndeleteRepository { name, now, reply })
            .map_err(control_error)?;
        Ok(Reply::Numbers(back))
    }
}

/// A deleted version by its number, or the newest of that name.
fn find(repository: &Repository, version: &BaseName) -> Result<VersionNumber, ControlError> {
    let found = match version {
        BaseName::Number(number) => repository.deleted.contains_key(number).then_some(*number),
        BaseName::Latest => repository.deleted.keys().next_back().copied(),
        BaseName::Tag(tag) => {
            let mut deleted = repository.deleted.iter().rev();
            deleted.find(|(_, gone)| gone.version.name.as_ref() == Some(tag)).map(|(n, _)| *n)
        }
    };
    found.ok_or_else(|| {
        let name = &repository.name;
        if repository.resolve(version).is_some() {
            let message = format!("`{name}/{version}` is not deleted");
            return ControlError::new(ErrorKind::Failed, message);
        }
        let message = format!("no deleted version `{name}/{version}` can be brought back");
        let hint = format!("`cairn undelete {name}` lists those that can");
        ControlError::new(ErrorKind::NotFound, message).with_hint(hint)
    })
}
