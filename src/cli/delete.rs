//! `cairn delete`: deletes versions and empty repositories.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::parse::DeleteTarget;
use super::text::joined;
use crate::control::client::Connection;
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::reply::Reply;
use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, RepoName};

const HELP: &str = "\
REPO/3-5 means every version from 3 to 5 that exists; a tag of that form must be named by its
number. REPO alone deletes a repository, which must have no versions and no staging areas left; it
may follow its versions on one line. Of one repository all the named versions are deleted, or none.

A locked version is never deleted; a released, newest or tagged one only with --force. Returns at
once; the space returns in the background. Staging areas based on a deleted version keep what they
need, and open files stay readable. Numbers are not used again.

JSON
  an array with one element per repository: {repository, versions, repository_deleted}

EXAMPLES
  cairn delete web/7
  cairn delete web/3-5 web/old-name --json
  cairn delete old/1-99 old --force";

/// Arguments of `cairn delete`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct DeleteArgs {
    /// Versions (a number, a range, a tag or `latest` of a repository), or empty repositories
    #[arg(value_name = "REPO[/VERSION]", required = true)]
    targets: Vec<DeleteTarget>,
    /// Also what is released, newest or tagged
    #[arg(long)]
    force: bool,
}

/// What is to be deleted of one repository.
#[derive(Debug, Default)]
struct Plan {
    versions: Vec<BaseName>,
    ranges: Vec<(VersionNumber, VersionNumber)>,
    itself: bool,
}

/// What was deleted of one repository.
#[derive(Debug, Serialize)]
struct Deleted {
    repository: RepoName,
    versions: Vec<VersionNumber>,
    repository_deleted: bool,
}

impl DeleteArgs {
    /// Deletes, repository by repository in the order of their names.
    ///
    /// # Errors
    /// The first refusal; what was deleted before it is printed.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let mut plans: BTreeMap<RepoName, Plan> = BTreeMap::new();
        for target in self.targets {
            match target {
                DeleteTarget::Repository(name) => plans.entry(name).or_default().itself = true,
                DeleteTarget::Version(name, version) => {
                    plans.entry(name).or_default().versions.push(version);
                }
                DeleteTarget::Range(name, first, last) => {
                    plans.entry(name).or_default().ranges.push((first, last));
                }
            }
        }
        let mut connection = context.connect()?;
        let mut all = Vec::new();
        for (repository, plan) in plans {
            match delete(&mut connection, repository, plan, self.force) {
                Ok(deleted) if context.json => all.push(deleted),
                Ok(deleted) => print(context, &deleted)?,
                Err(error) => {
                    if context.json && !all.is_empty() {
                        context.output.json(&all)?;
                    }
                    context.output.flush()?;
                    return Err(error);
                }
            }
        }
        if context.json {
            context.output.json(&all)?;
        }
        Ok(())
    }
}

fn delete(
    connection: &mut Connection,
    repository: RepoName,
    plan: Plan,
    force: bool,
) -> Result<Deleted, CliError> {
    let mut versions = plan.versions;
    if !plan.ranges.is_empty() {
        versions.extend(expand(connection, &repository, &plan.ranges)?);
    }
    let mut deleted = Vec::new();
    if !versions.is_empty() {
        let request = Request::Delete { repository: repository.clone(), versions, force };
        let Reply::Deleted(reply) = connection.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
        deleted = reply.deleted;
    }
    if plan.itself {
        let request = Request::DeleteRepository { name: repository.clone() };
        let Reply::Done = connection.ask(request)? else {
            return Err(CliError::unexpected_reply());
        };
    }
    Ok(Deleted { repository, versions: deleted, repository_deleted: plan.itself })
}

/// Finds the versions that exist in `ranges`.
fn expand(
    connection: &mut Connection,
    repository: &RepoName,
    ranges: &[(VersionNumber, VersionNumber)],
) -> Result<Vec<BaseName>, CliError> {
    let existing = super::versions::all(connection, repository)?;
    let mut numbers = Vec::new();
    for (first, last) in ranges {
        let before = numbers.len();
        let matching = existing.iter().map(|version| version.number);
        numbers.extend(matching.filter(|number| first <= number && number <= last));
        if numbers.len() == before {
            let message = format!("{repository} has no version from {first} to {last}");
            let hint = format!("`cairn versions {repository}` lists them");
            let error = ControlError::new(ErrorKind::NotFound, message).with_hint(hint);
            return Err(error.into());
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers.into_iter().map(BaseName::Number).collect())
}

fn print(context: &mut Context, deleted: &Deleted) -> Result<(), CliError> {
    let repository = &deleted.repository;
    if !deleted.versions.is_empty() {
        let versions = joined(&deleted.versions);
        context.output.line(format_args!("deleted {repository}/{versions}"))?;
    }
    if deleted.repository_deleted {
        context.output.line(format_args!("deleted the repository {repository}"))?;
    }
    Ok(())
}
