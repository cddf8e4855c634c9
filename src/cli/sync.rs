//! `cairn sync`: a version of what a remote declares.

use super::Context;
use super::error::CliError;
use super::parse::{parse_remote_path, parse_removal_limit, parse_size};
use super::progress::ProgressLine;
use super::text::{escape_path, size};
use crate::control::protocol::{Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::control::sync::{SyncChange, SyncEvent, SyncReply, SyncRequest};
use crate::model::name::{RemoteName, RepoName, TagName};
use crate::model::raw::RawPath;
use crate::model::sync::{RemovalLimit, SyncCounts};
use crate::model::text::count;

const HELP: &str = "\
Fetches what the remote declares and the store lacks, checks its digest, and publishes all of it as the next version. If any
file cannot be had, nothing is published (--keep-going publishes anyway: such files keep their old content, or stay absent).
Running it again goes on with what came: small files for as long as unreferenced content is protected (ten minutes unless told
otherwise), large ones, also unfinished, for a week. Files that are the same in the newest version stay as they are. Where the
list is the one of the last sync, and nobody has published since, that is one request.

--mirror also removes what the remote does not declare, as `rsync --delete` does; without it nothing is removed. With SUBPATH
only what lies below it is taken, and lies at the root of the version. `cairn remote add` says where a remote is.

EXIT CODES
  0  there is a new version, or nothing changed
  1  something could not be had, or is refused
  13  what the remote declares changed meanwhile: try again
  others, as in `cairn help`: there is no new version

JSON
  {repository, remote, changed, version (as in `cairn show`), tag, unchanged_remote, events, events, and at the same level
  declared_file_count, unchanged_file_count, reused_file_count, fetched_file_count, fetched_bytes,
  added_file_count, changed_file_count, removed_file_count, failed_file_count};
  an event: {path, change, reason}

EXAMPLES
  cairn remote add releases sums https://example.org/releases/SHA256SUMS
  cairn sync tools releases --mirror --dry-run
  cairn sync tools releases --mirror --tag 2026-11
  cairn sync linux-tools releases/linux/x86_64 --json";

/// Arguments of `cairn sync`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct SyncArgs {
    /// Repository; made when it does not exist
    #[arg(value_name = "REPO")]
    repository: RepoName,
    /// The remote, and what of it: only what lies below SUBPATH
    #[arg(value_name = "REMOTE[/SUBPATH]", value_parser = parse_remote_path)]
    remote: (RemoteName, RawPath),
    /// Hold exactly what the remote declares
    #[arg(long, conflicts_with = "additive")]
    mirror: bool,
    /// Hold at least what the remote declares, on top of the newest version (the default)
    #[arg(long)]
    additive: bool,
    /// Say what would be added, changed and removed, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Publish what could be had; what could not stays as it is in the newest version
    #[arg(long)]
    keep_going: bool,
    /// How many files --mirror may remove: a count, or a percentage of the newest version
    #[arg(long, value_name = "N|P%", default_value = "50%", value_parser = parse_removal_limit)]
    max_delete: RemovalLimit,
    /// Bytes per second at most, for this sync
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_rate: Option<u64>,
    /// Text to keep with the version
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who asks for it [default: the caller's user name]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Name of the version
    #[arg(short, long, value_name = "TAG")]
    tag: Option<TagName>,
}

/// What is printed with `--json`.
#[derive(Debug, serde::Serialize)]
struct Document<'a> {
    repository: &'a RepoName,
    remote: &'a RemoteName,
    #[serde(flatten)]
    reply: &'a SyncReply,
    events: &'a [SyncEvent],
}

impl SyncArgs {
    /// Syncs.
    ///
    /// # Errors
    /// There is no new version then.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let (remote, subpath) = self.remote;
        let request = SyncRequest {
            repository: self.repository.clone(),
            remote: remote.clone(),
            subpath,
            mirror: self.mirror,
            dry_run: self.dry_run,
            keep_going: self.keep_going,
            removal_limit: self.max_delete,
            rate_bytes_per_second: self.limit_rate,
            message: self.message.unwrap_or_default(),
            author: self.author,
            tag: self.tag,
        };
        let mut connection = context.connect()?;
        let mut line = ProgressLine::new(context.json);
        let mut events = Vec::new();
        let mut printed = Ok(());
        let (json, output) = (context.json, &mut context.output);
        let mut hear = |progress: Progress| match progress {
            Progress::Sync(counts) => line.show(&step(&counts)),
            Progress::SyncEvents(some) if json => events.extend(some),
            Progress::SyncEvents(some) => line.suspend(|| {
                for event in &some {
                    match tell(event) {
                        Told::Plan(text) if printed.is_ok() => printed = output.line(text),
                        Told::Plan(_) => {}
                        Told::Failure(text) => super::error::warn(&text),
                    }
                }
            }),
            other => line.show(&other),
        };
        let result = connection.call(Request::Sync(request), Attachment::none(), &mut hear);
        drop(line);
        printed?;
        let (Reply::Sync(reply), _) = result? else {
            return Err(CliError::unexpected_reply());
        };
        if json {
            let document = Document {
                repository: &self.repository,
                remote: &remote,
                reply: &reply,
                events: &events,
            };
            return Ok(context.output.json(&document)?);
        }
        let text = summary(&self.repository, &remote, &reply, self.dry_run);
        Ok(context.output.line(text)?)
    }
}

/// A line about one path.
enum Told {
    Plan(String),
    Failure(String),
}

fn tell(event: &SyncEvent) -> Told {
    let path = escape_path(event.path.as_bytes());
    match event.change {
        SyncChange::Added => Told::Plan(format!("+ {path}")),
        SyncChange::Changed => Told::Plan(format!("~ {path}")),
        SyncChange::Removed => Told::Plan(format!("- {path}")),
        SyncChange::Failed => {
            Told::Failure(format!("{path}: {}", event.reason.as_deref().unwrap_or("failed")))
        }
    }
}

fn step(counts: &SyncCounts) -> Progress {
    let done = counts.unchanged + counts.reused + counts.fetched + counts.failed;
    let what = format!("{} fetched, {} files", size(counts.fetched_bytes), counts.fetched);
    Progress::Step { what, done, total: Some(counts.declared), is_bytes: false }
}

fn summary(repository: &RepoName, remote: &RemoteName, reply: &SyncReply, dry_run: bool) -> String {
    if reply.unchanged_remote {
        return format!("no change: {remote} declares what it declared at the last sync");
    }
    let counts = &reply.counts;
    let mut parts = vec![format!("{} declared", count(counts.declared, "file"))];
    for (number, what) in [
        (counts.unchanged, "unchanged"),
        (counts.added, "added"),
        (counts.changed, "changed"),
        (counts.removed, "removed"),
        (counts.failed, "failed"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    if counts.fetched > 0 {
        let fetched = count(counts.fetched, "file");
        parts.push(format!("{} fetched in {fetched}", size(counts.fetched_bytes)));
    }
    let done = parts.join(", ");
    match (&reply.version, reply.changed) {
        _ if dry_run && reply.changed => format!("would make a version of {repository}: {done}"),
        (Some(version), true) => format!("{repository}/{}: {done}", version.number),
        _ => format!("no change: {done}"),
    }
}
