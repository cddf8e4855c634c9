//! The order in which a daemon starts and stops.
//!
//! Start: mount the outer filesystem, answer on it, mount versions (nested: the kernel looks
//! `versions` up in the outer one meanwhile, so it must be answering), answer on that, ready.
//! Stop: see [`super::stop`]; then the caller's shutdown. Whatever fails, at whatever point,
//! nothing is left mounted.
//!
//! A daemon stops when it is asked to, and when one of its mounts was unmounted by someone else.
//! Whoever unmounts both, as `umount -R` does, begins with versions. The daemon then leaves some
//! time for the outer one: `umount -R` would fail if it found that one gone.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use log::{error, info};

use super::error::DaemonError;
use super::stop::{Running, Timing, within};
use crate::fuse::invalidate::KernelInvalidator;
use crate::fuse::mount::{
    self, Force, MountError, MountOptions, MountPlan, Mounted, NewMount, VersionsPlacement,
};
use crate::fuse::session::{self, Filesystem, MountPart, SessionHandle};

/// What the thread that serves waits for.
#[derive(Debug)]
pub(super) enum Event {
    /// Stop. A second one while stopping: at once.
    Stop,
    /// Clean up (SIGUSR1).
    Collect,
    /// A connection ended.
    Ended(MountPart, io::Result<()>),
}

/// Asks a daemon to do something, from any thread.
#[derive(Debug, Clone)]
pub struct Controller(Sender<Event>);

/// The daemon's side of a [`Controller`].
#[derive(Debug)]
pub struct Events(pub(super) Receiver<Event>);

/// Makes a controller and what it controls.
pub fn controller() -> (Controller, Events) {
    // Not bounded, since whoever asks must not wait; a few events each second at most.
    let (sender, receiver) = unbounded();
    (Controller(sender), Events(receiver))
}

impl Controller {
    /// Asks it to stop: unmounts, and detaches what is still in use after a grace. Asking again
    /// ends the grace.
    pub fn stop(&self) {
        self.send(Event::Stop);
    }

    /// Asks for a full clean-up.
    pub fn collect(&self) {
        self.send(Event::Collect);
    }

    fn send(&self, event: Event) {
        if let Err(lost) = self.0.send(event) {
            log::debug!("{:?} after the end", lost.into_inner());
        }
    }
}

/// The two filesystems to serve.
#[derive(Debug)]
pub struct Filesystems<O, V> {
    /// The read-write one, at the mount point.
    pub outer: O,
    /// The read-only one of versions.
    pub versions: V,
}

/// What the caller does at the turning points. Each runs on the thread that serves.
pub struct Hooks<'a> {
    /// A mount was made, and nobody answers on it yet.
    pub mounted: Box<dyn Fn(&Mounted) + 'a>,
    /// Both filesystems are mounted and answer: say so to whoever waits. An error stops the
    /// daemon.
    pub ready: Box<dyn FnOnce() -> Result<(), DaemonError> + 'a>,
    /// A full clean-up was asked for. Must return at once.
    pub collect: Box<dyn FnMut() + 'a>,
    /// A stop was asked for: tells whether it may begin, or something that is in memory only would be
    /// lost. Asked again and again for a while ([`Timing::hope`]). Must return at once, and the answer
    /// may take its time; a sender that is dropped says yes.
    pub may_stop: Box<dyn Fn(Sender<bool>) + 'a>,
    /// The stop begins.
    pub stopping: Box<dyn FnOnce() + 'a>,
    /// Nothing is mounted any more, and no request comes in: write out what is left. Runs exactly
    /// once, also when the start failed.
    pub shutdown: Box<dyn FnOnce() + 'a>,
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// Mounts and serves two filesystems until the daemon is asked to stop or one is unmounted.
///
/// `workers` is the number of threads for each connection. `invalidator` learns each connection
/// before its first request is answered.
///
/// # Errors
///
/// Returns the [`DaemonError`] that kept it from starting. Failures of the stop are logged, since
/// nobody is left who could act on them.
pub fn serve<O: Filesystem, V: Filesystem>(
    plan: &MountPlan,
    filesystems: Filesystems<O, V>,
    workers: usize,
    invalidator: &KernelInvalidator,
    control: (&Controller, &Events),
    hooks: Hooks<'_>,
) -> Result<(), DaemonError> {
    serve_with(plan, filesystems, workers, invalidator, control, hooks, &Timing::default())
}

