//! The scrub: every blob is hashed once per period, slowly, so that damage is known while the
//! content can still be had from elsewhere (R5, H5).
//!
//! It runs on a thread of its own with the weakest priority, reads no more bytes per second than
//! it was told, and leaves the page cache as it was. Blobs are taken in the order of their hashes;
//! how far it has come is a note of the catalog, so a restart goes on where it was. What it finds
//! damaged is marked, and nothing else is changed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::error::{EngineError, Result};
use super::fsck::{BlobDamage, Examined, Job, Suspicion, examine};
use super::handle::Engine;
use super::request::Request;
use crate::model::hash::BlobHash;
use crate::model::text::count;
use crate::model::time::Timestamp;
use crate::store::catalog::{BlobFacts, Presence, Reader, Snapshot};
use crate::store::error::StoreError;
use crate::store::pool::Damage;
use crate::sys::panics;
use crate::sys::priority::Priority;

/// Seconds from one scrub to the next, by default.
pub const PERIOD_SECONDS: u64 = 30 * 24 * 3600;

/// Bytes read per second, by default: a terabyte in 17 hours.
pub const RATE_BYTES: u64 = 16 << 20;

/// What opening a file that is in no cache costs, in bytes that could be read meanwhile.
const BLOB_COST_BYTES: u64 = 16 << 10;

/// Rows read at a time.
const BLOBS_PER_STEP: u32 = 64;

/// How often the position is noted. After a crash, what was hashed since the last note is hashed again.
const NOTE_INTERVAL: Duration = Duration::from_secs(30);

/// The thread looks at least this often whether a scrub is due.
const DUE_INTERVAL: Duration = Duration::from_secs(3600);

/// A pause is taken only once this much is owed: a shorter one is not worth the wake-up.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// Name of the catalog's note: the scrub under way.
const RUNNING: &str = "scrub";
/// Name of the catalog's note: the last scrub that ended.
const LAST: &str = "scrub_last";

/// Settings of the scrub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubOptions {
    /// From the begin of a scrub to that of the next; 0: none.
    pub period_seconds: u64,
    /// Bytes read per second, at most.
    pub rate_bytes: u64,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self { period_seconds: PERIOD_SECONDS, rate_bytes: RATE_BYTES }
    }
}

/// A scrub under way, or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrub {
    /// When it began, in seconds since 1970.
    pub began: i64,
    /// When it ended, or was noted last.
    pub noted: i64,
    /// Blobs that were looked at.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were damaged.
    pub damaged: u64,
    /// The last blob looked at; `None` at the begin.
    pub after: Option<BlobHash>,
}

impl Scrub {
    fn begin(now: Timestamp) -> Self {
        let began = now.seconds;
        Self { began, noted: began, blobs: 0, bytes: 0, damaged: 0, after: None }
    }

    /// How much of the store has been looked at, in thousandths: hashes spread evenly.
    pub fn done_permille(&self) -> u64 {
        self.after.map_or(0, |hash| {
            let bytes = hash.as_bytes();
            (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])) * 1000) >> 16
        })
    }
}

/// `began noted blobs bytes damaged after`
impl fmt::Display for Scrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { began, noted, blobs, bytes, damaged, after } = self;
        write!(f, "{began} {noted} {blobs} {bytes} {damaged}")?;
        after.map_or(Ok(()), |after| write!(f, " {after}"))
    }
}

impl FromStr for Scrub {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(());
        let scrub = Self {
            began: word()?.parse().map_err(drop)?,
            noted: word()?.parse().map_err(drop)?,
            blobs: word()?.parse().map_err(drop)?,
            bytes: word()?.parse().map_err(drop)?,
            damaged: word()?.parse().map_err(drop)?,
            after: words.next().map(str::parse).transpose().map_err(drop)?,
        };
        Ok(scrub)
    }
}

/// The scrub under way, and the last one that ended, as noted.
///
/// # Errors
/// The database's.
pub fn noted(reader: &Reader) -> std::result::Result<(Option<Scrub>, Option<Scrub>), StoreError> {
    let read = |key| -> std::result::Result<Option<Scrub>, StoreError> {
        Ok(reader.meta(key)?.and_then(|text| text.parse().ok()))
    };
    Ok((read(RUNNING)?, read(LAST)?))
}

