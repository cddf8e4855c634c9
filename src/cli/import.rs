//! `cairn import`: makes a version of a directory or an archive.
//!
//! The directory is walked and read by this process, with its caller's rights (H24).

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::progress::ProgressLine;
use super::text::{count, size};
use crate::archive::control_sink::ControlImport;
use crate::archive::error::ArchiveError;
use crate::archive::import::{DirectoryImport, Imported, import_directory};
use crate::archive::observer::{ImportTotals, Observer};
use crate::archive::path::ArchivePath;
use crate::archive::stat_cache::{self, StatCacheOptions};
use crate::archive::survey::Survey;
use crate::archive::tar_import::import_archive;
use crate::archive::{FileId, ImportSink, Refused, raise_open_files};
use crate::control::client::Connection;
use crate::control::commit::CommitReply;
use crate::control::protocol::{ControlError, Progress, Request};
use crate::control::reply::Reply;
use crate::control::versions::VersionInfo;
use crate::model::import::ImportOptions;
use crate::model::name::{RepoName, TagName};
use crate::model::time::Timestamp;
use crate::store::caller_path;

const HELP: &str = "\
The source is a directory, a tar archive (plain, gzip, xz or zstd, told by its content), or `-` for an
archive on stdin. By default it is laid over the newest version: what it does not name stays. With --mirror
the version holds exactly what the source holds. The repository is made where it is missing, and
goes again when the import fails.

Kept are types, modes, owners, times to the nanosecond, symbolic links, hard links, holes and
extended attributes (user, trusted, security) as far as the caller can read them; not kept are POSIX
ACLs and access times. Content that the store has is not sent again, and a directory that it has
just so is named as a whole.

A file that did not change since an earlier import of the same directory is not read: inode, size,
time of modification and time of change are as they were (on ext4, XFS, btrfs, F2FS and tmpfs).
That is remembered below XDG_CACHE_HOME or ~/.cache, in cairn/imports. Not noticed are writes to a
shared mapping that was in use during that import, and what a power loss undid; --checksum reads
all.

All or nothing: when a file cannot be read or keeps changing, or an archive has an absolute path, a
`..`, the same path twice or a link that leads out, the import fails and nothing is published. Large
members of an archive pass through a temporary file (TMPDIR).

JSON
  {changed, version, tag, file_count, directory_count, size_bytes, new_bytes, reused_file_count,
  unread_file_count, reread_file_count, dropped_acl_count}; version as in `cairn show`

EXAMPLES
  cairn import build/ web -m 'build 42' --tag b42
  cairn import --mirror /usr/share/zoneinfo zoneinfo
  cairn import release.tar.gz web
  curl -s https://example.org/a.tar.xz | cairn import - web --json";

/// Arguments of `cairn import`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct ImportArgs {
    /// Directory or tar archive, `-` for an archive on stdin
    #[arg(value_name = "DIR|TAR")]
    source: PathBuf,
    /// Repository; made when it does not exist
    #[arg(value_name = "REPO")]
    repository: RepoName,
    /// Hold exactly what the source holds, instead of laying it over the newest version
    #[arg(long)]
    mirror: bool,
    /// Text to keep with the version
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who imports [default: the caller's user name]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Name of the version
    #[arg(short, long, value_name = "TAG")]
    tag: Option<TagName>,
    /// Make a version even when nothing changed
    #[arg(long)]
    allow_empty: bool,
    /// Read all files, also those that did not change since an earlier import, and name them one by one
    #[arg(long)]
    checksum: bool,
}

/// Where the content comes from, open.
enum Source {
    Directory(PathBuf),
    Archive(Counted),
    Stdin,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    version: &'a VersionInfo,
    tag: &'a Option<TagName>,
    changed: bool,
    #[serde(flatten)]
    totals: ImportTotals,
}

impl ImportArgs {
    /// Imports the source.
    ///
    /// # Errors
    /// Nothing was published then.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let stat_cache = stat_cache_directory().map(|directory| StatCacheOptions {
            directory,
            read_all: self.checksum,
            now: Timestamp::now(),
        });
        let source = Source::open(&self.source)?;
        raise_open_files();
        let mut refused: Vec<Refused> =
            identity(context.store()?).map(Refused::store).into_iter().collect();
        let mut connection = context.connect()?;
        if matches!(source, Source::Directory(_)) {
            refused.extend(mounted(&mut connection)?);
        }
        let options = ImportOptions {
            repository: self.repository,
            create: true,
            mirror: self.mirror,
            message: self.message.unwrap_or_default(),
            author: self.author,
            tag: self.tag,
        };
        let mut sink = ControlImport::begin(&mut connection, options, self.allow_empty)?;
        let line = ProgressLine::new(context.json);
        let expected = source.expected(&refused, line.is_visible());
        let mut observer = Watch { line, expected, reread: Vec::new() };
        let imported =
            source.import(DirectoryImport { refused, stat_cache }, &mut sink, &mut observer);
        let reread = observer.finish();
        let imported = imported?;
        for path in reread {
            super::error::warn(&format!("{path} changed while it was read; it was read again"));
        }
        let commit = sink.into_commit().ok_or_else(CliError::unexpected_reply)?;
        print(context, &imported, &commit)
    }
}

