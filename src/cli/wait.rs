//! `cairn wait`: returns when a version was published, or a job has ended.

use std::time::{Duration, Instant};

use super::Context;
use super::error::CliError;
use super::follow::follow;
use super::parse::{parse_count, parse_duration, parse_job};
use super::progress::ProgressLine;
use super::text::duration;
use crate::control::jobs::JobsRequest;
use crate::control::protocol::{ControlError, ErrorKind, Progress, Request, WAIT_SECONDS_MAX};
use crate::control::reply::Reply;
use crate::model::id::{JobId, VersionNumber};
use crate::model::name::RepoName;

const HELP: &str = "\
Prints the first version after N as soon as it exists, so that a loop that passes the last number on
misses none. Without --after it waits for whatever is published next. Exit code 4 when the time is
over. The mount cannot tell programs what the daemon publishes (inotify does not see it): use this,
or `cairn mount --on-commit`.

With --job it waits for the end of a job of the daemon (`cairn jobs`) instead: it shows how far that is, and prints and exits as
`cairn sync` would have. Ending this command does not end the job.

JSON
  the version, as in `cairn show`; with --job, the lines as in `cairn sync`

EXAMPLES
  cairn wait web
  cairn wait web --after 7 --timeout 10m
  cairn wait web --after 7 --json | jq .number
  cairn wait --job 3 --timeout 1h";

/// Arguments of `cairn wait`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct WaitArgs {
    /// The repository
    #[arg(value_name = "REPO", required_unless_present = "job")]
    repository: Option<RepoName>,
    /// Wait for the end of this job instead
    #[arg(long, value_name = "N", value_parser = parse_job, conflicts_with_all = ["repository", "after"])]
    job: Option<JobId>,
    /// Only a version with a greater number [default: that of the newest now]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    after: Option<u64>,
    /// Give up after so long, in seconds or with s, m, h, d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl WaitArgs {
    /// Waits.
    ///
    /// # Errors
    /// There is no such repository or job, or it is removed meanwhile; the timeout is over; the error of a job that failed.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        if let Some(job) = self.job {
            let seconds = self.timeout.map(|timeout| timeout.as_secs());
            let request = Request::Jobs(JobsRequest::Follow { job, seconds });
            let mut connection = context.connect()?;
            return follow(context, &mut connection, request);
        }
        // One of the two is there: clap sees to that.
        let repository = self.repository.ok_or_else(CliError::unexpected_reply)?;
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut after = self.after.map(VersionNumber);
        let mut connection = context.connect()?;
        let mut line = ProgressLine::new(context.json);
        let what = format!("waiting for a version of {repository}");
        line.show(&Progress::Step { what, done: 0, total: None, is_bytes: false });
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            // Rounded up, since a last request of 0 seconds would be repeated again and again.
            let left_seconds = left.map(|left| left.as_millis().div_ceil(1000));
            let seconds = left_seconds.and_then(|left| u64::try_from(left).ok());
            let seconds = seconds.unwrap_or(WAIT_SECONDS_MAX).min(WAIT_SECONDS_MAX);
            let request = Request::Wait { repository: repository.clone(), after, seconds };
            let Reply::Waited(waited) = connection.ask(request)? else {
                return Err(CliError::unexpected_reply());
            };
            if let Some(version) = waited.version {
                drop(line);
                if context.json {
                    return Ok(context.output.json(&version)?);
                }
                let number = version.number;
                return Ok(context.output.line(format_args!("{repository}/{number}"))?);
            }
            if left.is_some_and(|left| left <= Duration::from_secs(seconds)) {
                let (after, time) = (waited.after, self.timeout.unwrap_or_default().as_secs());
                let time = duration(time);
                let message = format!("no version of {repository} after {after} within {time}");
                return Err(ControlError::new(ErrorKind::Busy, message).into());
            }
            after = Some(waited.after);
        }
    }
}