/// The thread that scrubs. It ends when the value is dropped.
#[derive(Debug)]
pub struct Scrubber {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrubber {
    /// Starts it.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(engine: &Arc<Engine>, options: ScrubOptions) -> std::io::Result<Self> {
        // It notes its position and its findings in the store, so it cannot run where nothing may change.
        if options.period_seconds == 0 || engine.is_read_only() {
            return Ok(Self { stop: None, thread: None });
        }
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let worker = Worker { engine: Arc::clone(engine), options, stopped, owed: Duration::ZERO };
        let run = move || {
            panics::point("scrub");
            worker.run();
        };
        let thread = std::thread::Builder::new().name("scrub".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends it, with its position noted. To be called before the engine is stopped.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the scrub had ended by a panic");
        }
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Why a scrub does not go on.
enum Ended {
    /// It was asked to.
    Stopped,
    /// The store cannot be read.
    Failed(EngineError),
}

impl<E: Into<EngineError>> From<E> for Ended {
    fn from(error: E) -> Self {
        match error.into() {
            EngineError::Stopping => Self::Stopped,
            error => Self::Failed(error),
        }
    }
}

struct Worker {
    engine: Arc<Engine>,
    options: ScrubOptions,
    stopped: Receiver<()>,
    /// Time to wait for the bytes that were read.
    owed: Duration,
}

impl Worker {
    fn run(mut self) {
        if let Err(error) = Priority::Idle.apply() {
            log::debug!("the scrub keeps its priority: {error}");
        }
        loop {
            let wait = match self.scrub_if_due() {
                Ok(wait) => wait,
                Err(Ended::Stopped) => return,
                Err(Ended::Failed(error)) => {
                    log::error!("the scrub is put off: {error}");
                    DUE_INTERVAL
                }
            };
            if self.waited_for_stop(wait.min(DUE_INTERVAL)) {
                return;
            }
        }
    }

