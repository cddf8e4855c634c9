//! `cairn diff`: what changed between two versions.

use std::io;

use super::Context;
use super::error::CliError;
use super::output::Output;
use super::parse::RepositoryVersion;
use super::text::escape_path;
use crate::control::diff::{DiffEntry, DiffKind};
use crate::control::protocol::{Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;

const HELP: &str = "\
Prints one path per line, in path order: `A` for one that only the second version has, `D` for one
that only the first has, `M` for one whose content or attributes differ. Directories end in `/`.
Control characters and bytes that are not UTF-8 are escaped as `ls -b` does. Equal subtrees are
skipped by hash, so the time depends on the difference alone. The exit code is 0 whether the
versions differ or not.

JSON
  one line per path: {change, path, is_directory, attributes_only}; a path that is not UTF-8 is
  {\"bytes\": [...]}. With --stat one document: {added_count, removed_count, modified_count}

EXAMPLES
  cairn diff web/7 web/8
  cairn diff web/v1.0 web/latest --stat
  cairn diff web/7 web/8 --json | jq -r 'select(.change == \"A\").path'";

/// Arguments of `cairn diff`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct DiffArgs {
    /// The first version
    #[arg(value_name = "REPO/VERSION")]
    first: RepositoryVersion,
    /// The second version, of the same or another repository
    #[arg(value_name = "REPO/VERSION")]
    second: RepositoryVersion,
    /// Print the numbers of added, removed and modified paths only
    #[arg(long)]
    stat: bool,
}

impl DiffArgs {
    /// Prints the differences as they arrive.
    ///
    /// # Errors
    /// A version does not exist, or the output cannot be written.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let request = Request::Diff {
            repository: self.first.repository,
            first: self.first.version,
            other_repository: self.second.repository,
            second: self.second.version,
        };
        let mut connection = context.connect()?;
        let (output, json, stat) = (&mut context.output, context.json, self.stat);
        // The first failure ends the printing; what still arrives is read and dropped.
        let mut printed = Ok(());
        let mut progress = |progress: Progress| {
            if let Progress::Changes(changes) = progress
                && !stat
                && printed.is_ok()
            {
                printed = print(output, json, &changes);
            }
        };
        let (reply, _) = connection.call(request, Attachment::none(), &mut progress)?;
        printed?;
        let Reply::Diff(totals) = reply else {
            return Err(CliError::unexpected_reply());
        };
        if !self.stat {
            return Ok(());
        }
        if context.json {
            return Ok(context.output.json(&totals)?);
        }
        Ok(context.output.line(format_args!(
            "{} added, {} removed, {} modified",
            totals.added, totals.removed, totals.modified
        ))?)
    }
}

fn print(output: &mut Output, json: bool, changes: &[DiffEntry]) -> io::Result<()> {
    for change in changes {
        if json {
            output.json(change)?;
            continue;
        }
        let letter = match change.change {
            DiffKind::Added => 'A',
            DiffKind::Removed => 'D',
            DiffKind::Modified => 'M',
        };
        let path = escape_path(change.path.as_bytes());
        let slash = if change.directory { "/" } else { "" };
        output.line(format_args!("{letter} {path}{slash}"))?;
    }
    Ok(())
}
