//! Why a directory or an archive could not be read, as a user reads it.

use std::io;
use std::path::Path;

use crate::archive::ArchiveError;
use crate::control::protocol::{ControlError, ErrorDetail, ErrorKind, UnreadableFile};
use crate::control::sync::SyncRequest;
use crate::model::name::RemoteName;
use crate::model::text::count;
use crate::store::layout::shown;

/// An error without more to say.
pub(super) fn plain(message: String) -> ControlError {
    ControlError::new(ErrorKind::Failed, message)
}

/// An error of reading `source`, the directory or archive of what was asked for. `files` are those that could not be read, the first of
/// `total`.
pub(super) fn read_error(
    error: ArchiveError,
    source: &Path,
    request: &SyncRequest,
    (files, total): (Vec<UnreadableFile>, u64),
) -> ControlError {
    let (source, remote) = (source.display(), &request.remote);
    match error {
        ArchiveError::Store(error) => error,
        ArchiveError::Stopped => ControlError::new(ErrorKind::Busy, "stopped"),
        ArchiveError::Unreadable(_) => {
            let hint = if request.keep_going {
                "there is no new version: the store had begun to take a file that changed then; try again"
            } else {
                "there is no new version; --keep-going publishes the rest, and what could not be read stays as it is"
            };
            plain(format!("{} of {source} could not be read", count(total, "file")))
                .with_hint(hint)
                .with_detail(ErrorDetail::FailedFiles { files, total })
        }
        ArchiveError::Io { action, path, source } => {
            let message = format!("cannot {action} {}: {source}", shown(&path).display());
            let hint = match source.kind() {
                io::ErrorKind::NotFound => {
                    format!(
                        "is it where it was, and mounted? `cairn remote show {remote}` says where it should be"
                    )
                }
                // The kernel's; others say by themselves what is not allowed.
                io::ErrorKind::PermissionDenied if source.raw_os_error().is_some() => {
                    "the daemon reads it with the rights of the user it runs as".to_owned()
                }
                _ => "there is no new version".to_owned(),
            };
            plain(message).with_hint(hint)
        }
        ArchiveError::EntryPath { entry, rule } => {
            damaged(format!("{source}: entry `{entry}`: {rule}"))
        }
        ArchiveError::Entry { entry, reason } => {
            damaged(format!("{source}: entry `{entry}`: {reason}"))
        }
        ArchiveError::Format(reason) => damaged(format!("{source}: {reason}")),
        other => plain(other.to_string()),
    }
}

fn damaged(message: String) -> ControlError {
    plain(message).with_hint("there is no new version: an archive is taken whole or not at all")
}

/// Nothing is there: perhaps a filesystem is not mounted.
pub(super) fn nothing(source: &Path, below: Option<&str>) -> ControlError {
    let below = below.map_or_else(String::new, |below| format!(" below {below}"));
    plain(format!("{} has nothing in it{below}", source.display()))
        .with_hint("there is no new version: a directory that is not mounted looks like that, too")
}

/// It is not what it was when its reading began.
pub(super) fn changed(source: &Path, remote: &RemoteName) -> ControlError {
    let message = format!("{} changed while it was read", source.display());
    ControlError::new(ErrorKind::Busy, message)
        .with_hint("there is no new version; try again when nobody writes to it")
        .with_detail(ErrorDetail::RemoteChanged { remote: remote.clone() })
}
