//! Releasing and locking versions.

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::flag::Flag;
use crate::control::reply::Reply;
use crate::engine::request::{FlagChange, Request};
use crate::model::name::{BaseName, RepoName};

impl StoreService {
    pub(super) fn flag(
        &self,
        name: &RepoName,
        versions: &[BaseName],
        flag: Flag,
        set: bool,
    ) -> Answer {
        let (repository, numbers) = self.numbers(name, versions)?;
        let change = match flag {
            Flag::Released => FlagChange { released: Some(set), locked: None },
            Flag::Locked => FlagChange { released: None, locked: Some(set) },
        };
        let (repo, changed) = (repository.id, numbers.clone());
        self.engine
            .call(|reply| Request::FlagVersions { repo, numbers, change, reply })
            .map_err(control_error)?;
        Ok(Reply::Numbers(changed))
    }
}
