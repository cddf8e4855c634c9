//! `cairn mount`: starts the daemon of a store.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::edge::EdgeArgs;
use super::error::CliError;
use super::output::json_path;
use super::parse::{parse_duration, parse_size};
use super::serve::parse_address;
use crate::control::settings::{CACHE_SIZE, MAX_FILE_SIZE, Setting};
use crate::daemon::DaemonError;
use crate::daemon::background::{self, Readiness};
use crate::daemon::config::{CACHE_BYTES_MAX, DaemonConfig, GcOptions, ScrubOptions};
use crate::daemon::logging::{self, LogFormat};
use crate::fuse::mount::{self, MountError, MountOptions};
use crate::model::tree::FILE_BYTES_MAX;

const EXAMPLES: &str = "\
JSON
  {store, mount}

EXAMPLES
  cairn mount /srv/cairn /mnt/cairn
  cairn mount /srv/cairn /mnt/cairn -o allow_other,noexec
  cairn mount /srv/cairn /mnt/cairn -o remount,noexec
  cairn mount /srv/cairn /mnt/cairn --foreground --read-only
  cairn mount /srv/cairn /mnt/cairn --gc-period 6h --protect 1h
  cairn mount /srv/cairn /mnt/cairn --max-file-size 100G
  cairn mount /srv/cairn /mnt/cairn --http 8080
  cairn mount /srv/cairn /mnt/cairn --on-commit /usr/local/bin/announce
  cairn mount --edge s3://releases/cairn /mnt/cairn --user KEYID --password-file /etc/cairn/key
  cairn mount --edge /net/bucket /mnt/cairn --cache /var/cache/tools --repo gcc --poll 5m

With --edge any number of machines show the repositories of a bucket (`cairn push` brings them there). Nothing can be
changed. The edge follows the bucket: new versions, tags, flags and deletions show within the time of --poll, or after
`cairn refresh`. Of a repository that is new here the newest version comes first. Content is fetched when it is first read, and
kept in the directory of --cache, a store that serves nothing else, so that what was read can be read while the bucket is out of
reach; over --cache-size what was used the longest time ago goes. `cairn prefetch` fetches before somebody reads, and with
--policy immediate all of each version comes at once and stays. Only the very first
mount waits for the bucket, for ten seconds at most. `cairn mount DIR MNT` goes on with the edge of that directory as
it was; --edge tells it anew what to follow and how to get there. A log that was rolled back or rewritten is not
followed any more, which `cairn status` says; what came from it stays.

With -o remount,… a mount that is there is changed: ro and rw, exec and noexec, atime and noatime, and
by root suid, nosuid, dev and nodev, as well as --max-file-size and --cache-size. All else is refused unless it says
what is so already. A mount that becomes ro refuses changes by those who use it, not by commands; while
files are open for writing it is busy (exit code 4). Only root can change flags of a mount. mount(8)
does the same, `mount -o remount,ro /mnt/cairn`, but does not pass suid and dev on.

With -o inode32 the files and directories of versions have inode numbers below 2^32, for programs
that were built for 32 bits and refuse larger ones (EOVERFLOW). They are counted as they are first
seen, and are others after the next mount; each takes some 40 bytes of memory.

The command of --on-commit is run by `sh -c` after each published version, one at a time and in
order, with CAIRN_STORE, CAIRN_MOUNT, CAIRN_REPOSITORY, CAIRN_VERSION, CAIRN_NAME and CAIRN_MESSAGE
in its environment; its output goes to the log. Publishing does not wait for it.

Returns when the mount is usable; the daemon goes on in the background and logs to
STORE/daemon.log. Stop it with `cairn unmount`, or SIGTERM. CAIRN_LOG chooses what is logged
(off, error, warn, info, debug, trace, or cairn::fuse=debug for one part); info, unless told
otherwise, has one line for each publication, import, deletion, tag and setting, with who asked.
SIGHUP reopens a log file, for logrotate.";

