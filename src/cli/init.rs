//! `cairn init`: makes a store.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::Context;
use super::error::CliError;
use crate::model::raw::RawPath;

const HELP: &str = "\
The directory must be missing or empty, and on a local filesystem with hard links. It is made
accessible to its owner alone.

JSON
  {\"store\": PATH}

EXAMPLES
  cairn init /srv/cairn
  cairn init ~/store --json";

/// Arguments of `cairn init`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct InitArgs {
    /// Directory of the new store
    #[arg(value_name = "STORE")]
    directory: PathBuf,
}

impl InitArgs {
    /// Makes the store.
    ///
    /// # Errors
    /// The directory cannot become a store.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        (context.hooks.init)(&self.directory)?;
        // Made absolute, so that the line can be copied to another shell.
        let path = std::path::absolute(&self.directory).unwrap_or(self.directory);
        if context.json {
            let store = RawPath::from(path.as_os_str().as_bytes());
            let document = serde_json::json!({ "store": store });
            return Ok(context.output.json(&document)?);
        }
        let path = super::text::printable(&path.to_string_lossy());
        context.output.line(format_args!("made a store at {path}"))?;
        Ok(context.output.line(format_args!("next: export CAIRN_STORE={path}"))?)
    }
}
