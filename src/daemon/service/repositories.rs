//! Repositories.

use std::time::Instant;

use super::areas::wait_for_names;
use super::errors::control_error;
use super::{Answer, StoreService, describe};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::engine::request::{Owner, Request};
use crate::model::name::RepoName;
use crate::model::time::Timestamp;

/// Permission bits of a repository when nobody says otherwise.
pub(super) const REPOSITORY_MODE: u16 = 0o755;

impl StoreService {
    pub(super) fn create(&self, caller: Caller, name: RepoName, mode: Option<u16>) -> Answer {
        self.make_repository(caller, name, mode, false)
    }

    /// Makes a repository; one that is `provisional` goes at the next start unless something was
    /// published in it.
    pub(super) fn make_repository(
        &self,
        caller: Caller,
        name: RepoName,
        mode: Option<u16>,
        provisional: bool,
    ) -> Answer {
        let mode = mode.unwrap_or(REPOSITORY_MODE) & 0o7777;
        let owner = Owner { mode, uid: caller.uid, gid: caller.gid };
        let now = Timestamp::now();
        let wanted = name.clone();
        self.engine
            .call(|reply| Request::CreateRepository { name, owner, provisional, now, reply })
            .map_err(control_error)?;
        Ok(Reply::Repository(describe::repository(&*self.repository(&wanted)?)))
    }

    pub(super) fn delete_repository(&self, name: &RepoName) -> Answer {
        let repo = self.repository(name)?.id;
        let began = Instant::now();
        self.engine
            .call(|reply| Request::DeleteRepository { repo, now: Timestamp::now(), reply })
            .map_err(control_error)?;
        // The kernel may keep the repository's name on some paths that lead to it (H14), so wait
        // until it has dropped it.
        wait_for_names(began);
        Ok(Reply::Done)
    }

    pub(super) fn repositories(&self) -> Reply {
        let all = self.engine.registry.all();
        Reply::Repositories(all.iter().map(|repository| describe::repository(repository)).collect())
    }
}
