//! The command of `--on-commit`: run after each published version (H25).
//!
//! One at a time, in the order of publication, on a thread of its own: neither a commit nor the
//! engine ever waits for it. The engine's events tell what was published, after the kernel was
//! told, so that the command sees the new version on the mount. Its output goes where the daemon's
//! standard error goes: to the log.
//!
//! A version that was brought back is not published again: numbers only grow, so whatever is not
//! above the greatest number seen is old.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::{Mutex, RwLock};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::service_manager;
use crate::engine::event::{Event, Observer};
use crate::engine::registry::{Registry, Repository};
use crate::model::id::{RepoId, VersionNumber};
use crate::model::text::count;
use crate::model::version::Version;
use crate::sys::panics;

/// Versions that may wait for the command; those beyond are logged and left out.
const QUEUE_MAX: usize = 10_000;

/// How long a running command may go on when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long a command may take to end after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(1);

/// The command, and what it is told besides the version.
#[derive(Debug, Clone)]
pub(crate) struct HookCommand {
    /// For `sh -c`.
    pub command: String,
    /// The store.
    pub store: PathBuf,
    /// The mount point.
    pub mount: PathBuf,
}

/// A version that was published.
#[derive(Debug)]
struct Published {
    repository: Arc<Repository>,
    version: Arc<Version>,
}

/// Where events become entries of the queue.
#[derive(Debug)]
struct Feed {
    registry: Arc<Registry>,
    queue: Sender<Published>,
    /// The greatest number seen of each repository.
    seen: Mutex<HashMap<RepoId, VersionNumber>>,
}

impl Feed {
    fn added(&self, repo: RepoId, number: VersionNumber) {
        let mut seen = self.seen.lock();
        if seen.get(&repo).is_some_and(|greatest| number <= *greatest) {
            return;
        }
        seen.insert(repo, number);
        drop(seen);
        let Some(repository) = self.registry.by_id(repo) else { return };
        // It may be deleted already.
        let Some(version) = repository.versions.get(&number).cloned() else { return };
        match self.queue.try_send(Published { repository, version }) {
            Ok(()) => {}
            Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) => {
                log::error!("--on-commit is not run for {}", lost.name());
            }
        }
    }
}

impl Published {
    fn name(&self) -> String {
        format!("{}/{}", self.repository.name, self.version.number)
    }
}

/// Passes events on, and tells the hook what was published.
pub(crate) struct HookObserver {
    next: Arc<dyn Observer>,
    feed: Arc<RwLock<Option<Feed>>>,
}

impl std::fmt::Debug for HookObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookObserver").finish_non_exhaustive()
    }
}

impl HookObserver {
    /// Passes events on to `next`. Until [`Hook::start`], nothing is run.
    pub(crate) fn new(next: Arc<dyn Observer>) -> Self {
        Self { next, feed: Arc::default() }
    }
}

impl Observer for HookObserver {
    fn notify(&self, events: Vec<Event>, then: Box<dyn FnOnce() + Send>) {
        let added = events.iter().filter_map(|event| match event {
            Event::VersionAdded(repo, number) => Some((*repo, *number)),
            _ => None,
        });
        let added: Vec<(RepoId, VersionNumber)> = added.collect();
        if added.is_empty() || self.feed.read().is_none() {
            return self.next.notify(events, then);
        }
        let feed = Arc::clone(&self.feed);
        let told = move || {
            if let Some(feed) = &*feed.read() {
                for (repo, number) in added {
                    feed.added(repo, number);
                }
            }
            then();
        };
        self.next.notify(events, Box::new(told));
    }
}

/// The running hook.
#[derive(Debug)]
pub(crate) struct Hook {
    feed: Arc<RwLock<Option<Feed>>>,
    shared: Arc<Shared>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    /// Process id of the command that runs. Nobody has waited for it yet, so the kernel cannot have
    /// given the number to another process.
    running: Mutex<Option<Pid>>,
}

