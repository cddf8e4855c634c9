//! `cairn status`: the store at a glance.

use std::cmp::Reverse;
use std::io;
use std::path::Path;

use super::error::{CliError, Finding};
use super::output::Output;
use super::text::{count, instant, printable, size};
use super::{Context, areas, quota};
use crate::control::edge::EdgeInfo;
use crate::control::protocol::Request;
use crate::control::reply::Reply;
use crate::control::status::{GuardKind, Problem, ProblemKind, Severity, StatusReply};
use crate::fuse::mount::{MountEntry, MountTable};

const HELP: &str = "\
What needs attention is listed with what to do about it. With --check nothing else is printed, and
the exit code says how bad it is, for monitoring: `warning` where nothing is refused or lost yet (the
disk is nearly full, a limit or a quota is near, a policy cannot be read, a collection run left
something out, the daemon's program was replaced), `critical` where changes are refused, content is
damaged, files cannot be stored, or a mount is left whose daemon has ended. Space is low with less
than 5 % and less than 10 GiB free. That no daemon is running is no problem.

EXIT CODES
  0  with --check: healthy; without: the store could be asked
  11  with --check: warnings
  12  with --check: at least one critical problem
  others, as in `cairn help`: the store could not be asked

JSON
  {store, format, cairn_version, daemon_pid, mount, read_only, guard, repository_count, version_count,
  blob_count, blobs_bytes, tree_count, free_bytes, areas, unfinished_deletion_count, poisoned,
  last_run, next_run, next_run_seconds, reclaimable_bytes, protected_bytes, deleted_version_count,
  partial_file_count, partial_bytes (downloads that are not whole), absent_content_count (declared by a
  remote and not there), cached_bytes and cache_size_bytes (content of streamed remotes), fetching_content_count (wanted by readers or a prefetch: queued or being fetched),
  waiting_read_count, failed_content_count (in the last ten seconds), quotas, scrub, problems}; areas as in
  `cairn areas`,
  quotas as in `cairn quota` (of repositories that use more than 90 %), last_run is null or {full,
  began, began_seconds, duration_ms, expired_version_count, expired_area_count, freed_blob_count,
  freed_bytes, pinned_blob_count, pinned_bytes, error_count}; scrub is {running_permille, last,
  damaged_blob_count}, last is null or {ended, ended_seconds, hashed_blob_count, hashed_bytes,
  damaged_blob_count}; guard says what happens if the daemon is killed: `ends` the connections and
  takes the mounts away, only `detaches` dead mounts, or null; problems is an array of {kind, severity, message}, the worst first, where
  severity is warning or critical, and kind is poisoned, full, damage, failed_seals, dead_mount,
  low_space, limit, quota, policy, failed_run, replaced_binary, edge_behind or edge_alarm; edge is null, or what an edge follows:
  {remote, url, bucket_id (null until it was reached), chosen (the names of --repo), poll_ms, last_contact, last_contact_seconds (both
  absent while the bucket has not answered this daemon), followed_repository_count, missing_version_count (of those whose logs were read),
  failures and alarms (arrays of {repository (null: the bucket), message, began, began_seconds})}

EXAMPLES
  cairn status
  cairn status --check || mail -s 'cairn needs attention' root
  cairn status --json | jq .daemon_pid";

/// Arguments of `cairn status`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct StatusArgs {
    /// List only what needs attention, and exit with 11 or 12 where something does
    #[arg(long)]
    check: bool,
}

