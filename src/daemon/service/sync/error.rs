//! Why there is no new version, as a user reads it.

use super::super::remote_notes::debian_hint;
use crate::control::protocol::{ControlError, ErrorDetail, ErrorKind, UnreadableFile};
use crate::model::name::RemoteName;
use crate::net::NetErrorKind;
use crate::sync::SyncError;

/// An error of a sync with `remote`, with the first of the files that could not be had.
pub(super) fn sync_error(
    error: SyncError,
    remote: &RemoteName,
    files: Vec<UnreadableFile>,
) -> ControlError {
    let message = error.to_string();
    let make = |kind| ControlError::new(kind, message.clone());
    match error {
        SyncError::Net(error) => match error.kind() {
            NetErrorKind::Stopped => make(ErrorKind::Busy),
            NetErrorKind::Temporary => {
                make(ErrorKind::Failed).with_hint("try again: what came is kept for a while")
            }
            // What one file of the remote fails with is no error of the sync: this is about the list.
            NetErrorKind::NotFound | NetErrorKind::Refused => {
                make(ErrorKind::Failed).with_hint(format!(
                    "the URL of a directory ends with `/`; `cairn remote show {remote}` shows it, `cairn remote test {remote}` \
                     tries it"
                ))
            }
            NetErrorKind::Protocol => make(ErrorKind::Failed)
                .with_hint(format!("`cairn remote test {remote}` says what works")),
            NetErrorKind::Local => make(ErrorKind::Failed),
        },
        SyncError::Debian(error) => {
            let made = make(ErrorKind::Failed);
            match debian_hint(&error, remote) {
                Some(hint) => made.with_hint(hint),
                None => made,
            }
        }
        SyncError::NoList { other, .. } => {
            make(ErrorKind::Failed).with_hint(format!("nothing was fetched; {}", other.hint()))
        }
        SyncError::Line { .. } | SyncError::Overlap { .. } | SyncError::Nothing(..) => {
            make(ErrorKind::Failed).with_hint(format!(
                "nothing was fetched; is {remote} of the right kind (`cairn remote show {remote}`)?"
            ))
        }
        SyncError::TooManyRemoved { .. } => make(ErrorKind::Failed).with_hint(
            "if that is meant, allow it: --max-delete 100%; --dry-run says what would go",
        ),
        SyncError::Failed(total) => make(ErrorKind::Failed)
            .with_hint("try again: what came is kept for a while; --keep-going publishes the rest")
            .with_detail(ErrorDetail::FailedFiles { files, total }),
        SyncError::Changed(_) => make(ErrorKind::Busy)
            .with_hint("try again: what came is kept for a while")
            .with_detail(ErrorDetail::RemoteChanged { remote: remote.clone() }),
        SyncError::Stopped => {
            make(ErrorKind::Busy).with_hint("try again: what came is kept for a while")
        }
        SyncError::Lost(_) => make(ErrorKind::Failed)
            .with_hint("there is no new version: publishing would remove what is there"),
        SyncError::GaveUp(..) => {
            make(ErrorKind::Failed).with_hint("try again: what came is kept for a while")
        }
        SyncError::Io { .. } | SyncError::Store(_) | SyncError::Ended => make(ErrorKind::Failed),
    }
}
