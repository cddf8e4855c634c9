//! `cairn top`: what the daemon does, second by second.
//!
//! [`interval`] computes what happened between two answers of the daemon, [`table`] says it in lines, and
//! [`screen`] is the terminal: what a screen shows, keys, and that it is left as it was.

mod interval;
mod screen;
mod table;

use std::time::Duration;

use super::Context;
use super::error::CliError;
use super::parse::parse_duration;
use crate::control::client::Connection;
use crate::control::metrics::MetricsReply;
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::reply::Reply;
use interval::Interval;
use screen::{Screen, Wait};

const HELP: &str = "\
Shows what the daemon does and renews it each second: operations of the kernel with how many
there are in a second, how long they take on average and at most but for one in a hundred, and
how many failed; what was sealed, published, collected and fetched; what goes on, and how much of
its limits is in use. The first table is about the time since the daemon began, each further one
about the time since the one before. Ctrl-C or q ends it. Where the output is no terminal, tables
follow each other.

JSON
  one line per table: {daemon_pid, uptime_ms, interval_ms, operations, counts, now}; operations
  is an array of {operation, operation_count, failure_count, mean_us, p99_us}, the most frequent
  first, where p99_us is an upper bound, the next of 10 times powers of 4. counts is
  {sealed_file_count, known_file_count (content that the store had already), seal_failure_count,
  commit_count, collection_count, freed_blob_count, freed_bytes, expired_version_count,
  fetched_file_count, fetched_bytes, fetch_failure_count, tree_hit_count and tree_miss_count
  (pages of directories), http_answer_count, http_sent_bytes}: all these are of the interval. now
  is {state (ok, full, poisoned or read_only), fetching_content_count, waiting_read_count,
  failed_content_count, large_file_count, large_file_limit_count, staged_node_count, area_count,
  import_count, job_count, connection_count, tree_cache_bytes, free_bytes}

EXAMPLES
  cairn top
  cairn top --once
  cairn top --interval 10s --json | jq '.counts.commit_count'";

/// Arguments of `cairn top`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct TopArgs {
    /// Print one table, about the time since the daemon began, and end
    #[arg(long)]
    once: bool,
    /// Time between two tables
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    interval: Duration,
}

impl TopArgs {
    /// Prints tables until it is ended.
    ///
    /// # Errors
    /// No daemon runs, or it ends.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        if self.interval.is_zero() {
            let message = "the time between two tables must be at least a second";
            return Err(CliError::new(ErrorKind::Usage, message));
        }
        let store = context.store()?.to_owned();
        let mut connection = context.connect()?;
        if connection.daemon_pid().is_none() {
            let message = "no daemon serves the store, so nothing goes on";
            let error = ControlError::new(ErrorKind::Failed, message);
            return Err(error.with_hint("`cairn mount` starts one").into());
        }
        let mut screen = Screen::open(!context.json && !self.once)?;
        let mut before: Option<MetricsReply> = None;
        loop {
            let after = ask(&mut connection)?;
            let interval = Interval::between(before.as_ref(), &after);
            if context.json {
                context.output.json(&interval)?;
            } else {
                let lines = table::lines(&store, &interval, before.is_none());
                screen.show(&mut context.output, &lines)?;
            }
            context.output.flush()?;
            if self.once || screen.wait(self.interval)? == Wait::End {
                return Ok(());
            }
            before = Some(after);
        }
    }
}

fn ask(connection: &mut Connection) -> Result<MetricsReply, CliError> {
    match connection.ask(Request::Metrics)? {
        Reply::Metrics(metrics) => Ok(*metrics),
        _ => Err(CliError::unexpected_reply()),
    }
}
