//! Following a job: what its commands (`sync`, `wait --job`) show while it goes on, and how they end.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Context;
use super::error::{CliError, warn};
use super::output::Output;
use super::progress::ProgressLine;
use super::text::{count, escape_path, size};
use super::transfer;
use crate::control::client::Connection;
use crate::control::jobs::JobInfo;
use crate::control::protocol::{ControlError, ErrorDetail, Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::control::sync::{SyncChange, SyncEvent, SyncReply};
use crate::model::id::JobId;
use crate::model::name::{RemoteName, RepoName};
use crate::model::sync::{SyncProgress, SyncStage};
use crate::model::transfer::TransferProgress;

/// The least time between two lines of progress with `--json`, unless the stage changes.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// What is printed with `--json` while a job goes on.
#[derive(Debug, Serialize)]
struct ProgressDocument<'a> {
    r#type: &'static str,
    job: JobId,
    #[serde(flatten)]
    progress: &'a SyncProgress,
    fetched_bytes_per_second: u64,
}

/// What is printed with `--json` at the end.
#[derive(Debug, Serialize)]
struct ResultDocument<'a> {
    r#type: &'static str,
    job: JobId,
    repository: &'a RepoName,
    remote: &'a RemoteName,
    #[serde(flatten)]
    reply: &'a SyncReply,
    events: &'a [SyncEvent],
}

/// Makes a request that follows a job, and prints what comes of it.
///
/// # Errors
/// Those that the job ends with.
pub(super) fn follow(
    context: &mut Context,
    connection: &mut Connection,
    request: Request,
) -> Result<(), CliError> {
    let json = context.json;
    let mut follower = Follower {
        output: &mut context.output,
        json,
        lines: json && !io::stdout().is_terminal(),
        line: ProgressLine::new(json),
        job: None,
        events: Vec::new(),
        failures: 0,
        shown: None,
        moved: None,
        printed: Ok(()),
    };
    let result =
        connection.call(request, Attachment::none(), &mut |progress| follower.hear(progress));
    let Follower { job, events, failures, printed, line, .. } = follower;
    drop(line);
    printed?;
    let (reply, _) = result.map_err(|error| shorten(error, json, failures))?;
    let job = job.ok_or_else(CliError::unexpected_reply)?;
    let reply = match reply {
        Reply::Sync(reply) => reply,
        Reply::Transfer(reply) => return transfer::print(context, &job, &reply),
        _ => return Err(CliError::unexpected_reply()),
    };
    if json {
        return Ok(context.output.json(&ResultDocument {
            r#type: "result",
            job: job.job,
            repository: &job.repository,
            remote: &job.remote,
            reply: &reply,
            events: &events,
        })?);
    }
    reply.warnings.iter().for_each(|text| warn(text));
    warn_of_more(reply.counts.failed, failures);
    Ok(context.output.line(summary(&job, &reply))?)
}

/// Leaves out of an error what was told of each file already.
fn shorten(mut error: ControlError, json: bool, told: u64) -> ControlError {
    if let (false, Some(ErrorDetail::FailedFiles { total, .. })) = (json, error.detail.as_deref()) {
        warn_of_more(*total, told);
        error.detail = None;
    }
    error
}

fn warn_of_more(failed: u64, told: u64) {
    if failed > told {
        let more = count(failed - told, "more file");
        warn(&format!("{more} could not be had"));
    }
}

struct Follower<'a> {
    output: &'a mut Output,
    json: bool,
    /// Progress is printed, line by line.
    lines: bool,
    line: ProgressLine,
    job: Option<JobInfo>,
    events: Vec<SyncEvent>,
    /// Files that could not be had, as far as they were told.
    failures: u64,
    /// The last progress that was shown, and when.
    shown: Option<(Instant, SyncProgress)>,
    /// The same of a push or a pull.
    moved: Option<(Instant, TransferProgress)>,
    printed: io::Result<()>,
}

