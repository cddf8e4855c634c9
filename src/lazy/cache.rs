//! The cache: content of `streamed` remotes is kept up to a size, and as long as the disk has room (L1, L15).
//!
//! When a fetch has made the cache larger than its size, a thread drops the content that was read the longest time ago. When the
//! disk has no room for a content that is wanted, the thread that is to fetch it drops cached content first. What a
//! program has open or mapped is not dropped (H42), so for that long the cache may be larger than its size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Lazy;
use crate::engine::Engine;
use crate::engine::error::Result;
use crate::store::catalog::Reader;

/// The part of the cache's size that becomes free when the cache is full, so that not each fetch has to look for more.
const FREED_PART: u64 = 8;

/// At most so much of it: dropping gigabytes at once would only have them fetched again.
const FREED_BYTES_MAX: u64 = 256 << 20;

/// How long nothing more is dropped after as much as was wanted could not be: at first, and after many times.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(300);

/// What is known of the cache.
#[derive(Debug)]
pub(super) struct Cache {
    /// Its size in bytes; 0: as much as the disk has room for.
    bytes_max: Arc<AtomicU64>,
    state: Mutex<State>,
    /// Somebody wants it looked at, or the daemon stops.
    changed: Condvar,
    /// Whoever drops content holds it.
    trimming: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that it has; `None` before somebody has looked.
    bytes: Option<u64>,
    /// Somebody wants it looked at once more.
    is_wanted: bool,
    /// There is a thread that does so.
    is_watched: bool,
    /// Less could be dropped than was wanted, so nothing is tried before this time.
    rests_until: Option<Instant>,
    rest: Duration,
}

impl State {
    /// Less was dropped than was wanted, or as much.
    fn note_trimmed(&mut self, is_enough: bool) {
        if is_enough {
            (self.rests_until, self.rest) = (None, Duration::ZERO);
            return;
        }
        self.rest = (self.rest * 2).clamp(REST_MIN, REST_MAX);
        self.rests_until = Some(Instant::now() + self.rest);
    }

    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }
}

impl Cache {
    pub(super) fn new(bytes_max: Arc<AtomicU64>) -> Self {
        Self {
            bytes_max,
            state: Mutex::default(),
            changed: Condvar::new(),
            trimming: Mutex::default(),
        }
    }

    fn bytes_max(&self) -> u64 {
        match self.bytes_max.load(Ordering::Relaxed) {
            0 => u64::MAX,
            bytes => bytes,
        }
    }

    /// Bytes that are to go so that it has its size, with some room for what comes next.
    fn excess(&self, bytes: u64) -> u64 {
        let bytes_max = self.bytes_max();
        match bytes > bytes_max {
            true => bytes - bytes_max + freed_beyond(bytes_max),
            false => 0,
        }
    }

    /// Wakes the thread that watches, so that it ends.
    pub(super) fn stop(&self) {
        // With this lock the thread is either before its look at `stop`, or already waiting to be woken.
        let _state = self.state.lock();
        self.changed.notify_all();
    }

    /// Notes what came of dropping so many bytes: how many were dropped, and how many there are then.
    fn note_dropped(&self, bytes: u64, trimmed: Result<(u64, u64)>) {
        let mut state = self.state.lock();
        match trimmed {
            Ok((freed, left)) => {
                state.bytes = Some(left);
                state.note_trimmed(freed >= bytes);
            }
            Err(error) => {
                log::warn!("the cache of fetched content is not trimmed: {error}");
                state.note_trimmed(false);
            }
        }
    }
}

fn freed_beyond(bytes_max: u64) -> u64 {
    (bytes_max / FREED_PART).min(FREED_BYTES_MAX)
}

impl Lazy {
    /// Bytes of content that is kept as a cache, and how many it may be (0: any number); `None` while nobody has looked.
    pub fn cached(&self) -> Option<(u64, u64)> {
        let bytes = self.cache.state.lock().bytes?;
        Some((bytes, self.cache.bytes_max.load(Ordering::Relaxed)))
    }

    /// Has the cache looked at, and what is too much of it dropped: after the start, and when its size or a remote has
    /// changed.
    pub fn look_at_cache(&self) {
        let Some(own) = self.flights.lock().own() else { return };
        let mut state = self.cache.state.lock();
        state.is_wanted = true;
        // Who rests looks at once, and rests again unless there is something to drop now.
        self.cache.changed.notify_all();
        if std::mem::replace(&mut state.is_watched, true) {
            return;
        }
        drop(state);
        if !own.start("lazy-cache", |own| own.watch_cache()) {
            self.cache.state.lock().is_watched = false;
        }
    }