    fn waited_for_stop(&self, time: Duration) -> bool {
        !matches!(self.stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }

    /// Scrubs when it is time; returns how long it is until the next time.
    fn scrub_if_due(&mut self) -> std::result::Result<Duration, Ended> {
        let (running, last) = self.engine.query(noted)?;
        let scrub = match (running, last) {
            (Some(running), _) => running,
            // A new store needs no scrub yet: all content was hashed when it came in.
            (None, None) => {
                self.note(LAST, &Scrub::begin(Timestamp::now()))?;
                return Ok(Duration::from_secs(self.options.period_seconds));
            }
            (None, Some(last)) => {
                let now = Timestamp::now();
                let passed = now.seconds.saturating_sub(last.began);
                if passed < 0 {
                    // The clock was ahead when it was noted. The note is changed to now; otherwise the wait
                    // would begin anew with each start until the clock has caught up.
                    self.note(LAST, &Scrub { began: now.seconds, ..last })?;
                }
                let passed = passed.max(0).unsigned_abs();
                if let Some(left) = self.options.period_seconds.checked_sub(passed)
                    && left > 0
                {
                    return Ok(Duration::from_secs(left));
                }
                Scrub::begin(Timestamp::now())
            }
        };
        self.scrub(scrub)?;
        Ok(Duration::ZERO)
    }

    fn scrub(&mut self, mut scrub: Scrub) -> std::result::Result<(), Ended> {
        log::info!("scrub: {} of 1000 parts are done", scrub.done_permille());
        let result = self.scrub_all(&mut scrub);
        scrub.noted = Timestamp::now().seconds;
        if result.is_err() {
            self.note(RUNNING, &scrub)?;
            return result;
        }
        let Scrub { blobs, bytes, damaged, .. } = scrub;
        let (all, bytes) = (count(blobs, "blob"), count(bytes, "byte"));
        log::info!("scrub: {all} ({bytes}) hashed, {damaged} damaged");
        scrub.after = None;
        self.note(LAST, &scrub)?;
        self.engine
            .call(|reply| Request::Fsck { job: Job::Note(RUNNING, String::new()), reply })?;
        Ok(())
    }

    fn scrub_all(&mut self, scrub: &mut Scrub) -> std::result::Result<(), Ended> {
        let latest = self.engine.subject.latest()?;
        let mut noted = Instant::now();
        loop {
            let mut rows: Vec<BlobFacts> = Vec::new();
            // A row that cannot be read is left to `cairn fsck`.
            latest.blobs(scrub.after, BLOBS_PER_STEP, &mut |row| rows.extend(row.ok()))?;
            if rows.is_empty() {
                return Ok(());
            }
            let last = rows.last().map(|row| row.hash);
            for row in rows.into_iter().filter(|row| row.presence != Presence::Absent) {
                self.scrub_blob(&latest, &row, scrub)?;
                if noted.elapsed() >= NOTE_INTERVAL {
                    noted = Instant::now();
                    scrub.noted = Timestamp::now().seconds;
                    self.note(RUNNING, scrub)?;
                }
            }
            scrub.after = last;
        }
    }

    fn scrub_blob(
        &mut self,
        latest: &Snapshot,
        row: &BlobFacts,
        scrub: &mut Scrub,
    ) -> std::result::Result<(), Ended> {
        let examined = match self.examine(row)? {
            Examined::Ended => return Err(Ended::Stopped),
            Examined::Damaged(..) if is_gone(latest.blob(&row.hash)?) => None,
            // It may have been healed since its row was read, so it is looked at once more.
            Examined::Damaged(..) => Some(self.examine(row)?),
            Examined::Sound(_) => None,
        };
        if let Some(Examined::Damaged(damage, file)) = examined
            && self.is_confirmed(row, &damage)?
        {
            log::error!("blob {} of {}: {damage}", row.hash, count(row.size, "byte"));
            scrub.damaged += 1;
            if row.presence == Presence::Stored {
                self.engine.mark_damaged(vec![Damage { hash: row.hash, file }])?;
            }
        }
        scrub.blobs += 1;
        scrub.bytes += row.size;
        scrub.after = Some(row.hash);
        self.pay(BLOB_COST_BYTES).then_some(()).ok_or(Ended::Stopped)
    }

    /// Whether the damage is real. A missing or short file may only have been looked at while it was
    /// replaced; the metadata thread, which replaces files, can tell.
    fn is_confirmed(&self, row: &BlobFacts, damage: &BlobDamage) -> Result<bool> {
        if !matches!(damage, BlobDamage::Missing | BlobDamage::Size(_)) {
            return Ok(true);
        }
        let job = Job::Confirm(Suspicion::Blob(row.hash, row.size));
        self.engine.call(|reply| Request::Fsck { job, reply })
    }

    fn examine(&mut self, row: &BlobFacts) -> Result<Examined> {
        let pool = Arc::clone(&self.engine.pool);
        let examined = examine(&pool, &row.hash, row.size, true, &mut |bytes| self.pay(bytes))?;
        Ok(examined)
    }

    /// Waits as long as reading `bytes` may take; `false` when the scrub is to end.
    fn pay(&mut self, bytes: u64) -> bool {
        let nanoseconds = u128::from(bytes) * 1_000_000_000;
        let nanoseconds = nanoseconds / u128::from(self.options.rate_bytes.max(1));
        self.owed += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        if self.owed < PAUSE_MIN {
            return true;
        }
        let began = Instant::now();
        let stopped = self.waited_for_stop(self.owed);
        self.owed = self.owed.saturating_sub(began.elapsed());
        !stopped
    }

    fn note(&self, key: &'static str, scrub: &Scrub) -> Result<()> {
        let job = Job::Note(key, scrub.to_string());
        self.engine.call(|reply| Request::Fsck { job, reply }).map(drop)
    }
}

/// Whether there need be no file any more.
fn is_gone(row: Option<BlobFacts>) -> bool {
    row.is_none_or(|row| row.presence == Presence::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_round_trip() {
        let mut scrub = Scrub { began: -1, noted: 5, blobs: 3, bytes: 4, damaged: 1, after: None };
        assert_eq!(scrub.to_string().parse(), Ok(scrub));
        assert_eq!(scrub.done_permille(), 0);
        let mut hash = [0; 32];
        hash[0] = 0x80;
        scrub.after = Some(BlobHash::from_bytes(hash));
        assert_eq!(scrub.to_string().parse(), Ok(scrub));
        assert_eq!(scrub.done_permille(), 500);
        for bad in ["", "1 2 3 4", "1 2 3 4 x", "1 2 3 4 5 6"] {
            assert_eq!(bad.parse::<Scrub>(), Err(()), "{bad}");
        }
    }
}
