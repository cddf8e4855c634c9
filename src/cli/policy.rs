//! `cairn policy`: which versions a repository keeps by itself.

use std::time::Duration;

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::output::Align::{Left, Right};
use super::parse::{parse_count, parse_duration};
use super::text::{count, duration, printable};
use crate::control::client::Connection;
use crate::control::policy::{Decision, PolicyReply};
use crate::control::protocol::{Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::control::upkeep::UpkeepRequest;
use crate::model::name::RepoName;
use crate::model::policy::{Limit, Policy, RuleChanges};

const HELP: &str = "\
An option sets one rule and leaves the others; its --clear-… removes the rule, --clear the whole
policy. A class of versions without a rule is kept whole. Without options the policy is shown, and
what it would do with each version now.

Versions are counted by class, released and unreleased, newest first. Locked versions and those that
a tag other than their own name points at never expire and do not count; the newest version of a
repository never expires. --keep-within keeps what is younger in addition; alone it is the rule of
unreleased versions. A policy is applied by full collection runs: once a day, on SIGUSR1, or by
`cairn gc --full`; what it deletes can be brought back for a while (`cairn undelete`). A policy that
cannot be read deletes nothing.

JSON
  {repository, policy, failure, decisions}; policy is null or {keep_unreleased, keep_released,
  keep_within_ms, expire_areas_ms}, each only where it is set; failure says why none can be read; decisions is an array of
  {repository, number or area, keep, reason}

EXAMPLES
  cairn policy web --keep-unreleased 5 --keep-released 3
  cairn policy web --keep-unreleased 10 --keep-within 30d --expire-areas 7d
  cairn policy web --clear-keep-released
  cairn policy web
  cairn policy web --json | jq '.decisions[] | select(.keep | not)'
  cairn policy web --clear";

/// Arguments of `cairn policy`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct PolicyArgs {
    /// The repository
    #[arg(value_name = "REPO")]
    repository: RepoName,
    /// Keep this many of the newest unreleased versions
    #[arg(long, value_name = "N", value_parser = parse_count)]
    #[arg(conflicts_with = "clear_keep_unreleased")]
    keep_unreleased: Option<u64>,
    /// Keep this many of the newest released versions
    #[arg(long, value_name = "N", value_parser = parse_count)]
    #[arg(conflicts_with = "clear_keep_released")]
    keep_released: Option<u64>,
    /// Keep what is younger as well; seconds, or with s, m, h, d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[arg(conflicts_with = "clear_keep_within")]
    keep_within: Option<Duration>,
    /// Discard staging areas that nobody changed for so long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[arg(conflicts_with = "clear_expire_areas")]
    expire_areas: Option<Duration>,
    /// Remove the rule about unreleased versions
    #[arg(long)]
    clear_keep_unreleased: bool,
    /// Remove the rule about released versions
    #[arg(long)]
    clear_keep_released: bool,
    /// Remove the rule about young versions
    #[arg(long)]
    clear_keep_within: bool,
    /// Discard no staging areas any more
    #[arg(long)]
    clear_expire_areas: bool,
    /// Show the policy, and what it would do now
    #[arg(long, conflicts_with_all = OPTIONS)]
    show: bool,
    /// Remove the policy: nothing expires any more
    #[arg(long, conflicts_with_all = OPTIONS, conflicts_with = "show")]
    clear: bool,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    repository: &'a RepoName,
    policy: Option<Rules>,
    failure: &'a Option<String>,
    decisions: &'a [Decision],
}

/// A policy in JSON has durations in milliseconds, as all JSON of cairn; the catalog keeps seconds.
#[derive(Debug, Serialize)]
struct Rules {
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_unreleased: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_released: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_within_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_areas_ms: Option<u64>,
}

impl<'a> Document<'a> {
    fn of(shown: &'a PolicyReply) -> Self {
        let PolicyReply { repository, policy, unreadable, decisions } = shown;
        Self { repository, policy: policy.map(Rules::of), failure: unreadable, decisions }
    }
}

impl Rules {
    fn of(policy: Policy) -> Self {
        let ms = |seconds: u64| seconds.saturating_mul(1000);
        Self {
            keep_unreleased: policy.keep_unreleased,
            keep_released: policy.keep_released,
            keep_within_ms: policy.keep_within_seconds.map(ms),
            expire_areas_ms: policy.expire_areas_seconds.map(ms),
        }
    }
}

const OPTIONS: [&str; 8] = [
    "keep_unreleased",
    "keep_released",
    "keep_within",
    "expire_areas",
    "clear_keep_unreleased",
    "clear_keep_released",
    "clear_keep_within",
    "clear_expire_areas",
];

