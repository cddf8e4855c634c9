//! `cairn tag`: names for versions.

use super::Context;
use super::error::CliError;
use super::output::Align::{Left, Right};
use super::parse::{RepositoryTag, parse_version};
use super::text::time;
use crate::control::protocol::{ErrorKind, Request};
use crate::control::reply::Reply;
use crate::control::tags::TagInfo;
use crate::model::name::{BaseName, RepoName, TagName};

const HELP: &str = "\
A tag set here protects its version: neither retention nor `cairn delete` without --force takes it.
The name that a version got at its commit is listed as well, but does not protect it. `latest` and
numbers are reserved. The same as `ln -s VERSION MNT/tags/REPO/TAG`, `ln -sfn`, `rm`.

JSON
  REPO: an array of {repository, tag, number, protects, created, created_seconds};
  REPO/TAG VERSION: one of them; --delete: {repository, tag}

EXAMPLES
  cairn tag web
  cairn tag web/v1.0 7
  cairn tag web/stable latest --json
  cairn tag --delete web/v1.0";

/// Arguments of `cairn tag`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
#[command(override_usage = "cairn tag [OPTIONS] REPO\n       \
    cairn tag [OPTIONS] REPO/TAG VERSION\n       cairn tag [OPTIONS] --delete REPO/TAG")]
pub struct TagArgs {
    /// The repository whose tags to list, or the tag to set
    #[arg(value_name = "REPO[/TAG]")]
    target: RepositoryTag,
    /// What the tag shall point at: a number, another tag or `latest`
    #[arg(value_name = "VERSION", value_parser = parse_version, conflicts_with = "delete")]
    version: Option<BaseName>,
    /// Delete the tag; its version stays
    #[arg(short, long)]
    delete: bool,
}

impl TagArgs {
    /// Lists, sets or deletes.
    ///
    /// # Errors
    /// The repository, version or tag does not exist, or the arguments do not fit each other.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let repository = self.target.repository;
        match (self.target.tag, self.version, self.delete) {
            (None, None, false) => list(context, repository),
            (Some(tag), Some(version), _) => set(context, repository, tag, version),
            (Some(tag), None, true) => delete(context, repository, tag),
            (Some(tag), None, false) => {
                let message = format!("what shall {repository}/{tag} point at?");
                let example = format!("cairn tag {repository}/{tag} latest");
                Err(usage(message, &example))
            }
            (None, Some(version), _) => {
                let message = format!("what shall version {version} of {repository} be called?");
                let example = format!("cairn tag {repository}/v1.0 {version}");
                Err(usage(message, &example))
            }
            (None, None, true) => {
                let message = format!("which tag of {repository} shall be deleted?");
                Err(usage(message, &format!("cairn tag --delete {repository}/v1.0")))
            }
        }
    }
}

fn usage(message: String, example: &str) -> CliError {
    let error = crate::control::protocol::ControlError::new(ErrorKind::Usage, message);
    CliError::Control(error.with_hint(format!("for example `{example}`")))
}

fn list(context: &mut Context, repository: RepoName) -> Result<(), CliError> {
    let Reply::Tags(tags) = context.connect()?.ask(Request::Tags { repository })? else {
        return Err(CliError::unexpected_reply());
    };
    if context.json {
        return Ok(context.output.json(&tags)?);
    }
    let rows: Vec<_> = tags.iter().map(row).collect();
    let columns = [("TAG", Left), ("VERSION", Right), ("PROTECTS", Left), ("SET", Left)];
    Ok(context.output.table(columns, &rows)?)
}

fn row(tag: &TagInfo) -> [String; 4] {
    let protects = if tag.protects { "yes" } else { "no" };
    [tag.name.to_string(), tag.number.to_string(), protects.to_owned(), time(&tag.created)]
}

fn set(
    context: &mut Context,
    repository: RepoName,
    tag: TagName,
    version: BaseName,
) -> Result<(), CliError> {
    let request = Request::SetTag { repository, tag, version };
    let Reply::Tag(tag) = context.connect()?.ask(request)? else {
        return Err(CliError::unexpected_reply());
    };
    if context.json {
        return Ok(context.output.json(&tag)?);
    }
    let TagInfo { repository, name, number, .. } = &tag;
    Ok(context.output.line(format_args!("{repository}/{name} -> {repository}/{number}"))?)
}

fn delete(context: &mut Context, repository: RepoName, tag: TagName) -> Result<(), CliError> {
    let request = Request::DeleteTag { repository: repository.clone(), tag: tag.clone() };
    let Reply::Done = context.connect()?.ask(request)? else {
        return Err(CliError::unexpected_reply());
    };
    if context.json {
        let document = serde_json::json!({ "repository": repository, "tag": tag });
        return Ok(context.output.json(&document)?);
    }
    Ok(context.output.line(format_args!("deleted the tag {repository}/{tag}"))?)
}
