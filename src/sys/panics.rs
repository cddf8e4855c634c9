//! What a panic costs: the work that met it, never a thread that others wait for (R8).
//!
//! Each thread wraps one unit of its work (a request, a seal, a batch of flushes) in [`contain`],
//! answers for it with an error, and goes on. What the unit had locked is unlocked, since locks do
//! not poison here; where it may have left something half changed, its owner refuses all changes
//! from then on (R4).
//!
//! A process started with `CAIRN_PANIC=PLACE:N` panics when it comes to that place for the Nth
//! time, counted over all threads. Places are named by [`point`]; without the variable one costs
//! an atomic load. Release builds do not look at it, see [`super::fault_injection`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the environment variable.
const VARIABLE: &str = "CAIRN_PANIC";

/// Work that ended in a panic, which was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} failed unexpectedly; the daemon's log tells where")]
pub struct Panicked(
    /// What it was.
    pub &'static str,
);

#[derive(Debug)]
struct Plan {
    place: String,
    at: u64,
    passed: AtomicU64,
}

/// Runs a unit of work and turns its panic into an error, after logging it.
///
/// # Errors
/// [`Panicked`] with the name of the work.
pub(crate) fn contain<R>(work: &'static str, body: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        log::error!("{work} panicked: {}", text(&*panic));
        Panicked(work)
    })
}

/// A place at which a test can have the process panic.
///
/// # Panics
/// When the variable says so.
pub(crate) fn point(place: &str) {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let value = super::fault_injection::variable(VARIABLE)?;
        // Only tests set it; one that misspells it must not pass by testing nothing.
        Some(parse(&value).unwrap_or_else(|| panic!("{VARIABLE}={value}: not PLACE:N")))
    });
    if let Some(plan) = plan
        && plan.place == place
        && plan.passed.fetch_add(1, Ordering::Relaxed) + 1 == plan.at
    {
        panic!("{VARIABLE} asks for it at {place}");
    }
}

fn parse(value: &str) -> Option<Plan> {
    let (place, at) = value.split_once(':')?;
    let at = at.parse().ok().filter(|at| *at > 0)?;
    (!place.is_empty()).then(|| Plan { place: place.to_owned(), at, passed: AtomicU64::new(0) })
}

fn text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "(no text)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        assert_eq!(contain("test", || 7), Ok(7));
        assert_eq!(contain("test", || -> u8 { panic!("on purpose") }), Err(Panicked("test")));
        let number = 3;
        assert_eq!(contain("test", || -> u8 { panic!("{number}") }), Err(Panicked("test")));
    }

    #[test]
    fn the_variable_is_parsed() {
        let plan = parse("seal:3").unwrap();
        assert_eq!((plan.place.as_str(), plan.at), ("seal", 3));
        for wrong in ["", "seal", "seal:", "seal:0", "seal:-1", ":1"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
