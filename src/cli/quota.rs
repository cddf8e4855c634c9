//! `cairn quota`: how much a repository may use.

use super::Context;
use super::error::CliError;
use super::parse::parse_size;
use super::text::{count, size};
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::quota::QuotaInfo;
use crate::control::reply::Reply;
use crate::control::upkeep::UpkeepRequest;
use crate::model::name::RepoName;
use crate::model::policy::Limit;

const HELP: &str = "\
Counted is the apparent size of the distinct files of all versions, and what staging areas changed;
an untouched copy of a version costs nothing. Whoever writes beyond the quota gets EDQUOT at the
write; what was there before stays. Deleted versions do not count. Lowering a quota below what is
used deletes nothing. Sizes may end in K, M, G or T (powers of 1024). An option sets one limit and
leaves the other; its --clear-… removes the limit, as `none` does. Without options quota and usage are
shown. Inside the repository `df` shows the quota.

JSON
  {repository, quota_bytes, quota_file_count, used_bytes, used_file_count, areas_bytes,
  areas_file_count}; a quota is null where there is no limit

EXAMPLES
  cairn quota web --bytes 10G --files 1000000
  cairn quota web
  cairn quota web --clear-files --json
  cairn quota web --clear";

/// Arguments of `cairn quota`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct QuotaArgs {
    /// The repository
    #[arg(value_name = "REPO")]
    repository: RepoName,
    /// At most this many bytes, or `none`
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, conflicts_with = "clear_bytes")]
    bytes: Option<Limit>,
    /// At most this many files, or `none`
    #[arg(long, value_name = "N", value_parser = parse_files, conflicts_with = "clear_files")]
    files: Option<Limit>,
    /// Remove the limit of bytes
    #[arg(long)]
    clear_bytes: bool,
    /// Remove the limit of files
    #[arg(long)]
    clear_files: bool,
    /// Remove both limits
    #[arg(long, conflicts_with_all = ["bytes", "files", "clear_bytes", "clear_files"])]
    clear: bool,
}

fn parse_bytes(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit::Unlimited);
    }
    parse_size(text).map(Limit::Limit).map_err(|error| format!("{error}, or `none`"))
}

fn parse_files(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit::Unlimited);
    }
    text.parse().map(Limit::Limit).map_err(|_| "expected a number of files, or `none`".to_owned())
}

impl QuotaArgs {
    /// Sets, clears or shows it; after a change, the result is shown.
    ///
    /// # Errors
    /// The repository does not exist; a limit of 0.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let repository = self.repository;
        if self.bytes == Some(Limit::Limit(0)) || self.files == Some(Limit::Limit(0)) {
            let message = "a quota of 0 would refuse every file";
            let hint = format!("`cairn quota {repository} --clear` removes the quota");
            return Err(ControlError::new(ErrorKind::Usage, message).with_hint(hint).into());
        }
        let cleared = |clear: bool| clear.then_some(Limit::Unlimited);
        let bytes_limit = self.bytes.or(cleared(self.clear_bytes));
        let files_limit = self.files.or(cleared(self.clear_files));
        let request = match (self.clear, bytes_limit, files_limit) {
            (false, None, None) => UpkeepRequest::Quota { repository },
            (true, ..) => UpkeepRequest::SetQuota {
                repository,
                bytes: Limit::Unlimited,
                files: Limit::Unlimited,
            },
            (false, bytes, files) => UpkeepRequest::SetQuota {
                repository,
                bytes: bytes.unwrap_or_default(),
                files: files.unwrap_or_default(),
            },
        };
        let Reply::Quota(quota) = context.connect()?.ask(Request::Upkeep(request))? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&quota)?);
        }
        context.output.line(format_args!("bytes     {}", bytes(&quota)))?;
        context.output.line(format_args!("files     {}", files(&quota)))?;
        Ok(context.output.line(format_args!(
            "areas     {} in {} of these",
            size(quota.areas_bytes),
            count(quota.areas_files, "file"),
        ))?)
    }
}

/// Usage and quota in bytes, in words.
pub(super) fn bytes(quota: &QuotaInfo) -> String {
    limited(quota.usage.bytes, quota.quota.bytes, size)
}

/// Usage and quota in files, in words.
pub(super) fn files(quota: &QuotaInfo) -> String {
    limited(quota.usage.files, quota.quota.files, |files| files.to_string())
}

fn limited(used: u64, limit: Option<u64>, show: impl Fn(u64) -> String) -> String {
    match limit {
        None => format!("{} used, no limit", show(used)),
        Some(limit) => {
            let percent = u128::from(used) * 100 / u128::from(limit.max(1));
            format!("{} of {} used ({percent} %)", show(used), show(limit))
        }
    }
}
