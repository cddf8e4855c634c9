//! Several requests at a time, where each is short and the way to the store is long.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

/// Makes the requests 0 to `count`, so many `at_once`, and returns their answers in that order. After a failure no
/// further ones are begun: those before the failed one are there, and what follows it may be missing.
pub(super) fn at_once<T: Send, E: Send>(
    at_once: usize,
    count: usize,
    request: impl Fn(usize) -> Result<T, E> + Sync,
) -> Vec<Result<T, E>> {
    let Some(threads) = NonZero::new(at_once.max(1).min(count)) else { return Vec::new() };
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let answers: Mutex<Vec<(usize, Result<T, E>)>> = Mutex::default();
    let work = || {
        while !has_failed.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count {
                return;
            }
            let answer = request(place);
            has_failed.fetch_or(answer.is_err(), Ordering::Relaxed);
            answers.lock().push((place, answer));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.get() {
            let builder = thread::Builder::new().name("requests".to_owned());
            // If the system has no more threads, those that there are make all requests.
            drop(builder.spawn_scoped(scope, work));
        }
        work();
    });
    let mut answers = answers.into_inner();
    answers.sort_by_key(|(place, _)| *place);
    // Requests are begun in their order, so there is no gap.
    answers.into_iter().map(|(_, answer)| answer).collect()
}
