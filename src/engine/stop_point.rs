//! Places where a test can hold a thread, to bring about an interleaving instead of hoping for it.
//!
//! Nothing is ever held unless a test asked for it; otherwise passing a place costs one load of an atomic. A
//! daemon that was started with `CAIRN_HOLD=POINT:FILE` holds whoever comes to that point while the file
//! exists. Release builds do not look at the variable: see [`fault_injection`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::sys::fault_injection;

/// Name of the environment variable.
const VARIABLE: &str = "CAIRN_HOLD";

/// Time between two looks whether the file of [`VARIABLE`] is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopPoint {
    /// The collector has chosen unreferenced blobs and not removed them.
    OrphansListed,
    /// The collector has looked at some of the rows that say where content can be had, and has more to look at.
    LocationsLooked,
    /// A commit has seen no writers, and is about to freeze its area.
    Freezing,
    /// A commit's trees are about to be built.
    Building,
    /// A sealer knows the hash of a file and has not handed it in.
    SealHashed,
    /// The durability thread is about to flush the WAL: what waits for it is not on disk.
    Flushing,
    /// A sync has copied a large file, and has not looked yet whether it changed meanwhile.
    LargeCopied,
    /// A sealer has hashed a part of a large file.
    LargeTurn,
}

/// What [`VARIABLE`] asks for.
fn asked() -> Option<&'static (String, PathBuf)> {
    static ASKED: OnceLock<Option<(String, PathBuf)>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let value = fault_injection::variable(VARIABLE)?;
        // Only tests set it; one that misspells it must not pass by testing nothing.
        let (point, file) = value.split_once(':').unwrap_or_else(|| panic!("{VARIABLE}={value}"));
        Some((point.to_owned(), file.into()))
    });
    asked.as_ref()
}

#[derive(Debug, Default)]
struct State {
    held: BTreeSet<StopPoint>,
    reached: BTreeMap<StopPoint, u64>,
}

/// The places of one engine.
#[derive(Debug, Default)]
pub struct StopPoints {
    armed: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

impl StopPoints {
    /// Holds whoever comes to `point`, until the value is dropped.
    pub fn hold(self: &Arc<Self>, point: StopPoint) -> Hold {
        let mut state = self.state.lock();
        assert!(state.held.insert(point), "{point:?} is held already");
        state.reached.remove(&point);
        self.armed.store(true, Ordering::SeqCst);
        Hold { points: Arc::clone(self), point }
    }

    /// Whether `point` is held. For threads that must not wait: they go on with something else and come
    /// again.
    pub(super) fn is_held(&self, point: StopPoint) -> bool {
        self.armed.load(Ordering::SeqCst) && self.state.lock().held.contains(&point)
    }

    /// Notes that somebody came to `point`.
    pub(super) fn reached(&self, point: StopPoint) {
        *self.state.lock().reached.entry(point).or_insert(0) += 1;
        self.changed.notify_all();
    }

    /// Waits here while `point` is held.
    pub(super) fn pass(&self, point: StopPoint) {
        if let Some((name, file)) = asked()
            && *name == format!("{point:?}")
        {
            while file.exists() {
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
        if !self.is_held(point) {
            return;
        }
        self.reached(point);
        let mut state = self.state.lock();
        while state.held.contains(&point) {
            self.changed.wait(&mut state);
        }
    }
}

/// A place that is held.
#[derive(Debug)]
pub struct Hold {
    points: Arc<StopPoints>,
    point: StopPoint,
}

impl Hold {
    /// Waits until somebody has come to the place.
    pub fn wait_reached(&self) {
        let mut state = self.points.state.lock();
        while !state.reached.contains_key(&self.point) {
            self.points.changed.wait(&mut state);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.points.state.lock();
        state.held.remove(&self.point);
        self.points.armed.store(!state.held.is_empty(), Ordering::SeqCst);
        self.points.changed.notify_all();
    }
}