/// Arguments of `cairn mount`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct MountArgs {
    /// Directory of the store; with --edge, the bucket
    // Named so, since `store` is the global option.
    #[arg(value_name = "STORE")]
    pub store_path: PathBuf,
    /// Empty directory to mount on
    #[arg(value_name = "MNT")]
    pub target: PathBuf,
    /// Mount options, separated by commas: allow_other, ro, noexec, noatime, nonempty…
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub options: Vec<String>,
    /// Serve versions and tags only; nothing can be changed
    #[arg(long)]
    pub read_only: bool,
    /// Hash all content once in this time, to find what the disk has altered; 0: never [default: 30d]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub scrub_period: Option<Duration>,
    /// Read no more than this per second for that, with K, M or G [default: 16M]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub scrub_rate: Option<u64>,
    /// Stay in the foreground and log to the terminal
    #[arg(long)]
    pub foreground: bool,
    /// Log to this file [default: STORE/daemon.log; in the foreground: standard error]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Form of the log's lines [default: text]
    #[arg(long, value_name = "FORM", value_enum)]
    pub log_format: Option<LogFormat>,
    /// Time between full collection runs; 0: only when asked [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub gc_period: Option<Duration>,
    /// How long unreferenced content and deleted versions are kept [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub protect: Option<Duration>,
    /// How long a file in a staging area may become, with K, M, G or T; 0: as can be stored, 16T [default: 16T]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub max_file_size: Option<u64>,
    /// Keep so much content of `streamed` remotes, with K, M, G or T; 0: as much as there is room for [default: 10G]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub cache_size: Option<u64>,
    /// Run this by the shell after each published version
    #[arg(long, value_name = "COMMAND")]
    pub on_commit: Option<String>,
    /// Show the store over HTTP as well: on this port of this machine alone, or on IP:PORT; see `cairn serve`
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub http: Option<SocketAddr>,
    #[command(flatten)]
    pub(super) edge: Box<EdgeArgs>,
    /// This process is the daemon (see `daemon::background`)
    #[arg(long, hide = true)]
    pub daemon_child: bool,
}

/// What was mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountReport {
    /// The store.
    #[serde(serialize_with = "json_path")]
    pub store: PathBuf,
    /// The mount point.
    #[serde(rename = "mount", serialize_with = "json_path")]
    pub target: PathBuf,
}

/// Opens a store and serves it until it is stopped; tells the readiness when it can be used.
pub(crate) type ServeStore = fn(&DaemonConfig, &mut Readiness) -> Result<(), DaemonError>;

impl MountArgs {
    /// Starts a daemon, or becomes it. Returns when the mount is usable, in the foreground when
    /// it is gone.
    ///
    /// # Errors
    ///
    /// Returns the [`DaemonError`] that says why the store cannot be mounted.
    pub fn run(self, serve: ServeStore) -> Result<MountReport, DaemonError> {
        logging::check_filter()?;
        let config = self.config()?;
        let report = MountReport { store: config.store.clone(), target: config.target.clone() };
        if self.daemon_child {
            let mut readiness = background::enter()?;
            logging::start(self.log_format());
            let Err(error) = serve(&config, &mut readiness) else { return Ok(report) };
            log::error!("{error}");
            let error = CliError::from(error).into_control();
            readiness.failed(&error);
            return Err(DaemonError::Child(Box::new(error)));
        }
        check_store(&config.store)?;
        mount::preflight(&config.target, &config.store, &config.options)?;
        if self.foreground {
            background::predictable_modes();
            logging::start(self.log_format());
            serve(&config, &mut Readiness::nobody())?;
        } else {
            let log = config.log.as_deref().unwrap_or(Path::new(logging::FILE_NAME));
            background::start(&child_arguments(&config), log)?;
        }
        Ok(report)
    }

    fn no_store(&self, error: &io::Error) -> DaemonError {
        let path = self.store_path.clone();
        match error.kind() {
            io::ErrorKind::PermissionDenied => DaemonError::NoAccess(path),
            _ => DaemonError::NotAStore(path),
        }
    }

