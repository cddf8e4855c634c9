//! `cairn jobs`: what goes on in the daemon.

use super::Context;
use super::error::CliError;
use super::output::Align::{Left, Right};
use super::parse::parse_job;
use super::text::{count, instant, size};
use crate::control::jobs::{JobInfo, JobKind, JobState, JobsRequest};
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::reply::Reply;
use crate::model::id::JobId;
use crate::model::transfer::TransferProgress;

const HELP: &str = "\
A job is a sync, a push or a pull: one that a command waits for, which ends with that command, or one that was begun with
--detach and goes on by itself. `cairn wait --job N` waits for the end of one and exits as it does. Jobs that have ended are listed
until a hundred others have. All jobs end with the daemon, and it forgets them: what was fetched is kept for a while, so that
the same command goes on where they were.

--cancel stops a job and returns when it has ended. It publishes nothing; what it fetched is kept for a
while.

JSON
  an array of {job, kind, state, repository, remote, path, dry_run, detached, user, pid, began, began_seconds, ended,
  ended_seconds, stage, retry, number, error, declared_file_count, unchanged_file_count, reused_file_count, fetched_file_count,
  fetched_bytes, added_file_count, changed_file_count, removed_file_count, failed_file_count}; kind is sync, push or pull; state is
  running, done, failed or cancelled; stage is declare (the list is fetched and checked), fetch or publish; retry says why it
  waits to ask the remote again, or is null; number is that of the version that it made, or null; error is null or the kind,
  message, hint and detail of the error that it ended with (failed_files in detail has {files {path, reason},
  file_count}); ended and ended_seconds are left out while it is running. A push or a pull has the stages look, move and
  publish, no retry, and instead of these counts those of `cairn push`

EXAMPLES
  cairn jobs
  cairn jobs --cancel 7
  cairn jobs --json | jq '.[] | select(.state == \"running\")'";

/// Arguments of `cairn jobs`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct JobsArgs {
    /// Cancel this job; what it fetched is kept for a while
    #[arg(long, value_name = "N", value_parser = parse_job)]
    cancel: Option<JobId>,
}

impl JobsArgs {
    /// Lists jobs, or cancels one.
    ///
    /// # Errors
    /// There is no such job, or it has ended before.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let request = self.cancel.map_or(JobsRequest::List, |job| JobsRequest::Cancel { job });
        let Reply::Jobs(jobs) = context.connect()?.ask(Request::Jobs(request))? else {
            return Err(CliError::unexpected_reply());
        };
        let Some(job) = self.cancel else {
            return list(context, &jobs);
        };
        let state = jobs.first().map(|job| job.state);
        if let Some(ended @ (JobState::Done | JobState::Failed)) = state {
            let message = format!("job {job} had ended already: it is {}", ended.as_str());
            return Err(ControlError::new(ErrorKind::Failed, message).into());
        }
        match (context.json, state) {
            (true, _) => Ok(context.output.json(&jobs)?),
            (false, Some(JobState::Cancelled)) => {
                Ok(context.output.line(format_args!("cancelled job {job}"))?)
            }
            (false, _) => Ok(context.output.line(format_args!("job {job} is about to end"))?),
        }
    }
}

fn list(context: &mut Context, jobs: &[JobInfo]) -> Result<(), CliError> {
    if context.json {
        return Ok(context.output.json(jobs)?);
    }
    let columns = [
        ("JOB", Right),
        ("STATE", Left),
        ("REPOSITORY", Left),
        ("REMOTE", Left),
        ("BY", Left),
        ("SINCE", Left),
        ("PROGRESS", Left),
    ];
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| {
            [
                job.job.to_string(),
                job.state.as_str().to_owned(),
                job.repository.to_string(),
                remote(job),
                job.user.clone(),
                instant(&job.began),
                progress(job),
            ]
        })
        .collect();
    Ok(context.output.table(columns, &rows)?)
}

fn remote(job: &JobInfo) -> String {
    let path = String::from_utf8_lossy(job.path.as_bytes());
    if path.is_empty() { job.remote.to_string() } else { format!("{}/{path}", job.remote) }
}

fn progress(job: &JobInfo) -> String {
    if let Some(transfer) = &job.transfer {
        return transferred(job, transfer);
    }
    let Some(progress) = &job.progress else { return String::new() };
    let counts = &progress.counts;
    let done = format!(
        "{} of {}, {} fetched",
        counts.unchanged + counts.reused + counts.fetched + counts.failed,
        count(counts.declared, "file"),
        size(counts.fetched_bytes),
    );
    match (&job.error, job.number, &progress.retry) {
        (Some(error), ..) => error.message.clone(),
        (None, Some(number), _) => format!("{}/{number}: {done}", job.repository),
        (None, None, _) if job.state == JobState::Done => "no change".to_owned(),
        (None, None, Some(retry)) => format!("{}: {retry}", progress.stage.as_str()),
        (None, None, None) => format!("{}: {done}", progress.stage.as_str()),
    }
}

fn transferred(job: &JobInfo, progress: &TransferProgress) -> String {
    let counts = &progress.counts;
    let done = format!(
        "{} published, {} of {} moved, {}",
        count(counts.versions, "version"),
        counts.moved,
        count(counts.contents, "content"),
        size(counts.moved_bytes),
    );
    match (&job.error, job.kind) {
        (Some(error), _) => error.message.clone(),
        (None, JobKind::Push) => format!("push: {done}"),
        (None, JobKind::Pull | JobKind::Sync) => format!("pull: {done}"),
    }
}
