//! Staging areas: listing, opening, discarding.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::engine::error::EngineError;
use crate::engine::registry::Repository;
use crate::engine::request::{Owner, Request};
use crate::model::id::AreaId;
use crate::model::name::{AreaName, BaseName, RepoName};
use crate::model::time::Timestamp;
use crate::vfs::staging::NAME_KEPT;

/// Permission bits of an area when nobody says otherwise.
const AREA_MODE: u16 = 0o755;

/// The kernel rounds times up to its ticks, of which the longest take 10 ms.
const KERNEL_TICKS: Duration = Duration::from_millis(20);

/// Nobody takes longer to hear of a name.
const NAME_HEARD_MAX: Duration = Duration::from_secs(1);

/// Waits until the kernel has dropped all names that it was told before `heard`.
pub(super) fn wait_for_names(heard: Instant) {
    let kept_until = heard + NAME_KEPT + KERNEL_TICKS;
    std::thread::sleep(kept_until.saturating_duration_since(Instant::now()));
}

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
        self.taking_name(area, || {
            self.engine.call(|reply| Request::DiscardArea { area, reply }).map_err(control_error)
        })?;
        Ok(Reply::Done)
    }

    /// Ends an area by `end`, and returns once the kernel has dropped its name, so that whoever
    /// asked does not see it any more (H14). The kernel keeps a name for a fixed time from when it
    /// was told of it. Whoever saw the area and then asked for its end saw it before the end began,
    /// so waiting for that time from the beginning is enough.
    pub(super) fn taking_name<T, E>(
        &self,
        area: AreaId,
        end: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let shared = self.engine.staging.area(area);
        if let Some(shared) = &shared {
            shared.let_name_go();
        }
        let ended = end().inspect_err(|_| self.engine.staging.let_name_stay(area))?;
        let told = shared.and_then(|shared| shared.name_asked());
        if told.is_some_and(|told| began.saturating_duration_since(told) < NAME_HEARD_MAX) {
            wait_for_names(began);
        }
        Ok(ended)
    }

    /// Opens an area that nobody sees and that a restart removes: what an import builds in, or
    /// what keeps the version that an export reads.
    pub(super) fn hidden_area(
        &self,
        repository: &Repository,
        base: Option<&BaseName>,
        owner: Owner,
    ) -> Result<AreaId, EngineError> {
        let repo = repository.id;
        // Areas of users may have such a name: each of them costs one try at most.
        let mut tries = repository.areas.size();
        loop {
            let number = self.next_hidden.fetch_add(1, Ordering::Relaxed);
            let text = match base {
                None => format!("hidden-{number}"),
                Some(base) => format!("hidden-{number}@{base}"),
            };
            let name: AreaName =
                text.parse().map_err(|reason| EngineError::Name { name: text, reason })?;
            let now = Timestamp::now();
            let opened = self.engine.call(|reply| Request::OpenArea {
                repo,
                name,
                owner,
                journalled: false,
                now,
                reply,
            });
            match opened {
                Err(EngineError::AreaExists(_)) if tries > 0 => tries -= 1,
                other => return other,
            }
        }
    }

    /// Throws a hidden area away, without waiting for it.
    pub(super) fn drop_hidden(&self, area: AreaId) {
        let reply = Box::new(move |result| {
            if let Err(error) = result {
                log::warn!("cannot discard area {area} of an import or export: {error}");
            }
        });
        if self.engine.submit(Request::DiscardArea { area, reply }).is_err() {
            log::debug!("an import or export ended after the engine");
        }
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
