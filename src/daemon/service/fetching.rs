//! Absent contents, asked for one after the other and waited for, some ahead of what came: for a prefetch and for a backup.
//!
//! All reads come before these fetches (H39, `lazy`).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::StoreService;
use super::errors::control_error;
use crate::control::protocol::{CHANGES_MAX, ControlError, ErrorKind, Progress, UnreadableFile};
use crate::engine::commit::Asker;
use crate::engine::fetcher::{Fetched, NotFetched, PrefetchId};
use crate::model::content_name::ContentName;
use crate::model::text::count;

/// Contents that one command has asked for and that have not come yet. Many small ones come with one request to a bucket.
const AHEAD_MAX: usize = 1024;

/// How often it says how far it is, and looks whether anybody waits for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// A content that is to be in the store.
pub(super) struct Wanted {
    /// How it is named to the user if it cannot be had: a file's path, or the content's name.
    pub(super) label: Vec<u8>,
    pub(super) size: u64,
    /// `None` for one without bytes.
    pub(super) name: Option<ContentName>,
}

/// What became of those that were wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) wanted: u64,
    /// Those that were there already.
    pub(super) present: u64,
    pub(super) fetched: u64,
    pub(super) fetched_bytes: u64,
    /// Those that could not be had.
    pub(super) failed: u64,
}

/// What became of a content that was asked for.
type Outcome = (ContentName, Result<(), NotFetched>);

/// Fetches under way. They are abandoned when this is dropped.
pub(super) struct Fetching<'a> {
    service: &'a StoreService,
    asker: Asker,
    id: PrefetchId,
    /// What was asked for, with those who want it.
    asked: BTreeMap<ContentName, Vec<Wanted>>,
    tell: Sender<Outcome>,
    told: Receiver<Outcome>,
    /// What each of them is called when it is counted.
    noun: &'static str,
    tally: Tally,
    /// Reasons may name hosts and paths that are for the store's owner.
    pub(super) hides_reasons: bool,
    failures: Vec<UnreadableFile>,
    done_bytes: u64,
    total_bytes: u64,
    shown: Instant,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.service.engine.end_prefetch(self.id);
    }
}

impl<'a> Fetching<'a> {
    /// Nothing is asked for yet. `total_bytes` is for those who watch.
    pub(super) fn begin(
        service: &'a StoreService,
        asker: Asker,
        noun: &'static str,
        total_bytes: u64,
    ) -> Self {
        // Its length is that of `asked`.
        let (tell, told) = unbounded();
        Self {
            service,
            asker,
            id: PrefetchId(service.next_prefetch.fetch_add(1, Ordering::Relaxed)),
            asked: BTreeMap::new(),
            tell,
            told,
            noun,
            tally: Tally::default(),
            hides_reasons: false,
            failures: Vec::new(),
            done_bytes: 0,
            total_bytes,
            shown: Instant::now(),
        }
    }

    /// Asks for a content, if it is absent, once not too much is on its way.
    pub(super) fn want(
        &mut self,
        wanted: Wanted,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ControlError> {
        self.tally.wanted += 1;
        while self.asked.len() >= AHEAD_MAX {
            self.wait(progress)?;
        }
        if self.shown.elapsed() >= LOOK_INTERVAL {
            self.show(progress)?;
        }
        let Some(name) = wanted.name else {
            self.is_present(&wanted);
            return Ok(());
        };
        if let Some(files) = self.asked.get_mut(&name) {
            files.push(wanted);
            return Ok(());
        }
        if self.service.engine.is_stored(&name).map_err(control_error)? {
            self.is_present(&wanted);
            return Ok(());
        }
        self.asked.insert(name, vec![wanted]);
        let tell = self.tell.clone();
        // Who went away meanwhile does not need the answer.
        let then = Box::new(move |fetched: Result<Fetched, NotFetched>| {
            drop(tell.send((name, fetched.and_then(Fetched::kept))));
        });
        self.service.engine.prefetch(name, self.id, then);
        Ok(())
    }

    /// Waits for the rest.
    pub(super) fn finish(
        mut self,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Tally, ControlError> {
        while !self.asked.is_empty() {
            self.wait(progress)?;
        }
        self.show(progress)?;
        Ok(self.tally)
    }

    /// Waits until a content came, or until there is something to show.
    fn wait(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), ControlError> {
        match self.told.recv_timeout(LOOK_INTERVAL.saturating_sub(self.shown.elapsed())) {
            Ok((name, fetched)) => self.note(&name, fetched),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.shown.elapsed() >= LOOK_INTERVAL || self.failures.len() >= CHANGES_MAX {
            self.show(progress)?;
        }
        Ok(())
    }

    fn note(&mut self, name: &ContentName, fetched: Result<(), NotFetched>) {
        let files = self.asked.remove(name).unwrap_or_default();
        for (index, file) in files.into_iter().enumerate() {
            match &fetched {
                Ok(()) if index == 0 => {
                    self.done_bytes += file.size;
                    self.tally.fetched += 1;
                    self.tally.fetched_bytes += file.size;
                }
                Ok(()) => self.is_present(&file),
                Err(reason) => {
                    self.tally.failed += 1;
                    let reason = match self.hides_reasons {
                        true => "it cannot be had now: the store's owner is told why".to_owned(),
                        false => reason.to_string(),
                    };
                    self.failures.push(UnreadableFile { path: file.label.into(), reason });
                }
            }
        }
    }

    fn is_present(&mut self, file: &Wanted) {
        self.tally.present += 1;
        self.done_bytes += file.size;
    }

    /// Says how far it is, and what failed. Ends it where nobody is left who waits for it.
    fn show(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), ControlError> {
        if self.service.engine.is_stopping() || self.service.stopping.load(Ordering::SeqCst) {
            return Err(ControlError::new(ErrorKind::Busy, "the daemon is stopping")
                .with_hint("what came is kept: start it, and do this again"));
        }
        if self.asker.is_gone() {
            return Err(ControlError::new(ErrorKind::Busy, "the command has gone"));
        }
        for some in self.failures.chunks(CHANGES_MAX) {
            progress(Progress::Failures(some.to_vec()));
        }
        self.failures.clear();
        let mut what = format!("fetched {}", count(self.tally.fetched, self.noun));
        if self.tally.failed > 0 {
            what.push_str(&format!(", {} failed", self.tally.failed));
        }
        let done = self.done_bytes.saturating_add(self.service.engine.prefetched_bytes(self.id));
        let total = Some(self.total_bytes);
        progress(Progress::Step { what, done, total, is_bytes: true });
        self.shown = Instant::now();
        Ok(())
    }
}