    /// Content of a streamed remote was kept.
    pub(super) fn note_cached(&self, bytes: u64) {
        let mut state = self.cache.state.lock();
        state.bytes = state.bytes.map(|before| before.saturating_add(bytes));
        let is_over = state.bytes.is_none_or(|bytes| self.cache.excess(bytes) > 0);
        let rests = state.rests();
        drop(state);
        if is_over && !rests {
            self.look_at_cache();
        }
    }

    /// Drops content until the cache has its size, and returns. While programs have too much of it open for that, it waits and
    /// tries again.
    fn watch_cache(&self) {
        loop {
            self.cache.state.lock().is_wanted = false;
            if let Some(engine) = self.engine.upgrade()
                && let Err(error) = self.trim_excess(&engine)
            {
                log::warn!("the cache of fetched content is not looked at: {error}");
            }
            let mut state = self.cache.state.lock();
            let is_over = state.bytes.is_some_and(|bytes| self.cache.excess(bytes) > 0);
            if is_over
                && !state.is_wanted
                && !self.stop.load(Ordering::SeqCst)
                && let Some(until) = state.rests_until
            {
                self.cache.changed.wait_until(&mut state, until);
            }
            // With nothing to wait for, more would only be tried in vain: a store that takes no changes.
            let goes_on = state.is_wanted || is_over && state.rests_until.is_some();
            if self.stop.load(Ordering::SeqCst) || !goes_on {
                // What is wanted from here on starts another thread.
                state.is_watched = false;
                return;
            }
        }
    }

    fn trim_excess(&self, engine: &Engine) -> Result<()> {
        let _alone = self.cache.trimming.lock();
        let bytes = match engine.query(Reader::any_streamed)? {
            true => self.cached_bytes(engine)?,
            false => 0,
        };
        self.cache.state.lock().bytes = Some(bytes);
        let excess = self.cache.excess(bytes);
        if excess > 0 && !engine.is_read_only() {
            self.drop_cached(engine, excess);
        }
        Ok(())
    }

    /// Bytes of the cache: content that is whole, and parts of what is not.
    fn cached_bytes(&self, engine: &Engine) -> Result<u64> {
        Ok(engine.cached_bytes()? + self.partial_files.part_bytes()?)
    }

    /// Drops so many bytes of the cache: parts of contents first, and then contents.
    fn drop_cached(&self, engine: &Engine, bytes: u64) {
        let parts = self.partial_files.free_parts(bytes).unwrap_or_else(|error| {
            log::warn!("parts of fetched content are not dropped: {error}");
            0
        });
        if parts > 0 {
            self.known_parts.lock().forget_removed();
        }
        let dropped = match bytes.saturating_sub(parts) {
            0 => Ok(0),
            more => engine.trim_cache(more),
        };
        let trimmed = dropped.and_then(|freed| Ok((parts + freed, self.cached_bytes(engine)?)));
        self.cache.note_dropped(bytes, trimmed);
    }

    /// Makes room on the disk for a content of so many bytes by dropping cached content; says whether there is enough.
    pub(super) fn make_room(&self, engine: &Engine, bytes: u64) -> bool {
        if engine.lacks_room_to_keep(bytes) == 0 {
            return true;
        }
        // Those who wait here find the room that another one made.
        let _alone = self.cache.trimming.lock();
        let lacking = engine.lacks_room_to_keep(bytes);
        let state = self.cache.state.lock();
        let (cached, rests) = (state.bytes.unwrap_or(0), state.rests());
        drop(state);
        // Where all of the cache would be too little, it would be dropped in vain.
        if lacking > 0 && lacking <= cached && !rests && !engine.is_read_only() {
            self.drop_cached(engine, lacking.saturating_add(freed_beyond(cached)));
        }
        engine.lacks_room_to_keep(bytes) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l15_over_its_size_an_eighth_becomes_free() {
        let cache = |size| Cache::new(Arc::new(AtomicU64::new(size)));
        assert_eq!(cache(800).excess(800), 0);
        assert_eq!(cache(800).excess(801), 101);
        assert_eq!(cache(0).excess(u64::MAX), 0, "it has no size of its own");
        let large = 1 << 40;
        assert_eq!(cache(large).excess(large + 5), FREED_BYTES_MAX + 5);
    }
}
