//! `cairn gc`: collects garbage now.

use std::time::Duration;

use super::Context;
use super::error::{CliError, warn};
use super::parse::parse_duration;
use super::policy::print_decisions;
use super::progress::ProgressLine;
use super::text::{count, instant, size};
use crate::control::gc::{GcReply, GcRequest};
use crate::control::protocol::{ControlError, ErrorKind, Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;

const HELP: &str = "\
The daemon collects garbage by itself, in small slices that delay nothing else; this is for those
who want the space now. What nothing references is kept for the protection time, since it may be
about to be used again; so are deleted versions, which `cairn undelete` brings back until then.
`--protect 0` gives both up at once.

Unfinished downloads that nobody fetches are freed as well once they are older than the protection time. Without this command
they stay, so that the next try goes on with them, until a sync that begins a week later.

Syncs and pulls note where content can be had. What nothing needs any more of that (locations) goes too, unless a sync or a
pull runs: then the next run removes it. A dry run does not count it.

A full run applies the retention policies first and looks for leftovers of crashes. A dry run says
what a run would do: with --full each decision of retention with its reason, and in any case what
would be freed. Interrupting a command that waits does not interrupt the run. Where no daemon runs,
the command does the run itself, and waits for it.

With `--wait` the space is back when it returns. The kernel keeps files that were read for a while, and is asked to let go
of them (since Linux 6.18 it does so at once). `held open` is then what some process has open.

JSON
  {finished, expired_version_count, expired_area_count, freed_blob_count, freed_bytes,
  freed_tree_count, freed_location_count, leftover_count, freed_partial_file_count, freed_partial_bytes, duration_ms, protected_blob_count, protected_bytes, until,
  until_seconds, deleted_version_count, pinned_blob_count, pinned_bytes, error_count, failure,
  warnings, decisions}; decisions as in `cairn policy`, of a dry run with --full

EXIT CODES
  as in `cairn help`; 1 also when something failed in the run, which did the rest

EXAMPLES
  cairn gc --wait
  cairn gc --full --dry-run
  cairn gc --wait --protect 0 --json | jq .freed_bytes";

/// Arguments of `cairn gc`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct GcArgs {
    /// Also apply the retention policies, recompute usage and look for leftovers
    #[arg(long)]
    full: bool,
    /// Print what would be done and why; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Return when the run has ended, and say what it did
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
    /// The store refuses changes; something failed in the run.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let dry_run = self.dry_run;
        let request = Request::Gc(GcRequest {
            full: self.full,
            dry_run,
            wait: self.wait,
            protect_seconds: self.protect.map(|protect| protect.as_secs()),
        });
        let mut connection = context.connect()?;
        let mut line = ProgressLine::new(context.json);
        let mut decisions = Vec::new();
        let mut on_progress = |progress: Progress| match progress {
            Progress::Decisions(some) => decisions.extend(some),
            other => line.show(&other),
        };
        let result = connection.call(request, Attachment::none(), &mut on_progress);
        drop(line);
        let (Reply::Gc(mut gc), _) = result? else {
            return Err(CliError::unexpected_reply());
        };
        gc.decisions = decisions;
        if context.json {
            context.output.json(&gc)?;
        } else {
            print(context, &gc, dry_run)?;
        }
        failure(&gc).map_or(Ok(()), Err)
    }
}

/// What failed in a run, which did the rest nevertheless (G11).
fn failure(gc: &GcReply) -> Option<CliError> {
    let first = gc.failure.as_deref().unwrap_or("see the log");
    let message = match gc.errors {
        0 => return None,
        1 => first.to_owned(),
        errors => format!("{first} (the first of {})", count(errors, "error")),
    };
    let error = ControlError::new(ErrorKind::Failed, message);
    Some(error.with_hint("the daemon's log has all of it").into())
}

fn print(context: &mut Context, gc: &GcReply, dry_run: bool) -> Result<(), CliError> {
    print_decisions(context, &gc.decisions)?;
    if gc.partial_files > 0 {
        context.output.line(format_args!(
            "{} {} in {}",
            if dry_run { "would free" } else { "freed" },
            size(gc.freed_partial_bytes),
            count(gc.partial_files, "unfinished download"),
        ))?;
    }
    if !gc.finished {
        return Ok(context.output.line("a run is scheduled")?);
    }
    for warning in &gc.warnings {
        warn(warning);
    }
    if gc.versions + gc.areas > 0 {
        context.output.line(format_args!(
            "{} {} and {}",
            if dry_run { "would expire" } else { "expired" },
            count(gc.versions, "version"),
            count(gc.areas, "staging area"),
        ))?;
    }
    if gc.locations > 0 {
        let locations = count(gc.locations, "location");
        context.output.line(format_args!("freed {locations} of content that nothing needs"))?;
    }
    let mut freed = format!(
        "{} {} in {} and {}",
        if dry_run { "would free" } else { "freed" },
        size(gc.freed_bytes),
        count(gc.blobs, "blob"),
        count(gc.trees, "directory page"),
    );
    if gc.leftovers > 0 {
        freed.push_str(&format!(", and {} of a crash", count(gc.leftovers, "leftover")));
    }
    context.output.line(freed)?;
    print_rest(context, gc)
}

/// What a run leaves, and why.
fn print_rest(context: &mut Context, gc: &GcReply) -> Result<(), CliError> {
    if gc.protected_blobs + gc.deleted_versions > 0 {
        let mut rest = format!(
            "protected: {} in {}",
            size(gc.protected_bytes),
            count(gc.protected_blobs, "blob")
        );
        if gc.deleted_versions > 0 {
            let versions = count(gc.deleted_versions, "deleted version");
            rest.push_str(&format!(" (of {versions}, or used a short time ago)"));
        }
        if let Some(until) = &gc.until {
            rest.push_str(&format!(", the first until {}", instant(until)));
        }
        context.output.line(rest)?;
    }
    if gc.pinned_blobs > 0 {
        let (bytes, blobs) = (size(gc.pinned_bytes), count(gc.pinned_blobs, "blob"));
        context.output.line(format_args!("held open: {bytes} in {blobs}"))?;
    }
    Ok(())
}
