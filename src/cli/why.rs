//! `cairn why`: what keeps content from going.

use std::path::Path;

use super::Context;
use super::error::CliError;
use super::parse::{RepositoryVersion, parse_version};
use super::progress::ProgressLine;
use super::text::{count, escape_path, instant, size};
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::control::upkeep::UpkeepRequest;
use crate::control::why::{Holder, HolderKind, WhyReply, WhyTarget};
use crate::model::raw::RawPath;

const HELP: &str = "\
Lists everything that holds a content: versions and staging areas with the paths at which it is,
deleted versions that can still be brought back, the deletion queue, open files, the protection
time. Content is named by its hash, by a file on a mounted cairn, or by a file of a version. Every
directory of the store is looked at once, so this takes a while in a large store.

JSON
  {hash, size_bytes, reference_count, holders, more_holder_count, open, until, until_seconds, damaged, absent, free};
  holders is an array of {kind, repository, number or area, paths, more_path_count}; kind is one of
  version, deleted_version (with until), area, base, queue, pages

EXAMPLES
  cairn why /mnt/cairn/versions/web/7/index.html
  cairn why web/7/css/site.css
  cairn why web/latest/index.html --json | jq -r '.holders[].paths[]'";

/// Arguments of `cairn why`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct WhyArgs {
    /// A hash, a file on a mounted cairn, or a file of a version
    #[arg(value_name = "HASH|FILE|REPO/VERSION/PATH")]
    target: std::ffi::OsString,
}

impl WhyArgs {
    /// Explains.
    ///
    /// # Errors
    /// There is no such content.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let target = target(&self.target)?;
        let request = Request::Upkeep(UpkeepRequest::Why(target));
        let mut connection = context.connect()?;
        let mut line = ProgressLine::new(context.json);
        let result = connection.call(request, Attachment::none(), &mut |step| line.show(&step));
        drop(line);
        let (Reply::Why(why), _) = result? else {
            return Err(CliError::unexpected_reply());
        };
        if context.json {
            return Ok(context.output.json(&why)?);
        }
        print(context, &why)
    }
}

/// Tries the meanings of the argument in turn: a hash, a file that exists, a file of a version.
fn target(text: &std::ffi::OsStr) -> Result<WhyTarget, ControlError> {
    if let Some(hash) = text.to_str().and_then(|text| text.parse().ok()) {
        return Ok(WhyTarget::Hash(hash));
    }
    let path = Path::new(text);
    if let Ok(meta) = path.metadata() {
        let shown = path.display();
        if meta.is_dir() {
            let message = format!("{shown} is a directory");
            return Err(ControlError::new(ErrorKind::Usage, message).with_hint("name a file in it"));
        }
        let hash = hash_of(path);
        if let Some(hash) = hash.and_then(|hash| hash.parse().ok()) {
            return Ok(WhyTarget::Hash(hash));
        }
        let message = format!("{shown} has no `user.cairn.hash`");
        return Err(ControlError::new(ErrorKind::Usage, message)
            .with_hint("name a file on a mounted cairn; one being written has no hash yet"));
    }
    if let Some(version) = text.to_str().and_then(|text| text.parse::<RepositoryVersion>().ok()) {
        let (repository, version) = (version.repository, version.version);
        let message = format!("{repository}/{version} is a version, and not a file");
        return Err(ControlError::new(ErrorKind::Usage, message)
            .with_hint(format!("name a file in it, for example {repository}/{version}/index")));
    }
    file_of_version(text).ok_or_else(|| {
        let message = format!("{}: no such file", path.display());
        ControlError::new(ErrorKind::NotFound, message)
            .with_hint("a file of a version is named REPO/VERSION/PATH, for example web/7/index")
    })
}

fn hash_of(path: &Path) -> Option<String> {
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(path, "user.cairn.hash", &mut value[..]).ok()?;
    std::str::from_utf8(value.get(..length)?).ok().map(ToOwned::to_owned)
}

fn file_of_version(text: &std::ffi::OsStr) -> Option<WhyTarget> {
    let bytes = text.as_encoded_bytes();
    let mut parts = bytes.splitn(3, |byte| *byte == b'/');
    let repository = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let version = parse_version(std::str::from_utf8(parts.next()?).ok()?).ok()?;
    let path = RawPath::from(parts.next()?);
    Some(WhyTarget::File { repository, version, path })
}

fn print(context: &mut Context, why: &WhyReply) -> Result<(), CliError> {
    let output = &mut context.output;
    output.line(format_args!("blob      {}", why.hash))?;
    let state = match (why.damaged, why.absent) {
        (true, _) => ", DAMAGED",
        (_, true) => ", absent: it is fetched when it is read",
        _ => "",
    };
    output.line(format_args!("size      {}{state}", size(why.size_bytes)))?;
    output.line(format_args!("held by   {}", count(why.references, "reference")))?;
    for holder in &why.holders {
        output.line(format_args!("  {}", describe(&holder.what)))?;
        print_paths(output, holder)?;
    }
    if why.more_holders > 0 {
        output.line(format_args!("  and {} more", why.more_holders))?;
    }
    if why.open {
        output.line("  somebody who has it open, or is about to use it")?;
    }
    if let Some(until) = &why.until {
        output.line(format_args!("  the protection time, until {}", instant(until)))?;
    }
    if why.free {
        output.line("  nothing: it goes with the next run")?;
    }
    Ok(())
}

fn print_paths(output: &mut super::output::Output, holder: &Holder) -> Result<(), CliError> {
    for path in &holder.paths {
        output.line(format_args!("    {}", escape_path(path.as_bytes())))?;
    }
    if holder.more_paths > 0 {
        output.line(format_args!("    and {} more", count(holder.more_paths, "path")))?;
    }
    Ok(())
}

fn describe(what: &HolderKind) -> String {
    match what {
        HolderKind::Version { repository, number } => format!("version {repository}/{number}"),
        HolderKind::DeletedVersion { repository, number, until } => {
            format!("deleted version {repository}/{number}, until {}", instant(until))
        }
        HolderKind::Area { repository, area } => format!("staging area {repository}/{area}"),
        HolderKind::Base { repository, area } => {
            format!("the version that staging area {repository}/{area} started from")
        }
        HolderKind::Queue => "what was deleted and is being taken apart".to_owned(),
        HolderKind::Pages { references } => {
            let references = count(*references, "reference");
            format!(
                "{references} of directories that no version names: a commit under way, or garbage"
            )
        }
    }
}
