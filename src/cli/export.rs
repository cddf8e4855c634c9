//! `cairn export`: writes a version to a directory or an archive.
//!
//! Files are written by this process, with its caller's rights (H24).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::parse::RepositoryVersion;
use super::progress::ProgressLine;
use super::text::{count, size};
use crate::archive::error::ArchiveError;
use crate::archive::export::{Exported, LinkMode, export_directory};
use crate::archive::raise_open_files;
use crate::archive::remote::RemoteExport;
use crate::archive::tar_write::export_archive;
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::reply::VersionInfo;

const HELP: &str = "\
The destination is a directory that is empty or does not exist, or an archive where its name ends
with .tar, .tar.gz or .tgz, or `-` for a plain tar archive on stdout. An archive that exists is not
overwritten.

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
  {version, files, directories, bytes, xattrs_dropped, skipped}; version as in `cairn show`

EXAMPLES
  cairn export web/7 /srv/web
  cairn export web/latest web.tar.gz
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
    Tar,
    TarGz,
}

impl Form {
    fn of(destination: &Path) -> Self {
        if destination == Path::new("-") {
            return Self::Stdout;
        }
        // A directory may be called anything.
        if destination.is_dir() {
            return Self::Directory;
        }
        let name = destination.file_name().unwrap_or_default().as_encoded_bytes();
        if name.ends_with(b".tar") {
            Self::Tar
        } else if name.ends_with(b".tar.gz") || name.ends_with(b".tgz") {
            Self::TarGz
        } else {
            Self::Directory
        }
    }
}

impl ExportArgs {
    /// Exports the version.
    ///
    /// # Errors
    /// The destination is not usable, or what failed first.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let form = Form::of(&self.destination);
        let mode = self.mode(form)?;
        if form == Form::Stdout && io::stdout().is_terminal() {
            let message = "an archive does not go to a terminal";
            return Err(usage(message, "name a file, or pipe it: cairn export REPO/7 - | tar -t"));
        }
        raise_open_files();
        let RepositoryVersion { repository, version } = self.version;
        let mut connection = context.connect()?;
        let mut source = RemoteExport::begin(&mut connection, repository, version)?;
        let mut line = ProgressLine::new(context.json);
        let mut progress = |exported: &Exported| {
            line.show(&Progress::Step {
                what: format!("exporting: {},", count(exported.files, "file")),
                done: exported.bytes,
                total: None,
                is_bytes: true,
            });
        };
        let exported = match form {
            Form::Directory => {
                export_directory(&mut source, &self.destination, mode, &mut progress)?
            }
            Form::Stdout => export_archive(&mut source, context.output.writer(), &mut progress)?,
            Form::Tar => {
                let mut file = NewFile::create(&self.destination)?;
                let mut out = BufWriter::with_capacity(BUFFER_BYTES, &file.file);
                let exported = export_archive(&mut source, &mut out, &mut progress)?;
                drop(out);
                file.keep = true;
                exported
            }
            Form::TarGz => {
                let mut file = NewFile::create(&self.destination)?;
                let mut out = GzEncoder::new(&file.file, Compression::default());
                let exported = export_archive(&mut source, &mut out, &mut progress)?;
                out.finish().map_err(ArchiveError::Output)?;
                file.keep = true;
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

/// Bytes collected for one write to an archive.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file being made, removed again unless it is kept.
struct NewFile {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self, ArchiveError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(ArchiveError::io("create", path))?;
        Ok(Self { path: path.to_owned(), file, keep: false })
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = rustix::fs::unlink(&self.path) {
            log::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn usage(message: &str, hint: &str) -> CliError {
    ControlError::new(ErrorKind::Usage, message).with_hint(hint).into()
}

fn print(
    context: &mut Context,
    version: &VersionInfo,
    exported: Exported,
    form: Form,
) -> Result<(), CliError> {
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
