//! Errors of the engine as a user reads them: what happened, and what to do next.

use crate::control::protocol::{ControlError, DETAIL_PATHS_MAX, ErrorDetail, ErrorKind};
use crate::engine::error::EngineError;
use crate::model::raw::RawPath;
use crate::store::error::StoreError;

/// Translates what the engine refused a request with.
pub fn control_error(error: EngineError) -> ControlError {
    let message = error.to_string();
    let make = |kind| ControlError::new(kind, message.clone());
    match error {
        EngineError::RepositoryExists(_) | EngineError::AreaExists(_) => make(ErrorKind::Failed),
        EngineError::TagExists(_) => make(ErrorKind::Failed)
            .with_hint("choose another name, or delete the tag with `cairn tag --delete`"),
        EngineError::NameTaken(_) => make(ErrorKind::Failed)
            .with_hint("delete that one first; of the two, the one deleted last comes back first"),
        EngineError::NumberTaken(_)
        | EngineError::NumberNotNext { .. }
        | EngineError::Unsealed { full: false, .. }
        | EngineError::Unsaved(_)
        | EngineError::Abandoned
        | EngineError::Lost(_) => make(ErrorKind::Failed),
        EngineError::NoRepository(_)
        | EngineError::NoArea(_)
        | EngineError::NoVersion(_)
        | EngineError::NoTag(_)
        | EngineError::NoImport(_) => make(ErrorKind::NotFound),
        EngineError::RepositoryNotEmpty { .. } => make(ErrorKind::Failed)
            .with_hint("delete its versions with `cairn delete`, its areas with `cairn discard`"),
        EngineError::Name { .. } | EngineError::Invalid(_) => make(ErrorKind::Usage),
        EngineError::Busy { files } => {
            let paths = files.into_iter().take(DETAIL_PATHS_MAX);
            let paths = paths.map(|path| RawPath::from(path.into_bytes())).collect();
            make(ErrorKind::Busy)
                .with_hint("close them, or commit with --wait")
                .with_detail(ErrorDetail::OpenFiles(paths))
        }
        EngineError::CommitRunning | EngineError::Stopping => make(ErrorKind::Busy),
        EngineError::TooManyAreas { .. } => {
            make(ErrorKind::Failed).with_hint("`cairn areas` lists them; see also --expire-areas")
        }
        EngineError::StaleBase { .. } => make(ErrorKind::Conflict).with_hint(
            "commit with --onto-latest to merge with the newest version, or with --force to \
             publish the area as it is",
        ),
        EngineError::Conflicts { conflicts } => conflict_error(&message, &conflicts),
        EngineError::Protected { force_helps, .. } => {
            let error = make(ErrorKind::Failed);
            if force_helps { error.with_hint("--force deletes it nevertheless") } else { error }
        }
        EngineError::UnreadablePolicy(name) => make(ErrorKind::Failed).with_hint(format!(
            "`cairn policy {name} --clear` removes it; then set every rule that it should have"
        )),
        EngineError::NotDeleted(_) => make(ErrorKind::NotFound)
            .with_hint("`cairn undelete REPO` lists what can be brought back"),
        EngineError::OverQuota(_) => make(ErrorKind::Failed)
            .with_hint("delete versions or areas, or raise the quota with `cairn quota`"),
        EngineError::Unsealed { full: true, .. } => {
            make(ErrorKind::Failed).with_hint("free some space and commit again; nothing is lost")
        }
        EngineError::NotSealed { .. } => {
            make(ErrorKind::Busy).with_hint("that goes on in the background: commit again")
        }
        EngineError::Damaged { .. } => {
            make(ErrorKind::Failed).with_hint("write or remove these files, then commit again")
        }
        EngineError::Store(error) => store_error(error),
        EngineError::Poisoned => make(ErrorKind::StoreUnusable),
        EngineError::ReadOnly => {
            make(ErrorKind::Permission).with_hint("unmount it, and mount it without --read-only")
        }
    }
}

fn conflict_error(message: &str, conflicts: &[(String, String)]) -> ControlError {
    let paths = conflicts.iter().take(DETAIL_PATHS_MAX);
    let paths = paths.map(|(path, _)| RawPath::from(path.clone().into_bytes())).collect();
    let shown: Vec<_> =
        conflicts.iter().take(3).map(|(path, why)| format!("{path}: {why}")).collect();
    ControlError::new(ErrorKind::Conflict, format!("{message} ({})", shown.join("; ")))
        .with_hint("change the area so that they agree, or commit with --force")
        .with_detail(ErrorDetail::Conflicts(paths))
}

/// Translates a failure of the store.
pub fn store_error(error: StoreError) -> ControlError {
    let message = error.to_string();
    match &error {
        StoreError::Locked { pid } => {
            let made = ControlError::new(ErrorKind::StoreUnusable, message)
                .with_hint("use the mount or the commands of the daemon that owns it, or stop it");
            made.with_detail(ErrorDetail::Locked { pid: *pid })
        }
        StoreError::NotAStore { .. } => ControlError::new(ErrorKind::StoreUnusable, message)
            .with_hint("`cairn init DIR` makes a store"),
        StoreError::NotEmpty { .. } => ControlError::new(ErrorKind::Failed, message)
            .with_hint("name a directory that is empty or does not exist"),
        StoreError::NewerFormat { .. } => ControlError::new(ErrorKind::StoreUnusable, message)
            .with_hint("install the cairn that wrote it, or a newer one"),
        StoreError::ForeignCatalog { .. } => ControlError::new(ErrorKind::StoreUnusable, message)
            .with_hint("this directory belongs to another program"),
        StoreError::OpenPermissions { .. } => ControlError::new(ErrorKind::StoreUnusable, message)
            .with_hint("run `chmod 700` on it: others could read or change blobs"),
        StoreError::ForeignOwner { .. } => ControlError::new(ErrorKind::Permission, message)
            .with_hint("run this as its owner, or `chown -R` it: what root wrote there, its owner could not read"),
        _ if error.is_full() => ControlError::new(ErrorKind::Failed, message)
            .with_hint("free some space on the store's file system; nothing is lost"),
        _ => ControlError::new(ErrorKind::Failed, message),
    }
}

/// Translates a failed `init`.
pub fn init_error(error: StoreError) -> ControlError {
    store_error(error)
}
