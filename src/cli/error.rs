//! How a command fails: text or JSON on stderr, and an exit code.

use std::io::{self, Write};

use crate::control::protocol::{ControlError, ErrorDetail, ErrorKind, UnreadableFile};

use super::text::{escape_path, printable};

/// Exit code of a sync whose remote changed meanwhile.
pub const EXIT_REMOTE_CHANGED: u8 = 13;

/// Exit code when the reader of the output went away; a shell shows the same for SIGPIPE.
pub const EXIT_PIPE: u8 = 141;

/// What a command found that has done its work. Each finding has an exit code of its own, so that
/// it does not look like a failure of the command ([`ErrorKind::exit_code`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// `cairn backup`: content is damaged in the store, and the backup lacks it.
    BackupLacks,
    /// `cairn fsck`: something was wrong and has been repaired.
    Repaired,
    /// `cairn fsck`: damage is left.
    DamageLeft,
    /// `cairn status --check`: nothing but warnings.
    Warning,
    /// `cairn status --check`: something critical.
    Critical,
}

impl Finding {
    /// Every finding, in the order of exit codes.
    pub const ALL: [Self; 5] =
        [Self::BackupLacks, Self::Repaired, Self::DamageLeft, Self::Warning, Self::Critical];

    /// Exit code of the command.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::BackupLacks => 8,
            Self::Repaired => 9,
            Self::DamageLeft => 10,
            Self::Warning => 11,
            Self::Critical => 12,
        }
    }
}

/// Failure of a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The request was refused or failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The result could not be written to stdout.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The command has done its work and printed what it found: only the exit code is left to say.
    #[error("exit code {}", .0.exit_code())]
    Found(Finding),
}

impl CliError {
    /// Makes a [`ControlError`] without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Control(ControlError::new(kind, message))
    }

    /// The daemon sent the answer of another request; its version may differ.
    pub fn unexpected_reply() -> Self {
        let message = "the answer does not belong to the request";
        let hint = "the daemon may be of another version: unmount and mount again";
        Self::Control(ControlError::new(ErrorKind::Failed, message).with_hint(hint))
    }

    /// The error as the control protocol has it.
    pub fn into_control(self) -> ControlError {
        match self {
            Self::Control(error) => error,
            other => other.as_control(),
        }
    }

    fn as_control(&self) -> ControlError {
        match self {
            Self::Control(error) => error.clone(),
            Self::Output(_) | Self::Found(_) => {
                ControlError::new(ErrorKind::Failed, self.to_string())
            }
        }
    }
}

/// Prints an error to stderr and returns the exit code.
pub fn report(error: &CliError, json: bool) -> u8 {
    if let CliError::Output(error) = error
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        return EXIT_PIPE;
    }
    let error = error.as_control();
    print(&if json { as_json(&error) } else { as_text(&error) });
    match error.detail.as_deref() {
        Some(ErrorDetail::RemoteChanged { .. }) => EXIT_REMOTE_CHANGED,
        _ => error.kind.exit_code(),
    }
}

/// Prints a decision of the command, such as the store that it chose, to stderr.
pub fn note(message: &str) {
    print(&format!("cairn: {}\n", printable(message)));
}

/// Prints a warning to stderr: the command goes on, or has done its work.
pub fn warn(message: &str) {
    print(&format!("cairn: warning: {}\n", printable(message)));
}

/// Prints a usage error of clap's, or the help that was asked for, and returns the exit code.
pub fn report_usage(usage: &clap::Error, json: bool) -> u8 {
    if !usage.use_stderr() {
        return match usage.print() {
            Err(error) => report(&CliError::Output(error), json),
            Ok(()) => 0,
        };
    }
    let text = usage.render().to_string();
    if json {
        print(&as_json(&usage_error(&text)));
    } else if let Some(message) = text.strip_prefix(CLAP_PREFIX) {
        let message = message.replace("\n\n  tip: ", "\nhint: ").replace("\n  tip: ", "\nhint: ");
        print(&format!("cairn: {message}"));
    } else {
        // Without arguments clap prints the help, which is not an error message.
        print(&text);
    }
    ErrorKind::Usage.exit_code()
}

/// What clap writes before a message; cairn's own messages begin with the program's name.
const CLAP_PREFIX: &str = "error: ";

/// What clap writes before a hint.
const CLAP_TIP: &str = "tip: ";

/// A usage error: the message on one line, with the arguments that clap lists below it and without the
/// usage that follows, and its tips as the hint.
fn usage_error(text: &str) -> ControlError {
    let Some(text) = text.strip_prefix(CLAP_PREFIX) else {
        return ControlError::new(ErrorKind::Usage, "a command is missing")
            .with_hint("see `cairn help`");
    };
    let lines = text.lines().map(str::trim);
    let lines =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let lines = lines.filter(|line| !line.is_empty());
    let (tips, message): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with(CLAP_TIP));
    let hint = tips.iter().map(|tip| &tip[CLAP_TIP.len()..]).collect::<Vec<_>>().join("; ");
    let hint = if hint.is_empty() { "see `cairn help`".to_owned() } else { hint };
    ControlError::new(ErrorKind::Usage, message.join(" ")).with_hint(hint)
}

/// Writes to stderr. When that fails there is nobody left to tell.
fn print(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// `{"error":{"kind":…,"message":…,"hint":…,"detail":…}}`
pub fn as_json(error: &ControlError) -> String {
    let mut text = serde_json::json!({ "error": error }).to_string();
    text.push('\n');
    text
}

/// The message, its facts indented, the hint.
pub fn as_text(error: &ControlError) -> String {
    let mut text = format!("cairn: {}\n", printable(&error.message));
    for line in error.detail.iter().flat_map(|detail| detail_lines(detail)) {
        text.push_str("  ");
        text.push_str(&line);
        text.push('\n');
    }
    if let Some(hint) = &error.hint {
        text.push_str(&format!("hint: {}\n", printable(hint)));
    }
    text
}

fn detail_lines(detail: &ErrorDetail) -> Vec<String> {
    match detail {
        ErrorDetail::StaleBase { between, .. } => between
            .iter()
            .map(|version| {
                format!(
                    "{}/{}  {}  {}  {}",
                    version.repository,
                    version.number,
                    version.created.created,
                    printable(&version.author),
                    printable(version.message.lines().next().unwrap_or_default()),
                )
                .trim_end()
                .to_owned()
            })
            .collect(),
        ErrorDetail::OpenFiles(paths) | ErrorDetail::Conflicts(paths) => {
            paths.iter().map(|path| escape_path(path.as_bytes())).collect()
        }
        ErrorDetail::Unreadable { files, total } | ErrorDetail::FailedFiles { files, total } => {
            let shown = u64::try_from(files.len()).unwrap_or(u64::MAX);
            let more = (*total > shown).then(|| format!("and {} more", total - shown));
            let line = |file: &UnreadableFile| {
                let path = escape_path(file.path.as_bytes());
                let path = if path.is_empty() { "." } else { &path };
                format!("{path}: {}", printable(&file.reason))
            };
            files.iter().map(line).chain(more).collect()
        }
        ErrorDetail::RemoteChanged { .. } | ErrorDetail::Locked { .. } => Vec::new(),
    }
}
