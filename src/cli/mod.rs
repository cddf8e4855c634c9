//! The command line: one file per subcommand, each asking a [`Connection`] and printing the reply.
//!
//! Nothing here knows the engine or the disk: [`Hooks`] carries in what `main` wires up. A verb is
//! a `clap::Args` struct with `run(self, &mut Context)`; its long help has an `EXAMPLES` section,
//! and with `--json` it prints one document (the types of [`crate::control::reply`]).

pub(crate) mod areas;
pub(crate) mod backup;
mod bucket;
pub(crate) mod cat;
pub(crate) mod commit;
mod complete;
pub(crate) mod completions;
pub(crate) mod create;
mod daemon;
mod debian;
pub(crate) mod delete;
pub(crate) mod diff;
pub(crate) mod discard;
mod discovery;
pub(crate) mod doctor;
pub(crate) mod du;
mod edge;
pub mod error;
pub(crate) mod export;
pub(crate) mod find;
mod flag;
mod follow;
pub(crate) mod fsck;
pub(crate) mod gc;
mod help_text;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod jobs;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod man;
pub(crate) mod mount;
mod mount_helper;
pub(crate) mod output;
pub mod parse;
pub(crate) mod policy;
pub(crate) mod prefetch;
mod profile;
pub(crate) mod progress;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod quota;
pub(crate) mod reclaim;
pub(crate) mod refresh;
pub(crate) mod release;
pub(crate) mod remote;
mod remount;
pub(crate) mod restore;
mod selection;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod stage;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod tag;
pub(crate) mod text;
pub(crate) mod top;
mod transfer;
pub(crate) mod undelete;
pub mod unmount;
pub(crate) mod versions;
pub(crate) mod wait;
pub(crate) mod why;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::control::client::{Connection, OpenLocal};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::daemon::stand_guard;
use crate::fuse::guard::PROGRAM as GUARD;
use crate::fuse::mount::MountTable;

use error::CliError;
use mount_helper::Helper;
use output::Output;

/// What the command line needs from the layers below it.
#[derive(Debug, Clone, Copy)]
pub struct Hooks {
    /// Opens a store in this process.
    pub open_local: OpenLocal,
    /// Opens a store in this process for a check or a backup, changing nothing.
    pub open_bare: OpenLocal,
    /// Looks at a store for names only, changing and locking nothing.
    pub open_glance: OpenLocal,
    /// Makes a store in an empty or missing directory.
    pub init: fn(&Path) -> Result<(), ControlError>,
    /// Opens a store and serves it until it is stopped.
    pub serve: mount::ServeStore,
    /// Opens a store and serves it without a mount until it is stopped.
    pub serve_unmounted: serve::ServeUnmounted,
}

/// The variable that names the store.
const STORE: &str = "CAIRN_STORE";

/// Heads the options of every verb in its help.
const GLOBAL: &str = "Global options";

const EXIT_CODES: &str = "\
EXIT CODES
  0  done
  1  refused or failed
  2  wrong usage
  3  repository, version, tag, area or file not found
  4  busy: try again later
  5  conflict: the base is not the newest version any more, or a merge conflicts
  6  permission denied
  7  the store cannot be used: locked, damaged, not a store, of a newer format
  8  `cairn backup`: the backup is made, and lacks content that is damaged in the store
  9  `cairn fsck`: something was wrong and has been repaired
  10  `cairn fsck`: damage is left
  11  `cairn status --check`: something needs attention soon
  12  `cairn status --check`: something needs attention now
  13  `cairn sync`, `cairn wait --job`: what the remote declares changed meanwhile: try again
  141  whoever read the output went away

A command speaks to the store's daemon where one is running (`cairn mount`) and opens the store
itself otherwise. Only the store's owner and root may use it. Without --store and CAIRN_STORE the
store is the one on whose mount the working directory lies, else the only one that you have mounted.

EXAMPLES
  export CAIRN_STORE=/srv/cairn
  cairn init /srv/cairn
  cairn mount /srv/cairn /mnt/cairn
  cairn create web
  cp -r build /mnt/cairn/staging/web/b42
  cairn commit web/b42 -m 'first build'
  cairn versions web --json";

