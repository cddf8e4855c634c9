//! Why a push or a pull failed, as a user reads it.

use crate::bucket::agree::Disagreement;
use crate::bucket::collect::CollectError;
use crate::bucket::fold::Refusal;
use crate::bucket::format::FormatFileError;
use crate::bucket::log::LogError;
use crate::bucket::push::publish::PublishError;
use crate::bucket::store::{StoreError, StoreErrorKind};
use crate::bucket::transfer::TransferError;
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::transfer::{Direction, TransferRequest};

/// Why a push or a pull failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Transfer(TransferError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Format(#[from] FormatFileError),
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error("no random number: {0}")]
    Random(std::io::Error),
    #[error("there is no bucket of cairn")]
    NoBucket,
    #[error("the bucket does not have the repository")]
    NoRepository,
    #[error("there is no {0} in the bucket")]
    NotThere(String),
    #[error(
        "it is another bucket than the one that this repository was pushed to or pulled from before"
    )]
    OtherBucket,
    #[error("{}", .0.message)]
    Control(ControlError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Transfer(error.into())
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

/// The error of a transfer.
pub(super) fn transfer_error(failure: Failure, request: &TransferRequest) -> ControlError {
    let (repository, remote) = (&request.repository, &request.remote);
    let message = format!("{} {repository}: {failure}", request.direction.as_str());
    let make = |kind, hint: String| ControlError::new(kind, message.clone()).with_hint(hint);
    match failure {
        Failure::Control(error) => error,
        Failure::Disagreement(error) | Failure::Publish(PublishError::Disagreement(error)) => {
            make(ErrorKind::Conflict, disagreement_hint(error, request))
        }
        Failure::Log(error) | Failure::Publish(PublishError::Log(error)) => {
            log_error(&error, &message, request)
        }
        Failure::Transfer(error) => transferred(&error, message, request),
        Failure::Format(FormatFileError::Store(error)) => stored(&error, message, request),
        Failure::NoBucket | Failure::Format(_) => make(
            ErrorKind::NotFound,
            format!("`cairn remote show {remote}` shows its URL; the first push makes a bucket"),
        ),
        Failure::NoRepository => make(
            ErrorKind::NotFound,
            format!("`cairn push {repository} {remote}` from a machine that has it puts it there"),
        ),
        Failure::NotThere(_) => make(
            ErrorKind::NotFound,
            format!("`cairn pull {repository} {remote} --dry-run` says what is there"),
        ),
        Failure::OtherBucket => make(
            ErrorKind::Failed,
            format!("`cairn remote show {remote}` shows the URL. {}", accept_hint(request)),
        ),
        Failure::Publish(PublishError::Barrier) => {
            make(ErrorKind::Busy, "try again: what was uploaded is used then".to_owned())
        }
        Failure::Collect(_) => make(
            ErrorKind::Failed,
            format!("`cairn remote fsck {remote}` says what is wrong there"),
        ),
        Failure::Random(_) | Failure::Publish(_) => ControlError::new(ErrorKind::Failed, message),
    }
}

fn disagreement_hint(error: Disagreement, request: &TransferRequest) -> String {
    let (repository, remote) = (&request.repository, &request.remote);
    match error {
        Disagreement::Diverged(number) => format!(
            "somebody else published {number} there first, and numbers are never given twice. Nothing was changed. To keep \
             what is here: `cairn export {repository}/{number} DIR`, delete the repository here (`cairn delete \
             {repository}`), `cairn pull {repository} {remote}`, `cairn import DIR {repository}`, and push again. To pull \
             before each publication avoids this"
        ),
        Disagreement::Lost { .. } => format!(
            "nothing was changed. If the bucket was restored from an older copy, what was pushed since is lost there: see \
             `cairn remote show {remote}`"
        ),
        Disagreement::NumberUsed { .. } => format!(
            "`cairn pull {repository} {remote}` first: what is published after that has a higher number"
        ),
    }
}

/// How to go on after an alarm.
fn accept_hint(request: &TransferRequest) -> String {
    let (repository, remote) = (&request.repository, &request.remote);
    format!(
        "If you know why that is, `cairn remote accept {remote} {repository}` takes what is there now for the truth"
    )
}

fn log_error(error: &LogError, message: &str, request: &TransferRequest) -> ControlError {
    let make = |kind, hint: &str| ControlError::new(kind, message).with_hint(hint);
    match error {
        LogError::Store { error, .. } => stored(error, message.to_owned(), request),
        LogError::Unsettled { .. } => make(ErrorKind::Busy, "run the same command again"),
        LogError::Refused { refusal: Refusal::Protected { .. }, .. } => make(
            ErrorKind::Failed,
            "unlock it (`cairn lock --undo`) or move its tag here, and push that first; the newest version is never deleted",
        ),
        LogError::Refused { .. } => make(ErrorKind::Conflict, "pull, and decide again"),
        LogError::NoSigner { .. } => make(
            ErrorKind::Usage,
            "`cairn push --sign KEY` signs once, `cairn remote set NAME --sign-key KEY` always",
        ),
        LogError::OwnSignature { .. } => make(
            ErrorKind::Failed,
            "add the key to the file of allowed signers, here and on the machines that pull, or sign with another one",
        ),
        LogError::NotSigned { .. } => ControlError::new(ErrorKind::Failed, message),
        LogError::Signature { .. } => ControlError::new(ErrorKind::Failed, message).with_hint(format!(
            "find out who wrote that event. If it is one of yours, add its key to the file of allowed signers. {}",
            accept_hint(request)
        )),
        LogError::Rollback { .. } | LogError::Fork { .. } => {
            ControlError::new(ErrorKind::Failed, message).with_hint(accept_hint(request))
        }
        LogError::Unreadable { .. }
        | LogError::Foreign { .. }
        | LogError::NotAllowed { .. }
        | LogError::Unfit { .. } => ControlError::new(ErrorKind::Failed, message),
    }
}

/// What can be done about an object store that fails.
fn stored(error: &StoreError, message: String, request: &TransferRequest) -> ControlError {
    let remote = &request.remote;
    match error.kind() {
        StoreErrorKind::Temporary => ControlError::new(ErrorKind::Busy, message)
            .with_hint("try again: what was transferred is used then"),
        StoreErrorKind::Refused | StoreErrorKind::Protocol => {
            ControlError::new(ErrorKind::Failed, message)
                .with_hint(format!("`cairn remote test {remote}` says what works"))
        }
        StoreErrorKind::Stopped => ControlError::new(ErrorKind::Busy, message)
            .with_hint("try again: what was transferred is used then"),
        StoreErrorKind::Local => ControlError::new(ErrorKind::Failed, message),
    }
}

fn transferred(error: &TransferError, message: String, request: &TransferRequest) -> ControlError {
    let (repository, remote) = (&request.repository, &request.remote);
    match error {
        TransferError::Store(error) => stored(error, message, request),
        TransferError::Stopped => ControlError::new(ErrorKind::Busy, message)
            .with_hint("try again: what was transferred is used then"),
        TransferError::Local(_) => ControlError::new(ErrorKind::Failed, message),
        TransferError::Format { .. }
        | TransferError::MissingObject(_)
        | TransferError::NotIndexed(_)
        | TransferError::NoPage(_)
        | TransferError::Lies { .. }
        | TransferError::WrongDigest(_)
        | TransferError::Tree(_) => {
            let made = ControlError::new(ErrorKind::Failed, message);
            match request.direction {
                Direction::Pull => made.with_hint(format!(
                    "the bucket is damaged, or somebody changed it; no version was made of it. `cairn remote fsck {remote}` \
                     says what else is. A machine that has {repository} whole can push it into a new bucket"
                )),
                Direction::Push => {
                    made.with_hint(format!("`cairn remote fsck {remote}` says what is wrong there"))
                }
            }
        }
    }
}
