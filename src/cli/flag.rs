//! What `cairn release` and `cairn lock` have in common.

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::parse::VersionTarget;
use super::selection::{self, Selection};
use super::text::joined;
use crate::control::client::Connection;
use crate::control::flag::Flag;
use crate::control::protocol::Request;
use crate::control::reply::Reply;
use crate::control::upkeep::UpkeepRequest;
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;

/// What became of versions of one repository.
#[derive(Debug, Serialize)]
struct Flagged {
    repository: RepoName,
    #[serde(rename = "numbers")]
    versions: Vec<VersionNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<bool>,
}

/// Sets a flag or takes it back, repository by repository in the order of their names.
///
/// # Errors
/// The first refusal; what was changed before it is printed.
pub(super) fn run(
    context: &mut Context,
    targets: Vec<VersionTarget>,
    flag: Flag,
    set: bool,
) -> Result<(), CliError> {
    let word = match (flag, set) {
        (Flag::Released, true) => "released",
        (Flag::Released, false) => "not released any more:",
        (Flag::Locked, true) => "locked",
        (Flag::Locked, false) => "unlocked",
    };
    let targets = targets.into_iter().map(|VersionTarget(target)| target);
    selection::for_each(
        context,
        selection::by_repository(targets),
        |connection, repository, selection| change(connection, repository, selection, flag, set),
        |output, Flagged { repository, versions, .. }| {
            output.line(format_args!("{word} {repository}/{}", joined(versions)))
        },
    )
}

fn change(
    connection: &mut Connection,
    repository: RepoName,
    selection: Selection,
    flag: Flag,
    set: bool,
) -> Result<Flagged, CliError> {
    let existing = || super::versions::numbers(connection, &repository);
    let hint = format!("`cairn versions {repository}` lists them");
    let versions = selection.resolve(&repository, existing, &hint)?;
    let request = UpkeepRequest::Flag { repository: repository.clone(), versions, flag, set };
    let Reply::Numbers(versions) = connection.ask(Request::Upkeep(request))? else {
        return Err(CliError::unexpected_reply());
    };
    let (released, locked) = match flag {
        Flag::Released => (Some(set), None),
        Flag::Locked => (None, Some(set)),
    };
    Ok(Flagged { repository, versions, released, locked })
}
