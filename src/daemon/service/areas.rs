//! Staging areas: listing, opening, discarding.

use std::sync::Arc;

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::engine::registry::Repository;
use crate::engine::request::{Owner, Request};
use crate::model::id::AreaId;
use crate::model::name::{AreaName, BaseName, RepoName};
use crate::model::time::Timestamp;

/// Permission bits of an area when nobody says otherwise.
const AREA_MODE: u16 = 0o755;

impl StoreService {
    pub(super) fn areas(&self, name: Option<&RepoName>) -> Answer {
        let repositories = match name {
            Some(name) => vec![self.repository(name)?],
            None => self.engine.registry.all(),
        };
        let mut areas = Vec::new();
        for repository in &repositories {
            let open = repository.areas.iter();
            areas.extend(open.filter_map(|(name, id)| self.area_info(repository, name, *id)));
        }
        Ok(Reply::Areas(areas))
    }

    pub(super) fn stage(
        &self,
        caller: Caller,
        repository: &RepoName,
        name: &AreaName,
        from: Option<&BaseName>,
    ) -> Answer {
        let full = match from {
            None => name.clone(),
            Some(base) => format!("{name}@{base}").parse().map_err(|error| {
                ControlError::new(ErrorKind::Usage, format!("`{name}@{base}`: {error}"))
            })?,
        };
        let repo = self.repository(repository)?.id;
        let owner = Owner { mode: AREA_MODE, uid: caller.uid, gid: caller.gid };
        let (wanted, now) = (full.clone(), Timestamp::now());
        let id = self
            .engine
            .call(|reply| Request::OpenArea {
                repo,
                name: full,
                owner,
                journalled: true,
                now,
                reply,
            })
            .map_err(control_error)?;
        let repository = self.repository(repository)?;
        let area = self.area_info(&repository, &wanted, id);
        area.map(Reply::Area).ok_or_else(|| no_area(&repository, &wanted))
    }

    pub(super) fn discard(&self, repository: &RepoName, name: &AreaName) -> Answer {
        let (_, area, _) = self.area(repository, name)?;
        self.engine.call(|reply| Request::DiscardArea { area, reply }).map_err(control_error)?;
        Ok(Reply::Done)
    }

    /// An area by its whole name, or by its label where only one area has it.
    pub(super) fn area(
        &self,
        repository: &RepoName,
        name: &AreaName,
    ) -> Result<(Arc<Repository>, AreaId, AreaName), ControlError> {
        let repository = self.repository(repository)?;
        if let Some(id) = repository.areas.get(name) {
            let id = *id;
            return Ok((repository, id, name.clone()));
        }
        let mut same = repository.areas.iter().filter(|(area, _)| area.label() == name.as_str());
        match (same.next(), same.next()) {
            (Some((full, id)), None) => {
                let (full, id) = (full.clone(), *id);
                Ok((repository, id, full))
            }
            (Some(_), Some(_)) => Err(ControlError::new(
                ErrorKind::Usage,
                format!("several areas are called `{name}`"),
            )
            .with_hint("give the name with its base, as `cairn areas` shows it")),
            (None, _) => Err(no_area(&repository, name)),
        }
    }
}

fn no_area(repository: &Repository, name: &AreaName) -> ControlError {
    let message = format!("no staging area `{}/{name}`", repository.name);
    ControlError::new(ErrorKind::NotFound, message)
        .with_hint(format!("`cairn areas {}` shows the open ones", repository.name))
}