/// The directories in which the daemon shows all versions or all areas of the store.
fn mounted(connection: &mut Connection) -> Result<Vec<Refused>, CliError> {
    let Reply::Status(status) = connection.ask(Request::Status)? else {
        return Err(CliError::unexpected_reply());
    };
    let Some(mount) = status.mount.map(PathBuf::from) else { return Ok(Vec::new()) };
    let shown = [mount.join("versions"), mount.join("staging"), mount];
    Ok(shown.iter().filter_map(|path| identity(path)).map(Refused::mount).collect())
}

/// Which directory is at a path; `None` when it cannot be opened, and so not be walked either.
fn identity(path: &Path) -> Option<FileId> {
    File::open(path).ok().and_then(|directory| FileId::of(&directory).ok())
}

fn stat_cache_directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    stat_cache::default_directory(
        variable("XDG_CACHE_HOME").as_deref(),
        variable("HOME").as_deref(),
    )
}

impl Source {
    fn open(path: &Path) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        // The path is looked at, then opened, and must lead to the same file: somebody who can
        // change the path could put another file there in between.
        let found = caller_path::open(path).map_err(ArchiveError::io("open", path))?;
        let found = match File::from(found) {
            found if found.metadata().as_ref().is_ok_and(Metadata::is_dir) => {
                return Ok(Self::Directory(path.to_owned()));
            }
            found => found,
        };
        let file = caller_path::reopen(&found).map_err(ArchiveError::io("open", path))?;
        Ok(Self::Archive(Counted { file, read: Rc::default() }))
    }

    /// What there is to import, for the progress line. A directory is surveyed only where somebody `sees`
    /// the line.
    fn expected(&self, refused: &[Refused], sees: bool) -> Expected {
        match self {
            Self::Directory(top) if sees => Expected::Directory(Survey::start(top, refused)),
            Self::Archive(archive) => {
                let length = archive.file.metadata().ok().filter(Metadata::is_file);
                length.map_or(Expected::Unknown, |metadata| Expected::Archive {
                    length: metadata.len(),
                    read: Rc::clone(&archive.read),
                })
            }
            Self::Directory(_) | Self::Stdin => Expected::Unknown,
        }
    }

    fn import(
        self,
        options: DirectoryImport,
        sink: &mut dyn ImportSink,
        observer: &mut dyn Observer,
    ) -> Result<Imported, ArchiveError> {
        match self {
            Self::Directory(top) => import_directory(&top, options, sink, observer),
            Self::Archive(archive) => import_archive(io::BufReader::new(archive), sink, observer),
            Self::Stdin => import_archive(io::stdin().lock(), sink, observer),
        }
    }
}

/// Paths remembered for the warning at the end.
const REREAD_LISTED_MAX: usize = 20;

/// Shows an import on the terminal.
struct Watch {
    line: ProgressLine,
    expected: Expected,
    reread: Vec<ArchivePath>,
}

/// What there is to import.
enum Expected {
    /// A directory, known once the survey has ended.
    Directory(Survey),
    /// An archive in a file: its length, and how much of it was read.
    Archive { length: u64, read: Rc<Cell<u64>> },
    /// A stream.
    Unknown,
}

impl Expected {
    /// How much is done, and of how much, in bytes.
    fn progress(&self, totals: &ImportTotals) -> (u64, Option<u64>) {
        match self {
            Self::Directory(survey) => (totals.bytes, survey.total_bytes()),
            Self::Archive { length, read } => (read.get(), Some(*length)),
            Self::Unknown => (totals.bytes, None),
        }
    }
}

/// An archive that counts what is read of it.
struct Counted {
    file: File,
    read: Rc<Cell<u64>>,
}

impl io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

impl Watch {
    fn finish(self) -> Vec<ArchivePath> {
        self.reread
    }
}

impl Observer for Watch {
    fn progress(&mut self, totals: &ImportTotals) {
        let files = count(totals.files, "file");
        let (done, total) = self.expected.progress(totals);
        self.line.show(&Progress::Step {
            what: format!("importing: {files}, {} already there", totals.reused_files),
            done,
            total,
            is_bytes: true,
        });
    }

    fn reread(&mut self, path: &ArchivePath) {
        if self.reread.len() < REREAD_LISTED_MAX {
            self.reread.push(path.clone());
        }
    }
}

fn print(context: &mut Context, imported: &Imported, commit: &CommitReply) -> Result<(), CliError> {
    let totals = imported.totals;
    if context.json {
        let summary =
            Summary { version: &commit.version, tag: &commit.tag, changed: commit.changed, totals };
        return Ok(context.output.json(&summary)?);
    }
    super::commit::print(context, commit)?;
    context.output.line(format_args!(
        "{}, {}: {} already in the store ({} not read), {} added",
        count(totals.files, "file"),
        size(totals.bytes),
        totals.reused_files,
        totals.unread_files,
        size(totals.new_bytes),
    ))?;
    if totals.acls_dropped > 0 {
        let entries = count(totals.acls_dropped, "POSIX ACL");
        super::error::warn(&format!("not kept: {entries}"));
    }
    Ok(())
}

impl From<ArchiveError> for CliError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Output(error) => Self::Output(error),
            other => Self::Control(ControlError::from(other)),
        }
    }
}
