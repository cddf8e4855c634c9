//! `cairn fsck`: checks a store, and repairs what can be.

use std::io;

use super::Context;
use super::error::{CliError, Finding};
use super::output::Output;
use super::progress::ProgressLine;
use super::text::{count, escape_path, printable, size};
use crate::control::client::Connection;
use crate::control::fsck::{FsckFinding, FsckOutcome, FsckReply, FsckRequest};
use crate::control::protocol::{Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;

const HELP: &str = "\
With a daemon the check runs beside everything else. Without one the store is looked at as it is.
What is damaged is printed with the versions and paths that cannot be read because of it. Damaged
content is marked, with --repair and without: from then on reading it is an error, and storing it
again, by any way and into any repository, heals it everywhere. Nothing is deleted that anything
names.

It also names content that somebody could change without the daemon: a file of the pool that can be
written to, or that has a name elsewhere, as `cairn export --unsafe-hardlink` makes them. --repair
takes the permission away, and gives the store a copy of its own. A file of a staging area whose
name was lost is called recovered-NUMBER then, at the top of the area.

EXIT CODES
  0  clean, leftovers of a crash aside
  9  something was wrong and has been repaired
  10  damage is left
  others, as in `cairn help`: the check could not be made

JSON
  one line per finding: {kind, message, outcome, note, lost, more_lost_count, lost_unknown}, where outcome
  is repaired, leftover or left; then {full, checked_blob_count, hashed_bytes,
  checked_tree_count, repaired_count, left_count, leftover_count, unverified_count, counts_skipped,
  duration_ms}

EXAMPLES
  cairn fsck
  cairn fsck --full --repair
  cairn fsck --rebuild-counts
  cairn fsck --full --json | jq -c .lost";

/// Arguments of `cairn fsck`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct FsckArgs {
    /// Compare the lengths of files only (the default)
    #[arg(long, conflicts_with = "full")]
    fast: bool,
    /// Hash the content of every file
    #[arg(long)]
    full: bool,
    /// Repair: rewrite wrong counts, unmark what is right again, remove what nothing names
    #[arg(long)]
    repair: bool,
    /// Rewrite wrong counts of references, and nothing else
    #[arg(long)]
    rebuild_counts: bool,
}

impl FsckArgs {
    /// Checks the store and prints what is wrong as it is found.
    ///
    /// # Errors
    /// [`CliError::Found`] with the exit code, unless all is well; that the check failed.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let request = Request::Fsck(FsckRequest {
            full: self.full,
            repair: self.repair,
            rebuild_counts: self.rebuild_counts,
        });
        let mut connection = Connection::open(context.store()?, context.hooks.open_bare)?;
        let (output, json) = (&mut context.output, context.json);
        let mut line = ProgressLine::new(json);
        let mut printed = Ok(());
        let mut progress = |progress: Progress| match progress {
            Progress::Findings(findings) if printed.is_ok() => {
                printed = line.suspend(|| print(output, json, &findings));
            }
            step => line.show(&step),
        };
        let result = connection.call(request, Attachment::none(), &mut progress);
        drop(line);
        printed?;
        let (Reply::Fsck(reply), _) = result? else {
            return Err(CliError::unexpected_reply());
        };
        if json {
            output.json(&reply)?;
        } else {
            print_summary(output, &reply)?;
        }
        finding(&reply).map_or(Ok(()), |finding| Err(CliError::Found(finding)))
    }
}

/// The finding that the exit code tells; `None` if all is well.
fn finding(reply: &FsckReply) -> Option<Finding> {
    if reply.left > 0 || reply.counts_skipped {
        Some(Finding::DamageLeft)
    } else {
        (reply.repaired > 0).then_some(Finding::Repaired)
    }
}

fn print(output: &mut Output, json: bool, findings: &[FsckFinding]) -> io::Result<()> {
    for finding in findings {
        if json {
            output.json(finding)?;
            continue;
        }
        let outcome = match finding.outcome {
            FsckOutcome::Repaired => "repaired",
            FsckOutcome::Leftover => "leftover",
            FsckOutcome::Left => "DAMAGED ",
        };
        let message = finding.message.strip_prefix("leftover: ").unwrap_or(&finding.message);
        output.line(format_args!("{outcome}  {}", printable(message)))?;
        for lost in &finding.lost {
            let path = escape_path(lost.path.as_bytes());
            let path = if path.is_empty() { "(all of it)" } else { &path };
            output.line(format_args!("  lost    {}: {path}", printable(&lost.place)))?;
        }
        match (finding.lost_more, finding.lost_unknown) {
            (0, false) => {}
            (0, true) => output.line("  lost    maybe more")?,
            (more, false) => output.line(format_args!("  lost    and {more} more"))?,
            (more, true) => output.line(format_args!("  lost    and {more} more, or many more"))?,
        }
        if let Some(note) = &finding.note {
            output.line(format_args!("  {}", printable(note)))?;
        }
    }
    output.flush()
}

fn print_summary(output: &mut Output, reply: &FsckReply) -> io::Result<()> {
    let how = if reply.full {
        format!("{} hashed", size(reply.hashed_bytes))
    } else {
        "lengths only".to_owned()
    };
    let (seconds, tenths) = (reply.duration_ms / 1000, reply.duration_ms % 1000 / 100);
    let (blobs, trees) = (count(reply.blobs, "blob"), count(reply.trees, "directory page"));
    output.line(format_args!("checked {blobs} ({how}) and {trees} in {seconds}.{tenths} s"))?;
    if reply.unverified_counts > 0 {
        output.line(format_args!(
            "{} cannot be told before the damage is healed",
            count(reply.unverified_counts, "count"),
        ))?;
    }
    if reply.counts_skipped {
        output.line("the counts were not compared: too much changed; check without a daemon")?;
    }
    if reply.repaired + reply.left + reply.leftovers == 0 && !reply.counts_skipped {
        return output.line("clean");
    }
    output.line(format_args!(
        "{} repaired, {} left, {}",
        reply.repaired,
        reply.left,
        count(reply.leftovers, "harmless leftover"),
    ))
}
