//! `cairn backup`: copies the whole store into a directory.
//!
//! This process writes it, with its caller's rights (H24).

use std::path::PathBuf;

use super::Context;
use super::error::{CliError, Finding};
use super::progress::ProgressLine;
use super::text::{count, printable, size};
use crate::backup::{self, Options, Priority};
use crate::control::backup::BackupReport;
use crate::control::client::Connection;
use crate::control::protocol::{ControlError, Progress};

const HELP: &str = "\
The backup is a store: `cairn mount` and `cairn fsck` work on it, and to restore is to mount it, or
to copy it (cp -a) to where the store was. It has every repository, version, tag, policy and quota
as they are at one instant after the command began, deleted versions that can be brought back
included. Staging areas are not in it: commit what must be kept.

With a daemon it is made while everything else goes on. By default it takes a small share of a busy
processor and disk (nice 10, the last level of the best-effort I/O class), and so comes to its end.
`--priority idle` takes only what nobody else wants: it stands still for as long as others are busy.
`normal` stands back for nobody. Without a daemon the store is read as it lies there. The store's
file system needs room for a copy of the catalog meanwhile.

Run again, it copies what is new, removes what the store has no more, and then replaces the catalog
in one step: until then the directory is the earlier backup, whatever happens, and after it the new
one. An interrupted run is made good by the next. All content is hashed while it is copied. What is
in the backup already is believed; `cairn fsck --full` on the backup reads all of it.

Content that only remotes have, since nobody has read it yet, is not in the backup: the report says how much that is.
The backup knows the remotes, so that a store mounted from it fetches such content as well, for as long as they have it.
With `--fetch` the daemon fetches all of it into the store before the backup is made, for which the store's file system
needs room. Readers come first. What could not be had is listed with the reason.

The directory must be missing, empty, or a backup of the same store, which nobody has worked in. It
becomes the caller's alone (0700): nobody but root and the caller may be able to replace it or a
directory above it, since they could lead the backup elsewhere. It has the store's own identity, so
that a store restored from it can be backed up into it again.

EXIT CODES
  0  the backup is made
  8  the backup is made, and lacks content that is damaged in the store, or that --fetch could not
     fetch; where an earlier backup has it, it is kept. `cairn fsck --full` names the files
  others, as in `cairn help`: there is no new backup, and the one before is whole

JSON
  {repository_count, version_count, blob_count, blobs_bytes, copied_blob_count, copied_bytes,
  removed_blob_count, left_out_area_count, damaged_blob_count, damaged_blobs: [{hash, reason}],
  absent_content_count, absent_bytes, fetched_content_count, fetched_bytes, unfetched_content_count,
  unfetched_contents: [{content, reason}], duration_ms}

EXAMPLES
  cairn backup /backup/cairn
  cairn fsck --full --store /backup/cairn
  cairn backup /backup/cairn --priority idle
  cairn backup /backup/cairn --fetch
  cairn backup /backup/cairn --json | jq .copied_bytes
  cairn mount /backup/cairn /mnt/restored";

/// Arguments of `cairn backup`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct BackupArgs {
    /// Directory of the backup: missing, empty, or an earlier backup of this store
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How much of a busy processor and disk to take
    #[arg(long, value_enum, default_value_t = PriorityChoice::Low)]
    priority: PriorityChoice,
    /// Fetch into the store first what only remotes have
    #[arg(long)]
    fetch: bool,
}

/// [`Priority`] on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum PriorityChoice {
    /// Only what nobody else wants: on a busy machine it may never end
    Idle,
    /// A small share
    Low,
    /// As other processes
    Normal,
}

impl From<PriorityChoice> for Priority {
    fn from(choice: PriorityChoice) -> Self {
        match choice {
            PriorityChoice::Idle => Self::Idle,
            PriorityChoice::Low => Self::Low,
            PriorityChoice::Normal => Self::Normal,
        }
    }
}

impl BackupArgs {
    /// Makes the backup.
    ///
    /// # Errors
    /// Why there is none; [`CliError::Found`] when it lacks damaged content.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let store = context.store()?.to_owned();
        let connection = Connection::open(&store, context.hooks.open_bare)?;
        let mut line = ProgressLine::new(context.json);
        let mut watch = |progress: Progress| line.show(&progress);
        let options = Options { priority: self.priority.into(), fetch: self.fetch };
        let result = backup::run(connection, &store, &self.directory, options, &mut watch);
        drop(line);
        let report = result.map_err(ControlError::from)?;
        if context.json {
            context.output.json(&report)?;
        } else {
            print(context, &report)?;
        }
        let lacks = report.damaged > 0 || self.fetch && report.absent > 0;
        if lacks { Err(CliError::Found(Finding::BackupLacks)) } else { Ok(()) }
    }
}

fn print(context: &mut Context, report: &BackupReport) -> Result<(), CliError> {
    let output = &mut context.output;
    for blob in &report.damaged_blobs {
        output.line(format_args!("DAMAGED   blob {}: {}", blob.hash, printable(&blob.reason)))?;
    }
    let more = report.damaged - report.damaged_blobs.len() as u64;
    if more > 0 {
        output.line(format_args!("DAMAGED   and {more} more"))?;
    }
    for content in &report.unfetched_contents {
        let reason = printable(&content.reason);
        output.line(format_args!("UNFETCHED content {}: {reason}", content.content))?;
    }
    let more = report.fetch.failed.saturating_sub(report.unfetched_contents.len() as u64);
    if more > 0 {
        output.line(format_args!("UNFETCHED and {more} more"))?;
    }
    let (seconds, tenths) = (report.duration_ms / 1000, report.duration_ms % 1000 / 100);
    output.line(format_args!(
        "backed up {}: {} ({}) copied, {} removed, {} ({}) in all, in {seconds}.{tenths} s",
        count(report.versions, "version"),
        count(report.copied, "blob"),
        size(report.copied_bytes),
        report.removed,
        count(report.blobs, "blob"),
        size(report.blobs_bytes),
    ))?;
    if report.areas_left_out > 0 {
        let areas = count(report.areas_left_out, "open staging area");
        output.line(format_args!("left out: {areas}"))?;
    }
    if report.fetch.fetched > 0 {
        let contents = count(report.fetch.fetched, "content");
        let bytes = size(report.fetch.fetched_bytes);
        output.line(format_args!("fetched before: {contents} ({bytes}) from remotes"))?;
    }
    if report.absent > 0 {
        let (contents, bytes) = (count(report.absent, "content"), size(report.absent_bytes));
        output.line(format_args!("only at remotes: {contents} ({bytes}), not in the backup"))?;
    }
    if report.damaged > 0 {
        output.line("the backup lacks what is damaged; `cairn fsck --full` names the files")?;
    }
    Ok(())
}
