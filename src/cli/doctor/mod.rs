//! `cairn doctor`: what in the set-up of this machine costs speed or safety, and what mends it.
//!
//! Plan and act are apart: [`facts`] reads the machine from below a directory, `checks` and `store_checks`
//! are functions from what was read to [`Finding`]s, without a look at anything else. Nothing is changed.

mod checks;
mod facts;
mod store_checks;

use std::path::Path;

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::output::Output;
use super::text::{count, printable};
use crate::control::protocol::ErrorKind;
use facts::Facts;

const HELP: &str = "\
Looks at what cairn depends on: /dev/fuse and fusermount3, /etc/fuse.conf, the kernel and its
settings, how much is read ahead, the limit of open files, updatedb, and of a store its file
system, free space and times. Each finding says what it costs and, where there is one, the
command that mends it. `BAD` endangers data or keeps cairn from working, `warning` costs speed or
safety, `note` is good to know. Nothing is changed, and no daemon is asked. The store is that of
--store, CAIRN_STORE, or the only one that you have mounted; without one the rest is looked at.
Run it as the user who mounts.

EXIT CODES
  0  nothing bad
  1  something endangers data or keeps cairn from working
  others, as in `cairn help`: the machine could not be looked at

JSON
  {store, check_count, findings}; store is null where there is none, findings is an array of
  {check, severity, message, cost, command}, the worst first, where severity is bad, warning or
  note, and command may be null

EXAMPLES
  cairn doctor
  cairn doctor --store /srv/cairn
  cairn doctor --json | jq -r '.findings[].command | select(. != null)'";

/// Arguments of `cairn doctor`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct DoctorArgs {}

/// How bad a [`Finding`] is, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Good to know.
    Note,
    /// Costs speed or safety.
    Warning,
    /// Endangers data, or keeps cairn from working.
    Bad,
}

/// Something about the machine that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Which check found it.
    pub(crate) check: &'static str,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// What is so, one sentence without a full stop.
    pub(crate) message: String,
    /// What it costs.
    pub(crate) cost: String,
    /// What mends it; `None` where no command does.
    pub(crate) command: Option<String>,
}

impl Finding {
    fn new(
        check: &'static str,
        severity: Severity,
        message: impl Into<String>,
        cost: impl Into<String>,
    ) -> Self {
        Self { check, severity, message: message.into(), cost: cost.into(), command: None }
    }

    fn mended_by(self, command: impl Into<String>) -> Self {
        Self { command: Some(command.into()), ..self }
    }
}

/// A check: what it finds in the facts, at most some things of one kind.
type Check = fn(&Facts) -> Vec<Finding>;

/// All findings of all checks, the worst first, and how many checks there are.
fn examine(facts: &Facts) -> (Vec<Finding>, u64) {
    let all: Vec<Check> = checks::ALL.iter().chain(store_checks::ALL).copied().collect();
    let mut findings: Vec<Finding> = all.iter().flat_map(|check| check(facts)).collect();
    // Those of the same severity stay in order.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    (findings, all.len() as u64)
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Document {
    #[serde(serialize_with = "optional_path")]
    store: Option<std::path::PathBuf>,
    check_count: u64,
    findings: Vec<Finding>,
}

fn optional_path<S: serde::Serializer>(
    path: &Option<std::path::PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => super::output::json_path(path, serializer),
        None => serializer.serialize_none(),
    }
}

impl DoctorArgs {
    /// Prints the findings.
    ///
    /// # Errors
    /// The output cannot be written; something is bad.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let Self {} = self;
        // Without a store the machine is looked at all the same.
        let store = context.store().ok().map(super::parse::absolute).transpose()?;
        let facts = Facts::read(Path::new("/"), store.as_deref());
        let (findings, check_count) = examine(&facts);
        let bad = findings.iter().filter(|finding| finding.severity == Severity::Bad).count();
        match context.json {
            true => context.output.json(&Document { store, check_count, findings })?,
            false => print(&mut context.output, &findings, check_count)?,
        }
        if bad == 0 {
            return Ok(());
        }
        context.output.flush()?;
        let findings = count(u64::try_from(bad).unwrap_or(u64::MAX), "finding");
        let what = "that endanger data or keep cairn from working";
        Err(CliError::new(ErrorKind::Failed, format!("{findings} {what}")))
    }
}

fn print(output: &mut Output, findings: &[Finding], checks: u64) -> std::io::Result<()> {
    for Finding { check, severity, message, cost, command } in findings {
        let severity = match severity {
            Severity::Bad => "BAD    ",
            Severity::Warning => "warning",
            Severity::Note => "note   ",
        };
        output.line(format_args!("{severity}  {check}: {}", printable(message)))?;
        output.line(format_args!("         {}", printable(cost)))?;
        if let Some(command) = command {
            output.line(format_args!("         mend it: {}", printable(command)))?;
        }
    }
    let found = match findings.len() {
        0 => "nothing found".to_owned(),
        some => count(u64::try_from(some).unwrap_or(u64::MAX), "finding"),
    };
    output.line(format_args!("{}: {found}", count(checks, "check")))
}

#[cfg(test)]
mod tests;
