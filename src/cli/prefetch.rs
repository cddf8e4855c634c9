//! `cairn prefetch`: absent content is fetched before somebody reads it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Context;
use super::error::{CliError, warn};
use super::parse::parse_version;
use super::profile::Profile;
use super::progress::ProgressLine;
use super::text::{count, escape_path, size};
use crate::control::client::Connection;
use crate::control::prefetch::{PrefetchReply, PrefetchRequest};
use crate::control::protocol::{ControlError, ErrorKind, Progress, Request, UnreadableFile};
use crate::control::reply::Reply;
use crate::control::service::Attachment;
use crate::model::name::{BaseName, RepoName};
use crate::model::raw::RawPath;

/// Files of a profile that are named in one request.
const PATHS_PER_REQUEST: usize = 10_000;

const HELP: &str = "\
Fetches what a version names and the store does not have, checks it, and keeps it, so that later reads need no network:
all of a version, a directory of it, or one file. REPO alone is its newest version. A path on a mounted cairn that begins
with `/`, `./` or `../` says the same. Of a directory, the files are fetched that you may read; symbolic links are not
followed. Where content is there already, nothing is asked of any remote.

Programs that read come first. Prefetches of one remote leave a quarter of its connections free, and where a reader finds
none, one of them makes way. They share the remote's --limit-rate with readers.

The command may be interrupted: what came is kept, and the next prefetch goes on from there. A file that could not be had
is listed with the reason, the others are fetched all the same.

EXIT CODES
  0  all of it is there now
  1  something could not be had
  others, as in `cairn help`

JSON
  an array of {repository, number, path, file_count, present_file_count, fetched_file_count, fetched_bytes,
  failed_file_count, missing_file_count (of a profile), files}, one for each argument; files are those that could not be had: {path, reason}

EXAMPLES
  cairn prefetch tools/2
  cairn prefetch tools/latest/bin tools/latest/lib
  cairn prefetch /mnt/cairn/versions/tools/2/data.bin
  cairn prefetch tools/8 --profile build.profile
  cairn prefetch tools --json | jq '.[].fetched_bytes'";

/// Arguments of `cairn prefetch`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct PrefetchArgs {
    /// Versions, and files or directories of them: by number, tag or `latest`, or as paths on a mount
    #[arg(value_name = "REPO[/VERSION][/PATH]", required_unless_present = "profile")]
    targets: Vec<OsString>,
    /// Only the files that this profile names (see `cairn profile`) [default version: the newest of its repository]
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
}

/// What is printed with `--json` for one argument.
#[derive(Debug, Serialize)]
struct Fetched {
    #[serde(flatten)]
    reply: PrefetchReply,
    files: Vec<UnreadableFile>,
}

impl PrefetchArgs {
    /// Fetches.
    ///
    /// # Errors
    /// What is named does not exist; something could not be had.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let profile = self.profile.as_deref().map(Profile::read).transpose()?;
        let mut requests: Vec<_> =
            self.targets.iter().map(|target| request(context, target)).collect::<Result<_, _>>()?;
        if let (Some(profile), true) = (&profile, requests.is_empty()) {
            requests.push(all_of(profile.repository.clone(), BaseName::Latest));
        }
        let mut connection = context.connect()?;
        let mut fetched = Vec::with_capacity(requests.len());
        for request in requests {
            let mut files = Vec::new();
            let reply = match &profile {
                None => fetch(context, &mut connection, request, &mut files)?,
                Some(profile) => {
                    fetch_profile(context, &mut connection, &request, profile, &mut files)?
                }
            };
            if !context.json {
                context.output.line(summary(&reply))?;
            }
            fetched.push(Fetched { reply, files });
        }
        if context.json {
            context.output.json(&fetched)?;
        }
        match fetched.iter().map(|fetched| fetched.reply.failed).sum::<u64>() {
            0 => Ok(()),
            failed => {
                let message = format!("{} could not be fetched", count(failed, "file"));
                let error = ControlError::new(ErrorKind::Failed, message);
                Err(error.with_hint("run it again later: it fetches what is missing").into())
            }
        }
    }
}

fn all_of(repository: RepoName, version: BaseName) -> PrefetchRequest {
    PrefetchRequest { repository, version, path: RawPath::default(), only: Vec::new() }
}

/// Has one request done; what could not be had is told, or with `--json` added to `files`.
fn fetch(
    context: &Context,
    connection: &mut Connection,
    request: PrefetchRequest,
    files: &mut Vec<UnreadableFile>,
) -> Result<PrefetchReply, CliError> {
    let mut line = ProgressLine::new(context.json);
    let mut on_progress = |progress: Progress| match progress {
        Progress::Failures(some) if context.json => files.extend(some),
        Progress::Failures(some) => line.suspend(|| some.iter().for_each(tell)),
        other => line.show(&other),
    };
    let result = connection.call(Request::Prefetch(request), Attachment::none(), &mut on_progress);
    drop(line);
    let (Reply::Prefetch(reply), _) = result? else {
        return Err(CliError::unexpected_reply());
    };
    Ok(reply)
}

