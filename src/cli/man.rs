//! `cairn man`: the manual pages.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;

use super::Context;
use super::error::CliError;
use crate::control::protocol::ErrorKind;
use crate::model::raw::RawPath;

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
        let mut command = super::command().disable_help_subcommand(true);
        command.build();
        let Some(directory) = self.directory else {
            let mut text = Vec::new();
            page(&command, &mut text)?;
            if context.json {
                let page = String::from_utf8_lossy(&text);
                return Ok(context.output.json(&serde_json::json!({ "page": page }))?);
            }
            return Ok(context.output.writer().write_all(&text)?);
        };
        let failed = |error: std::io::Error| {
            let message = format!("cannot write to {}: {error}", directory.display());
            CliError::new(ErrorKind::Failed, message)
        };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        for command in command.get_subcommands().chain([&command]) {
            let mut text = Vec::new();
            page(command, &mut text)?;
            let name = Man::new(command.clone()).get_filename();
            std::fs::write(directory.join(name), text).map_err(failed)?;
        }
        if context.json {
            let directory = RawPath::from(directory.as_os_str().as_bytes());
            let document = serde_json::json!({ "directory": directory });
            return Ok(context.output.json(&document)?);
        }
        let directory = super::text::printable(&directory.to_string_lossy());
        Ok(context.output.line(format_args!("wrote the pages to {directory}"))?)
    }
}

/// Writes one page. All but its synopsis is clap's, which shows options without the names of their values.
fn page(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let man = Man::new(command.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    out.write_all(synopsis(command).as_bytes())?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    man.render_extra_section(out)?;
    if command.get_version().is_some() {
        man.render_version_section(out)?;
    }
    Ok(())
}

/// The section SYNOPSIS: `cairn mount [--protect DURATION] … STORE MNT`.
fn synopsis(command: &Command) -> String {
    let shown = || command.get_arguments().filter(|argument| !argument.is_hide_set());
    let (positional, options): (Vec<_>, Vec<_>) = shown().partition(|a| a.is_positional());
    let mut words = vec![bold(command.get_bin_name().unwrap_or_else(|| command.get_name()))];
    words.extend(options.into_iter().map(option));
    words.extend(positional.into_iter().map(|argument| {
        let more = if takes_several(argument) { "..." } else { "" };
        bracketed(argument, format!("{}{more}", values(argument)))
    }));
    if command.has_subcommands() {
        words.push(format!("{} [\\fIARGUMENTS\\fR]", italic("COMMAND")));
    }
    format!(".SH SYNOPSIS\n{}\n", words.join(" "))
}

/// `[-m|--message TEXT]`
fn option(argument: &Arg) -> String {
    let short = argument.get_short().map(|short| bold(&format!("-{short}")));
    let long = argument.get_long().map(|long| bold(&format!("--{long}")));
    let mut text = short.into_iter().chain(long).collect::<Vec<_>>().join("|");
    if argument.get_action().takes_values() {
        text.push_str(&format!(" {}", values(argument)));
    }
    let more = if takes_several(argument) { "..." } else { "" };
    format!("{}{more}", bracketed(argument, text))
}

fn takes_several(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Append)
}

fn bracketed(argument: &Arg, text: String) -> String {
    if argument.is_required_set() { text } else { format!("[{text}]") }
}

/// The names of the values, as the usage has them.
fn values(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().map(|name| italic(name)).collect::<Vec<_>>().join(" ")
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", roff(text))
}

fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", roff(text))
}

/// A hyphen that is typed is not the one of a hyphenated word.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(command: &Command) -> String {
        let text = synopsis(command).replace("\\-", "-");
        ["\\fB", "\\fI", "\\fR"].iter().fold(text, |text, font| text.replace(font, ""))
    }

    #[test]
    fn the_synopsis_names_values() {
        let mut command = crate::cli::command();
        command.build();
        let main = plain(&command);
        assert!(main.starts_with(".SH SYNOPSIS\ncairn [--store PATH] [--json]"), "{main}");
        assert!(main.ends_with(" COMMAND [ARGUMENTS]\n"), "{main}");
        for (verb, words) in [
            (
                "commit",
                &["cairn commit [-m|--message TEXT]", "[-t|--tag TAG]", "] REPO/NAME\n"][..],
            ),
            ("mount", &["[--protect DURATION]", "[--store PATH]", "] STORE MNT\n"]),
            ("delete", &["] REPO[/VERSION]...\n"]),
            ("areas", &["] [REPO]\n"]),
        ] {
            let page = plain(command.find_subcommand(verb).unwrap());
            for word in words {
                assert!(page.contains(word), "{verb}: {word}: {page}");
            }
        }
    }
}