/// Versioned repositories as a filesystem: immutable versions, writable staging areas,
/// deduplicated content
#[derive(Debug, Parser)]
#[command(name = "cairn", version, max_term_width = 100, after_long_help = EXIT_CODES)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    /// Directory of the store [env: CAIRN_STORE=] [default: the one mounted here, or the only one
    /// mounted by you]
    // The variable is not left to clap, which would show the option as required in its usage.
    #[arg(long, global = true, value_name = "PATH", help_heading = GLOBAL)]
    pub store: Option<PathBuf>,
    /// Print JSON: the result on stdout, an error on stderr
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a store in an empty or missing directory
    Init(init::InitArgs),
    /// Mount a store: start the daemon that serves it
    Mount(mount::MountArgs),
    /// Show a store over HTTP, without a mount
    Serve(serve::ServeArgs),
    /// Unmount a store and stop its daemon
    Unmount(unmount::UnmountArgs),
    /// Show the store's size, open areas and health
    Status(status::StatusArgs),
    /// Show what the daemon does, second by second
    Top(top::TopArgs),
    /// Make a repository
    Create(create::CreateArgs),
    /// List repositories
    List(list::ListArgs),
    /// List the versions of a repository, oldest first
    Versions(versions::VersionsArgs),
    /// Describe one version
    Show(show::ShowArgs),
    /// Import a directory or an archive as a version, without a mount
    Import(import::ImportArgs),
    /// Write a version to a directory or an archive, without a mount
    Export(export::ExportArgs),
    /// List the paths that differ between two versions
    Diff(diff::DiffArgs),
    /// List versions with what each changed, or those in which a path changed
    Log(log::LogArgs),
    /// Find paths in all versions
    Find(find::FindArgs),
    /// Print a file of a version
    Cat(cat::CatArgs),
    /// Write a file or directory of a version to a place of your choice
    Restore(restore::RestoreArgs),
    /// List open staging areas
    Areas(areas::AreasArgs),
    /// Open a staging area
    Stage(stage::StageArgs),
    /// Publish a staging area as the next version
    Commit(commit::CommitArgs),
    /// Throw a staging area away
    Discard(discard::DiscardArgs),
    /// List, set or delete the tags of a repository
    Tag(tag::TagArgs),
    /// Delete versions, or an empty repository
    Delete(delete::DeleteArgs),
    /// List deleted versions, or bring them back
    Undelete(undelete::UndeleteArgs),
    /// Mark versions as released
    Release(release::ReleaseArgs),
    /// Add, list, change, try and remove remotes: lists of files to sync from
    Remote(remote::RemoteArgs),
    /// Make a version of what a remote declares: fetch what is new, check it, publish it
    Sync(sync::SyncArgs),
    /// Copy versions, tags and flags to a bucket: only what it lacks
    Push(push::PushArgs),
    /// Copy versions, tags and flags from a bucket: only what the store lacks
    Pull(pull::PullArgs),
    /// Ask the bucket of an edge for news now
    Refresh(refresh::RefreshArgs),
    /// Fetch the content of a version that is not there yet, before it is read
    Prefetch(prefetch::PrefetchArgs),
    /// Which files of a version a command opens, to fetch them before it runs
    Profile(profile::ProfileArgs),
    /// Drop stored content that a remote can give back
    Reclaim(reclaim::ReclaimArgs),
    /// List what goes on in the daemon, or cancel it
    Jobs(jobs::JobsArgs),
    /// Keep versions from ever being deleted
    Lock(lock::LockArgs),
    /// Show or set what a repository keeps when nobody decides
    Policy(policy::PolicyArgs),
    /// Show or set how much a repository may use
    Quota(quota::QuotaArgs),
    /// Collect garbage now, or say what would go
    Gc(gc::GcArgs),
    /// Check the store, and repair what can be
    Fsck(fsck::FsckArgs),
    /// Copy the whole store into a directory that is a store itself
    Backup(backup::BackupArgs),
    /// Show where space goes: apparent, unique, shared, reclaimable
    Du(du::DuArgs),
    /// Say what in this machine's set-up costs speed or safety
    Doctor(doctor::DoctorArgs),
    /// Explain what keeps a content
    Why(why::WhyArgs),
    /// Wait until a version is published, or until a job ends
    Wait(wait::WaitArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print or write the manual pages
    Man(man::ManArgs),
}

/// What every verb gets.
#[derive(Debug)]
pub struct Context {
    /// Where results go.
    pub output: Output,
    /// Whether `--json` was given.
    pub json: bool,
    /// The layers below.
    pub hooks: Hooks,
    store: OnceCell<PathBuf>,
}

impl Context {
    /// Makes a context, for one command.
    pub fn new(store: Option<PathBuf>, json: bool, output: Output, hooks: Hooks) -> Self {
        let store = store.map_or_else(OnceCell::new, OnceCell::from);
        Self { output, json, hooks, store }
    }