impl StatusArgs {
    /// Prints the status.
    ///
    /// # Errors
    /// The store cannot be reached; [`CliError::Found`] when a check finds something.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let Reply::Status(mut status) = context.connect()?.ask(Request::Status)? else {
            return Err(CliError::unexpected_reply());
        };
        if status.daemon_pid.is_none() {
            status.problems.extend(dead_mounts(&status.store));
        }
        // Those of the same severity stay in order.
        status.problems.sort_by_key(|problem| Reverse(problem.severity));
        match (context.json, self.check) {
            (true, _) => context.output.json(&status)?,
            (false, true) => print_check(&mut context.output, &status.problems)?,
            (false, false) => print(context, &status)?,
        }
        let worst = status.problems.first().map(|problem| problem.severity);
        match worst.filter(|_| self.check) {
            None => Ok(()),
            Some(Severity::Warning) => Err(CliError::Found(Finding::Warning)),
            Some(Severity::Critical) => Err(CliError::Found(Finding::Critical)),
        }
    }
}

/// Mounts of a store without a daemon: whoever uses them gets an error.
fn dead_mounts(store: &str) -> Vec<Problem> {
    // Without /proc nobody can tell.
    let Ok(table) = MountTable::read() else { return Vec::new() };
    let describe = |mount: &MountEntry| {
        let target = mount.target.display();
        let message = format!(
            "the daemon of the mount at {target} has ended: `cairn unmount` takes it away, \
             `cairn mount` replaces it"
        );
        Problem::new(ProblemKind::DeadMount, message)
    };
    // One mount for each daemon that ended: unmounting it takes along what is nested in it.
    let mounts = table.of_store(Path::new(store));
    let outer = |mount: &&&MountEntry| {
        let parent = table.by_id(mount.parent);
        !parent.is_some_and(|parent| parent.is_cairn() && parent.source == mount.source)
    };
    mounts.iter().filter(outer).map(|mount| describe(mount)).collect()
}

fn print_check(output: &mut Output, problems: &[Problem]) -> io::Result<()> {
    if problems.is_empty() {
        return output.line("healthy");
    }
    print_problems(output, problems)
}

fn print_problems(output: &mut Output, problems: &[Problem]) -> io::Result<()> {
    for problem in problems {
        let severity = match problem.severity {
            Severity::Warning => "warning ",
            Severity::Critical => "CRITICAL",
        };
        output.line(format_args!("{severity}  {}", printable(&problem.message)))?;
    }
    Ok(())
}

fn print(context: &mut Context, status: &StatusReply) -> Result<(), CliError> {
    let output = &mut context.output;
    let daemon = match (status.daemon_pid, &status.mount) {
        (None, _) => "none is running".to_owned(),
        (Some(pid), None) => format!("pid {pid}, not mounted"),
        (Some(pid), Some(mount)) => {
            let mode = if status.read_only { " (read-only)" } else { "" };
            format!("pid {pid}, mounted at {}{mode}", printable(mount))
        }
    };
    let guard = match status.guard {
        _ if status.mount.is_none() => None,
        Some(GuardKind::Ends) => Some("takes the mounts away if the daemon is killed"),
        Some(GuardKind::Detaches) => {
            Some("takes dead mounts away; cannot end one that hangs, see `cairn doctor`")
        }
        None => Some("none: if the daemon is killed, its mounts stay and fail"),
    };
    output.line(format_args!(
        "store     {} (format {})",
        printable(&status.store),
        status.format
    ))?;
    output.line(format_args!("daemon    {daemon}"))?;
    if let Some(guard) = guard {
        output.line(format_args!("guard     {guard}"))?;
    }
    output.line(format_args!(
        "holds     {}, {}, {}",
        count(status.repositories, "repository"),
        count(status.versions, "version"),
        count(status.areas.len() as u64, "open area"),
    ))?;
    output.line(format_args!(
        "content   {} in {} and {}; {} free",
        size(status.blobs_bytes),
        count(status.blobs, "blob"),
        count(status.trees, "directory page"),
        size(status.free_bytes),
    ))?;
    if status.doomed > 0 {
        output.line(format_args!("clean-up  {} under way", count(status.doomed, "deletion")))?;
    }
    print_scrub(output, status)?;
    print_upkeep(output, status)?;
    print_problems(output, &status.problems)?;
    if !status.areas.is_empty() {
        output.line("")?;
    }
    areas::print(output, &status.areas)
}

