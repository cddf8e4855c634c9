//! `cairn restore`: a file or directory of a version, written under a name of the caller's choice.
//!
//! Files are written by this process, with its caller's rights (H24).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::parse::VersionPath;
use super::progress::ProgressLine;
use super::text::{count, size};
use crate::archive::control_sink::ControlExport;
use crate::archive::error::ArchiveError;
use crate::archive::export::Exported;
use crate::archive::restore::{self, Found};
use crate::archive::{ArchivePath, Existing, raise_open_files};
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::versions::VersionInfo;
use crate::model::raw::RawPath;

const HELP: &str = "\
DEST is the name that the file or directory gets. With a slash at its end (or `.`, `..`) it is a
directory that is there, into which it goes under its own name. Something that has the name
already stays, and nothing is written, unless --force is given: then it is replaced, a directory
with all that is in it. Without a PATH the whole version is written, as by `cairn export`.

The name appears, or leads to what is new, once all of it is written and on disk. Until then it
is in a directory called NAME.partial-PID beside it, which is removed if it fails or is asked to
end by Ctrl-C or SIGTERM; what was replaced goes afterwards. Modes, times, owners, links, holes
and extended attributes are kept as `cairn export` keeps them. Content that was not fetched from
its remote yet is fetched.

JSON
  {version, path, file_count, directory_count, size_bytes, dropped_xattr_count, skipped_count};
  version as in `cairn show`

EXAMPLES
  cairn restore web/7/etc/nginx.conf /etc/nginx.conf --force
  cairn restore web/latest/css ./
  cairn restore web/v1.0/src /tmp/old-src --json";

/// Arguments of `cairn restore`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct RestoreArgs {
    /// What: a repository, a version (a number, a tag or `latest`), and a path in it
    #[arg(value_name = "REPO/VERSION/PATH", value_parser = VersionPath::parser())]
    from: VersionPath,
    /// The name that it gets, or a directory and a slash
    #[arg(value_name = "DEST")]
    destination: PathBuf,
    /// Replace what has that name
    #[arg(long)]
    force: bool,
    /// Fail where content was not fetched from its remote yet, and fetch none
    #[arg(long)]
    no_fetch: bool,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    version: &'a VersionInfo,
    path: RawPath,
    #[serde(flatten)]
    exported: Exported,
}

impl RestoreArgs {
    /// Writes it.
    ///
    /// # Errors
    /// There is nothing at that path, the destination is not usable, or what failed first.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let VersionPath { repository, version, path } = self.from;
        let to = target(&self.destination, &path)?;
        raise_open_files();
        let mut connection = context.connect()?;
        let source = ControlExport::begin(&mut connection, repository, version)?;
        let mut source = source.without_fetching(self.no_fetch);
        let Some(found) = restore::find(&mut source, &path)? else {
            return Err(not_found(source.version(), &path).into());
        };
        let stop = super::export::end_on_signals()
            .map_err(ArchiveError::io("hear of signals before", &self.destination))?;
        let existing = if self.force { Existing::Replaced } else { Existing::Stays };
        let exported = {
            let mut line = ProgressLine::new(context.json);
            let total = found.size_bytes();
            let mut progress = |exported: &Exported| show(&mut line, exported, total);
            restore::restore(&mut source, &found, (&to, existing), &mut progress, &stop)?
        };
        print(context, source.version(), &path, &found, exported)
    }
}

fn show(line: &mut ProgressLine, exported: &Exported, total: u64) {
    line.show(&Progress::Step {
        what: format!("restoring: {}", count(exported.files, "file")),
        done: exported.bytes,
        total: Some(total),
        is_bytes: true,
    });
}

/// The name that is to be written.
fn target(destination: &Path, path: &ArchivePath) -> Result<PathBuf, ControlError> {
    let text = destination.as_os_str().as_bytes();
    let is_directory = [&b"/"[..], b"/.", b"/.."].iter().any(|end| text.ends_with(end))
        || matches!(text, b"." | b"..");
    if !is_directory {
        return Ok(destination.to_owned());
    }
    let (_, name) = path.split();
    if name.is_empty() {
        let message =
            format!("{} is a directory, and a version has no name in it", destination.display());
        return Err(ControlError::new(ErrorKind::Usage, message)
            .with_hint("say the name that it shall get"));
    }
    Ok(destination.join(OsStr::from_bytes(name)))
}

/// The error for a path that a version does not have.
pub(super) fn not_found(version: &VersionInfo, path: &ArchivePath) -> ControlError {
    let (repository, number) = (&version.repository, version.number);
    ControlError::new(ErrorKind::NotFound, format!("`{repository}/{number}` has no `{path}`"))
        .with_hint(format!("`cairn find {repository} PATTERN` looks for paths in all versions"))
}

fn print(
    context: &mut Context,
    version: &VersionInfo,
    path: &ArchivePath,
    found: &Found,
    exported: Exported,
) -> Result<(), CliError> {
    super::export::warn_of_losses(&exported);
    if context.json {
        let path = path.to_raw();
        return Ok(context.output.json(&Summary { version, path, exported })?);
    }
    let (repository, number) = (&version.repository, version.number);
    let what = match found {
        Found::Root(_) => format!("{repository}/{number}"),
        Found::Entry(_) => format!("{repository}/{number}/{path}"),
    };
    let (files, bytes) = (count(exported.files, "file"), size(exported.bytes));
    Ok(context.output.line(format_args!("{what}: wrote {files}, {bytes}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o4_a_slash_at_the_end_says_that_it_goes_into_a_directory() {
        let file = ArchivePath::parse(b"a/b.txt").unwrap();
        for (destination, expected) in [
            ("x", "x"),
            ("/srv/x", "/srv/x"),
            ("x/", "x/b.txt"),
            (".", "./b.txt"),
            ("..", "../b.txt"),
            ("x/.", "x/./b.txt"),
            ("/", "/b.txt"),
        ] {
            assert_eq!(target(Path::new(destination), &file).unwrap(), Path::new(expected));
        }
        let root = ArchivePath::root();
        assert_eq!(target(Path::new("x"), &root).unwrap(), Path::new("x"));
        assert!(target(Path::new("x/"), &root).is_err());
    }
}
