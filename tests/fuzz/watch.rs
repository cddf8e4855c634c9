//! Watches over a campaign: which input is being tried, whether it hangs, whether any thread
//! panicked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An input that takes longer hangs.
const HANG: Duration = Duration::from_secs(200);

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Panics so far, on any thread and also where they are contained.
pub(crate) fn panics() -> u64 {
    PANICS.load(Ordering::SeqCst)
}

/// Counts panics from now on, and still prints them.
pub(crate) fn count_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        usual(panic);
    }));
}

/// The input that is being tried; dropped, it ends the watch.
pub(crate) struct Watch {
    current: Arc<Mutex<(u64, Vec<u8>)>>,
    _end: std::sync::mpsc::Sender<()>,
}

impl Watch {
    /// Starts to watch. An input that hangs is saved as `saved`, and the process ends.
    pub(crate) fn start(saved: PathBuf) -> Self {
        let current = Arc::new(Mutex::new((0, Vec::new())));
        let watched = Arc::clone(&current);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let mut before = u64::MAX;
            while ended.recv_timeout(HANG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let (number, input) = watched.lock().unwrap().clone();
                if number == before {
                    std::fs::write(&saved, &input).unwrap();
                    eprintln!("execution {number} hangs; its input is {}", saved.display());
                    std::process::abort();
                }
                before = number;
            }
        });
        Self { current, _end: end }
    }

    /// Says what is tried next.
    pub(crate) fn begin(&self, input: &[u8]) {
        let mut current = self.current.lock().unwrap();
        current.0 += 1;
        current.1.clear();
        current.1.extend_from_slice(input);
    }
}
