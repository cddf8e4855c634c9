//! `cairn reclaim`: drops stored content that a remote can give back.

use super::Context;
use super::error::CliError;
use super::parse::parse_size;
use super::progress::ProgressLine;
use super::text::{count, size};
use crate::control::protocol::Request;
use crate::control::reclaim::{ReclaimReply, ReclaimRequest};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::model::name::RepoName;

const HELP: &str = "\
Content whose only name is the digest that a remote declares, and that a remote is known to have (one that is, or was, synced
with --policy on_demand), becomes absent again: the versions stay as they are, and the next read fetches it. So does what
was pulled from a bucket, unless somebody stored it here as well. What was
read the longest time ago goes first. Reads that the kernel answers from its own cache are not seen, and a restart of the
daemon forgets some.

What somebody has open or mapped stays. So does what anything else needs: a file that came from elsewhere, or a file of a
staging area. No remote is asked: if one has dropped a file since it was synced, the content is lost with it.

A dry run counts what somebody has open as if it went.

With REPO only that goes which the versions of these repositories have, and no version of another one.

JSON
  {dry_run, reclaimed_content_count, reclaimed_bytes, left}; left has what stays of the content that remotes declare: an
  array of {reason, content_count, size_bytes}, where reason is kept (--keep), open, needed (since a moment ago), or, without
  REPO, no_source, other_name, area or damaged

EXAMPLES
  cairn reclaim --dry-run
  cairn reclaim --keep 20G
  cairn reclaim debian --json | jq .reclaimed_bytes";

/// Arguments of `cairn reclaim`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct ReclaimArgs {
    /// Only what these repositories have, and no other one
    #[arg(value_name = "REPO")]
    repositories: Vec<RepoName>,
    /// So much of it stays: what was used last
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    keep: u64,
    /// Say what would go; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl ReclaimArgs {
    /// Reclaims.
    ///
    /// # Errors
    /// A repository does not exist; the store takes no changes.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let request = Request::Reclaim(ReclaimRequest {
            repositories: self.repositories,
            keep_bytes: self.keep,
            dry_run: self.dry_run,
        });
        let mut connection = context.connect()?;
        let mut line = ProgressLine::new(context.json);
        let result = connection.call(request, Attachment::none(), &mut |step| line.show(&step));
        drop(line);
        let (Reply::Reclaim(reclaim), _) = result? else {
            return Err(CliError::unexpected_reply());
        };
        match context.json {
            true => Ok(context.output.json(&reclaim)?),
            false => print(context, &reclaim),
        }
    }
}

fn print(context: &mut Context, reclaim: &ReclaimReply) -> Result<(), CliError> {
    let done = if reclaim.dry_run { "would reclaim" } else { "reclaimed" };
    let (bytes, contents) = (size(reclaim.bytes), count(reclaim.contents, "content"));
    context.output.line(format_args!("{done} {bytes} in {contents}"))?;
    for left in &reclaim.left {
        let (bytes, contents) = (size(left.bytes), count(left.contents, "content"));
        let reason = left.reason.as_words();
        context.output.line(format_args!("left {bytes} in {contents}: {reason}"))?;
    }
    Ok(())
}
