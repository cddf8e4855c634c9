//! `cairn export`: writes a version to a directory or an archive.
//!
//! Files are written by this process, with its caller's rights (H24).

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use flate2::write::GzEncoder;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::Context;
use super::error::CliError;
use super::parse::RepositoryVersion;
use super::progress::ProgressLine;
use super::text::{count, size};
use crate::archive::control_sink::ControlExport;
use crate::archive::error::ArchiveError;
use crate::archive::export::{Exported, LinkMode, export_directory_unless};
use crate::archive::new_file::NewFile;
use crate::archive::raise_open_files;
use crate::archive::tar_write::export_archive;
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::versions::VersionInfo;

const HELP: &str = "\
The destination is a directory that is empty or does not exist, or an archive where its name ends
with .tar, .tar.gz, .tgz, .tar.zst or .tzst, or `-` for a plain tar archive on stdout. An archive
that exists is not overwritten. A name that asks for another kind of archive (.zip, .tar.xz) is an
error; with a slash at its end it is a directory.

Archives and new directories appear when they are whole. Until then a directory is called
NAME.partial-PID, and so is an archive on file systems that have no files without a name; nothing
else of it is left by an export that is killed. One that fails, or is asked to end by Ctrl-C or
SIGTERM, removes the directory; a second Ctrl-C ends it at once. In a directory that was there
before, what was written stays.

Modes, times to the nanosecond, symbolic links, hard links, holes and extended attributes are
restored; owners when the caller is root. Without that right, set-user-id and set-group-id bits are
dropped where the owner would be another one.

LINKS
  copy       files of their own; the file system shares blocks underneath where it can [default]
  reflink    the same, but fail where blocks cannot be shared
  hardlink   the store's own files under further names, at no cost. Needs --unsafe-hardlink: they
             keep the store's mode, owner and time, and root, or whoever is given write access,
             can change them, which damages every version that holds the same content.

JSON
  {version, file_count, directory_count, size_bytes, dropped_xattr_count, skipped_count}; version as
  in `cairn show`; nothing where the archive itself goes to stdout

EXAMPLES
  cairn export web/7 /srv/web
  cairn export web/latest web.tar.zst
  cairn export web/v1.0 - | ssh host tar -x -C /srv/web
  cairn export web/7 /fast/web --link reflink --json";

/// Arguments of `cairn export`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct ExportArgs {
    /// The version: a number, a tag or `latest`
    #[arg(value_name = "REPO/VERSION")]
    version: RepositoryVersion,
    /// Directory or tar archive to write, `-` for stdout
    #[arg(value_name = "DIR|TAR")]
    destination: PathBuf,
    /// How files relate to the store's content
    #[arg(long, value_name = "HOW", default_value = "copy")]
    link: Link,
    /// Accept that the exported files are the store's own
    #[arg(long)]
    unsafe_hardlink: bool,
    /// Fail where content was not fetched from its remote yet, and fetch none
    #[arg(long)]
    no_fetch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Link {
    Copy,
    Reflink,
    Hardlink,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    version: &'a VersionInfo,
    #[serde(flatten)]
    exported: Exported,
}

/// What a destination's name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Directory,
    Stdout,
    Tar(Compression),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Endings of names of archives that cairn does not write. A directory could have such a name, but
/// whoever types it means an archive.
const FOREIGN: [&str; 22] = [
    "7z", "bz2", "cpio", "deb", "gz", "iso", "jar", "lz", "lz4", "lzma", "rar", "rpm", "squashfs",
    "tbz", "tbz2", "tlz", "txz", "xz", "z", "zip", "zst", "zstd",
];

impl Form {
    fn of(destination: &Path) -> Result<Self, CliError> {
        if destination == Path::new("-") {
            return Ok(Self::Stdout);
        }
        // A slash at the end says that it is a directory; if something is there already, that
        // decides.
        let path = destination.as_os_str().as_encoded_bytes();
        if path.ends_with(b"/") || destination.is_dir() {
            return Ok(Self::Directory);
        }
        let name = destination.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let Some((stem, end)) = name.rsplit_once('.') else { return Ok(Self::Directory) };
        let is_tar = stem.ends_with(".tar");
        Ok(match end {
            "tar" => Self::Tar(Compression::None),
            "tgz" => Self::Tar(Compression::Gzip),
            "tzst" => Self::Tar(Compression::Zstd),
            "gz" if is_tar => Self::Tar(Compression::Gzip),
            "zst" | "zstd" if is_tar => Self::Tar(Compression::Zstd),
            end if is_tar || FOREIGN.contains(&end) => {
                return Err(usage(
                    &format!("cairn writes no archives of the kind .{end}"),
                    "name one that ends with .tar, .tar.gz, .tgz, .tar.zst or .tzst, or say with \
                     a slash at the end that it is a directory",
                ));
            }
            _ => Self::Directory,
        })
    }
}