    /// The store given with `--store` or `CAIRN_STORE`, else the one that the mounts tell (see
    /// [`discovery`]), which is then said on stderr, once.
    ///
    /// # Errors
    /// None was given, and the mounts tell none or several.
    pub fn store(&self) -> Result<&Path, ControlError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let table = MountTable::read()
            .map_err(|error| ControlError::new(ErrorKind::Failed, error.to_string()))?;
        let directory = std::env::current_dir().ok();
        let user = rustix::process::geteuid().as_raw();
        let found = discovery::find(&table, directory.as_deref(), user)?;
        if !self.json {
            let (store, target) = (found.store.display(), found.target.display());
            error::note(&format!("using the store {store}, mounted at {target}"));
        }
        Ok(self.store.get_or_init(|| found.store))
    }

    /// What a path on a mount is in the versions of the store: `REPO/VERSION/PATH`. The store is the one of that mount
    /// where none was given.
    ///
    /// # Errors
    /// There is no such file; it is in no version, or in one of another store.
    pub(crate) fn in_versions(&self, path: &Path) -> Result<PathBuf, ControlError> {
        let table = MountTable::read()
            .map_err(|error| ControlError::new(ErrorKind::Failed, error.to_string()))?;
        let shown = path.display();
        let found = path.canonicalize().map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
                _ => ErrorKind::Failed,
            };
            ControlError::new(kind, format!("{shown}: {error}"))
        })?;
        let inside = discovery::in_versions(&table, &found).ok_or_else(|| {
            let message = format!("{shown} is not in a version of a mounted cairn");
            ControlError::new(ErrorKind::Usage, message)
                .with_hint("name a path below `versions` of a mount, or REPO/VERSION/PATH")
        })?;
        let store = match self.store.get() {
            Some(store) => store.canonicalize().unwrap_or_else(|_| store.clone()),
            None => {
                let user = rustix::process::geteuid().as_raw();
                let store = discovery::find(&table, Some(&found), user)?.store;
                self.store.get_or_init(|| store).clone()
            }
        };
        if inside.store != store {
            let message = format!("{shown} is in another store than {}", store.display());
            return Err(ControlError::new(ErrorKind::Usage, message)
                .with_hint("name the store of that mount with --store, or none"));
        }
        Ok(inside.path)
    }

    /// Connects to the store's daemon, or opens the store here.
    ///
    /// # Errors
    /// See [`Connection::open`].
    pub fn connect(&self) -> Result<Connection, ControlError> {
        Connection::open(self.store()?, self.hooks.open_local)
    }
}

/// The whole command line as clap knows it: for help, completions and manual pages.
pub fn command() -> clap::Command {
    help_text::in_paragraphs(Cli::command())
}

fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    let mut matches = command().try_get_matches_from(args)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command()))
}

/// Runs one command line, program name included, and returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, hooks: Hooks) -> u8 {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.first().is_some_and(|name| name == GUARD) {
        return stand_guard();
    }
    if let Some(code) = complete::answer(&args, hooks) {
        return code;
    }
    match mount_helper::translate(&args) {
        Ok(Helper::None) => {}
        Ok(Helper::Nothing) => return 0,
        Ok(Helper::Run(command)) => args = command,
        Err(error) => return error::report(&error.into(), false),
    }
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(usage) => return error::report_usage(&usage, args.iter().any(|arg| arg == "--json")),
    };
    // An empty variable names no store, as other programs have it.
    let variable = || std::env::var_os(STORE).filter(|value| !value.is_empty());
    let store = cli.store.or_else(|| variable().map(PathBuf::from));
    let mut context = Context::new(store, cli.json, Output::stdout(), hooks);
    let result = dispatch(cli.verb, &mut context)
        .and_then(|()| context.output.flush().map_err(CliError::from));
    match result {
        Ok(()) => 0,
        Err(CliError::Found(finding)) => match context.output.flush() {
            Ok(()) => finding.exit_code(),
            Err(error) => error::report(&error.into(), context.json),
        },
        Err(error) => error::report(&error, context.json),
    }
}

fn dispatch(verb: Verb, context: &mut Context) -> Result<(), CliError> {
    match verb {
        Verb::Init(args) => args.run(context),
        Verb::Mount(args) => daemon::mount(args, context),
        Verb::Serve(args) => args.run(context),
        Verb::Unmount(args) => daemon::unmount(args, context),
        Verb::Status(args) => args.run(context),
        Verb::Top(args) => args.run(context),
        Verb::Create(args) => args.run(context),
        Verb::List(args) => args.run(context),
        Verb::Versions(args) => args.run(context),
        Verb::Show(args) => args.run(context),
        Verb::Diff(args) => args.run(context),
        Verb::Log(args) => args.run(context),
        Verb::Find(args) => args.run(context),
        Verb::Cat(args) => args.run(context),
        Verb::Restore(args) => args.run(context),
        Verb::Areas(args) => args.run(context),
        Verb::Stage(args) => args.run(context),
        Verb::Commit(args) => args.run(context),
        Verb::Discard(args) => args.run(context),
        Verb::Tag(args) => args.run(context),
        Verb::Delete(args) => args.run(context),
        Verb::Import(args) => args.run(context),
        Verb::Export(args) => args.run(context),
        Verb::Undelete(args) => args.run(context),
        Verb::Release(args) => args.run(context),
        Verb::Remote(args) => args.run(context),
        Verb::Sync(args) => args.run(context),
        Verb::Push(args) => args.run(context),
        Verb::Pull(args) => args.run(context),
        Verb::Refresh(args) => args.run(context),
        Verb::Prefetch(args) => args.run(context),
        Verb::Profile(args) => args.run(context),
        Verb::Reclaim(args) => args.run(context),
        Verb::Jobs(args) => args.run(context),
        Verb::Lock(args) => args.run(context),
        Verb::Policy(args) => args.run(context),
        Verb::Quota(args) => args.run(context),
        Verb::Gc(args) => args.run(context),
        Verb::Fsck(args) => args.run(context),
        Verb::Backup(args) => args.run(context),
        Verb::Du(args) => args.run(context),
        Verb::Doctor(args) => args.run(context),
        Verb::Why(args) => args.run(context),
        Verb::Wait(args) => args.run(context),
        Verb::Completions(args) => args.run(context),
        Verb::Man(args) => args.run(context),
    }
}