    fn scrub(&self) -> ScrubOptions {
        let ScrubOptions { period_seconds, rate_bytes } = ScrubOptions::default();
        ScrubOptions {
            period_seconds: self.scrub_period.map_or(period_seconds, |period| period.as_secs()),
            rate_bytes: self.scrub_rate.unwrap_or(rate_bytes),
        }
    }

    fn gc(&self) -> GcOptions {
        let GcOptions { period_seconds, protect_seconds } = GcOptions::default();
        let period = self.gc_period.map_or(period_seconds, |period| Some(period.as_secs()));
        GcOptions {
            period_seconds: period.filter(|period| *period > 0),
            protect_seconds: self.protect.map_or(protect_seconds, |protect| protect.as_secs()),
        }
    }

    fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or(LogFormat::Text)
    }

    /// The settings of the daemon that are given, as a daemon that has them would name them.
    ///
    /// # Errors
    /// The log's path cannot be made absolute.
    pub(super) fn given_settings(&self) -> Result<Vec<Setting>, DaemonError> {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs().to_string());
        let log = self.log.as_deref().map(absolute).transpose()?;
        let longest = self.max_file_size.map(longest_file);
        let given = [
            ("gc_period", seconds(self.gc_period)),
            ("protect", seconds(self.protect)),
            ("scrub_period", seconds(self.scrub_period)),
            ("scrub_rate", self.scrub_rate.map(|bytes| bytes.to_string())),
            (MAX_FILE_SIZE, longest.map(|bytes| bytes.to_string())),
            (CACHE_SIZE, self.cache_size.map(|bytes| bytes.to_string())),
            ("on_commit", self.on_commit.clone()),
            ("http", self.http.map(|address| address.to_string())),
            ("log", log.map(|log| log.display().to_string())),
            ("log_format", self.log_format.map(|format| format.name().to_owned())),
        ];
        let given = given.into_iter();
        Ok(given.filter_map(|(name, value)| Some(Setting::new(name, value?))).collect())
    }

    fn config(&self) -> Result<DaemonConfig, DaemonError> {
        let mut options = MountOptions::default();
        for list in &self.options {
            options.add(list).map_err(MountError::from)?;
        }
        options.read_only |= self.read_only;
        let store = self.store_path.canonicalize().map_err(|error| self.no_store(&error))?;
        let log = match (&self.log, self.foreground) {
            (Some(log), _) => Some(absolute(log)?),
            (None, true) => None,
            (None, false) => Some(store.join(logging::FILE_NAME)),
        };
        Ok(DaemonConfig {
            store,
            log,
            target: mount::resolve(&self.target)?,
            options,
            scrub: self.scrub(),
            foreground: self.foreground,
            gc: self.gc(),
            file_bytes_max: self.max_file_size.map_or(FILE_BYTES_MAX, longest_file),
            cache_bytes_max: self.cache_size.unwrap_or(CACHE_BYTES_MAX),
            log_format: self.log_format(),
            on_commit: self.on_commit.clone(),
            http: self.http,
        })
    }
}

/// The largest size of a file that an option means.
fn longest_file(bytes: u64) -> u64 {
    if bytes == 0 { FILE_BYTES_MAX } else { bytes.min(FILE_BYTES_MAX) }
}

/// Whether there is a store that this user may open.
pub(super) fn check_store(store: &Path) -> Result<(), DaemonError> {
    match std::fs::metadata(store.join("format")) {
        Ok(format) if format.is_file() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(DaemonError::NoAccess(store.to_owned()))
        }
        Ok(_) | Err(_) => Err(DaemonError::NotAStore(store.to_owned())),
    }
}

