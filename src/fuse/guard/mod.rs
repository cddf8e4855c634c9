//! The guard: a second process that ends the connections and takes the mounts away when a daemon ends
//! without having done so (R8).
//!
//! A thread that tells the kernel to forget a page waits in `write(2)`, and no signal ends that, while a READ
//! holds the page. If only this process can answer the READ and is killed just then, the thread stays,
//! the connection stays open with it, and whoever uses the mount waits for ever. Somebody else has to
//! end the connection. Besides, a daemon that was killed leaves mounts on which every call fails.
//!
//! ```text
//! daemon                                            guard
//!   keeper: a thread that sleeps ──── socket ────▶  waits for the end of the socket
//!     mounts, each with what ends its connection      "bye": ends. The end without a "bye":
//!     "bye" after a clean stop                          1. ends all connections
//!                                                       2. detaches the mounts, the outer one first
//! ```
//!
//! The order matters: the last unmount of a filesystem waits, as unkillably, for the READ that nobody
//! answers. Neither waiting for the process nor a pidfd could replace the socket: the process does not count as
//! ended while one of its threads hangs. So the only descriptor of the daemon's end is in
//! the table of a thread that has a table of its own ([`keeper`]) and does nothing that could hang. It
//! closes when that thread ends, whatever the others do.
//!
//! The guard has nothing of the daemon open: no connection, which would live on by that, and no file of the store. It
//! has a session of its own, blocks all signals, and ends by itself.
//!
//! Invariant: the guard touches no mount but those of its daemon, also where the kernel has given
//! their numbers to others. [`process`] says how.
//!
//! What ends a connection is a file of `fusectl` ([`super::mount`]), which the mount's owner may
//! write to. Root can do without (`umount2(MNT_FORCE)`). A daemon of another user on a machine without `fusectl`
//! has a guard that takes mounts away and cannot end the one hang: [`Watch::Detaches`].

mod keeper;
mod message;
mod process;

use std::io;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, unbounded};
use log::{debug, warn};
use parking_lot::Mutex;
use rustix::process::geteuid;

use super::mount::{Connection, Mounted};
use keeper::Order;
pub use message::{Charge, Watched};
pub use process::{Outcome, stand};

/// What the guard is called in lists of processes. The program under this name is one.
pub const PROGRAM: &str = "cairn-guard";

/// How long a guard has to end after it was told that it is not needed any more.
const END_GRACE: Duration = Duration::from_secs(5);

/// What would be done if the daemon ended now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Watch {
    /// Nothing: there is no guard.
    Nothing,
    /// Mounts that are dead are detached; a connection that hangs cannot be ended.
    Detaches,
    /// Connections are ended, and mounts detached.
    Ends,
}

/// What a guard can do at the moment; it may be asked from any thread.
#[derive(Debug, Clone, Default)]
pub struct WatchState(Arc<AtomicU8>);

impl WatchState {
    /// What would be done now.
    pub fn get(&self) -> Watch {
        match self.0.load(Ordering::Acquire) {
            2 => Watch::Ends,
            1 => Watch::Detaches,
            _ => Watch::Nothing,
        }
    }

    fn set(&self, watch: Watch) {
        self.0.store(watch as u8, Ordering::Release);
    }
}

/// The daemon's side. When it is dropped without [`Guard::end`], the guard goes on until this process
/// ends, and then acts.
#[derive(Debug)]
pub struct Guard {
    orders: Sender<Order>,
    /// Is disconnected when the guard's process has ended.
    ended: Receiver<()>,
    state: WatchState,
    watched: Mutex<Vec<(Arc<Connection>, Watch)>>,
}

impl Guard {
    /// Starts `program`, this one, as the guard of the mounts that [`Guard::watch`] will name.
    ///
    /// # Errors
    /// A thread or the process cannot be started.
    pub fn start(program: &Path, charge: Charge) -> io::Result<Self> {
        let (orders, receiver) = unbounded();
        let child = keeper::start(program, charge, receiver)?;
        let (end, ended) = bounded(0);
        let state = WatchState::default();
        let seen = state.clone();
        let wait = move || wait(child, &seen, end);
        std::thread::Builder::new().name("guard-wait".to_owned()).spawn(wait)?;
        Ok(Self { orders, ended, state, watched: Mutex::default() })
    }

    /// Has the guard watch a mount. Call it before anybody is answered on it.
    pub fn watch(&self, mount: &Mounted) {
        let (opened, is_open) = bounded(1);
        let (sure, is_ours) = bounded(1);
        let watched =
            Watched { device: mount.device(), target: mount.target().as_os_str().to_owned() };
        let order = Order::Watch { watched, opened, is_ours };
        let has_abort = self.orders.send(order).is_ok().then(|| is_open.recv().ok()).flatten();
        // What was opened belongs to the connection that has the number now: to ours, as long as ours lives.
        let is_connected = mount.connection().is_alive();
        // Nobody is to be answered before the guard can end the connection.
        let told =
            sure.send(is_connected).map_err(drop).and_then(|()| is_open.recv().map_err(drop));
        let watch =
            match has_abort {
                Some(has_abort) if is_connected && told.is_ok() => {
                    if has_abort || geteuid().is_root() { Watch::Ends } else { Watch::Detaches }
                }
                _ => Watch::Nothing,
            };
        debug!("the guard of {}: {watch:?}", mount.target().display());
        let mut all = self.watched.lock();
        all.push((Arc::clone(mount.connection()), watch));
        let least = all.iter().map(|(_, watch)| *watch).min().unwrap_or(Watch::Nothing);
        self.state.set(least);
        // It may have ended meanwhile, and then it stays so.
        if self.ended.try_recv() == Err(TryRecvError::Disconnected) {
            warn!("the guard has ended: nobody takes the mounts away if this daemon is killed");
            self.state.set(Watch::Nothing);
        }
    }

    /// What it can do, now and later.
    pub fn state(&self) -> WatchState {
        self.state.clone()
    }

    /// Says "bye" and waits until the guard has ended, unless one of the connections is still there: then
    /// the guard goes on, and ends it together with this process.
    pub fn end(self) {
        let watched = std::mem::take(&mut *self.watched.lock());
        if watched.iter().any(|(connection, _)| connection.is_alive()) {
            return debug!("the guard stays until this process has ended");
        }
        self.state.set(Watch::Nothing);
        let late = self.orders.send(Order::Bye).is_err()
            || self.ended.recv_timeout(END_GRACE) == Err(RecvTimeoutError::Timeout);
        if late {
            warn!("the guard does not end");
        }
    }
}

/// Waits for the guard, so that it does not stay in the list of processes, and notices when it ends before
/// its time. `end` tells by its drop that it has ended.
fn wait(mut child: Child, state: &WatchState, end: Sender<()>) {
    let status = child.wait();
    drop(end);
    if state.get() != Watch::Nothing {
        state.set(Watch::Nothing);
        match status {
            Ok(status) => warn!(
                "the guard has ended ({status}): nobody takes the mounts away if this daemon is \
                 killed; the next mount starts another one"
            ),
            Err(error) => warn!("cannot wait for the guard: {error}"),
        }
    }
}
