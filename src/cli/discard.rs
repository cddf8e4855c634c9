//! `cairn discard`: throws a staging area away.

use super::Context;
use super::error::CliError;
use super::parse::RepositoryArea;
use crate::control::protocol::Request;
use crate::control::reply::Reply;

const HELP: &str = "\
Takes no time whatever the area's size; the space returns in the background. The same as
`rm -rf MNT/staging/REPO/NAME`.

JSON
  {repository, area}

EXAMPLES
  cairn discard web/b42
  cairn discard web/b43@7 --json";

/// Arguments of `cairn discard`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct DiscardArgs {
    /// The staging area; its base may be left out
    #[arg(value_name = "REPO/NAME")]
    area: RepositoryArea,
}

impl DiscardArgs {
    /// Throws the area away.
    ///
    /// # Errors
    /// It does not exist.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let RepositoryArea { repository, area } = self.area;
        let request = Request::Discard { repository: repository.clone(), area: area.clone() };
        let Reply::Done = context.connect()?.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            let document = serde_json::json!({ "repository": repository, "area": area });
            return Ok(context.output.json(&document)?);
        }
        Ok(context.output.line(format_args!("discarded {repository}/{area}"))?)
    }
}