/// [`serve`] with other waiting times, for tests.
///
/// # Errors
///
/// As [`serve`].
pub fn serve_with<O: Filesystem, V: Filesystem>(
    plan: &MountPlan,
    filesystems: Filesystems<O, V>,
    workers: usize,
    invalidator: &KernelInvalidator,
    (controller, events): (&Controller, &Events),
    hooks: Hooks<'_>,
    timing: &Timing,
) -> Result<(), DaemonError> {
    let Hooks { mounted, ready, mut collect, may_stop, stopping, shutdown } = hooks;
    let mut running = Running::default();
    let mounted = &*mounted;
    let starter = Starter { plan, workers, invalidator, controller, mounted, timing };
    let started = starter.start(&mut running, filesystems).and_then(|()| {
        // Logged before anybody is told of the mount, so that whoever waited for it finds the line.
        info!("serving {} at {}", plan.store.display(), plan.target.display());
        ready()
    });
    let result = match started {
        Ok(()) => {
            watch(events, &mut *collect, timing.rest);
            hope((controller, events), &mut *collect, &may_stop, timing);
            stopping();
            running.stop(events, timing);
            Ok(())
        }
        Err(failure) => {
            // A call of mount(2) that has not returned holds a thread of ours: see `super::stop`.
            let slow = matches!(failure, DaemonError::Slow(_));
            running.take_away(if slow { Force::Abort } else { Force::Detach }, timing);
            Err(failure)
        }
    };
    shutdown();
    result
}

/// Waits until a stop is asked for and may begin: for a daemon without mounts.
pub(super) fn wait(
    control: (&Controller, &Events),
    collect: &mut dyn FnMut(),
    may_stop: &dyn Fn(Sender<bool>),
) {
    let timing = Timing::default();
    watch(control.1, collect, timing.rest);
    hope(control, collect, may_stop, &timing);
}

/// Goes on serving while something would be lost by a stop, for a while: there may be room for it
/// soon. A second stop ends that, also while no answer comes.
fn hope(
    (controller, events): (&Controller, &Events),
    collect: &mut dyn FnMut(),
    may_stop: &dyn Fn(Sender<bool>),
    timing: &Timing,
) {
    let end = crossbeam_channel::after(timing.hope);
    let ask = || {
        let (sender, answer) = bounded(1);
        may_stop(sender);
        answer
    };
    let (mut answer, mut again) = (ask(), crossbeam_channel::never());
    loop {
        crossbeam_channel::select! {
            recv(events.0) -> event => match event {
                Ok(Event::Collect) => collect(),
                Ok(Event::Ended(..)) => {}
                // A second stop also ends the grace for those who use the mounts.
                Ok(Event::Stop) => return controller.stop(),
                Err(_) => return,
            },
            recv(answer) -> may => {
                if may.unwrap_or(true) {
                    return;
                }
                (answer, again) =
                    (crossbeam_channel::never(), crossbeam_channel::after(timing.retry));
            }
            recv(again) -> _ => {
                (answer, again) = (ask(), crossbeam_channel::never());
            }
            recv(end) -> _ => return,
        }
    }
}

/// Waits until it is time to stop; `rest` after versions were unmounted alone it is.
fn watch(events: &Events, collect: &mut dyn FnMut(), rest: Duration) {
    let mut deadline = None;
    // The controller in serve() outlives this, so receiving fails at the deadline only.
    let next = |deadline: Option<Instant>| match deadline {
        Some(deadline) => events.0.recv_deadline(deadline).ok(),
        None => events.0.recv().ok(),
    };
    while let Some(event) = next(deadline) {
        match event {
            Event::Collect => collect(),
            Event::Stop => return,
            Event::Ended(MountPart::Versions, Ok(())) => {
                info!(
                    "versions was unmounted: stopping once the rest is, in {rest:?} at the latest"
                );
                deadline = Some(Instant::now() + rest);
            }
            Event::Ended(connection, Ok(())) => {
                info!("{} was unmounted: stopping", connection.name());
                return;
            }
            Event::Ended(connection, Err(failure)) => {
                error!("the connection of {} failed: {failure}: stopping", connection.name());
                return;
            }
        }
    }
}

struct Starter<'a> {
    plan: &'a MountPlan,
    workers: usize,
    invalidator: &'a KernelInvalidator,
    controller: &'a Controller,
    mounted: &'a dyn Fn(&Mounted),
    timing: &'a Timing,
}

