//! `cairn status`: the store at a glance.

use std::io;

use super::error::CliError;
use super::output::Output;
use super::text::{count, instant, printable, size, time};
use super::{Context, areas, quota};
use crate::control::protocol::Request;
use crate::control::reply::{Reply, StatusReply};
use crate::control::utc::Created;
use crate::model::time::Timestamp;

const HELP: &str = "\
JSON
  {store, format, version, daemon_pid, mount, read_only, repositories, versions, blobs,
  blobs_bytes, trees, free_bytes, areas, doomed, poisoned, last_run, next_run_seconds,
  reclaimable_bytes, protected_bytes, deleted_versions, quotas, scrub, warnings}; areas as in `cairn areas`,
  quotas as in `cairn quota` (of repositories that use more than 90 %), last_run is null or {full,
  began, began_seconds, duration_ms, versions, areas, blobs, freed_bytes, pinned_blobs,
  pinned_bytes, errors}

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
    print_upkeep(output, status)?;
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

/// Collection runs, and quotas that are used up.
fn print_upkeep(output: &mut Output, status: &StatusReply) -> Result<(), CliError> {
    if let Some(run) = &status.last_run {
        let mut line = format!(
            "last run  {}, {} took {} ms: freed {} in {}",
            instant(&run.began),
            if run.full { "a full one," } else { "orphans only," },
            run.duration_ms,
            size(run.freed_bytes),
            count(run.blobs, "blob"),
        );
        if run.errors > 0 {
            line.push_str(&format!("; {}, see the log", count(run.errors, "error")));
        }
        output.line(line)?;
        if run.pinned_blobs > 0 {
            let (bytes, blobs) = (size(run.pinned_bytes), count(run.pinned_blobs, "blob"));
            output.line(format_args!("held open {bytes} in {blobs}"))?;
        }
    }
    let (due, protected) = (status.reclaimable_bytes, status.protected_bytes);
    if due + protected + status.deleted_versions > 0 {
        output.line(format_args!(
            "garbage   {} reclaimable, {} protected; {} can be brought back",
            size(due),
            size(protected),
            count(status.deleted_versions, "deleted version"),
        ))?;
    }
    if let Some(next) = status.next_run_seconds {
        let next = instant(&Created::at(next).created);
        output.line(format_args!("next run  {next}"))?;
    }
    for quota in &status.quotas {
        let (bytes, files) = (quota::bytes(quota), quota::files(quota));
        output.line(format_args!("quota     {}: {bytes}; files: {files}", quota.repository))?;
    }
    Ok(())
}
