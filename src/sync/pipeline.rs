//! Stages on threads of their own, with bounded queues between them.
//!
//! A stage is a function of what it receives and where it sends; a pipeline is the list of them. Where one fails, those
//! before it find nobody who takes any more, and those after it get no more: all end, and the failure is the
//! pipeline's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::SyncError;

/// Items that wait between two stages.
const QUEUE_ITEMS: usize = 256;

/// Receives items until there are no more, and sends what becomes of them.
pub type Stage<'a, T> =
    Box<dyn FnOnce(Receiver<T>, Sender<T>) -> Result<(), SyncError> + Send + 'a>;

/// Runs the stages, each of which gets what the one before it sends. The first gets nothing; `last`, on the caller's
/// thread, gets what comes out at the end. `stop` is set as soon as one of them fails, so that none goes on waiting.
///
/// # Errors
/// The failure of a stage.
pub fn run<'a, T: Send + 'a>(
    stages: Vec<(&'static str, Stage<'a, T>)>,
    stop: &AtomicBool,
    last: impl FnOnce(Receiver<T>) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    thread::scope(|scope| {
        let (nobody, mut items) = bounded::<T>(0);
        drop(nobody);
        let mut threads = Vec::with_capacity(stages.len());
        let mut begun = Ok(());
        for (name, stage) in stages {
            let (sender, receiver) = bounded(QUEUE_ITEMS);
            let input = std::mem::replace(&mut items, receiver);
            let thread = thread::Builder::new()
                .name(format!("sync-{name}"))
                .spawn_scoped(scope, move || stopping(stop, stage(input, sender)));
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    begun = Err(SyncError::Io { action: "start a thread", error });
                    break;
                }
            }
        }
        let mut results = vec![begun];
        if results[0].is_ok() {
            results.push(stopping(stop, last(items)));
        } else {
            drop(items);
        }
        results.extend(threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }));
        // That the next one takes no more, or that it was to stop, is said where nothing else is.
        let weight = |error: &SyncError| match error {
            SyncError::Ended => 2,
            SyncError::Stopped => 1,
            _ => 0,
        };
        results.into_iter().filter_map(Result::err).min_by_key(weight).map_or(Ok(()), Err)
    })
}

/// Has all stop where one failed.
fn stopping(stop: &AtomicBool, result: Result<(), SyncError>) -> Result<(), SyncError> {
    if result.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    result
}

/// Sends an item on.
///
/// # Errors
/// When the next stage takes no more.
pub fn send<T>(sender: &Sender<T>, item: T) -> Result<(), SyncError> {
    sender.send(item).map_err(|_| SyncError::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<'a>(count: u32) -> (&'static str, Stage<'a, u32>) {
        ("numbers", Box::new(move |_, next| (0..count).try_for_each(|number| send(&next, number))))
    }

    fn squares<'a>() -> (&'static str, Stage<'a, u32>) {
        (
            "squares",
            Box::new(|items, next| {
                items.iter().try_for_each(|number| send(&next, number * number))
            }),
        )
    }

    fn collect(stages: Vec<(&'static str, Stage<'_, u32>)>) -> Result<Vec<u32>, SyncError> {
        let mut found = Vec::new();
        run(stages, &AtomicBool::new(false), |items| {
            found.extend(items);
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn v4_a_stage_is_inserted_by_adding_it_to_the_list() {
        assert_eq!(collect(vec![numbers(4), squares()]).unwrap(), [0, 1, 4, 9]);
        let even: Stage<'_, u32> = Box::new(|items, next| {
            items.iter().filter(|number| number % 2 == 0).try_for_each(|number| send(&next, number))
        });
        assert_eq!(collect(vec![numbers(4), ("even", even), squares()]).unwrap(), [0, 4]);
        assert!(collect(vec![]).unwrap().is_empty());
    }

    #[test]
    fn a_failure_ends_all_stages_and_is_told() {
        let fails: Stage<'_, u32> = Box::new(|items, _| {
            let first = items.recv();
            assert_eq!(first, Ok(0));
            Err(SyncError::Stopped)
        });
        let error = collect(vec![numbers(1_000_000), ("fails", fails), squares()]).unwrap_err();
        assert!(matches!(error, SyncError::Stopped), "{error}");
        let stop = AtomicBool::new(false);
        let error = run(vec![numbers(1_000_000), squares()], &stop, |_| Err(SyncError::Stopped))
            .unwrap_err();
        assert!(matches!(error, SyncError::Stopped), "{error}");
    }
}
