//! `cairn man`: the manual pages.

use std::path::PathBuf;

use super::Context;
use super::error::CliError;
use crate::control::protocol::ErrorKind;

const HELP: &str = "\
JSON
  with DIR: {\"directory\": PATH}; without it the page is printed as it is

EXAMPLES
  cairn man | man -l -
  cairn man /usr/local/share/man/man1
  cairn man /tmp/pages --json";

/// Arguments of `cairn man`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct ManArgs {
    /// Directory to write one page per subcommand to; without it the main page is printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl ManArgs {
    /// Prints or writes the pages.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let Some(directory) = self.directory else {
            return Ok(clap_mangen::Man::new(super::command()).render(context.output.writer())?);
        };
        let failed = |error: std::io::Error| {
            let message = format!("cannot write to {}: {error}", directory.display());
            CliError::new(ErrorKind::Failed, message)
        };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        clap_mangen::generate_to(super::command(), &directory).map_err(failed)?;
        if context.json {
            let document = serde_json::json!({ "directory": directory.to_string_lossy() });
            return Ok(context.output.json(&document)?);
        }
        let directory = super::text::printable(&directory.to_string_lossy());
        Ok(context.output.line(format_args!("wrote the pages to {directory}"))?)
    }
}