/// The same for the files of a profile, in several requests where they are many.
fn fetch_profile(
    context: &Context,
    connection: &mut Connection,
    request: &PrefetchRequest,
    profile: &Profile,
    files: &mut Vec<UnreadableFile>,
) -> Result<PrefetchReply, CliError> {
    if !request.path.as_bytes().is_empty() {
        let message = "a profile names files of a whole version: leave out the path";
        return Err(ControlError::new(ErrorKind::Usage, message).into());
    }
    let mut sum: Option<PrefetchReply> = None;
    for only in profile.paths.chunks(PATHS_PER_REQUEST) {
        let request = PrefetchRequest { only: only.to_vec(), ..request.clone() };
        let reply = fetch(context, connection, request, files)?;
        sum = Some(match sum {
            None => reply,
            Some(before) => before + reply,
        });
    }
    sum.ok_or_else(|| ControlError::new(ErrorKind::Failed, "the profile names no file").into())
}

fn tell(file: &UnreadableFile) {
    warn(&format!("{}: {}", escape_path(file.path.as_bytes()), file.reason));
}

fn summary(reply: &PrefetchReply) -> String {
    let mut at = format!("{}/{}", reply.repository, reply.number);
    if !reply.path.as_bytes().is_empty() {
        at = format!("{at}/{}", escape_path(reply.path.as_bytes()));
    }
    let fetched =
        format!("fetched {} in {}", size(reply.fetched_bytes), count(reply.fetched, "file"));
    let missing = match reply.missing {
        0 => String::new(),
        missing => format!(", {} of the profile not in this version", count(missing, "file")),
    };
    let present = format!("{} of {} there already", reply.present, count(reply.files, "file"));
    match reply.failed {
        0 => format!("{at}: {fetched}, {present}{missing}"),
        failed => format!("{at}: {fetched}, {present}, {failed} failed{missing}"),
    }
}

/// What an argument names: a path on a mount, or a version with a path in it.
fn request(context: &mut Context, target: &OsStr) -> Result<PrefetchRequest, ControlError> {
    let bytes = target.as_bytes();
    let is_path = bytes.starts_with(b"/")
        || [&b"."[..], b".."].contains(&bytes.split(|byte| *byte == b'/').next().unwrap_or(b""));
    let inside;
    let named = match is_path {
        true => {
            inside = context.in_versions(Path::new(target))?;
            inside.as_os_str().as_bytes()
        }
        false => bytes,
    };
    parse(named)
}

fn parse(named: &[u8]) -> Result<PrefetchRequest, ControlError> {
    let usage = |error: String| {
        let shown = escape_path(named);
        ControlError::new(ErrorKind::Usage, format!("{shown}: {error}"))
            .with_hint("name REPO, REPO/VERSION or REPO/VERSION/PATH, or a path on a mount from `/` or `./` on")
    };
    let text = |part: &[u8]| {
        String::from_utf8(part.to_vec()).map_err(|_| usage("names are UTF-8".to_owned()))
    };
    let named = named.strip_suffix(b"/").unwrap_or(named);
    let mut parts = named.splitn(3, |byte| *byte == b'/');
    let repository = text(parts.next().unwrap_or_default())?;
    let repository = repository.parse().map_err(|error| usage(format!("{error}")))?;
    let version = match parts.next() {
        Some(version) => {
            parse_version(&text(version)?).map_err(|error| usage(error.to_string()))?
        }
        None => BaseName::Latest,
    };
    let path = RawPath::from(parts.next().unwrap_or_default());
    path.components().map_err(|error| usage(error.to_string()))?;
    Ok(PrefetchRequest { path, ..all_of(repository, version) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_names_a_repository_a_version_or_a_path_in_it() {
        for (named, expected) in [
            ("web", Some(("web", "latest", ""))),
            ("web/7", Some(("web", "7", ""))),
            ("web/7/", Some(("web", "7", ""))),
            ("web/v1/a/b c", Some(("web", "v1", "a/b c"))),
            ("web/latest/a/", Some(("web", "latest", "a"))),
            ("", None),
            ("web/", Some(("web", "latest", ""))),
            ("web//a", None),
            ("web/7/a//b", None),
            ("web/7/../a", None),
        ] {
            let found = parse(named.as_bytes()).ok();
            let found = found.map(|PrefetchRequest { repository, version, path, .. }| {
                let path = String::from_utf8(path.as_bytes().to_vec()).unwrap();
                (repository.to_string(), version.to_string(), path)
            });
            let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
            assert_eq!(found, expected, "{named}");
        }
    }
}
