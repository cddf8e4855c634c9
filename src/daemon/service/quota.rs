//! Quotas of repositories.

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::quota::QuotaInfo;
use crate::control::reply::Reply;
use crate::engine::registry::Repository;
use crate::engine::request::Request;
use crate::model::name::RepoName;
use crate::model::policy::Limit;
use crate::model::quota::Quota;

impl StoreService {
    pub(super) fn quota(&self, name: &RepoName) -> Answer {
        let repository = self.repository(name)?;
        self.engine.count_areas(&repository).map_err(control_error)?;
        Ok(Reply::Quota(describe(&repository)))
    }

    pub(super) fn set_quota(&self, name: &RepoName, bytes: Limit, files: Limit) -> Answer {
        let repository = self.repository(name)?;
        let now = repository.account.quota();
        let quota = Quota {
            bytes: changed(now.bytes, bytes, name)?,
            files: changed(now.files, files, name)?,
        };
        let repo = repository.id;
        self.engine
            .call(|reply| Request::SetQuota { repo, quota, reply })
            .map_err(control_error)?;
        Ok(Reply::Quota(describe(&repository)))
    }
}

fn changed(now: Option<u64>, limit: Limit, name: &RepoName) -> Result<Option<u64>, ControlError> {
    match limit {
        Limit::Limit(0) => {
            let message = "a quota of 0 would refuse every file";
            let hint = format!("`cairn quota {name} --clear` removes the quota");
            Err(ControlError::new(ErrorKind::Usage, message).with_hint(hint))
        }
        Limit::Keep | Limit::Unlimited | Limit::Limit(_) => Ok(limit.applied(now)),
    }
}

pub(super) fn describe(repository: &Repository) -> QuotaInfo {
    let account = &repository.account;
    let areas = account.areas();
    QuotaInfo {
        repository: repository.name.clone(),
        quota: account.quota(),
        usage: account.usage(),
        areas_bytes: areas.bytes,
        areas_files: areas.files,
    }
}

/// Whether more than nine tenths of a limit are used.
pub(super) fn is_near_limit(info: &QuotaInfo) -> bool {
    let near = |used: u64, limit: Option<u64>| {
        limit.is_some_and(|limit| u128::from(used) * 10 > u128::from(limit) * 9)
    };
    near(info.usage.bytes, info.quota.bytes) || near(info.usage.files, info.quota.files)
}
