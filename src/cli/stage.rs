//! `cairn stage`: opens a staging area.

use super::Context;
use super::error::CliError;
use super::parse::{RepositoryArea, parse_version};
use crate::control::protocol::{ErrorKind, Request};
use crate::control::reply::Reply;
use crate::model::name::BaseName;

const HELP: &str = "\
The area is empty, or starts as a copy of a version, which takes no time whatever its size. The
same as `mkdir MNT/staging/REPO/NAME` or `mkdir MNT/staging/REPO/NAME@VERSION`. Prints where the
area is.

JSON
  the area, as in `cairn areas`

EXAMPLES
  cairn stage web/b42
  cd \"$(cairn stage web/b43 --from latest)\"
  cairn stage web/b44@7 --json";

/// Arguments of `cairn stage`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct StageArgs {
    /// The area; NAME@VERSION is the same as NAME --from VERSION
    #[arg(value_name = "REPO/NAME")]
    area: RepositoryArea,
    /// The version to start from: a number, a tag or `latest`
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    from: Option<BaseName>,
}

impl StageArgs {
    /// Opens the area.
    ///
    /// # Errors
    /// The repository or the version does not exist, or an area of that name does.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let from = match (self.area.area.base(), self.from) {
            (Some(_), Some(_)) => {
                let message = "the version to start from was given twice";
                return Err(CliError::new(ErrorKind::Usage, message));
            }
            (base, from) => base.or(from),
        };
        let name = self.area.area.label().parse();
        let request = Request::Stage {
            repository: self.area.repository,
            name: name.map_err(|error| CliError::new(ErrorKind::Usage, format!("{error}")))?,
            from,
        };
        let Reply::Area(area) = context.connect()?.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&area)?);
        }
        // Not escaped, since it is meant for `cd "$(…)"`. Names of areas have no control
        // characters.
        match &area.path {
            Some(path) => Ok(context.output.line(path)?),
            None => Ok(context.output.line(format_args!("{}/{}", area.repository, area.name))?),
        }
    }
}