impl Starter<'_> {
    fn start<O: Filesystem, V: Filesystem>(
        &self,
        running: &mut Running,
        filesystems: Filesystems<O, V>,
    ) -> Result<(), DaemonError> {
        let target = self.plan.target.clone();
        let new = self.mount(target, self.plan.options.clone())?;
        self.answer(running, MountPart::Outer, filesystems.outer, new)?;
        let target = self.plan.versions_target();
        if matches!(self.plan.versions, VersionsPlacement::Beside(_)) {
            running.made_directory = make_directory(&target)?;
        }
        let new = self.mount(target, self.plan.versions_options())?;
        self.answer(running, MountPart::Versions, filesystems.versions, new)
    }

    fn mount(&self, target: PathBuf, options: MountOptions) -> Result<NewMount, DaemonError> {
        let (store, method) = (self.plan.store.clone(), self.plan.method);
        let place = target.clone();
        let mounted = within(self.timing.mount, "mount", move || {
            mount::mount(&place, &store, &options, method)
        });
        Ok(mounted.ok_or(DaemonError::Slow(target))??)
    }

    fn answer<F: Filesystem>(
        &self,
        running: &mut Running,
        connection: MountPart,
        filesystem: F,
        new: NewMount,
    ) -> Result<(), DaemonError> {
        let NewMount { device, mount } = new;
        let target = mount.target().to_owned();
        // Noted before it is answered, so that a failed start unmounts it.
        let mount = running.add(connection, mount);
        (self.mounted)(&mount);
        let controller = self.controller.clone();
        let session: SessionHandle = session::start(
            connection,
            filesystem,
            device,
            self.workers,
            |notifier| self.invalidator.connect(connection, notifier),
            move |result| controller.send(Event::Ended(connection, result)),
        )
        .map_err(|source| DaemonError::Session { target, source })?;
        mount.read_ahead();
        running.answered(&mount, session);
        Ok(())
    }
}

/// Makes the directory for versions beside the mount point; says whether it was missing.
fn make_directory(path: &std::path::Path) -> Result<Option<PathBuf>, DaemonError> {
    let failed = |source| {
        let path = path.to_owned();
        DaemonError::Mount(MountError::Examine { action: "create", path, source })
    };
    match fs::create_dir(path) {
        Ok(()) => Ok(Some(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        // The user's runtime directory may have no directory of ours yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path).map_err(failed)?;
            Ok(Some(path.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_after_the_end_is_harmless() {
        let (controller, events) = controller();
        drop(events);
        controller.stop();
        controller.collect();
    }

    #[test]
    fn clean_ups_go_on_until_the_stop() {
        let (controller, events) = controller();
        for _ in 0..3 {
            controller.collect();
        }
        controller.stop();
        let mut count = 0;
        watch(&events, &mut || count += 1, Duration::MAX);
        assert_eq!(count, 3);
    }

    #[test]
    fn when_versions_was_unmounted_the_rest_may_follow() {
        let (controller, events) = controller();
        controller.send(Event::Ended(MountPart::Versions, Ok(())));
        controller.collect();
        controller.send(Event::Ended(MountPart::Outer, Ok(())));
        let mut count = 0;
        watch(&events, &mut || count += 1, Duration::from_secs(3600));
        assert_eq!(count, 1, "it went on until the outer one had ended");
        controller.send(Event::Ended(MountPart::Versions, Ok(())));
        watch(&events, &mut || (), Duration::ZERO);
    }

    #[test]
    fn signals_are_heard_while_it_hopes() {
        let (controller, events) = controller();
        let timing = Timing { hope: Duration::from_secs(3600), ..Timing::default() };
        controller.collect();
        let (mut count, asked) = (0, std::cell::RefCell::new(Vec::new()));
        controller.stop();
        // No answer comes.
        let control = (&controller, &events);
        hope(control, &mut || count += 1, &|answer| asked.borrow_mut().push(answer), &timing);
        assert_eq!((count, asked.borrow().len()), (1, 1));
        let passed_on = events.0.try_recv();
        assert!(matches!(passed_on, Ok(Event::Stop)), "{passed_on:?} ends the grace of users");
        let tries = std::cell::Cell::new(0);
        let third = |answer: Sender<bool>| {
            tries.set(tries.get() + 1);
            answer.send(tries.get() == 3).unwrap();
        };
        let timing = Timing { retry: Duration::ZERO, ..timing };
        hope(control, &mut || (), &third, &timing);
        assert_eq!(tries.get(), 3);
        let timing = Timing { hope: Duration::ZERO, ..timing };
        hope(control, &mut || (), &|answer| asked.borrow_mut().push(answer), &timing);
    }

    #[test]
    fn the_directory_beside_is_made_and_known_as_ours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run").join("m.versions");
        assert_eq!(make_directory(&path).unwrap(), Some(path.clone()));
        assert_eq!(make_directory(&path).unwrap(), None);
    }
}
