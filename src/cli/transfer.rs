//! What `cairn push` and `cairn pull` share: their jobs, and what is printed of them.

use serde::Serialize;

use super::Context;
use super::error::{CliError, warn};
use super::follow::follow;
use super::parse::parse_size;
use super::text::{count, size};
use crate::control::jobs::{JobInfo, JobKind};
use crate::control::protocol::{Progress, Request};
use crate::control::reply::Reply;
use crate::control::transfer::{TransferReply, TransferRequest};
use crate::model::id::{JobId, VersionNumber};
use crate::model::name::{RemoteName, RepoName};
use crate::model::transfer::{TransferProgress, TransferStage};

/// Options that a push and a pull have in common.
#[derive(Debug, clap::Args)]
pub(super) struct HowToTransfer {
    /// Bytes per second at most, instead of what the remote's settings say
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) limit_rate: Option<u64>,
    /// Return at once and print the numbers of the jobs, which go on in the daemon (see `cairn jobs`)
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) detach: bool,
}

/// What is printed with `--json` at the end.
#[derive(Debug, Serialize)]
struct ResultDocument<'a> {
    r#type: &'static str,
    job: JobId,
    repository: &'a RepoName,
    remote: &'a RemoteName,
    #[serde(flatten)]
    reply: &'a TransferReply,
}

/// What is printed with `--json` while a job goes on.
#[derive(Debug, Serialize)]
pub(super) struct ProgressDocument<'a> {
    pub(super) r#type: &'static str,
    pub(super) job: JobId,
    #[serde(flatten)]
    pub(super) progress: &'a TransferProgress,
}

/// Makes the requests, one after the other, and prints what comes of them.
///
/// # Errors
/// The first refusal.
pub(super) fn run(
    context: &mut Context,
    requests: impl Iterator<Item = TransferRequest>,
) -> Result<(), CliError> {
    let mut connection = context.connect()?;
    let mut begun = Vec::new();
    for request in requests {
        if !request.detach {
            follow(context, &mut connection, Request::Transfer(request))?;
            continue;
        }
        let Reply::Jobs(jobs) = connection.ask(Request::Transfer(request))? else {
            return Err(CliError::unexpected_reply());
        };
        if !context.json {
            for job in &jobs {
                context.output.line(format_args!("job {}", job.job))?;
            }
        }
        begun.extend(jobs);
    }
    if context.json && !begun.is_empty() {
        context.output.json(&begun)?;
    }
    Ok(())
}

/// Prints the end of a push or a pull.
///
/// # Errors
/// When nothing can be written.
pub(super) fn print(
    context: &mut Context,
    job: &JobInfo,
    reply: &TransferReply,
) -> Result<(), CliError> {
    if context.json {
        return Ok(context.output.json(&ResultDocument {
            r#type: "result",
            job: job.job,
            repository: &job.repository,
            remote: &job.remote,
            reply,
        })?);
    }
    reply.warnings.iter().for_each(|text| warn(text));
    Ok(context.output.line(summary(job, reply))?)
}

fn summary(job: &JobInfo, reply: &TransferReply) -> String {
    let (repository, remote) = (&job.repository, &job.remote);
    if !reply.changed && reply.counts.moved > 0 {
        let fetched = count(reply.counts.moved, "content");
        return format!("fetched {fetched} of {repository}, {}", size(reply.counts.moved_bytes));
    }
    if !reply.changed {
        return format!("no change: {remote} and this store agree on {repository}");
    }
    let (is_push, is_dry_run) = (job.kind == JobKind::Push, job.dry_run);
    let mut parts = Vec::new();
    let verb = match (is_push, is_dry_run) {
        (true, true) => "would push",
        (true, false) => "pushed",
        (false, true) => "would pull",
        (false, false) => "pulled",
    };
    if !reply.numbers.is_empty() {
        parts.push(format!("{verb} {repository}/{}", joined(&reply.numbers)));
    }
    if !reply.deleted_numbers.is_empty() {
        let verb = if is_dry_run { "would delete" } else { "deleted" };
        let numbers = joined(&reply.deleted_numbers);
        parts.push(format!("{verb} {repository}/{numbers} in {remote}"));
    }
    for (number, what) in [(reply.changed_tags.len(), "tag"), (reply.flagged_numbers.len(), "flag")]
    {
        if number > 0 {
            parts.push(format!("{verb} {}", count(number, what)));
        }
    }
    let counts = &reply.counts;
    if !is_dry_run && !reply.numbers.is_empty() {
        parts.push(format!(
            "{} of {} contents, {}",
            counts.moved,
            counts.present + counts.contents,
            size(counts.moved_bytes)
        ));
        if !is_push && counts.moved < counts.contents {
            let left = count(counts.contents - counts.moved, "content");
            parts.push(format!("{left} to be fetched when read"));
        }
    }
    parts.join(", ")
}

fn joined(numbers: &[VersionNumber]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// What the line of progress shows.
pub(super) fn step(progress: &TransferProgress) -> Progress {
    let counts = &progress.counts;
    let (what, done, total) = match progress.stage {
        TransferStage::Look => ("looking for what is there".to_owned(), 0, None),
        TransferStage::Move => {
            let what = format!("{} moved, {} there", size(counts.moved_bytes), counts.present);
            (what, counts.moved, Some(counts.contents))
        }
        TransferStage::Publish => ("publishing".to_owned(), 0, None),
    };
    Progress::Step { what, done, total, is_bytes: false }
}
