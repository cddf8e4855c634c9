//! `cairn commit`: publishes a staging area.

use super::Context;
use super::error::CliError;
use super::parse::RepositoryArea;
use super::progress::ProgressLine;
use super::text::{count, size};
use crate::control::commit::{CommitReply, CommitRequest};
use crate::control::protocol::{ControlError, ErrorDetail, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::model::name::TagName;

const HELP: &str = "\
Readers see no version or all of it. Without --tag the version gets the area's name, as with
`mv MNT/staging/REPO/NAME MNT/tags/REPO/`; where a version has it already, or none can have it
(`latest`), the commit is refused. An area called by a number becomes the version of that number,
which must be the next. When the area holds what the newest version holds, no
version is made.

A commit is refused, and the area stays, while files in it are open for writing (exit code 4), and
when versions came after the one the area started from (exit code 5); both are listed.
Interrupting a command that waits takes its commit back, unless it is being published already.

JSON
  {changed, version, tag, skipped}; version as in `cairn show`

EXAMPLES
  cairn commit web/b42 -m 'first build'
  cairn commit web/b43 --tag v1.1 --wait
  cairn commit web/b44 --onto-latest --json | jq .version.number";

/// Arguments of `cairn commit`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct CommitArgs {
    /// The staging area; its base may be left out
    #[arg(value_name = "REPO/NAME")]
    area: RepositoryArea,
    /// Text to keep with the version
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who commits [default: the caller's user name]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Name of the version [default: the area's name]
    #[arg(short, long, value_name = "TAG")]
    tag: Option<TagName>,
    /// Give the version no name
    #[arg(long, conflicts_with = "tag")]
    untagged: bool,
    /// Wait until no file is open for writing
    #[arg(long)]
    wait: bool,
    /// Publish although other versions came after the base, without what they changed
    #[arg(long, conflicts_with = "onto_latest")]
    force: bool,
    /// Merge with the newest version, file by file; conflicts are listed and refused
    #[arg(long)]
    onto_latest: bool,
    /// Make a version even when nothing changed
    #[arg(long)]
    allow_empty: bool,
}

impl CommitArgs {
    /// Publishes the area.
    ///
    /// # Errors
    /// It does not exist, has open files, or its base is stale.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = format!("{}/{}", self.area.repository, self.area.area);
        let request = Request::Commit(CommitRequest {
            repository: self.area.repository,
            area: self.area.area,
            tag: self.tag,
            untagged: self.untagged,
            message: self.message,
            author: self.author,
            wait: self.wait,
            force: self.force,
            onto_latest: self.onto_latest,
            allow_empty: self.allow_empty,
        });
        let mut connection = context.connect()?;
        let mut line = ProgressLine::new(context.json);
        let result = connection.call(request, Attachment::none(), &mut |step| line.show(&step));
        drop(line);
        let (reply, _) = result.map_err(|error| advise(error, &target))?;
        let Reply::Commit(commit) = reply else {
            return Err(CliError::unexpected_reply());
        };
        print(context, &commit)
    }
}

/// Prints the result of a commit or an import.
///
/// # Errors
/// The output cannot be written.
pub(crate) fn print(context: &mut Context, commit: &CommitReply) -> Result<(), CliError> {
    if context.json {
        return Ok(context.output.json(commit)?);
    }
    let version = &commit.version;
    let target = format!("{}/{}", version.repository, version.number);
    let tag = match &commit.tag {
        Some(tag) => format!(", tagged {tag}"),
        None => String::new(),
    };
    if !commit.changed {
        return Ok(context.output.line(format_args!("nothing changed since {target}{tag}"))?);
    }
    let (files, bytes) = (count(version.files, "file"), size(version.size_bytes));
    Ok(context.output.line(format_args!("{target}: {files}, {bytes}{tag}"))?)
}

/// Adds a hint where the daemon gave none.
fn advise(error: ControlError, target: &str) -> ControlError {
    let hint = match (&error.hint, error.detail.as_deref()) {
        (Some(_), _) => return error,
        (None, Some(ErrorDetail::StaleBase { .. })) => format!(
            "`cairn commit {target} --onto-latest` merges with them, `--force` publishes over them"
        ),
        (None, Some(ErrorDetail::OpenFiles(_))) => {
            format!("close them, or let `cairn commit {target} --wait` wait for it")
        }
        (None, Some(ErrorDetail::Conflicts(_))) => {
            "put these paths of the area right, then commit with --force".to_owned()
        }
        (
            None,
            Some(
                ErrorDetail::Locked { .. }
                | ErrorDetail::RemoteChanged { .. }
                | ErrorDetail::FailedFiles { .. }
                | ErrorDetail::Unreadable { .. },
            )
            | None,
        ) => {
            return error;
        }
    };
    error.with_hint(hint)
}
