//! `cairn show`: one version.

use super::Context;
use super::error::CliError;
use super::parse::RepositoryVersion;
use super::text::{count, joined, printable, size, time};
use crate::control::protocol::Request;
use crate::control::reply::Reply;
use crate::control::versions::VersionInfo;

const HELP: &str = "\
The hash names the whole content: two versions with the same hash are equal.

JSON
  {repository, number, hash, name, tags, base, author, message, released, locked, file_count,
  directory_count, size_bytes, created, created_seconds}

EXAMPLES
  cairn show web/7
  cairn show web/latest --json | jq -r .hash";

/// Arguments of `cairn show`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct ShowArgs {
    /// The version: a number, a tag or `latest` of a repository
    #[arg(value_name = "REPO/VERSION")]
    version: RepositoryVersion,
}

impl ShowArgs {
    /// Prints the version.
    ///
    /// # Errors
    /// It does not exist.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let request =
            Request::Show { repository: self.version.repository, version: self.version.version };
        let Reply::Version(version) = context.connect()?.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&version)?);
        }
        print(context, &version)
    }
}

fn print(context: &mut Context, version: &VersionInfo) -> Result<(), CliError> {
    let output = &mut context.output;
    output.line(format_args!("version   {}/{}", version.repository, version.number))?;
    output.line(format_args!("hash      {}", version.hash))?;
    output.line(format_args!("created   {}", time(&version.created)))?;
    output.line(format_args!("author    {}", printable(&version.author)))?;
    output.line(format_args!("base      {}", joined(version.base)))?;
    output.line(format_args!("tags      {}", joined(&version.tags)))?;
    output.line(format_args!(
        "content   {}, {}, {}",
        count(version.files, "file"),
        count(version.directories, "directory"),
        size(version.size_bytes)
    ))?;
    output.line(format_args!("flags     {}", flags(version)))?;
    if !version.message.is_empty() {
        output.line("")?;
    }
    for line in version.message.lines() {
        output.line(format_args!("    {}", printable(line)))?;
    }
    Ok(())
}

/// Whether a version is released and locked, in words.
pub(super) fn flags(version: &VersionInfo) -> String {
    let flags = [(version.released, "released"), (version.locked, "locked")];
    joined(flags.iter().filter(|(set, _)| *set).map(|(_, name)| name))
}
