//! `cairn completions`: scripts that complete the command line.

use clap_complete::Shell;
use clap_complete::env::Shells;

use super::Context;
use super::complete::VARIABLE;
use super::error::CliError;
use crate::control::protocol::ErrorKind;

const HELP: &str = "\
The script has the shell ask `cairn` at each TAB: for options, paths, and for the repositories,
versions, areas and tags of the store that the command would use (--store, CAIRN_STORE, or the one
that is mounted). It asks the store's daemon, and waits a second at most; where none runs, the
catalog is read as it is.

JSON
  {shell, script}

EXAMPLES
  cairn completions bash > ~/.local/share/bash-completion/completions/cairn
  cairn completions zsh > ~/.zfunc/_cairn
  cairn completions fish > ~/.config/fish/completions/cairn.fish";

/// Arguments of `cairn completions`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the script.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let shells = Shells::builtins();
        let name = self.shell.to_string();
        let shell = shells.completer(&name).ok_or_else(|| {
            CliError::new(ErrorKind::Usage, format!("there is no completion for {name}"))
        })?;
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, "cairn", "cairn", "cairn", &mut script)?;
        if context.json {
            let script = String::from_utf8_lossy(&script);
            let document = serde_json::json!({ "shell": name, "script": script });
            return Ok(context.output.json(&document)?);
        }
        Ok(context.output.writer().write_all(&script)?)
    }
}
