//! `cairn undelete`: brings deleted versions back.

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::output::Align::{Left, Right};
use super::parse::DeleteTarget;
use super::selection::{self, Selection};
use super::text::{instant, joined};
use crate::control::client::Connection;
use crate::control::protocol::{ControlError, ErrorKind, Request, VERSIONS_MAX};
use crate::control::reply::Reply;
use crate::control::undelete::DeletedInfo;
use crate::control::upkeep::UpkeepRequest;
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;

const HELP: &str = "\
REPO, where it was deleted itself, brings the repository back, with owner, mode, policy and quota,
and with every version of it whose content is still there. Where it exists, REPO lists the
versions that can be brought back: until the time shown, or a bit longer, until the next
collection run. REPO/7 brings a version back, REPO/3-5 every one from 3 to 5 that was deleted; a
version that had a name may be called by it. It gets its own name back where that is free, other
tags do not come back. Of one repository all the named versions come back, or none.

`cairn gc --protect 0` gives all deleted versions and repositories up. A deleted repository does not
come back beside another one of its name.

JSON
  REPO: an array of {repository, number, name, deleted, deleted_seconds, until, until_seconds};
  REPO that was deleted, REPO/VERSION: an array with one element per repository:
  {repository, numbers}

EXAMPLES
  cairn undelete web
  cairn undelete web/7
  cairn undelete web/3-5 docs/v1.0 --json";

/// Arguments of `cairn undelete`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct UndeleteArgs {
    /// Deleted repositories or versions to bring back, or repositories to list
    #[arg(value_name = "REPO[/VERSION]", required = true)]
    targets: Vec<DeleteTarget>,
}

/// What came back of one repository.
#[derive(Debug, Serialize)]
struct Undeleted {
    repository: RepoName,
    #[serde(rename = "numbers")]
    versions: Vec<VersionNumber>,
}

impl UndeleteArgs {
    /// Lists, or brings back repository by repository in the order of their names.
    ///
    /// # Errors
    /// The first refusal; what came back before it is printed.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let selections = selection::by_repository(self.targets);
        let lists = selections.values().filter(|selection| selection.itself).count();
        if lists == selections.len() && selections.values().all(Selection::is_empty) {
            return restore_or_list(context, selections.into_keys());
        }
        if lists > 0 {
            let message = "a repository lists and a version brings back: not both at once";
            let hint = "for example `cairn undelete web`, then `cairn undelete web/7`";
            return Err(ControlError::new(ErrorKind::Usage, message).with_hint(hint).into());
        }
        selection::for_each(
            context,
            selections,
            undelete,
            |output, Undeleted { repository, versions }| {
                output.line(format_args!("brought back {repository}/{}", joined(versions)))
            },
        )
    }
}

/// Brings back the repositories that were deleted, and lists the deleted versions of the others.
fn restore_or_list(
    context: &mut Context,
    repositories: impl Iterator<Item = RepoName>,
) -> Result<(), CliError> {
    let mut connection = context.connect()?;
    let mut restored = Vec::new();
    let mut listed = Vec::new();
    for repository in repositories {
        let deleted = all(&mut connection, &repository);
        if let Ok(deleted) = &deleted
            && !deleted.is_empty()
        {
            listed.extend_from_slice(deleted);
            continue;
        }
        let request = UpkeepRequest::UndeleteRepository { name: repository.clone() };
        match connection.ask(Request::Upkeep(request)) {
            Ok(Reply::Numbers(versions)) => restored.push(Undeleted { repository, versions }),
            Ok(_) => return Err(CliError::unexpected_reply()),
            // It was not deleted. If it does not exist either, that is the error.
            Err(error) if error.kind == ErrorKind::NotFound => drop(deleted?),
            Err(error) => return Err(error.into()),
        }
    }
    if restored.is_empty() {
        return list(context, &listed);
    }
    if context.json {
        context.output.json(&restored)?;
    } else {
        for Undeleted { repository, versions } in &restored {
            let versions = match versions.as_slice() {
                [] => "without versions".to_owned(),
                some => format!("with {repository}/{}", joined(some)),
            };
            context
                .output
                .line(format_args!("brought back the repository {repository} {versions}"))?;
        }
    }
    // JSON is one document: where something was brought back, that is what it tells.
    if listed.is_empty() || context.json { Ok(()) } else { list(context, &listed) }
}

fn list(context: &mut Context, deleted: &[DeletedInfo]) -> Result<(), CliError> {
    if context.json {
        return Ok(context.output.json(&deleted)?);
    }
    if deleted.is_empty() {
        return Ok(context.output.line("no deleted version can be brought back")?);
    }
    let rows: Vec<_> = deleted.iter().map(row).collect();
    let columns =
        [("VERSION", Right), ("NAME", Left), ("DELETED", Left), ("CAN BE UNDONE UNTIL", Left)];
    Ok(context.output.table(columns, &rows)?)
}

fn row(info: &DeletedInfo) -> [String; 4] {
    [
        format!("{}/{}", info.repository, info.number),
        joined(&info.name),
        instant(&info.deleted),
        instant(&info.until),
    ]
}

/// Asks for all that can be brought back, ascending.
fn all(connection: &mut Connection, repository: &RepoName) -> Result<Vec<DeletedInfo>, CliError> {
    let mut all: Vec<DeletedInfo> = Vec::new();
    loop {
        let after = all.last().map(|version| version.number);
        let request = UpkeepRequest::Deleted { repository: repository.clone(), after };
        let Reply::DeletedVersions(some) = connection.ask(Request::Upkeep(request))? else {
            return Err(CliError::unexpected_reply());
        };
        // A daemon whose answers do not go on from the last one would keep us asking for ever.
        if some.first().is_some_and(|first| Some(first.number) <= after) {
            return Err(CliError::unexpected_reply());
        }
        let complete = some.len() < VERSIONS_MAX;
        all.extend(some);
        if complete {
            return Ok(all);
        }
    }
}

fn undelete(
    connection: &mut Connection,
    repository: RepoName,
    selection: Selection,
) -> Result<Undeleted, CliError> {
    let existing = || {
        let deleted = all(connection, &repository)?;
        Ok(deleted.into_iter().map(|version| version.number).collect())
    };
    let hint = format!("`cairn undelete {repository}` lists what can be brought back");
    let versions = selection.resolve(&repository, existing, &hint)?;
    let request = UpkeepRequest::Undelete { repository: repository.clone(), versions };
    let Reply::Numbers(versions) = connection.ask(Request::Upkeep(request))? else {
        return Err(CliError::unexpected_reply());
    };
    Ok(Undeleted { repository, versions })
}
