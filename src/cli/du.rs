//! `cairn du`: where space goes.

use super::Context;
use super::error::CliError;
use super::output::Align::{Left, Right};
use super::parse::UsageTarget;
use super::progress::ProgressLine;
use super::text::{count, size};
use crate::control::du::{DuReply, DuTarget, RepositoryUsage, VersionUsage};
use crate::control::protocol::{Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::control::upkeep::UpkeepRequest;

const HELP: &str = "\
APPARENT is what the files would take without sharing; UNIQUE is what deleting just this version (or
all versions of this repository) frees; SHARED is the rest. A version that an open staging area
started from has nothing unique. AREAS is what staging areas changed, DELETED what deleted versions
have that can still be brought back. Without arguments every repository is measured, with REPO also
each of its versions, with REPO/VERSION that version. The cost follows what is unique.

Content that only remotes have takes no space here. It is in APPARENT and SHARED, not in UNIQUE nor in
the size of the store; the line `absent` says how much it is in the whole store.

JSON
  {repositories, versions, store_bytes, reclaimable_bytes, protected_bytes, pinned_bytes,
  absent_content_count, absent_bytes};
  repositories: an array of {repository, version_count, apparent_bytes, unique_bytes, shared_bytes,
  areas_bytes, areas_file_count, deleted_version_count, deleted_bytes}; versions: an array of
  {repository, number, is_deleted, file_count, apparent_bytes, unique_bytes, shared_bytes}

EXAMPLES
  cairn du
  cairn du web
  cairn du web/7 web/8
  cairn du web --json | jq '.versions | max_by(.unique_bytes).number'";

/// Arguments of `cairn du`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct DuArgs {
    /// Repositories, or versions: a number, a tag or `latest`
    #[arg(value_name = "REPO[/VERSION]")]
    targets: Vec<UsageTarget>,
}

impl DuArgs {
    /// Measures.
    ///
    /// # Errors
    /// A repository or version does not exist.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let targets = self.targets.into_iter();
        let targets = targets
            .map(|UsageTarget { repository, version }| DuTarget { repository, version })
            .collect();
        let request = Request::Upkeep(UpkeepRequest::Du { targets });
        let mut connection = context.connect()?;
        let mut line = ProgressLine::new(context.json);
        let mut versions = Vec::new();
        let mut on_progress = |progress: Progress| match progress {
            Progress::Usages(some) => versions.extend(some),
            other => line.show(&other),
        };
        let result = connection.call(request, Attachment::none(), &mut on_progress);
        drop(line);
        let (Reply::Du(mut du), _) = result? else {
            return Err(CliError::unexpected_reply());
        };
        du.versions = versions;
        if context.json {
            return Ok(context.output.json(&du)?);
        }
        print(context, &du)
    }
}

fn print(context: &mut Context, du: &DuReply) -> Result<(), CliError> {
    let output = &mut context.output;
    let rows: Vec<_> = du.versions.iter().map(version_row).collect();
    let columns = [
        ("VERSION", Right),
        ("FILES", Right),
        ("APPARENT", Right),
        ("UNIQUE", Right),
        ("SHARED", Right),
        ("", Left),
    ];
    output.table(columns, &rows)?;
    if !du.versions.is_empty() && !du.repositories.is_empty() {
        output.line("")?;
    }
    let rows: Vec<_> = du.repositories.iter().map(repository_row).collect();
    let columns = [
        ("REPOSITORY", Left),
        ("VERSIONS", Right),
        ("APPARENT", Right),
        ("UNIQUE", Right),
        ("SHARED", Right),
        ("AREAS", Right),
        ("DELETED", Right),
    ];
    output.table(columns, &rows)?;
    output.line("")?;
    output.line(format_args!("store        {}", size(du.store_bytes)))?;
    output.line(format_args!("reclaimable  {} (`cairn gc`)", size(du.reclaimable_bytes)))?;
    if du.protected_bytes > 0 {
        output.line(format_args!("protected    {}", size(du.protected_bytes)))?;
    }
    if du.pinned_bytes > 0 {
        output.line(format_args!("held open    {}", size(du.pinned_bytes)))?;
    }
    if du.absent > 0 {
        let (contents, bytes) = (count(du.absent, "content"), size(du.absent_bytes));
        output.line(format_args!("absent       {bytes} in {contents}, only at remotes"))?;
    }
    Ok(())
}

fn version_row(usage: &VersionUsage) -> [String; 6] {
    [
        format!("{}/{}", usage.repository, usage.number),
        usage.files.to_string(),
        size(usage.apparent_bytes),
        size(usage.unique_bytes),
        size(usage.shared_bytes),
        if usage.deleted { "(deleted)".to_owned() } else { String::new() },
    ]
}

fn repository_row(usage: &RepositoryUsage) -> [String; 7] {
    [
        usage.repository.to_string(),
        usage.versions.to_string(),
        size(usage.apparent_bytes),
        size(usage.unique_bytes),
        size(usage.shared_bytes),
        size(usage.areas_bytes),
        size(usage.deleted_bytes),
    ]
}