fn print_scrub(output: &mut Output, status: &StatusReply) -> io::Result<()> {
    if let Some(permille) = status.scrub.running_permille {
        let (percent, tenth) = (permille / 10, permille % 10);
        output.line(format_args!("scrub     {percent}.{tenth} % under way"))?;
    }
    let Some(last) = &status.scrub.last else { return Ok(()) };
    output.line(format_args!(
        "scrubbed  {}: {} ({}), {} damaged",
        instant(&last.ended),
        count(last.blobs, "blob"),
        size(last.hashed_bytes),
        last.damaged,
    ))
}

/// What an edge follows.
fn print_edge(output: &mut Output, edge: &EdgeInfo) -> io::Result<()> {
    let heard = match &edge.contact {
        Some(contact) => format!("heard of {}", instant(contact)),
        None => "not heard of since the daemon began".to_owned(),
    };
    let followed = match edge.chosen.len() {
        0 => format!("all {}", count(edge.followed, "repository")),
        chosen => format!("{} of {chosen} chosen", edge.followed),
    };
    output.line(format_args!("edge      of {}, {heard}", printable(&edge.url)))?;
    let missing = match edge.missing {
        0 => String::new(),
        missing => format!("; {} to come", count(missing, "version")),
    };
    output.line(format_args!("follows   {followed}{missing}"))
}

/// Collection runs, and quotas that are used up.
fn print_upkeep(output: &mut Output, status: &StatusReply) -> Result<(), CliError> {
    if let Some(run) = &status.last_run {
        let mut line = format!(
            "last run  {}, {} took {} ms: freed {} in {}",
            instant(&run.began),
            if run.full { "a full one," } else { "orphans only," },
            run.duration_ms,
            size(run.freed_bytes),
            count(run.blobs, "blob"),
        );
        if run.errors > 0 {
            line.push_str(&format!("; {}, see the log", count(run.errors, "error")));
        }
        output.line(line)?;
        if run.pinned_blobs > 0 {
            let (bytes, blobs) = (size(run.pinned_bytes), count(run.pinned_blobs, "blob"));
            output.line(format_args!("held open {bytes} in {blobs}"))?;
        }
    }
    let (due, protected) = (status.reclaimable_bytes, status.protected_bytes);
    if due + protected + status.deleted_versions > 0 {
        output.line(format_args!(
            "garbage   {} reclaimable, {} protected; {} can be brought back",
            size(due),
            size(protected),
            count(status.deleted_versions, "deleted version"),
        ))?;
    }
    if let Some(edge) = &status.edge {
        print_edge(output, edge)?;
    }
    if status.absent > 0 {
        let mut line = format!("absent    {}", count(status.absent, "content"));
        for (number, what) in [
            (status.fetching, "being fetched"),
            (status.waiting_reads, "waited for"),
            (status.failed_fetches, "failed"),
        ] {
            if number > 0 {
                line.push_str(&format!(", {number} {what}"));
            }
        }
        output.line(line)?;
    }
    if let (Some(cached), Some(limit)) = (status.cached_bytes, status.cache_size_bytes)
        && cached > 0
    {
        let limit = match limit {
            0 => "as much as there is room for".to_owned(),
            limit => size(limit),
        };
        output.line(format_args!("cache     {} of {limit}", size(cached)))?;
    }
    if status.partial_files > 0 {
        output.line(format_args!(
            "partial   {} in {}",
            size(status.partial_bytes),
            count(status.partial_files, "unfinished download"),
        ))?;
    }
    if let Some(next) = &status.next_run {
        output.line(format_args!("next run  {}", instant(next)))?;
    }
    for quota in &status.quotas {
        let (bytes, files) = (quota::bytes(quota), quota::files(quota));
        output.line(format_args!("quota     {}: {bytes}; files: {files}", quota.repository))?;
    }
    Ok(())
}
