//! `cairn create`: makes a repository.

use super::Context;
use super::error::CliError;
use super::parse::parse_mode;
use crate::control::protocol::Request;
use crate::control::reply::Reply;
use crate::model::name::RepoName;

const HELP: &str = "\
The caller owns the repository. The same as `mkdir MNT/staging/REPO`.

JSON
  {repository, mode, uid, gid, version_count, latest, area_count, tag_count, created,
  created_seconds}; mode is text in octal

EXAMPLES
  cairn create web
  cairn create private --mode 700 --json";

/// Arguments of `cairn create`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct CreateArgs {
    /// Name of the new repository
    #[arg(value_name = "REPO")]
    repository: RepoName,
    /// Permission bits of its directories, in octal [default: 755]
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    mode: Option<u16>,
}

impl CreateArgs {
    /// Makes the repository.
    ///
    /// # Errors
    /// It exists, or the store refuses changes.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let request = Request::CreateRepository { name: self.repository, mode: self.mode };
        let Reply::Repository(repository) = context.connect()?.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&repository)?);
        }
        Ok(context.output.line(format_args!("made the repository {}", repository.name))?)
    }
}
