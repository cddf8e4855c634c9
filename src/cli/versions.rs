//! `cairn versions`: the versions of a repository.

use super::Context;
use super::error::CliError;
use super::output::Align::{Left, Right};
use super::text::{joined, size, time};
use crate::control::client::Connection;
use crate::control::protocol::{Request, VERSIONS_MAX};
use crate::control::reply::Reply;
use crate::control::versions::VersionInfo;
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;

const HELP: &str = "\
JSON
  an array of versions as in `cairn show`

EXAMPLES
  cairn versions web
  cairn versions web --json | jq '.[-1].number'";

/// Arguments of `cairn versions`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct VersionsArgs {
    /// The repository
    #[arg(value_name = "REPO")]
    repository: RepoName,
}

impl VersionsArgs {
    /// Prints the versions.
    ///
    /// # Errors
    /// The repository does not exist.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let versions = all(&mut context.connect()?, &self.repository)?;
        if context.json {
            return Ok(context.output.json(&versions)?);
        }
        let rows: Vec<_> = versions.iter().map(row).collect();
        let columns = [
            ("VERSION", Right),
            ("CREATED", Left),
            ("FILES", Right),
            ("SIZE", Right),
            ("TAGS", Left),
            ("FLAGS", Left),
            ("AUTHOR", Left),
            ("MESSAGE", Left),
        ];
        Ok(context.output.table(columns, &rows)?)
    }
}

/// Asks for all versions of a repository, oldest first.
///
/// # Errors
/// The repository does not exist.
pub(super) fn all(
    connection: &mut Connection,
    repository: &RepoName,
) -> Result<Vec<VersionInfo>, CliError> {
    let mut all: Vec<VersionInfo> = Vec::new();
    loop {
        let after = all.last().map(|version| version.number);
        let request = Request::Versions { repository: repository.clone(), after };
        let Reply::Versions(some) = connection.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
        let complete = some.len() < VERSIONS_MAX;
        // A daemon whose answers do not go on from the last one would keep us asking for ever.
        if some.first().map(|version| version.number) <= after && !some.is_empty() {
            return Err(CliError::unexpected_reply());
        }
        all.extend(some);
        if complete {
            return Ok(all);
        }
    }
}

/// Asks for the numbers of all versions of a repository, ascending.
///
/// # Errors
/// The repository does not exist.
pub(super) fn numbers(
    connection: &mut Connection,
    repository: &RepoName,
) -> Result<Vec<VersionNumber>, CliError> {
    Ok(all(connection, repository)?.into_iter().map(|version| version.number).collect())
}

fn row(version: &VersionInfo) -> [String; 8] {
    [
        version.number.to_string(),
        time(&version.created),
        version.files.to_string(),
        size(version.size_bytes),
        joined(&version.tags),
        super::show::flags(version),
        version.author.clone(),
        version.message.lines().next().unwrap_or_default().to_owned(),
    ]
}
