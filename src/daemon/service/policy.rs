//! Retention policies: showing, trying, setting them.

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::policy::{Decision, PolicyReply};
use crate::control::protocol::{CHANGES_MAX, Progress};
use crate::control::reply::Reply;
use crate::engine::dry_run::Expiry;
use crate::engine::request::Request;
use crate::model::name::RepoName;
use crate::model::policy::{Policy, PolicyState, RuleChanges};
use crate::model::time::Timestamp;

impl StoreService {
    pub(super) fn policy(&self, name: &RepoName, progress: &mut dyn FnMut(Progress)) -> Answer {
        let repository = self.repository(name)?;
        let policy = match &repository.policy {
            PolicyState::Set(policy) => Some(*policy),
            PolicyState::None | PolicyState::Unreadable { .. } => None,
        };
        let expiry = Expiry::of(&self.engine, repository, Timestamp::now());
        send_decisions(&expiry, progress);
        Ok(Reply::Policy(PolicyReply {
            repository: expiry.repository.name.clone(),
            policy,
            unreadable: expiry.unreadable,
            decisions: Vec::new(),
        }))
    }

    pub(super) fn set_policy(&self, name: &RepoName, policy: Option<Policy>) -> Answer {
        let repo = self.repository(name)?.id;
        let policy = policy.filter(|policy| !policy.is_empty());
        self.engine
            .call(|reply| Request::SetPolicy { repo, policy, reply })
            .map_err(control_error)?;
        Ok(Reply::Done)
    }

    pub(super) fn change_policy(&self, name: &RepoName, rules: RuleChanges) -> Answer {
        let repo = self.repository(name)?.id;
        self.engine
            .call(|reply| Request::ChangePolicy { repo, rules, reply })
            .map_err(control_error)?;
        Ok(Reply::Done)
    }
}

/// Sends what retention would do in one repository.
pub(super) fn send_decisions(expiry: &Expiry, progress: &mut dyn FnMut(Progress)) {
    let repository = &expiry.repository;
    let versions = expiry.versions.iter().map(|decision| Decision {
        repository: repository.name.clone(),
        number: Some(decision.number),
        area: None,
        keep: decision.keep,
        reason: decision.reason.to_string(),
    });
    let areas = expiry.areas.iter().map(|(name, _)| Decision {
        repository: repository.name.clone(),
        number: None,
        area: Some(name.clone()),
        keep: false,
        reason: "not changed for as long as the policy says".to_owned(),
    });
    let mut all = versions.chain(areas).peekable();
    while all.peek().is_some() {
        progress(Progress::Decisions(all.by_ref().take(CHANGES_MAX).collect()));
    }
}
