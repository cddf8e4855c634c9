//! What is logged of the commands that change a store: who asked for what, and how it ended.
//!
//! Publications are logged by the engine, which also knows those that came through a mount; syncs by their job, which
//! may go on when its request was answered.

use crate::control::flag::Flag;
use crate::control::import::ImportRequest;
use crate::control::jobs::JobsRequest;
use crate::control::protocol::{ControlError, Request};
use crate::control::remote::RemoteRequest;
use crate::control::service::Caller;
use crate::control::upkeep::UpkeepRequest;
use crate::model::name::{BaseName, RepoName};
use crate::model::policy::{Limit, RuleChanges};

use super::commit::user_name;

/// Logs the end of a command. `what` is [`change`] of its request.
pub(super) fn log(caller: Caller, what: &str, result: Result<(), &ControlError>) {
    let (user, pid) = (user_name(caller), caller.pid);
    match result {
        Ok(()) => log::info!("{what}, by {user} (pid {pid})"),
        Err(error) => log::info!("refused: {what}, by {user} (pid {pid}): {}", error.message),
    }
}

/// What a request changes, in words; `None` for one that only reads, and for commits.
pub(super) fn change(request: &Request) -> Option<String> {
    Some(match request {
        Request::CreateRepository { name, .. } => format!("create repository {name}"),
        Request::DeleteRepository { name } => format!("delete repository {name}"),
        Request::Stage { repository, name, from: Some(base) } => {
            format!("open area {repository}/{name} on {base}")
        }
        Request::Stage { repository, name, from: None } => format!("open area {repository}/{name}"),
        Request::Discard { repository, area } => format!("discard area {repository}/{area}"),
        Request::SetTag { repository, tag, version } => {
            format!("tag {repository}/{version} as {tag}")
        }
        Request::DeleteTag { repository, tag } => format!("delete tag {repository}/{tag}"),
        Request::Delete { repository, versions, force } => {
            let forced = if *force { " with force" } else { "" };
            format!("delete {}{forced}", list(repository, versions))
        }
        Request::Gc(gc) if gc.dry_run => return None,
        Request::Gc(gc) if gc.full => "full collection".to_owned(),
        Request::Gc(_) => "collection".to_owned(),
        Request::Reclaim(reclaim) if reclaim.dry_run => return None,
        Request::Reclaim(reclaim) => reclaimed(&reclaim.repositories),
        Request::Fsck(fsck) if fsck.repair || fsck.rebuild_counts => {
            "repair of the store".to_owned()
        }
        Request::Upkeep(request) => return upkeep(request),
        Request::Import(ImportRequest::Begin(options)) => {
            format!("begin an import into {}", options.repository)
        }
        Request::Shutdown => "stop the daemon".to_owned(),
        Request::Remount { settings, check: false } => {
            let settings =
                settings.iter().map(|setting| format!("{}={}", setting.name, setting.value));
            format!("change settings: {}", settings.collect::<Vec<_>>().join(","))
        }
        Request::Remote(request) => return remote(request),
        Request::Jobs(JobsRequest::Cancel { job }) => format!("cancel job {job}"),
        Request::Save { give_up: true } => "give up what cannot be saved".to_owned(),
        Request::Status
        | Request::Metrics
        | Request::Repositories
        | Request::Versions { .. }
        | Request::Show { .. }
        | Request::Diff { .. }
        | Request::Log(_)
        | Request::Find(_)
        | Request::Areas { .. }
        | Request::Names { .. }
        | Request::Commit(_)
        | Request::Tags { .. }
        | Request::Fsck(_)
        | Request::Wait { .. }
        | Request::Save { .. }
        | Request::Remount { .. }
        | Request::Import(_)
        | Request::Sync(_)
        | Request::Transfer(_)
        | Request::Refresh { .. }
        | Request::Jobs(_)
        | Request::Prefetch(_)
        | Request::Export(_)
        | Request::Backup(_) => return None,
    })
}

fn remote(request: &RemoteRequest) -> Option<String> {
    Some(match request {
        RemoteRequest::Put { name, settings, replace } => {
            let verb = if *replace { "change" } else { "add" };
            format!("{verb} remote {name}: {} {}", settings.kind, settings.url)
        }
        RemoteRequest::Gc { name, dry_run: false, .. } => format!("collect the bucket {name}"),
        RemoteRequest::Accept { name, repository } => {
            format!("take what {name} holds of {repository} for the truth")
        }
        RemoteRequest::Remove { name, .. } => format!("remove remote {name}"),
        RemoteRequest::List
        | RemoteRequest::Show { .. }
        | RemoteRequest::Test { .. }
        | RemoteRequest::Fsck { .. }
        | RemoteRequest::Gc { .. } => return None,
    })
}

fn reclaimed(repositories: &[RepoName]) -> String {
    match repositories {
        [] => "reclaim content".to_owned(),
        some => {
            let names: Vec<_> = some.iter().map(ToString::to_string).collect();
            format!("reclaim content of {}", names.join(" "))
        }
    }
}

fn upkeep(request: &UpkeepRequest) -> Option<String> {
    Some(match request {
        UpkeepRequest::Flag { repository, versions, flag, set } => {
            let verb = match (flag, set) {
                (Flag::Released, true) => "release",
                (Flag::Released, false) => "take the release back of",
                (Flag::Locked, true) => "lock",
                (Flag::Locked, false) => "unlock",
            };
            format!("{verb} {}", list(repository, versions))
        }
        UpkeepRequest::UndeleteRepository { name } => format!("undelete repository {name}"),
        UpkeepRequest::Undelete { repository, versions } => {
            format!("undelete {}", list(repository, versions))
        }
        UpkeepRequest::SetPolicy { repository, policy: Some(policy) } => {
            format!("set the policy of {repository}: {}", policy.to_text())
        }
        UpkeepRequest::SetPolicy { repository, policy: None } => {
            format!("clear the policy of {repository}")
        }
        UpkeepRequest::ChangePolicy { repository, rules } => {
            format!("change the policy of {repository}: {}", describe(rules))
        }
        UpkeepRequest::SetQuota { repository, .. } => format!("set the quota of {repository}"),
        UpkeepRequest::Deleted { .. }
        | UpkeepRequest::Policy { .. }
        | UpkeepRequest::Quota { .. }
        | UpkeepRequest::Du { .. }
        | UpkeepRequest::Why(_) => return None,
    })
}

/// The rules that change, in words.
fn describe(rules: &RuleChanges) -> String {
    let rule = |name: &str, limit: Limit| match limit {
        Limit::Keep => None,
        Limit::Unlimited => Some(format!("no {name}")),
        Limit::Limit(value) => Some(format!("{name} {value}")),
    };
    let changed = [
        rule("keep_unreleased", rules.keep_unreleased),
        rule("keep_released", rules.keep_released),
        rule("keep_within_seconds", rules.keep_within_seconds),
        rule("expire_areas_seconds", rules.expire_areas_seconds),
    ];
    changed.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn list(repository: &RepoName, versions: &[BaseName]) -> String {
    let names = versions.iter().map(|version| format!("{repository}/{version}"));
    names.collect::<Vec<_>>().join(" ")
}
