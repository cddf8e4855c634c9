//! `cairn lock`: keeps versions from being deleted.

use super::error::CliError;
use super::parse::VersionTarget;
use super::{Context, flag};
use crate::control::flag::Flag;

const HELP: &str = "\
A locked version is never deleted: not by retention, and not by `cairn delete --force`. It does not
count among those that a policy keeps. REPO/3-5 means every version from 3 to 5 that exists. Of one
repository all the named versions are changed, or none.

JSON
  an array with one element per repository: {repository, numbers, locked}

EXAMPLES
  cairn lock web/7
  cairn lock web/3-5 web/v1.0 --json
  cairn lock web/7 --undo";

/// Arguments of `cairn lock`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct LockArgs {
    /// Versions: a number, a range, a tag or `latest` of a repository
    #[arg(value_name = "REPO/VERSION", required = true)]
    targets: Vec<VersionTarget>,
    /// Unlock them
    #[arg(long)]
    undo: bool,
}

impl LockArgs {
    /// Locks, or unlocks.
    ///
    /// # Errors
    /// A version does not exist.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        flag::run(context, self.targets, Flag::Locked, !self.undo)
    }
}
