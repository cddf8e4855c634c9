//! `cairn status`: the store at a glance.

use std::io;

use super::Context;
use super::areas;
use super::error::CliError;
use super::output::Output;
use super::text::{count, printable, size, time};
use crate::control::protocol::Request;
use crate::control::reply::{Reply, StatusReply};
use crate::control::utc::Created;
use crate::model::time::Timestamp;

const HELP: &str = "\
JSON
  {store, format, version, daemon_pid, mount, read_only, repositories, versions, blobs,
  blobs_bytes, trees, free_bytes, areas, doomed, poisoned, warnings, scrub}; areas as in `cairn areas`

EXAMPLES
  cairn status
  cairn status --json | jq .daemon_pid";

/// Arguments of `cairn status`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct StatusArgs {}

impl StatusArgs {
    /// Prints the status.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let Reply::Status(status) = context.connect()?.ask(Request::Status)? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&status)?);
        }
        print(context, &status)
    }
}

fn print(context: &mut Context, status: &StatusReply) -> Result<(), CliError> {
    let output = &mut context.output;
    let daemon = match (status.daemon_pid, &status.mount) {
        (None, _) => "none is running".to_owned(),
        (Some(pid), None) => format!("pid {pid}, not mounted"),
        (Some(pid), Some(mount)) => {
            let mode = if status.read_only { " (read-only)" } else { "" };
            format!("pid {pid}, mounted at {}{mode}", printable(mount))
        }
    };
    output.line(format_args!(
        "store     {} (format {})",
        printable(&status.store),
        status.format
    ))?;
    output.line(format_args!("daemon    {daemon}"))?;
    let repositories = match status.repositories {
        1 => "1 repository".to_owned(),
        number => format!("{number} repositories"),
    };
    output.line(format_args!(
        "holds     {repositories}, {}, {}",
        count(status.versions, "version"),
        count(status.areas.len() as u64, "open area"),
    ))?;
    output.line(format_args!(
        "content   {} in {} and {}; {} free",
        size(status.blobs_bytes),
        count(status.blobs, "blob"),
        count(status.trees, "directory page"),
        size(status.free_bytes),
    ))?;
    if status.doomed > 0 {
        output.line(format_args!("clean-up  {} under way", count(status.doomed, "deletion")))?;
    }
    print_scrub(output, status)?;
    if let Some(reason) = &status.poisoned {
        let reason = printable(reason);
        output.line(format_args!("REFUSES CHANGES until it is mounted again: {reason}"))?;
    }
    for warning in &status.warnings {
        output.line(format_args!("warning   {}", printable(warning)))?;
    }
    if !status.areas.is_empty() {
        output.line("")?;
    }
    areas::print(output, &status.areas)
}

fn print_scrub(output: &mut Output, status: &StatusReply) -> io::Result<()> {
    if let Some(permille) = status.scrub.running_permille {
        let (percent, tenth) = (permille / 10, permille % 10);
        output.line(format_args!("scrub     {percent}.{tenth} % under way"))?;
    }
    let Some(last) = status.scrub.last else { return Ok(()) };
    let ended = Timestamp::new(last.ended_seconds, 0).map(Created::from);
    output.line(format_args!(
        "scrubbed  {}: {} ({}), {} damaged",
        ended.as_ref().map_or_else(String::new, time),
        count(last.blobs, "blob"),
        size(last.hashed_bytes),
        last.damaged,
    ))
}