impl Follower<'_> {
    fn hear(&mut self, progress: Progress) {
        match progress {
            Progress::Job(job) => self.job = Some(*job),
            Progress::Sync(progress) if self.lines => self.print(progress),
            Progress::Sync(progress) => self.line.show(&step(&progress)),
            Progress::Transfer(progress) if self.lines => self.print_transfer(progress),
            Progress::Transfer(progress) => self.line.show(&transfer::step(&progress)),
            Progress::SyncEvents(some) if self.json => self.events.extend(some),
            Progress::SyncEvents(some) => self.tell(&some),
            other => self.line.show(&other),
        }
    }

    /// Prints a line of progress, if one is due.
    fn print(&mut self, progress: SyncProgress) {
        let now = Instant::now();
        let (since, bytes) = match &self.shown {
            Some((at, last)) => {
                let is_same = (last.stage, &last.retry) == (progress.stage, &progress.retry);
                if is_same && now.duration_since(*at) < LINE_INTERVAL {
                    return;
                }
                (now.duration_since(*at), last.counts.fetched_bytes)
            }
            None => (LINE_INTERVAL, 0),
        };
        let bytes = u128::from(progress.counts.fetched_bytes.saturating_sub(bytes));
        let rate = bytes.saturating_mul(1000) / since.as_millis().max(1);
        let job = self.job.as_ref().map_or(JobId(0), |job| job.job);
        let document = ProgressDocument {
            r#type: "progress",
            job,
            progress: &progress,
            fetched_bytes_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
        };
        if self.printed.is_ok() {
            self.printed = self.output.json(&document).and_then(|()| self.output.flush());
        }
        self.shown = Some((now, progress));
    }

    /// Prints a line of progress of a push or a pull, if one is due.
    fn print_transfer(&mut self, progress: TransferProgress) {
        let now = Instant::now();
        if let Some((at, last)) = &self.moved
            && last.stage == progress.stage
            && now.duration_since(*at) < LINE_INTERVAL
        {
            return;
        }
        let job = self.job.as_ref().map_or(JobId(0), |job| job.job);
        let document = transfer::ProgressDocument { r#type: "progress", job, progress: &progress };
        if self.printed.is_ok() {
            self.printed = self.output.json(&document).and_then(|()| self.output.flush());
        }
        self.moved = Some((now, progress));
    }

    /// Prints what happened to some paths, with the line of progress out of the way.
    fn tell(&mut self, events: &[SyncEvent]) {
        let Self { output, line, failures, printed, .. } = self;
        line.suspend(|| {
            for event in events {
                let path = escape_path(event.path.as_bytes());
                let sign = match event.change {
                    SyncChange::Added => '+',
                    SyncChange::Changed => '~',
                    SyncChange::Removed => '-',
                    SyncChange::Failed => {
                        *failures += 1;
                        let reason = event.reason.as_deref().unwrap_or("failed");
                        warn(&format!("{path}: {reason}"));
                        continue;
                    }
                };
                if printed.is_ok() {
                    *printed = output.line(format_args!("{sign} {path}"));
                }
            }
        });
    }
}

/// What the line of progress shows of a sync.
fn step(progress: &SyncProgress) -> Progress {
    let counts = &progress.counts;
    let (mut what, done, total) = match progress.stage {
        SyncStage::Declare => ("fetching the list".to_owned(), 0, None),
        SyncStage::Fetch => {
            let done = counts.unchanged + counts.reused + counts.fetched + counts.failed;
            (fetching(progress), done, Some(counts.declared))
        }
        SyncStage::Publish => ("making the version".to_owned(), 0, None),
    };
    if let Some(retry) = &progress.retry {
        what = format!("{what} ({retry})");
    }
    Progress::Step { what, done, total, is_bytes: false }
}

fn fetching(progress: &SyncProgress) -> String {
    let counts = &progress.counts;
    let mut parts =
        vec![format!("{} fetched, {} files", size(counts.fetched_bytes), counts.fetched)];
    for (number, what) in [
        (counts.unchanged, "unchanged"),
        (counts.reused, "reused"),
        (counts.removed, "removed"),
        (counts.failed, "failed"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    parts.join(", ")
}

/// What came of a sync, in one line.
fn summary(job: &JobInfo, reply: &SyncReply) -> String {
    let (repository, remote) = (&job.repository, &job.remote);
    if reply.unchanged_remote {
        return format!("no change: {remote} declares what it declared at the last sync");
    }
    let counts = &reply.counts;
    let mut parts = vec![format!("{} declared", count(counts.declared, "file"))];
    // Where there is nothing new, somebody else published the same meanwhile: these would contradict that.
    let changes = if reply.changed {
        [(counts.added, "added"), (counts.changed, "changed"), (counts.removed, "removed")]
    } else {
        [(0, ""); 3]
    };
    let unchanged = (counts.unchanged, "unchanged");
    for (number, what) in [&[unchanged][..], &changes, &[(counts.failed, "failed")]].concat() {
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
        _ if job.dry_run && reply.changed => {
            format!("would make a version of {repository}: {done}")
        }
        (Some(version), true) => format!("{repository}/{}: {done}", version.number),
        (Some(version), false) => {
            format!("no change to {repository}/{}: {done}", version.number)
        }
        (None, _) => format!("no change: {done}"),
    }
}
