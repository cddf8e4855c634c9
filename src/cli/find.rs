//! `cairn find`: in which versions a path is.

use std::io;

use super::Context;
use super::error::CliError;
use super::output::Output;
use super::parse::parse_version;
use super::text::escape_path;
use crate::control::find::{FindRequest, FoundPath, VersionRange};
use crate::control::protocol::{Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::model::name::{BaseName, RepoName};
use crate::model::path_pattern::PathPattern;

const HELP: &str = "\
Prints the paths that match, in path order, each after the versions that have it: `3-7,9` are all
versions that there are from 3 to 7, and 9. Directories end in `/`. A pattern without a slash is
compared with names, wherever they are; one with a slash with whole paths from the top of a
version. `*` and `?` (one byte) match no slash, `**` as a whole name matches any number of
directories, `[a-z]` and `{a,b}` are as in a shell, and a slash at the end asks for directories.
Quote it, or the shell replaces it. What versions have in common is looked at once. If nothing
matches, the exit status is 3.

JSON
  one line per path: {path, is_directory, version_ranges}; version_ranges is an array of {from,
  to}, numbers of versions, both included

EXAMPLES
  cairn find web '*.html'
  cairn find tools 'usr/**/libssl.so*' --version latest
  cairn find web 'conf/' --json | jq -r .path";

/// Arguments of `cairn find`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct FindArgs {
    /// The repository
    #[arg(value_name = "REPO")]
    repository: RepoName,
    /// Pattern of names, or of whole paths if it has a slash
    #[arg(value_name = "GLOB")]
    pattern: PathPattern,
    /// Look in this version only: a number, a tag or `latest`
    #[arg(long = "version", value_name = "VERSION", value_parser = parse_version)]
    only: Option<BaseName>,
}

impl FindArgs {
    /// Prints the paths as they arrive.
    ///
    /// # Errors
    /// The repository or version does not exist, nothing matches, or the output cannot be written.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let Self { repository, pattern, only: version } = self;
        let request = Request::Find(FindRequest { repository, pattern, version });
        let mut connection = context.connect()?;
        let (output, json) = (&mut context.output, context.json);
        // The first failure ends the printing; what still arrives is read and dropped.
        let mut printed = Ok(());
        let mut progress = |progress: Progress| {
            if let Progress::Found(paths) = progress
                && printed.is_ok()
            {
                printed = print(output, json, &paths);
            }
        };
        let (reply, _) = connection.call(request, Attachment::none(), &mut progress)?;
        printed?;
        match reply {
            Reply::Done => Ok(()),
            _ => Err(CliError::unexpected_reply()),
        }
    }
}

fn print(output: &mut Output, json: bool, paths: &[FoundPath]) -> io::Result<()> {
    for found in paths {
        if json {
            output.json(found)?;
            continue;
        }
        let path = escape_path(found.path.as_bytes());
        let slash = if found.is_directory { "/" } else { "" };
        output.line(format_args!("{:<11} {path}{slash}", versions(&found.version_ranges)))?;
    }
    Ok(())
}

/// `3-7,9`
fn versions(ranges: &[VersionRange]) -> String {
    let range = |range: &VersionRange| match range.from == range.to {
        true => range.from.to_string(),
        false => format!("{}-{}", range.from, range.to),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}
