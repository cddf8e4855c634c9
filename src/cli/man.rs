//! `cairn man`: the manual pages.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::Context;
use super::error::CliError;
use crate::control::protocol::ErrorKind;
use crate::control::transfer::RawPath;

const HELP: &str = "\
JSON
  with DIR: {directory}; without it: {page}, the main page as text

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
            let mut page = Vec::new();
            clap_mangen::Man::new(super::command()).render(&mut page)?;
            if context.json {
                let page = String::from_utf8_lossy(&page);
                return Ok(context.output.json(&serde_json::json!({ "page": page }))?);
            }
            return Ok(context.output.writer().write_all(&page)?);
        };
        let failed = |error: std::io::Error| {
            let message = format!("cannot write to {}: {error}", directory.display());
            CliError::new(ErrorKind::Failed, message)
        };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        clap_mangen::generate_to(super::command(), &directory).map_err(failed)?;
        if context.json {
            let directory = RawPath::from(directory.as_os_str().as_bytes());
            let document = serde_json::json!({ "directory": directory });
            return Ok(context.output.json(&document)?);
        }
        let directory = super::text::printable(&directory.to_string_lossy());
        Ok(context.output.line(format_args!("wrote the pages to {directory}"))?)
    }
}
