//! `cairn push`: versions go to a bucket.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Context;
use super::bucket::signing_key;
use super::error::CliError;
use super::parse::UsageTarget;
use super::transfer::{HowToTransfer, run};
use crate::control::transfer::{Direction, TransferRequest};
use crate::model::name::{BaseName, RemoteName, RepoName};

const HELP: &str = "\
Copies versions to a bucket, with their messages, tags and flags: an object store that speaks S3, or a directory. Only
what the bucket lacks is uploaded, many small files to an object, and the version is published last. If this is
interrupted, the bucket is as it was, and the next push uses what was uploaded.

REPO alone pushes all its versions, and the tags and flags that were changed here since the last push or pull. REPO/VERSION pushes
one version, REPO/TAG also makes the tag there what it is here. A version keeps its number. If somebody
else published that number there first, the push is refused: pull before you publish, and this does not happen.
Content that is absent here and that the bucket has is not fetched for this.

--delete deletes versions and tags in the bucket instead, which need not be here. What is locked, released, tagged or the newest stays.
What retention deletes here stays in the bucket.

With --sign, or where the remote names a key (`cairn remote set REMOTE --sign-key KEY`), each event that this publishes is
signed, as `ssh-keygen -Y sign -n cairn` does. See `cairn remote` for who checks that. The daemon reads the key with its own rights; a
key with a passphrase has to be in an agent (ssh-add), and KEY is its .pub file then.

A push is a job, as a sync is: see `cairn sync` for --detach, and `cairn jobs`.

EXIT CODES
  0  the bucket has it now
  5  somebody else published first
  others, as in `cairn help`

JSON
  Where standard output is no terminal, lines of progress come first, one a second at most, or when the stage changes: {type, job,
  stage}, where type is progress and stage is look, move or publish, and the counts below. The last line for each repository has the type result: {type,
  job, repository, remote, changed, numbers, deleted_numbers, flagged_numbers, changed_tags, warnings}, and at the same level
  version_count, present_content_count, missing_content_count, missing_content_bytes, transferred_content_count, transferred_bytes.
  With --detach: an array of jobs, as in `cairn jobs`

EXAMPLES
  cairn remote add store bucket s3://tools/cairn
  cairn push tools store --dry-run
  cairn push tools web store
  cairn push tools/7 tools/stable store --limit-rate 10M
  cairn push tools/3 store --delete
  cairn push tools store --sign ~/.ssh/id_ed25519
  cairn push tools store --json | jq 'select(.type == \"result\").numbers'";

/// Arguments of `cairn push`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct PushArgs {
    /// Repositories, or versions and tags of them
    #[arg(value_name = "REPO[/VERSION]", required = true)]
    targets: Vec<UsageTarget>,
    /// The bucket: a remote of that kind
    #[arg(value_name = "REMOTE", required = true)]
    remote: RemoteName,
    /// Say what would be published, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Delete these versions and tags in the bucket; here they stay
    #[arg(long)]
    delete: bool,
    /// Sign what is published with this SSH key, or with the agent's where it is a .pub file
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    how: HowToTransfer,
}

impl PushArgs {
    /// Pushes, one repository after the other.
    ///
    /// # Errors
    /// The first refusal; what was pushed before it stays.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let sign = self.sign.as_deref().map(signing_key).transpose()?;
        // A repository alone means all of it, whatever else is named.
        let mut repositories: BTreeMap<RepoName, Option<Vec<BaseName>>> = BTreeMap::new();
        for UsageTarget { repository, version } in self.targets {
            let named = repositories.entry(repository).or_insert_with(|| Some(Vec::new()));
            match (version, named) {
                (Some(version), Some(versions)) => versions.push(version),
                (None, named) => *named = None,
                (Some(_), None) => {}
            }
        }
        let requests = repositories.into_iter().map(|(repository, versions)| TransferRequest {
            direction: Direction::Push,
            repository,
            versions: versions.unwrap_or_default(),
            delete: self.delete,
            sign: sign.clone(),
            remote: self.remote.clone(),
            dry_run: self.dry_run,
            rate_bytes_per_second: self.how.limit_rate,
            detach: self.how.detach,
        });
        run(context, requests)
    }
}