/// The command line that makes the daemon.
fn child_arguments(config: &DaemonConfig) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["mount", "--daemon-child", "-o"].map(Into::into).into();
    arguments.push(config.options.to_string().into());
    let ScrubOptions { period_seconds, rate_bytes } = config.scrub;
    arguments.extend(["--scrub-period".into(), period_seconds.to_string().into()]);
    arguments.extend(["--scrub-rate".into(), rate_bytes.to_string().into()]);
    let GcOptions { period_seconds, protect_seconds } = config.gc;
    arguments.push(format!("--gc-period={}", period_seconds.unwrap_or(0)).into());
    arguments.push(format!("--protect={protect_seconds}").into());
    arguments.push(format!("--max-file-size={}", config.file_bytes_max).into());
    arguments.push(format!("--cache-size={}", config.cache_bytes_max).into());
    arguments.extend(config.on_commit.as_ref().map(|run| format!("--on-commit={run}").into()));
    arguments.extend(config.http.map(|address| format!("--http={address}").into()));
    arguments.extend(config.log.iter().flat_map(|log| ["--log".into(), log.into()]));
    arguments.extend(["--log-format".into(), config.log_format.name().into(), "--".into()]);
    arguments.extend([config.store.clone().into(), config.target.clone().into()]);
    arguments
}

fn absolute(path: &Path) -> Result<PathBuf, DaemonError> {
    std::path::absolute(path).map_err(|source| DaemonError::Log { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: MountArgs,
    }

    fn parse(arguments: &[&str]) -> MountArgs {
        Command::try_parse_from(arguments).unwrap().args
    }

    #[test]
    fn the_child_is_told_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let (store, target) = (root.join("-store"), root.join("target"));
        std::fs::create_dir(&store).unwrap();
        std::fs::create_dir(&target).unwrap();
        let (store, target) = (store.to_str().unwrap(), target.to_str().unwrap());
        let args = parse(&[
            "mount",
            "-o",
            "allow_other",
            "-o",
            "noexec",
            "--scrub-period",
            "7d",
            "--scrub-rate",
            "3M",
            "--read-only",
            "--log-format=json",
            store,
            target,
        ]);
        let config = args.config().unwrap();
        assert!(config.options.allow_other && config.options.read_only && config.options.noexec);
        assert_eq!(config.scrub, ScrubOptions { period_seconds: 7 * 86_400, rate_bytes: 3 << 20 });
        assert_eq!((config.gc, &config.on_commit), (GcOptions::default(), &None));
        let child = Command::try_parse_from(child_arguments(&config)).unwrap().args;
        assert!(child.daemon_child && child.log_format == Some(LogFormat::Json));
        assert_eq!(child.config().unwrap(), config);
        let hook = "--on-commit=-x 'a b' \"$CAIRN_NAME\"";
        assert_eq!(config.file_bytes_max, FILE_BYTES_MAX);
        let limit = "--max-file-size=3G";
        let (http, cache) = ("--http=8080", "--cache-size=1G");
        assert_eq!(config.cache_bytes_max, CACHE_BYTES_MAX);
        let args = ["mount", "--gc-period=0", "--protect=1h", limit, http, cache, hook];
        let args = parse(&[&args[..], &[store, target]].concat());
        let config = args.config().unwrap();
        assert_eq!((config.file_bytes_max, config.cache_bytes_max), (3 << 30, 1 << 30));
        assert_eq!(config.http, Some("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(config.gc, GcOptions { period_seconds: None, protect_seconds: 3600 });
        let child = Command::try_parse_from(child_arguments(&config)).unwrap().args;
        assert_eq!(child.config().unwrap(), config);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        let none = format!("{root}/none");
        let nothing: ServeStore = |_, _| Ok(());
        for (arguments, says) in [
            (["mount", none.as_str(), root], "is not a store"),
            (["mount", root, none.as_str()], "does not exist"),
            (["mount", root, root], "is not a store"),
        ] {
            let error = parse(&arguments).run(nothing).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.full_text().contains("\nhint: "), "{error}");
        }
        let error = parse(&["mount", "-o", "allow_root", root, root]).run(nothing).unwrap_err();
        assert!(error.to_string().contains("allow_other"), "{error}");
    }
}
