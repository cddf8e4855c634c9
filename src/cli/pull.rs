//! `cairn pull`: versions come from a bucket.

use super::Context;
use super::error::CliError;
use super::transfer::{HowToTransfer, run};
use crate::control::transfer::{Direction, TransferRequest};
use crate::model::name::{RemoteName, RepoName};

const HELP: &str = "\
Makes the versions of a bucket that are not here, with the same numbers, times, messages and root hashes, and the tags and
flags that were changed there since the last push or pull. Only contents that the store lacks are fetched; each is compared with its name,
and each version with its root hash, before anybody sees it. If the policy of the bucket is on_demand or streamed, contents come when
they are read (see `cairn remote --help`). If this is interrupted, the versions that came stay, and the next pull
goes on with what was fetched: contents for as long as unreferenced content is protected (ten minutes unless told otherwise).

A version that was deleted here, by somebody or by retention, is not made again, and one that was deleted in the bucket stays
here. Where the store and the bucket have different versions of one number nothing is pulled.

A pull is a job, as a sync is: see `cairn sync` for --detach, and `cairn jobs`.

EXIT CODES
  0  the store has it now
  5  the store and the bucket have different versions of one number
  others, as in `cairn help`

JSON
  Where standard output is no terminal, lines of progress come first, one a second at most, or when the stage changes: {type, job,
  stage}, where type is progress and stage is look, move or publish, and the counts below. The last line for each repository has the type result: {type,
  job, repository, remote, changed, numbers, deleted_numbers, flagged_numbers, changed_tags, warnings}, and at the same level
  version_count, present_content_count, missing_content_count, missing_content_bytes, transferred_content_count, transferred_bytes.
  With --detach: an array of jobs, as in `cairn jobs`

EXAMPLES
  cairn remote add store bucket s3://tools/cairn
  cairn pull tools store --dry-run
  cairn pull tools web store
  cairn pull tools store --limit-rate 10M --detach
  cairn pull tools store --json | jq 'select(.type == \"result\").numbers'";

/// Arguments of `cairn pull`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct PullArgs {
    /// Repositories of the bucket; made when they do not exist here
    #[arg(value_name = "REPO", required = true)]
    repositories: Vec<RepoName>,
    /// The bucket: a remote of that kind
    #[arg(value_name = "REMOTE", required = true)]
    remote: RemoteName,
    /// Say which versions would be made, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    how: HowToTransfer,
}

impl PullArgs {
    /// Pulls, one repository after the other.
    ///
    /// # Errors
    /// The first refusal; what was pulled before it stays.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let requests = self.repositories.into_iter().map(|repository| TransferRequest {
            direction: Direction::Pull,
            repository,
            versions: Vec::new(),
            delete: false,
            sign: None,
            remote: self.remote.clone(),
            dry_run: self.dry_run,
            rate_bytes_per_second: self.how.limit_rate,
            detach: self.how.detach,
        });
        run(context, requests)
    }
}
