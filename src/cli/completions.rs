//! `cairn completions`: scripts that complete the command line.

use clap_complete::Shell;

use super::Context;
use super::error::CliError;

const HELP: &str = "\
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
        // Generated into memory: clap_complete panics when its writer fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "cairn", &mut script);
        if context.json {
            let (shell, script) = (self.shell.to_string(), String::from_utf8_lossy(&script));
            let document = serde_json::json!({ "shell": shell, "script": script });
            return Ok(context.output.json(&document)?);
        }
        Ok(context.output.writer().write_all(&script)?)
    }
}