impl ExportArgs {
    /// Exports the version.
    ///
    /// # Errors
    /// The destination is not usable, or what failed first.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let form = Form::of(&self.destination)?;
        let mode = self.mode(form)?;
        if form == Form::Stdout && io::stdout().is_terminal() {
            let message = "an archive does not go to a terminal";
            return Err(usage(message, "name a file, or pipe it: cairn export REPO/7 - | tar -t"));
        }
        raise_open_files();
        let RepositoryVersion { repository, version } = self.version;
        let mut connection = context.connect()?;
        let source = ControlExport::begin(&mut connection, repository, version)?;
        let mut source = source.without_fetching(self.no_fetch);
        let mut line = ProgressLine::new(context.json);
        let total = source.version().size_bytes;
        let mut progress = |exported: &Exported| {
            line.show(&Progress::Step {
                what: format!("exporting: {}", count(exported.files, "file")),
                done: exported.bytes,
                total: Some(total),
                is_bytes: true,
            });
        };
        let exported = match form {
            Form::Directory => {
                let stop = end_on_signals()
                    .map_err(ArchiveError::io("hear of signals before", &self.destination))?;
                let to = &self.destination;
                export_directory_unless(&mut source, to, mode, &mut progress, &stop)?
            }
            Form::Stdout => export_archive(&mut source, context.output.writer(), &mut progress)?,
            Form::Tar(compression) => {
                let file = NewFile::create(&self.destination)?;
                let exported = write(&mut source, file.file(), compression, &mut progress)?;
                file.finish()?;
                exported
            }
        };
        drop(line);
        self::print(context, source.version(), exported, form)
    }

    fn mode(&self, form: Form) -> Result<LinkMode, CliError> {
        if self.link != Link::Copy && form != Form::Directory {
            return Err(usage("an archive has no links to the store", "leave out --link"));
        }
        match (self.link, self.unsafe_hardlink) {
            (Link::Copy, false) => Ok(LinkMode::Copy),
            (Link::Reflink, false) => Ok(LinkMode::Reflink),
            (Link::Hardlink, true) => Ok(LinkMode::UnsafeHardlink),
            (Link::Hardlink, false) => Err(usage(
                "--link hardlink hands out the store's own files",
                "say --unsafe-hardlink when nobody is going to change them; see --help",
            )),
            (Link::Copy | Link::Reflink, true) => {
                Err(usage("--unsafe-hardlink only goes with --link hardlink", "leave it out"))
            }
        }
    }
}

/// Returns a flag that the first SIGINT or SIGTERM sets, so that the export can remove what it has made
/// before it ends. The second signal ends the process at once.
pub(super) fn end_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Bytes collected for one write to an archive.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes an archive to a file.
fn write(
    source: &mut ControlExport<'_>,
    file: &File,
    compression: Compression,
    progress: &mut dyn FnMut(&Exported),
) -> Result<Exported, ArchiveError> {
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
    let exported = match compression {
        Compression::None => export_archive(source, &mut file, progress)?,
        Compression::Gzip => {
            let mut out = GzEncoder::new(&mut file, flate2::Compression::default());
            let exported = export_archive(source, &mut out, progress)?;
            out.finish().map_err(ArchiveError::Output)?;
            exported
        }
        Compression::Zstd => {
            let level = zstd::DEFAULT_COMPRESSION_LEVEL;
            let encoder = zstd::Encoder::new(&mut file, level);
            let mut out = encoder.map_err(ArchiveError::Output)?;
            // A checksum, as the zstd program writes it, so that damage is found when the archive
            // is read.
            out.include_checksum(true).map_err(ArchiveError::Output)?;
            let exported = export_archive(source, &mut out, progress)?;
            out.finish().map_err(ArchiveError::Output)?;
            exported
        }
    };
    file.flush().map_err(ArchiveError::Output)?;
    Ok(exported)
}

fn usage(message: &str, hint: &str) -> CliError {
    ControlError::new(ErrorKind::Usage, message).with_hint(hint).into()
}

/// Says what was not written.
pub(super) fn warn_of_losses(exported: &Exported) {
    if exported.xattrs_dropped > 0 {
        let dropped = count(exported.xattrs_dropped, "extended attribute");
        super::error::warn(&format!(
            "{dropped} could not be set: no right, or not supported there"
        ));
    }
    if exported.skipped > 0 {
        let sockets = count(exported.skipped, "socket");
        super::error::warn(&format!("{sockets} left out: tar has no form for them"));
    }
}

fn print(
    context: &mut Context,
    version: &VersionInfo,
    exported: Exported,
    form: Form,
) -> Result<(), CliError> {
    warn_of_losses(&exported);
    if form == Form::Stdout {
        return Ok(());
    }
    if context.json {
        return Ok(context.output.json(&Summary { version, exported })?);
    }
    Ok(context.output.line(format_args!(
        "{}/{}: wrote {}, {}",
        version.repository,
        version.number,
        count(exported.files, "file"),
        size(exported.bytes),
    ))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_what_is_written() {
        let tar = |compression| Some(Form::Tar(compression));
        let home = tempfile::tempdir().unwrap();
        let there = home.path().join("there.zip");
        std::fs::create_dir(&there).unwrap();
        let there = there.to_string_lossy().into_owned();
        for (name, wanted) in [
            ("-", Some(Form::Stdout)),
            ("web", Some(Form::Directory)),
            ("/no/where/web-1.2", Some(Form::Directory)),
            ("/no/where/web.d", Some(Form::Directory)),
            ("/no/where/x.zip/", Some(Form::Directory)),
            (&there, Some(Form::Directory)),
            ("x.tar", tar(Compression::None)),
            ("x.TAR.GZ", tar(Compression::Gzip)),
            ("x.tgz", tar(Compression::Gzip)),
            ("x.tar.zst", tar(Compression::Zstd)),
            ("x.tzst", tar(Compression::Zstd)),
            ("x.zip", None),
            ("x.tar.xz", None),
            ("x.tar.unknown", None),
            ("x.zst", None),
            ("x.gz", None),
        ] {
            assert_eq!(Form::of(Path::new(name)).ok(), wanted, "{name}");
        }
    }
}