impl Hook {
    /// Runs the command for each version that `observer` is told of from now on.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(
        command: HookCommand,
        registry: Arc<Registry>,
        observer: &HookObserver,
    ) -> io::Result<Self> {
        let (queue, published) = bounded(QUEUE_MAX);
        let (end, ended) = bounded(0);
        let shared = Arc::new(Shared::default());
        let runner = Runner { command, shared: Arc::clone(&shared), _end: end };
        let body = move || runner.run(&published);
        let thread = std::thread::Builder::new().name("on-commit".to_owned()).spawn(body)?;
        // Versions up to this number were published before.
        let before = |repository: &Arc<Repository>| {
            let last = VersionNumber(repository.next_number.0.saturating_sub(1));
            (repository.id, last)
        };
        let seen = Mutex::new(registry.all().iter().map(before).collect());
        *observer.feed.write() = Some(Feed { registry, queue, seen });
        Ok(Self { feed: Arc::clone(&observer.feed), shared, ended, thread })
    }

    /// Lets the command that runs go on for a moment, then ends it; what waits is not run.
    pub(crate) fn stop(self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        *self.feed.write() = None;
        for (signal, grace) in [(None, STOP_GRACE), (Some(Signal::TERM), TERM_GRACE)] {
            if let Some(signal) = signal {
                self.shared.signal(signal);
            }
            if self.ended.recv_timeout(grace)
                == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
            {
                return self.join();
            }
        }
        self.shared.signal(Signal::KILL);
        self.join();
    }

    fn join(self) {
        if self.thread.join().is_err() {
            log::error!("the thread of --on-commit panicked");
        }
    }
}

impl Shared {
    fn signal(&self, signal: Signal) {
        let running = self.running.lock();
        if let Some(group) = *running {
            log::warn!("--on-commit is still running: {signal:?}");
            if let Err(error) = kill_process_group(group, signal) {
                log::warn!("cannot end the command of --on-commit: {error}");
            }
        }
    }
}

struct Runner {
    command: HookCommand,
    shared: Arc<Shared>,
    /// Dropped when the thread ends, which tells whoever stops the hook.
    _end: Sender<()>,
}

impl Runner {
    fn run(&self, published: &Receiver<Published>) {
        let mut left_out = 0_u64;
        for next in published {
            if self.shared.stopping.load(Ordering::SeqCst) {
                left_out += 1;
                continue;
            }
            let name = next.name();
            let ran = panics::contain("--on-commit", || {
                panics::point("on-commit");
                self.run_for(&next)
            });
            // A panic was logged.
            let Ok(ran) = ran else { continue };
            match ran {
                Ok(status) if status.success() => log::info!("--on-commit for {name} succeeded"),
                Ok(status) => log::warn!("--on-commit for {name} failed: {}", describe(status)),
                Err(error) => log::error!("--on-commit for {name} cannot be run: {error}"),
            }
        }
        if left_out > 0 {
            let versions = count(left_out, "version");
            log::warn!("stopping: --on-commit is not run for {versions}");
        }
    }

    fn run_for(&self, published: &Published) -> io::Result<ExitStatus> {
        let mut child = self.spawn(published)?;
        let pid = Pid::from_child(&child);
        *self.shared.running.lock() = Some(pid);
        // Reaped only once nobody can signal it any more: until then the kernel gives its number to
        // no other process.
        let waited = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        *self.shared.running.lock() = None;
        waited?;
        child.wait()
    }

    fn spawn(&self, Published { repository, version }: &Published) -> io::Result<Child> {
        let log = || io::stderr().as_fd().try_clone_to_owned().map(File::from);
        let name = version.name.as_ref().map_or("", |name| name.as_str());
        // An environment cannot hold NUL.
        let message = version.message.replace('\0', "");
        Command::new("sh")
            .arg("-c")
            .arg(&self.command.command)
            .env_remove(service_manager::VARIABLE)
            .env("CAIRN_STORE", &self.command.store)
            .env("CAIRN_MOUNT", &self.command.mount)
            .env("CAIRN_REPOSITORY", repository.name.as_str())
            .env("CAIRN_VERSION", version.number.to_string())
            .env("CAIRN_NAME", name)
            .env("CAIRN_MESSAGE", message)
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .process_group(0)
            .current_dir("/")
            .spawn()
    }
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("ended by signal {signal}"),
        None => status.to_string(),
    }
}