impl PolicyArgs {
    /// Sets, clears or shows it; after a change, the result is shown.
    ///
    /// # Errors
    /// The repository does not exist.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let within = self.keep_within.map(|within| within.as_secs());
        let after = self.expire_areas.map(|after| after.as_secs());
        let rules = RuleChanges {
            keep_unreleased: rule(self.keep_unreleased, self.clear_keep_unreleased),
            keep_released: rule(self.keep_released, self.clear_keep_released),
            keep_within_seconds: rule(within, self.clear_keep_within),
            expire_areas_seconds: rule(after, self.clear_expire_areas),
        };
        let mut connection = context.connect()?;
        let repository = self.repository.clone();
        let request = match (rules.is_empty(), self.clear) {
            (true, false) => None,
            (true, true) => Some(UpkeepRequest::SetPolicy { repository, policy: None }),
            (false, _) => Some(UpkeepRequest::ChangePolicy { repository, rules }),
        };
        let shows = request.is_none();
        if let Some(request) = request {
            let Reply::Done = connection.ask(Request::Upkeep(request))? else {
                return Err(CliError::unexpected_reply());
            };
        }
        let shown = ask(&mut connection, self.repository)?;
        if context.json {
            return Ok(context.output.json(&Document::of(&shown))?);
        }
        print(context, &shown, shows)
    }
}

/// What becomes of a rule, by its two options.
fn rule(set: Option<u64>, clear: bool) -> Limit {
    match (set, clear) {
        (Some(limit), _) => Limit::Limit(limit),
        (None, true) => Limit::Unlimited,
        (None, false) => Limit::Keep,
    }
}

fn ask(connection: &mut Connection, repository: RepoName) -> Result<PolicyReply, CliError> {
    let mut decisions = Vec::new();
    let request = Request::Upkeep(UpkeepRequest::Policy { repository });
    let mut collect = |progress: Progress| {
        if let Progress::Decisions(some) = progress {
            decisions.extend(some);
        }
    };
    let (Reply::Policy(mut policy), _) =
        connection.call(request, Attachment::none(), &mut collect)?
    else {
        return Err(CliError::unexpected_reply());
    };
    policy.decisions = decisions;
    Ok(policy)
}

fn print(context: &mut Context, shown: &PolicyReply, all: bool) -> Result<(), CliError> {
    let output = &mut context.output;
    if let Some(reason) = &shown.unreadable {
        output.line(format_args!("policy    UNREADABLE: {}", printable(reason)))?;
        return Ok(output.line("nothing expires until it is set again, or cleared")?);
    }
    let Some(policy) = &shown.policy else {
        return Ok(output.line("policy    none: nothing expires")?);
    };
    output.line(format_args!("policy    {}", describe(policy)))?;
    let going = shown.decisions.iter().filter(|decision| !decision.keep);
    let (areas, versions): (Vec<_>, Vec<_>) = going.partition(|decision| decision.area.is_some());
    output.line(format_args!(
        "now       {} and {} would expire",
        count(versions.len() as u64, "version"),
        count(areas.len() as u64, "staging area"),
    ))?;
    if !all || shown.decisions.is_empty() {
        return Ok(());
    }
    output.line("")?;
    print_decisions(context, &shown.decisions)
}

/// Prints what becomes of each version and why.
///
/// # Errors
/// The output cannot be written.
pub(super) fn print_decisions(
    context: &mut Context,
    decisions: &[Decision],
) -> Result<(), CliError> {
    let rows: Vec<_> = decisions.iter().map(row).collect();
    let columns = [("VERSION", Right), ("FATE", Left), ("REASON", Left)];
    Ok(context.output.table(columns, &rows)?)
}

fn row(decision: &Decision) -> [String; 3] {
    let what = match (&decision.number, &decision.area) {
        (Some(number), _) => format!("{}/{number}", decision.repository),
        (None, Some(area)) => format!("{}/{area}", decision.repository),
        (None, None) => decision.repository.to_string(),
    };
    let fate = if decision.keep { "keep" } else { "EXPIRE" };
    [what, fate.to_owned(), decision.reason.clone()]
}

/// A policy in words.
fn describe(policy: &Policy) -> String {
    let newest = |class: &'static str| move |keep: u64| format!("the newest {keep} {class}");
    let kept: Vec<String> = [
        policy.keep_unreleased.map(newest("unreleased")),
        policy.keep_released.map(newest("released")),
        policy.keep_within_seconds.map(|within| format!("all younger than {}", duration(within))),
    ]
    .into_iter()
    .flatten()
    .collect();
    let areas = policy
        .expire_areas_seconds
        .map(|after| format!("discard areas unchanged for {}", duration(after)));
    let kept = (!kept.is_empty()).then(|| format!("keep {}", kept.join(", ")));
    let parts: Vec<String> = kept.into_iter().chain(areas).collect();
    parts.join("; ")
}
