//! `cairn list`: the repositories of a store.

use super::Context;
use super::error::CliError;
use super::output::Align::{Left, Right};
use super::text::{joined, time};
use crate::control::protocol::Request;
use crate::control::reply::Reply;

const HELP: &str = "\
JSON
  an array of {repository, mode, uid, gid, version_count, latest, area_count, tag_count, created,
  created_seconds}; mode is text in octal

EXAMPLES
  cairn list
  cairn list --json | jq -r '.[].repository'";

/// Arguments of `cairn list`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct ListArgs {}

impl ListArgs {
    /// Prints the repositories.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let Reply::Repositories(repositories) = context.connect()?.ask(Request::Repositories)?
        else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&repositories)?);
        }
        let rows: Vec<_> = repositories
            .iter()
            .map(|repository| {
                [
                    repository.name.to_string(),
                    repository.versions.to_string(),
                    joined(repository.latest),
                    repository.tags.to_string(),
                    repository.areas.to_string(),
                    time(&repository.created),
                ]
            })
            .collect();
        let columns = [
            ("REPOSITORY", Left),
            ("VERSIONS", Right),
            ("LATEST", Right),
            ("TAGS", Right),
            ("AREAS", Right),
            ("CREATED", Left),
        ];
        Ok(context.output.table(columns, &rows)?)
    }
}
