//! Fault points: what happens at the Nth durable step.
//!
//! A process started with `CAIRN_FAULT` set to one of
//!
//! ```text
//! kill:N         aborts before step N
//! kill-after:N   aborts after step N
//! eio:N          step N fails with EIO, once
//! enospc:N       step N fails with ENOSPC, once
//! eio-at:NAME    each step called NAME fails with EIO
//! count:FILE     appends the name of each step to FILE
//! ```
//!
//! does so; steps are counted from 1 over all threads. Tests in the same process use [`testing`].
//! Without a fault a step costs two atomic loads. Release builds do not look at the variable, see
//! [`fault_injection`].

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::sys::fault_injection;

/// Name of the environment variable.
const VARIABLE: &str = "CAIRN_FAULT";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    KillBefore(u64),
    KillAfter(u64),
    Fail {
        at: u64,
        error: Errno,
    },
    /// Steps of this name fail: the first, or each.
    FailNamed {
        name: String,
        once: bool,
        error: Errno,
    },
    FailFrom {
        from: u64,
        error: Errno,
    },
    Record(PathBuf),
    Nothing,
}

#[derive(Debug)]
struct Plan {
    action: Action,
    steps: AtomicU64,
    /// Whether a step that [`Action::FailNamed`] names has been reached.
    has_failed: AtomicBool,
}

/// Where the end of a step is reported.
#[derive(Debug)]
pub(super) struct Point {
    kill: bool,
}

impl Point {
    /// The step is done.
    pub(super) fn after(self) {
        if self.kill {
            std::process::abort();
        }
    }
}

/// A step called `name` is about to run.
pub(super) fn before(name: &'static str) -> io::Result<Point> {
    match plan() {
        None => Ok(Point { kill: false }),
        Some(plan) => plan.enter(name),
    }
}

impl Plan {
    fn new(action: Action) -> Arc<Self> {
        Arc::new(Self { action, steps: AtomicU64::new(0), has_failed: AtomicBool::new(false) })
    }

    fn enter(&self, name: &'static str) -> io::Result<Point> {
        let number = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.action {
            Action::KillBefore(at) if *at == number => std::process::abort(),
            Action::KillAfter(at) if *at == number => return Ok(Point { kill: true }),
            Action::Fail { at, error } if *at == number => return Err((*error).into()),
            Action::FailNamed { name: failing, once, error }
                if failing == name && !(*once && self.has_failed.swap(true, Ordering::Relaxed)) =>
            {
                return Err((*error).into());
            }
            Action::FailFrom { from, error } if number >= *from => return Err((*error).into()),
            Action::Record(path) => {
                let mut file = OpenOptions::new().create(true).append(true).open(path)?;
                file.write_all(format!("{name}\n").as_bytes())?;
            }
            Action::KillBefore(_)
            | Action::KillAfter(_)
            | Action::Fail { .. }
            | Action::FailNamed { .. }
            | Action::FailFrom { .. }
            | Action::Nothing => {}
        }
        Ok(Point { kill: false })
    }
}

/// Number of guards of [`testing`] that are alive in this process.
static GUARDS: AtomicUsize = AtomicUsize::new(0);
static EVERYWHERE: Mutex<Option<Arc<Plan>>> = Mutex::new(None);
thread_local! {
    static HERE: RefCell<Option<Arc<Plan>>> = const { RefCell::new(None) };
}

fn plan() -> Option<Arc<Plan>> {
    if GUARDS.load(Ordering::Acquire) > 0 {
        let here = HERE.with_borrow(Clone::clone);
        if let Some(plan) = here.or_else(|| EVERYWHERE.lock().clone()) {
            return Some(plan);
        }
    }
    static FROM_ENVIRONMENT: OnceLock<Option<Arc<Plan>>> = OnceLock::new();
    FROM_ENVIRONMENT
        .get_or_init(|| {
            let text = fault_injection::variable(VARIABLE)?;
            // Only tests set the variable. A test that misspells its value must fail instead of
            // testing nothing.
            let action = parse(&text).unwrap_or_else(|| panic!("{VARIABLE}={text}: unknown fault"));
            Some(Plan::new(action))
        })
        .clone()
}

fn parse(text: &str) -> Option<Action> {
    let (kind, argument) = text.split_once(':')?;
    if kind == "count" {
        return (!argument.is_empty()).then(|| Action::Record(argument.into()));
    }
    if kind == "eio-at" {
        let name = (!argument.is_empty()).then(|| argument.to_owned())?;
        return Some(Action::FailNamed { name, once: false, error: Errno::IO });
    }
    let at = argument.parse().ok().filter(|at| *at > 0)?;
    match kind {
        "kill" => Some(Action::KillBefore(at)),
        "kill-after" => Some(Action::KillAfter(at)),
        "eio" => Some(Action::Fail { at, error: Errno::IO }),
        "enospc" => Some(Action::Fail { at, error: Errno::NOSPC }),
        _ => None,
    }
}

/// Faults for tests that run in the same process as the store.
pub mod testing {
    use super::{Action, Arc, EVERYWHERE, Errno, GUARDS, HERE, Ordering, Plan};

    /// What is to happen.
    #[derive(Debug, Clone)]
    pub struct Fault(Action);

    impl Fault {
        /// Step `at` fails with EIO, once.
        pub fn io_error(at: u64) -> Self {
            Self(Action::Fail { at, error: Errno::IO })
        }

