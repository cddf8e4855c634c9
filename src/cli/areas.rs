//! `cairn areas`: open staging areas.

use super::Context;
use super::error::CliError;
use super::output::Align::{Left, Right};
use super::output::Output;
use super::text::{instant, joined, printable, time};
use crate::control::areas::AreaInfo;
use crate::control::protocol::Request;
use crate::control::reply::Reply;
use crate::model::name::RepoName;

const HELP: &str = "\
JSON
  an array of {repository, area, directory, base, stale, open_file_count, created, created_seconds,
  expires, expires_seconds, failure}; directory is null without a mount, expires only where a policy
  discards it (`cairn policy --expire-areas`), failure only where the last try to publish it was refused

EXAMPLES
  cairn areas
  cairn areas web --json | jq -r '.[].area'";

/// Arguments of `cairn areas`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct AreasArgs {
    /// Only those of this repository
    #[arg(value_name = "REPO")]
    repository: Option<RepoName>,
}

impl AreasArgs {
    /// Prints the areas.
    ///
    /// # Errors
    /// The repository does not exist.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let request = Request::Areas { repository: self.repository };
        let Reply::Areas(areas) = context.connect()?.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&areas)?);
        }
        print(&mut context.output, &areas)
    }
}

/// Prints areas as a table.
///
/// # Errors
/// The output cannot be written.
pub(super) fn print(output: &mut Output, areas: &[AreaInfo]) -> Result<(), CliError> {
    let rows: Vec<_> = areas
        .iter()
        .map(|area| {
            let stale = if area.stale { " (stale)" } else { "" };
            [
                format!("{}/{}", area.repository, area.name),
                format!("{}{stale}", joined(area.base)),
                area.open_files.to_string(),
                time(&area.created),
                area.expires.as_ref().map_or_else(|| "-".to_owned(), instant),
            ]
        })
        .collect();
    let columns = [
        ("AREA", Left),
        ("BASE", Left),
        ("OPEN FILES", Right),
        ("CREATED", Left),
        ("EXPIRES", Left),
    ];
    output.table(columns, &rows)?;
    for area in areas {
        if let Some(error) = &area.error {
            let error = printable(error);
            output.line(format_args!(
                "{}/{} was not published: {error}",
                area.repository, area.name
            ))?;
        }
    }
    Ok(())
}
