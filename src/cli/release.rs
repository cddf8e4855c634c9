//! `cairn release`: marks versions as released.

use super::error::CliError;
use super::parse::VersionTarget;
use super::{Context, flag};
use crate::control::flag::Flag;

const HELP: &str = "\
A released version has a retention class of its own (`cairn policy --keep-released`), and
`cairn delete` takes it with --force only. REPO/3-5 means every version from 3 to 5 that exists. Of
one repository all the named versions are changed, or none.

JSON
  an array with one element per repository: {repository, numbers, released}

EXAMPLES
  cairn release web/7
  cairn release web/3-5 web/v1.0 --json
  cairn release web/7 --undo";

/// Arguments of `cairn release`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct ReleaseArgs {
    /// Versions: a number, a range, a tag or `latest` of a repository
    #[arg(value_name = "REPO/VERSION", required = true)]
    targets: Vec<VersionTarget>,
    /// Take it back
    #[arg(long)]
    undo: bool,
}

impl ReleaseArgs {
    /// Releases, or takes it back.
    ///
    /// # Errors
    /// A version does not exist.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        flag::run(context, self.targets, Flag::Released, !self.undo)
    }
}
