//! Taking the mounts down: a stop never hangs, and never leaves a mount behind.
//!
//! 1. Unmount versions, then the outer filesystem, so that what was written reaches us.
//! 2. While files are in use: say by whom, try again until the grace is over or a second stop is
//!    asked for, then flush and detach the outermost mount. Its users keep what they have open.
//! 3. Give those a moment to end, then fail what they still ask for.
//! 4. What even then does not end, ends with this process, which must not wait for it.
//!
//! Unmounting looks a path up in the outer filesystem; should that hang, the attempt is given up,
//! the outermost mount, whose path leads through no filesystem of ours, is detached, and its
//! connection ended: otherwise whoever waits for an answer, a thread of ours among them, would wait
//! until this process ends. Such a thread has no connection open (`fuse::mount::apart`), so that
//! the process can end even when it is killed.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::run::{Event, Events};
use crate::fuse::mount::{Force, MountError, Mounted};
use crate::fuse::session::{MountPart, SessionHandle};

/// How long each step of a start or a stop may take.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How long one mount may take. Mounting the inner filesystem asks the outer one.
    pub mount: Duration,
    /// How long a stop is put off while something cannot be saved.
    pub hope: Duration,
    /// How long users of the mount have to close their files.
    pub grace: Duration,
    /// How long one attempt to unmount may take.
    pub attempt: Duration,
    /// Time between attempts.
    pub retry: Duration,
    /// How long users of a detached mount have to end before their requests fail.
    pub drain: Duration,
    /// How long whoever unmounted versions has to unmount the rest as well.
    pub rest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            mount: Duration::from_secs(60),
            hope: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            attempt: Duration::from_secs(10),
            retry: Duration::from_millis(100),
            drain: Duration::from_secs(2),
            rest: Duration::from_secs(5),
        }
    }
}

/// What is mounted and answered, the outermost first.
#[derive(Debug, Default)]
pub(super) struct Running {
    parts: Vec<Part>,
    /// The directory that the daemon made as the mount point of versions.
    pub(super) made_directory: Option<PathBuf>,
}

#[derive(Debug)]
struct Part {
    connection: MountPart,
    mount: Arc<Mounted>,
    session: Option<SessionHandle>,
}

enum Outcome {
    Unmounted,
    /// Its users do not end.
    InUse,
    /// The kernel refused, or nothing came back.
    Stuck,
}

impl Running {
    /// Adds a mount on which nobody answers yet.
    pub(super) fn add(&mut self, connection: MountPart, mount: Mounted) -> Arc<Mounted> {
        let mount = Arc::new(mount);
        self.parts.push(Part { connection, mount: Arc::clone(&mount), session: None });
        mount
    }

    /// Records that `mount` is answered.
    pub(super) fn answered(&mut self, mount: &Arc<Mounted>, session: SessionHandle) {
        let mut parts = self.parts.iter_mut();
        let part = parts.find(|part| Arc::ptr_eq(&part.mount, mount));
        part.expect("an answered mount was added before").session = Some(session);
    }

    /// Stops as the module says.
    pub(super) fn stop(self, events: &Events, timing: &Timing) {
        let deadline = Instant::now() + timing.grace;
        for part in self.parts.iter().rev() {
            match unmount(part, events, timing, deadline) {
                Outcome::Unmounted => {}
                Outcome::InUse => {
                    let force = if self.flush(timing) { Force::Detach } else { Force::Abort };
                    return self.take_away(force, timing);
                }
                Outcome::Stuck => return self.take_away(Force::Abort, timing),
            }
        }
        self.finish(timing);
    }

    /// Has the kernel send us what was written through mappings. An unmount does so by itself; a
    /// detached mount only with its last user, for whom we may not wait. Says whether the outer
    /// filesystem answers at all.
    ///
    /// Another program does it: were it a thread of ours, and no answer came, this process could
    /// not end.
    fn flush(&self, timing: &Timing) -> bool {
        let Some(outermost) = self.parts.first() else {
            return true;
        };
        let mut command = Command::new("sync");
        command.arg("--file-system").arg(outermost.mount.target()).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match within(timing.drain, "flush", move || command.status()) {
            Some(Ok(status)) if status.success() => true,
            Some(result) => {
                warn!("cannot flush written mappings: {result:?}");
                true
            }
            None => {
                warn!("flushing written mappings takes too long");
                false
            }
        }
    }

    /// Takes everything out of sight at once.
    pub(super) fn take_away(self, force: Force, timing: &Timing) {
        // Outermost first: detaching it detaches what is mounted inside as well.
        for part in &self.parts {
            let mount = Arc::clone(&part.mount);
            match within(timing.attempt, "detach", move || mount.unmount(force)) {
                Some(Ok(())) => {}
                Some(Err(failure)) => error!("cannot detach: {failure}"),
                None => error!("detaching {} hangs", part.mount.target().display()),
            }
        }
        self.finish(timing);
    }

    /// Waits for the sessions of mounts that were unmounted or detached.
    fn finish(self, timing: &Timing) {
        let deadline = Instant::now() + timing.drain;
        let answered = |part: &Part| part.session.as_ref().map(|s| s.join_until(deadline));
        let remaining: Vec<_> =
            self.parts.iter().filter(|part| answered(part) == Some(false)).collect();
        for part in &remaining {
            info!("failing what still uses {}", part.connection.name());
            part.mount.abort();
        }
        let deadline = Instant::now() + timing.drain;
        for part in remaining {
            if part.session.as_ref().is_some_and(|session| !session.join_until(deadline)) {
                warn!("{} is still in use; it ends with this process", part.connection.name());
            }
        }
        if let Some(directory) = self.made_directory
            && let Err(failure) = std::fs::remove_dir(&directory)
        {
            warn!("cannot remove {}: {failure}", directory.display());
        }
    }
}

fn unmount(part: &Part, events: &Events, timing: &Timing, deadline: Instant) -> Outcome {
    let name = part.connection.name();
    let mut told = false;
    loop {
        let mount = Arc::clone(&part.mount);
        match within(timing.attempt, "unmount", move || mount.unmount(Force::None)) {
            Some(Ok(())) => return Outcome::Unmounted,
            Some(Err(busy @ MountError::Busy { .. })) => {
                if !told {
                    warn!(
                        "{busy}; waiting {:?}",
                        deadline.saturating_duration_since(Instant::now())
                    );
                    told = true;
                }
            }
            Some(Err(failure)) => {
                warn!("cannot unmount {name}: {failure}; detaching it");
                return Outcome::Stuck;
            }
            None => {
                warn!("unmounting {name} hangs; detaching it");
                return Outcome::Stuck;
            }
        }
        let retry = deadline.min(Instant::now() + timing.retry);
        if let Ok(Event::Stop) = events.0.recv_deadline(retry) {
            info!("asked a second time: detaching {name}");
            return Outcome::InUse;
        }
        if Instant::now() >= deadline {
            warn!("{name} is still in use: detaching it");
            return Outcome::InUse;
        }
    }
}

/// Runs `action` on a thread of its own for at most `time`; after that it is left to itself.
pub(super) fn within<T: Send + 'static>(
    time: Duration,
    name: &str,
    action: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, result) = crossbeam_channel::bounded(1);
    let run = move || {
        if sender.send(action()).is_err() {
            warn!("finished too late");
        }
    };
    match std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        Ok(_) => result.recv_timeout(time).ok(),
        Err(failure) => {
            error!("cannot start a thread to {name}: {failure}");
            None
        }
    }
}
