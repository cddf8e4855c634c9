//! `cairn refresh`: has an edge ask its bucket for news now.

use super::Context;
use super::error::CliError;
use crate::control::protocol::Request;
use crate::control::reply::Reply;
use crate::model::text::count;

const HELP: &str = "\
An edge (`cairn mount --edge`) asks its bucket for news once a minute, or as often as --poll says. This has it ask now, and look at
the log of each repository. With --wait it returns when all that is new is here, or fails with the reason why not.

JSON
  {remote, url, …}: edge as in `cairn status`

EXAMPLES
  cairn refresh --wait
  cairn refresh --wait --json | jq .missing_version_count";

/// Arguments of `cairn refresh`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct RefreshArgs {
    /// Return once all that is new is here
    #[arg(long)]
    wait: bool,
}

impl RefreshArgs {
    /// Asks.
    ///
    /// # Errors
    /// The store is no edge, or no daemon follows its bucket; with `--wait`, why not all is here.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let request = Request::Refresh { wait: self.wait };
        let Reply::Edge(edge) = context.connect()?.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&*edge)?);
        }
        let followed = count(edge.followed, "repository");
        if self.wait {
            return Ok(context.output.line(format_args!("{followed} as in {}", edge.url))?);
        }
        Ok(context.output.line(format_args!("asked {} for news", edge.url))?)
    }
}
