//! `cairn delete`: deletes versions and empty repositories.

use std::io;

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::output::Output;
use super::parse::DeleteTarget;
use super::selection::{self, Selection};
use super::text::joined;
use crate::control::client::Connection;
use crate::control::protocol::Request;
use crate::control::reply::Reply;
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;

const HELP: &str = "\
REPO/3-5 means every version from 3 to 5 that exists; a tag of that form must be named by its
number. REPO alone deletes a repository, which must have no versions and no staging areas left; it
may follow its versions on one line. Of one repository all the named versions are deleted, or none.

A locked version is never deleted; a released, newest or tagged one only with --force. Returns at
once; the space returns in the background, once the protection time is over (`cairn mount
--protect`, 10m by default): until then `cairn undelete` brings a version or a repository back.
Staging areas based on a deleted version keep what they need, and open files stay readable.
Numbers are not used again.

JSON
  an array with one element per repository: {repository, numbers, repository_deleted}

EXAMPLES
  cairn delete web/7
  cairn delete web/3-5 web/old-name --json
  cairn delete old/1-99 old --force";

/// Arguments of `cairn delete`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct DeleteArgs {
    /// Versions (a number, a range, a tag or `latest` of a repository), or empty repositories
    #[arg(value_name = "REPO[/VERSION]", required = true)]
    targets: Vec<DeleteTarget>,
    /// Also what is released, newest or tagged
    #[arg(long)]
    force: bool,
}

/// What was deleted of one repository.
#[derive(Debug, Serialize)]
struct Deleted {
    repository: RepoName,
    #[serde(rename = "numbers")]
    versions: Vec<VersionNumber>,
    repository_deleted: bool,
}

impl DeleteArgs {
    /// Deletes, repository by repository in the order of their names.
    ///
    /// # Errors
    /// The first refusal; what was deleted before it is printed.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        selection::for_each(
            context,
            selection::by_repository(self.targets),
            |connection, repository, selection| {
                delete(connection, repository, selection, self.force)
            },
            print,
        )
    }
}

fn delete(
    connection: &mut Connection,
    repository: RepoName,
    selection: Selection,
    force: bool,
) -> Result<Deleted, CliError> {
    let (itself, none) = (selection.itself, selection.is_empty());
    let existing = || super::versions::numbers(connection, &repository);
    let hint = format!("`cairn versions {repository}` lists them");
    let versions = selection.resolve(&repository, existing, &hint)?;
    let mut deleted = Vec::new();
    if !none {
        let request = Request::Delete { repository: repository.clone(), versions, force };
        let Reply::Deleted(reply) = connection.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
        deleted = reply.deleted;
    }
    if itself {
        let request = Request::DeleteRepository { name: repository.clone() };
        let Reply::Done = connection.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
    }
    Ok(Deleted { repository, versions: deleted, repository_deleted: itself })
}

fn print(output: &mut Output, deleted: &Deleted) -> io::Result<()> {
    let repository = &deleted.repository;
    if !deleted.versions.is_empty() {
        let versions = joined(&deleted.versions);
        output.line(format_args!("deleted {repository}/{versions}"))?;
    }
    if deleted.repository_deleted {
        output.line(format_args!("deleted the repository {repository}"))?;
    }
    Ok(())
}
