//! Errors of the engine as a user reads them: what happened, and what to do next.

use crate::control::protocol::{ControlError, DETAIL_PATHS_MAX, ErrorDetail, ErrorKind};
use crate::engine::error::EngineError;
use crate::model::raw::RawPath;
use crate::store::error::StoreError;

/// Translates what the engine refused a request with.
pub fn control_error(error: EngineError) -> ControlError {
    translate(&error)
}

fn translate(error: &EngineError) -> ControlError {
    let message = error.to_string();
    let make =
        |message| ControlError { hint: hint(error), ..ControlError::new(kind(error), message) };
    match error {
        EngineError::Store(error) => translate_store(error),
        EngineError::ImportFailed(reason) => translate(reason),
        EngineError::Entry { reason, .. } => ControlError { message, ..translate(reason) },
        EngineError::Conflicts { conflicts } => {
            let shown: Vec<_> =
                conflicts.iter().take(3).map(|(path, why)| format!("{path}: {why}")).collect();
            let paths = first_paths(conflicts.iter().map(|(path, _)| path));
            make(format!("{message} ({})", shown.join("; ")))
                .with_detail(ErrorDetail::Conflicts(paths))
        }
        EngineError::Busy { files } => {
            make(message).with_detail(ErrorDetail::OpenFiles(first_paths(files.iter())))
        }
        _ => make(message),
    }
}

/// As many paths as an error carries.
fn first_paths<'a>(paths: impl Iterator<Item = &'a String>) -> Vec<RawPath> {
    paths.take(DETAIL_PATHS_MAX).map(|path| RawPath::from(path.as_bytes())).collect()
}

/// The class of an error; without a `_` arm, so that who adds one decides.
fn kind(error: &EngineError) -> ErrorKind {
    match error {
        EngineError::RepositoryExists(_)
        | EngineError::AreaExists(_)
        | EngineError::TagExists(_)
        | EngineError::NameTaken(_)
        | EngineError::NumberTaken(_)
        | EngineError::NumberNotNext { .. }
        | EngineError::AnotherVersion { .. }
        | EngineError::RepositoryNotEmpty { .. }
        | EngineError::TooManyAreas { .. }
        | EngineError::Protected { .. }
        | EngineError::UnreadablePolicy(_)
        | EngineError::OverQuota(_)
        | EngineError::Unsealed { .. }
        | EngineError::Unsaved(_)
        | EngineError::Abandoned
        | EngineError::Damaged { .. }
        | EngineError::ChangesTooFast
        | EngineError::Inconsistent { .. }
        | EngineError::Lost(_)
        | EngineError::Entry { .. }
        | EngineError::ImportFailed(_)
        | EngineError::SourceShrank
        | EngineError::NotFetched { .. }
        | EngineError::ImportThread(_)
        | EngineError::ImportEnded
        | EngineError::Store(_) => ErrorKind::Failed,
        EngineError::NoRepository(_)
        | EngineError::NoArea(_)
        | EngineError::NoVersion(_)
        | EngineError::NoTag(_)
        | EngineError::NoRemote(_)
        | EngineError::NoImport(_)
        | EngineError::ImportAreaGone
        | EngineError::NotDeleted(_) => ErrorKind::NotFound,
        EngineError::Name { .. } | EngineError::Invalid(_) => ErrorKind::Usage,
        EngineError::Busy { .. }
        | EngineError::CommitRunning
        | EngineError::AreaInUse(_)
        | EngineError::Stopping
        | EngineError::NotSealed { .. } => ErrorKind::Busy,
        EngineError::StaleBase { .. } | EngineError::Conflicts { .. } => ErrorKind::Conflict,
        EngineError::Poisoned => ErrorKind::StoreUnusable,
        EngineError::ReadOnly => ErrorKind::Permission,
    }
}

/// What to do about an error, where something helps.
fn hint(error: &EngineError) -> Option<String> {
    let text = match error {
        EngineError::TagExists(_) => {
            "choose another name, or delete the tag with `cairn tag --delete`"
        }
        EngineError::NameTaken(_) => {
            "delete that one first; of two deleted repositories with one name, the one deleted last comes back first"
        }
        EngineError::RepositoryNotEmpty { .. } => {
            "delete its versions with `cairn delete`, its areas with `cairn discard`"
        }
        EngineError::Busy { .. } => "close them, or commit with --wait",
        EngineError::TooManyAreas { .. } => "`cairn areas` lists them; see also --expire-areas",
        EngineError::StaleBase { .. } => {
            "commit with --onto-latest to merge with the newest version, or with --force to \
             publish the area as it is"
        }
        EngineError::Conflicts { .. } => {
            "change the area so that they agree, or commit with --force"
        }
        EngineError::Protected { force_helps: true, .. } => "--force deletes it nevertheless",
        EngineError::UnreadablePolicy(name) => {
            return Some(format!(
                "`cairn policy {name} --clear` removes it; then set every rule that it should have"
            ));
        }
        EngineError::NotDeleted(_) => "`cairn undelete REPO` lists what can be brought back",
        EngineError::OverQuota(_) => {
            "delete versions or areas, or raise the quota with `cairn quota`"
        }
        EngineError::Unsealed { full: true, .. } => {
            "free some space and commit again; nothing is lost"
        }
        EngineError::SourceShrank => "import again when nobody writes to it",
        EngineError::NotSealed { .. } => "that goes on in the background: commit again",
        EngineError::Damaged { .. } => "write or remove these files, then commit again",
        EngineError::ReadOnly => "unmount it, and mount it without --read-only",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Translates a failure of the store.
pub fn store_error(error: StoreError) -> ControlError {
    translate_store(&error)
}

fn translate_store(error: &StoreError) -> ControlError {
    let message = error.to_string();
    match error {
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
            .with_hint("run this as its owner, or `chown -R` it first: its owner could not read what root writes there"),
        _ if error.is_full() => ControlError::new(ErrorKind::Failed, message)
            .with_hint("free some space on the store's file system; nothing is lost"),
        _ => ControlError::new(ErrorKind::Failed, message),
    }
}

/// Translates a failed `init`.
pub fn init_error(error: StoreError) -> ControlError {
    store_error(error)
}
