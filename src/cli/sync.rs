//! `cairn sync`: a version of what a remote declares.

use super::Context;
use super::error::CliError;
use super::follow::follow;
use super::parse::{parse_remote_path, parse_removal_limit, parse_size};
use crate::control::protocol::Request;
use crate::control::reply::Reply;
use crate::control::sync::SyncRequest;
use crate::model::fetch_policy::FetchPolicy;
use crate::model::name::{RemoteName, RepoName, TagName};
use crate::model::raw::RawPath;
use crate::model::sync::RemovalLimit;

const HELP: &str = "\
Fetches the files that the remote declares and the store lacks, checks the digest of each, and publishes
them as the next version. If a file cannot be had, nothing is published. With --keep-going the rest is
published: a file that could not be had keeps its old content, or is not in the version if it is new.
Running it again goes on with what came: whole files for as long as unreferenced content is protected
(ten minutes unless told otherwise), unfinished ones until `cairn gc`, or a sync after a week. Files that
are the same in the newest version stay as they are. Where the list is the one of the last sync, and nobody
has published since, that is one request, unless content is missing or damaged somewhere in the store.

--mirror also removes what the remote does not declare, as `rsync --delete` does; without it nothing is
removed. With SUBPATH only what lies below it is taken, and lies at the root of the version. `cairn remote
add` says where a remote is.

Of a directory or an archive of this machine everything is read that may have changed, with all types of entries, their
modes, owners, times and links. What is counted are entries that are not directories; `fetched` means read and stored.
A file that cannot be read or keeps changing could not be had. A damaged archive is not taken at all.

A sync is a job. It ends when this command ends, for instance because its terminal was closed. With
--detach it goes on in the daemon: `cairn jobs` lists and cancels it, and `cairn wait --job N` waits for it
and exits as this command would have. No job outlives the daemon, but the next sync goes on with what came.

EXIT CODES
  0  there is a new version, or nothing changed
  1  something could not be had, or is refused
  13  what the remote declares changed meanwhile: try again
  others, as in `cairn help`: there is no new version

JSON
  Where standard output is no terminal, lines of progress come first, one a second at most, or when the stage changes:
  {type, job, stage, retry, fetched_bytes_per_second}, where type is progress, and the counts below. The last line has the type
  result: {type, job, repository, remote, changed, version (as in `cairn show`), tag, unchanged_remote, warnings, events}, and at the same
  level declared_file_count, unchanged_file_count, reused_file_count, fetched_file_count, fetched_bytes, added_file_count,
  changed_file_count, removed_file_count, failed_file_count; an event is {path, change, reason}.
  With --detach: one job, as in `cairn jobs`

EXAMPLES
  cairn remote add releases sums https://example.org/releases/SHA256SUMS
  cairn sync tools releases --mirror --dry-run
  cairn sync tools releases --mirror --tag 2026-11
  cairn sync linux-tools releases/linux/x86_64 --json | jq 'select(.type == \"result\")'
  cairn sync tools releases --mirror --detach
  cairn sync tools isos --mirror --policy immediate
  cairn remote add machine directory /
  cairn sync settings machine/etc --mirror";

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
    /// Publish even if some files cannot be fetched or read; the new version has those as the newest one has them
    #[arg(long)]
    keep_going: bool,
    /// How many files the sync may remove: a count, or a percentage of the newest version
    #[arg(long, value_name = "N|P%", default_value = "50%", value_parser = parse_removal_limit)]
    max_delete: RemovalLimit,
    /// Bytes per second at most, for this sync
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_rate: Option<u64>,
    /// When content is fetched, for this sync: `immediate`, `on_demand` or `streamed` (see `cairn help remote`)
    #[arg(long, value_name = "POLICY")]
    policy: Option<FetchPolicy>,
    /// Text to keep with the version
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who asks for it [default: the caller's user name]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Name of the version
    #[arg(short, long, value_name = "TAG")]
    tag: Option<TagName>,
    /// Return at once and print the number of the job, which goes on in the daemon (see `cairn jobs`)
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
}

impl SyncArgs {
    /// Syncs.
    ///
    /// # Errors
    /// There is no new version then.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let (remote, subpath) = self.remote;
        let request = SyncRequest {
            repository: self.repository,
            remote,
            subpath,
            mirror: self.mirror,
            dry_run: self.dry_run,
            keep_going: self.keep_going,
            removal_limit: self.max_delete,
            rate_bytes_per_second: self.limit_rate,
            policy: self.policy,
            message: self.message.unwrap_or_default(),
            author: self.author,
            tag: self.tag,
            detach: self.detach,
        };
        let mut connection = context.connect()?;
        if !self.detach {
            return follow(context, &mut connection, Request::Sync(request));
        }
        let Reply::Jobs(jobs) = connection.ask(Request::Sync(request))? else {
            return Err(CliError::unexpected_reply());
        };
        let [job] = &jobs[..] else { return Err(CliError::unexpected_reply()) };
        if context.json {
            return Ok(context.output.json(job)?);
        }
        Ok(context.output.line(format_args!("job {}", job.job))?)
    }
}
