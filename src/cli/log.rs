//! `cairn log`: what changed from version to version.

use super::Context;
use super::error::CliError;
use super::output::Align::{Left, Right};
use super::parse::{parse_count, parse_path};
use super::text::{joined, size, time};
use crate::control::diff::DiffKind;
use crate::control::log::{LogEntry, LogRequest};
use crate::control::protocol::{Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::model::name::RepoName;
use crate::model::raw::RawPath;

const HELP: &str = "\
Lists the newest version first, each with the size of what it changed since the version before it
that there still is: paths added (+), modified (~) and removed (-), and bytes of content that
came and went. With a PATH it lists only the versions in which that file, or something in that
directory, changed; `A` says that it was added there, `D` removed, `M` modified. Equal subtrees
are skipped by hash, so the time depends on what changed. `cairn diff` lists the paths.

JSON
  one line per version: {version, since, change, added_count, removed_count, modified_count,
  added_bytes, removed_bytes}; version as in `cairn show`, since is the number of the version
  that it is compared with, null for the first, change is A, D or M, null without a PATH

EXAMPLES
  cairn log web
  cairn log web etc/nginx -n 5
  cairn log web index.html --json | jq -r 'select(.change == \"M\").version.author'";

/// Arguments of `cairn log`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct LogArgs {
    /// The repository
    #[arg(value_name = "REPO")]
    repository: RepoName,
    /// Only versions in which this path changed: a file, or a directory with all that is in it
    #[arg(value_name = "PATH", value_parser = parse_path())]
    path: Option<RawPath>,
    /// List so many versions at most
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = parse_count)]
    limit: Option<u64>,
}

impl LogArgs {
    /// Prints the versions.
    ///
    /// # Errors
    /// The repository does not exist, or no version has the path.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let request = Request::Log(LogRequest {
            repository: self.repository,
            path: self.path.unwrap_or_default(),
            limit: self.limit,
        });
        let mut connection = context.connect()?;
        let (output, json) = (&mut context.output, context.json);
        let (mut rows, mut printed) = (Vec::new(), Ok(()));
        let mut progress = |progress: Progress| {
            let Progress::Log(entries) = progress else { return };
            for entry in &entries {
                match json {
                    // The first failure ends the printing; what still arrives is read and dropped.
                    true if printed.is_ok() => printed = output.json(entry),
                    true => {}
                    false => rows.push(row(entry)),
                }
            }
        };
        let (reply, _) = connection.call(request, Attachment::none(), &mut progress)?;
        printed?;
        let Reply::Done = reply else { return Err(CliError::unexpected_reply()) };
        let columns = [
            ("VERSION", Right),
            ("CREATED", Left),
            ("CHANGES", Left),
            ("BYTES", Left),
            ("TAGS", Left),
            ("AUTHOR", Left),
            ("MESSAGE", Left),
        ];
        Ok(context.output.table(columns, &rows)?)
    }
}

fn row(entry: &LogEntry) -> [String; 7] {
    let LogEntry { version, change, size: changed, .. } = entry;
    let letter = match change {
        None => "",
        Some(DiffKind::Added) => "A ",
        Some(DiffKind::Removed) => "D ",
        Some(DiffKind::Modified) => "M ",
    };
    let (added, removed) = (changed.added_bytes, changed.removed_bytes);
    let bytes = match (added, removed) {
        (0, 0) => "-".to_owned(),
        (added, 0) => format!("+{}", size(added)),
        (0, removed) => format!("-{}", size(removed)),
        (added, removed) => format!("+{} -{}", size(added), size(removed)),
    };
    [
        version.number.to_string(),
        time(&version.created),
        format!("{letter}+{} ~{} -{}", changed.added, changed.modified, changed.removed),
        bytes,
        joined(&version.tags),
        version.author.clone(),
        version.message.lines().next().unwrap_or_default().to_owned(),
    ]
}
