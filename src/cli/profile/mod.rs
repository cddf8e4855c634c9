//! `cairn profile`: which files of a version a command opens, so that they can be fetched before it runs.

mod document;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::Serialize;

pub(super) use self::document::Profile;
use super::Context;
use super::error::CliError;
use super::parse::RepositoryVersion;
use super::text::{count, escape_path, printable};
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::reply::Reply;
use crate::control::versions::VersionInfo;
use crate::model::name::RepoName;
use crate::model::raw::RawPath;
use crate::sys::open_events::{OpenEvents, leave_mounts};

/// Time between two looks whether the command has ended, while no file is opened.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

const HELP: &str = "\
`record` runs a command and writes down which files of a version it opens, it and all that it starts, also those that the
kernel has cached already. `cairn prefetch --profile` fetches these files, of this version or another one, before the
command runs somewhere else. Programs that the command runs and libraries that it maps are opened as well; a file that it
looks at only with `stat` is not. What happens below a bind mount or in another container is not seen.

The command runs in a mount namespace of its own, in which all is as outside. Only root can do this; give the command to
`setpriv` or `sudo -u` to run it as somebody else. The store must be mounted. The profile is written when the command has
ended, whatever its exit code is.

EXIT CODES of record
  0  the command succeeded
  1  it did not; the profile is there all the same
  others, as in `cairn help`: there is no profile

JSON
  record: {repository, number, file, file_count, succeeded}; succeeded is whether the command did
  show: {repository, number, paths}

EXAMPLES
  cairn profile record tools/7 build.profile -- make -j8
  cairn profile show build.profile
  cairn prefetch tools/8 --profile build.profile";

/// Arguments of `cairn profile`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct ProfileArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run a command and write down which files of a version it opens
    Record {
        /// The version: a number, a tag or `latest` of a repository
        #[arg(value_name = "REPO/VERSION")]
        version: RepositoryVersion,
        /// Where the profile is written
        #[arg(value_name = "FILE")]
        profile: PathBuf,
        /// The command, with its arguments
        #[arg(value_name = "COMMAND", required = true, last = true)]
        command: Vec<OsString>,
    },
    /// Print which files a profile names
    Show {
        /// The profile
        #[arg(value_name = "FILE")]
        profile: PathBuf,
    },
}

#[derive(Debug, Serialize)]
struct Recorded<'a> {
    repository: &'a RepoName,
    number: u64,
    #[serde(serialize_with = "super::output::json_path")]
    file: &'a Path,
    file_count: u64,
    succeeded: bool,
}

impl ProfileArgs {
    /// Records or shows a profile.
    ///
    /// # Errors
    /// There is no such version, or no profile; the command failed.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        match self.verb {
            Verb::Record { version, profile, command } => {
                record(context, version, &profile, &command)
            }
            Verb::Show { profile } => show(context, &profile),
        }
    }
}

/// A version, and where it is mounted.
fn mounted(
    context: &Context,
    version: RepositoryVersion,
) -> Result<(VersionInfo, PathBuf), CliError> {
    let mut connection = context.connect()?;
    let RepositoryVersion { repository, version } = version;
    let Reply::Version(version) = connection.ask(Request::Show { repository, version })? else {
        return Err(CliError::unexpected_reply());
    };
    let Reply::Status(status) = connection.ask(Request::Status)? else {
        return Err(CliError::unexpected_reply());
    };
    let mount = status.mount.ok_or_else(|| {
        ControlError::new(ErrorKind::Failed, "the store is not mounted")
            .with_hint("`cairn mount` mounts it")
    })?;
    let below = Path::new(version.repository.as_str()).join(version.number.to_string());
    // The versions lie in the mount, or beside it where that cannot be.
    let roots = [Path::new(&mount).join("versions"), PathBuf::from(format!("{mount}.versions"))];
    let root = roots.iter().find_map(|root| root.join(&below).canonicalize().ok());
    let root = root.ok_or_else(|| {
        let message = format!("{} is not to be seen at {mount}", below.display());
        ControlError::new(ErrorKind::Permission, message)
    })?;
    Ok((version, root))
}

/// The files of a version that were opened.
struct Opened<'a> {
    root: &'a Path,
    paths: Vec<RawPath>,
    seen: HashSet<PathBuf>,
}

impl Opened<'_> {
    fn note(&mut self, path: PathBuf) {
        let Ok(below) = path.strip_prefix(self.root) else { return };
        let below = RawPath::from(below.as_os_str().as_bytes());
        if self.seen.insert(path) {
            self.paths.push(below);
        }
    }

    /// Notes what is opened until a command has ended.
    fn follow(&mut self, mut child: Child, events: &OpenEvents) -> io::Result<ExitStatus> {
        let interval = LOOK_INTERVAL.try_into().map_err(io::Error::other)?;
        loop {
            let ended = child.try_wait()?;
            // After the end as well: what it opened last.
            events.take(|path| self.note(path))?;
            if let Some(status) = ended {
                return Ok(status);
            }
            match poll(&mut [PollFd::new(events, PollFlags::IN)], Some(&interval)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn show(context: &mut Context, path: &Path) -> Result<(), CliError> {
    let profile = Profile::read(path)?;
    if context.json {
        return Ok(context.output.json(&profile)?);
    }
    for path in &profile.paths {
        context.output.line(escape_path(path.as_bytes()))?;
    }
    Ok(())
}

fn record(
    context: &mut Context,
    version: RepositoryVersion,
    path: &Path,
    command: &[OsString],
) -> Result<(), CliError> {
    let (version, root) = mounted(context, version)?;
    let failed = |what: &str, error: &io::Error| {
        ControlError::new(ErrorKind::Failed, format!("cannot {what}: {error}"))
    };
    let look = || {
        leave_mounts()?;
        OpenEvents::of_mount(&root)
    };
    let events = look().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ControlError::new(ErrorKind::Permission, "only root may see what is opened on a mount")
                .with_hint("run it by sudo; the command may be `sudo -u USER COMMAND`")
        }
        _ => failed("see what is opened", &error),
    })?;
    let (name, arguments) = command.split_first().ok_or_else(CliError::unexpected_reply)?;
    let child = Command::new(name).args(arguments).spawn().map_err(|error| {
        let shown = printable(&name.to_string_lossy()).to_string();
        ControlError::new(ErrorKind::Usage, format!("cannot run {shown}: {error}"))
    })?;
    let mut opened = Opened { root: &root, paths: Vec::new(), seen: HashSet::new() };
    let status =
        opened.follow(child, &events).map_err(|error| failed("follow the command", &error))?;
    let (repository, number) = (version.repository, version.number);
    let profile = Profile { repository, version: number, paths: opened.paths };
    profile.write(path).map_err(|error| failed(&format!("write {}", path.display()), &error))?;
    let (files, succeeded) = (profile.paths.len() as u64, status.success());
    if context.json {
        context.output.json(&Recorded {
            repository: &profile.repository,
            number: number.0,
            file: path,
            file_count: files,
            succeeded,
        })?;
    } else {
        let (of, files) = (&profile.repository, count(files, "file"));
        context.output.line(format_args!("{files} of {of}/{number} in {}", path.display()))?;
    }
    if succeeded {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("the command ended with exit code {code}"),
        (None, Some(signal)) => format!("the command was ended by signal {signal}"),
        (None, None) => "the command did not succeed".to_owned(),
    };
    Err(ControlError::new(ErrorKind::Failed, how).into())
}