        /// Step `at` fails with ENOSPC, once.
        pub fn full(at: u64) -> Self {
            Self(Action::Fail { at, error: Errno::NOSPC })
        }

        /// The first step called `name` fails with ENOSPC.
        pub fn full_at(name: &str) -> Self {
            Self(Action::FailNamed { name: name.to_owned(), once: true, error: Errno::NOSPC })
        }

        /// Step `from` and all later ones fail with EIO: what a crash leaves, without one.
        pub fn dead_from(from: u64) -> Self {
            Self(Action::FailFrom { from, error: Errno::IO })
        }

        /// Nothing happens; steps are counted.
        pub fn none() -> Self {
            Self(Action::Nothing)
        }
    }

    /// The fault is active until this is dropped.
    #[derive(Debug)]
    #[must_use = "the fault ends when this is dropped"]
    pub struct FaultGuard {
        plan: Arc<Plan>,
        everywhere: bool,
    }

    impl FaultGuard {
        /// Steps begun since the guard was made.
        pub fn steps(&self) -> u64 {
            self.plan.steps.load(Ordering::Relaxed)
        }
    }

    impl Drop for FaultGuard {
        fn drop(&mut self) {
            if self.everywhere {
                *EVERYWHERE.lock() = None;
            } else {
                HERE.set(None);
            }
            GUARDS.fetch_sub(1, Ordering::Release);
        }
    }

    /// Applies to steps of the calling thread; drop the guard on the same thread.
    pub fn on_this_thread(fault: Fault) -> FaultGuard {
        let plan = Plan::new(fault.0);
        HERE.set(Some(Arc::clone(&plan)));
        GUARDS.fetch_add(1, Ordering::Release);
        FaultGuard { plan, everywhere: false }
    }

    /// Applies to the steps of all threads of the process that have no fault of their own.
    pub fn everywhere(fault: Fault) -> FaultGuard {
        let plan = Plan::new(fault.0);
        *EVERYWHERE.lock() = Some(Arc::clone(&plan));
        GUARDS.fetch_add(1, Ordering::Release);
        FaultGuard { plan, everywhere: true }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Fault, on_this_thread};
    use super::*;
    use crate::store::durable::step;

    #[test]
    fn the_variable_is_parsed() {
        assert_eq!(parse("kill:3"), Some(Action::KillBefore(3)));
        assert_eq!(parse("kill-after:3"), Some(Action::KillAfter(3)));
        assert_eq!(parse("eio:1"), Some(Action::Fail { at: 1, error: Errno::IO }));
        assert_eq!(parse("enospc:9"), Some(Action::Fail { at: 9, error: Errno::NOSPC }));
        assert_eq!(parse("count:/f:g"), Some(Action::Record("/f:g".into())));
        let named = Action::FailNamed { name: "link".to_owned(), once: false, error: Errno::IO };
        assert_eq!(parse("eio-at:link"), Some(named));
        for wrong in ["", "kill", "kill:", "kill:0", "kill:-1", "other:1", "count:", "eio-at:"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_the_nth_step_fails() {
        let guard = on_this_thread(Fault::io_error(3));
        let results: Vec<bool> = (0..5).map(|_| step("test").is_ok()).collect();
        assert_eq!(results, [true, true, false, true, true]);
        assert_eq!(guard.steps(), 5);
        drop(guard);
        let _dead = on_this_thread(Fault::dead_from(2));
        let results: Vec<bool> = (0..4).map(|_| step("test").is_ok()).collect();
        assert_eq!(results, [true, false, false, false]);
    }

    #[test]
    fn steps_of_a_name_fail() {
        let steps = || ["one", "two", "two"].map(|name| step(name).is_ok());
        let guard = on_this_thread(Fault::full_at("two"));
        assert_eq!(steps(), [true, false, true]);
        drop(guard);
        let each = Plan::new(parse("eio-at:two").unwrap());
        assert_eq!(
            ["one", "two", "two"].map(|name| each.enter(name).is_ok()),
            [true, false, false]
        );
    }

    #[test]
    fn faults_end_with_their_guard() {
        drop(on_this_thread(Fault::io_error(1)));
        assert!(step("test").is_ok());
    }

    /// Tells the test below that it is the process to die.
    const CHILD_DIRECTORY: &str = "CAIRN_FAULT_TEST_DIRECTORY";

    #[test]
    fn child_makes_five_directories() {
        let Ok(directory) = std::env::var(CHILD_DIRECTORY) else {
            return;
        };
        for name in 1..=5 {
            let path = PathBuf::from(&directory).join(name.to_string());
            crate::store::durable::mkdir(&path, 0o700).unwrap();
        }
    }

    #[test]
    fn the_variable_kills_or_fails_the_process_at_the_step() {
        for (fault, made) in [("kill:3", 2), ("kill-after:3", 3), ("eio:4", 3), ("enospc:1", 0)] {
            let directory = tempfile::tempdir().unwrap();
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "store::durable::fault::tests::child_makes_five_directories"])
                .env(VARIABLE, fault)
                .env(CHILD_DIRECTORY, directory.path())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap();
            assert!(!status.success(), "{fault}");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), made, "{fault}");
        }
    }

    #[test]
    fn recording_names_each_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps");
        let plan = Plan::new(Action::Record(path.clone()));
        plan.enter("link").unwrap().after();
        plan.enter("rename").unwrap().after();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "link\nrename\n");
    }
}
