//! `cairn gc`: collects garbage now.

use std::time::Duration;

use super::Context;
use super::error::CliError;
use super::parse::parse_duration;
use super::progress::ProgressLine;
use super::text::{count, printable, size};
use crate::control::protocol::{GcRequest, Request};
use crate::control::reply::{GcReply, Reply};
use crate::control::service::Attachment;

const HELP: &str = "\
The daemon collects garbage by itself, in small slices that delay nothing else; this is for those
who want the space now. What nothing references is kept for the protection time, since it may be
about to be used again.

JSON
  {finished, versions, blobs, freed_bytes, trees, protected_bytes, decisions}

EXAMPLES
  cairn gc --wait
  cairn gc --full --dry-run
  cairn gc --wait --protect 0 --json | jq .freed_bytes";

/// Arguments of `cairn gc`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct GcArgs {
    /// Also apply the retention policies and recompute quotas
    #[arg(long)]
    full: bool,
    /// Print what would be done and why; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Return when the run has ended
    #[arg(long)]
    wait: bool,
    /// Protection time for this run, in seconds or with s, m, h, d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    protect: Option<Duration>,
}

impl GcArgs {
    /// Collects garbage.
    ///
    /// # Errors
    /// The store refuses changes.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let dry_run = self.dry_run;
        let request = Request::Gc(GcRequest {
            full: self.full,
            dry_run,
            wait: self.wait,
            protect_seconds: self.protect.map(|time| time.as_secs()),
        });
        let mut connection = context.connect()?;
        let mut line = ProgressLine::new(context.json);
        let result = connection.call(request, Attachment::none(), &mut |step| line.show(&step));
        drop(line);
        let (Reply::Gc(gc), _) = result? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&gc)?);
        }
        print(context, &gc, dry_run)
    }
}

fn print(context: &mut Context, gc: &GcReply, dry_run: bool) -> Result<(), CliError> {
    for decision in &gc.decisions {
        context.output.line(printable(decision))?;
    }
    if !gc.finished && !dry_run {
        return Ok(context.output.line("a run is scheduled")?);
    }
    let verb = if dry_run { "would free" } else { "freed" };
    let summary = format!(
        "{verb} {} ({}, {}, {}); {} still protected",
        size(gc.freed_bytes),
        count(gc.versions, "version"),
        count(gc.blobs, "blob"),
        count(gc.trees, "directory page"),
        size(gc.protected_bytes),
    );
    Ok(context.output.line(summary)?)
}
