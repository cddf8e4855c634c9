//! Sealers of large files: each hashes one for a moment, then the next, as [`Turns`] says.
//!
//! A file that is not done keeps the state of its hash, and its private file open, of which there is a
//! bounded number ([`Slots`](super::super::staging::content::Slots)). A file that was deleted or changed
//! meanwhile is given up at its next turn; when the engine stops, all are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::read::hash_on;
use super::turns::{TurnKey, Turns};
use super::{Hashed, SealResult, SealSource, Sealer};
use crate::engine::staging::SealJob;
use crate::engine::staging::content::{Data, FileContent, SealInput};
use crate::engine::stop_point::StopPoint;
use crate::store::error::StoreError;
use crate::sys::panics;

/// How long one turn takes.
const TURN: Duration = Duration::from_millis(30);

/// The most threads that hash large files. They take half of the processors at most: the others serve those
/// who wait for an answer.
const THREADS_MAX: usize = 4;

/// A large file in the line.
struct LargeJob {
    content: Arc<FileContent>,
    /// How far it is hashed, and in which state of the file, once it had a turn.
    begun: Option<SealInput>,
}

/// How a turn ended.
enum Turn {
    /// There is more to hash.
    Unfinished,
    Done(Result<Option<Hashed>, StoreError>),
}

#[derive(Default)]
struct Line {
    jobs: Turns<LargeJob>,
    closed: bool,
}

/// The line of large files.
#[derive(Default)]
pub(super) struct LargeLine {
    line: Mutex<Line>,
    changed: Condvar,
}

impl LargeLine {
    /// Adds a file, unless it waits already. It is hashed as it is at its turn.
    pub(super) fn add(&self, job: SealJob) {
        let job = LargeJob { content: job.content, begun: None };
        self.line.lock().jobs.add(job.key(), job);
        self.changed.notify_one();
    }

    /// Ends the sealers once what is returned is dropped; what they did not finish is sealed at the
    /// next start.
    pub(super) fn close_at_end(&self) -> Closing<'_> {
        Closing(self)
    }

    fn is_closed(&self) -> bool {
        self.line.lock().closed
    }

    /// Waits for the next turn; `None` at the end.
    fn take(&self) -> Option<LargeJob> {
        let mut line = self.line.lock();
        while !line.closed {
            if let Some((_, job)) = line.jobs.take() {
                return Some(job);
            }
            self.changed.wait(&mut line);
        }
        None
    }

    fn put_back(&self, job: LargeJob) {
        self.line.lock().jobs.put_back(job.key(), job);
        self.changed.notify_one();
    }
}

/// Closes the line when it is dropped, by a panic as well.
pub(super) struct Closing<'a>(&'a LargeLine);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.line.lock().closed = true;
        self.0.changed.notify_all();
    }
}

/// How many threads hash large files.
pub(super) fn threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (processors / 2).clamp(1, THREADS_MAX)
}

impl Sealer {
    /// Hashes large files until the line is closed.
    pub(super) fn run_large(&self, line: &LargeLine) {
        while let Some(mut job) = line.take() {
            let turn = panics::contain("a seal", || job.turn(|| line.is_closed()))
                .unwrap_or_else(|panicked| Turn::Done(Err(panicked.into())));
            job.content.area.note_sealing();
            self.stop_points.pass(StopPoint::LargeTurn);
            match turn {
                Turn::Unfinished => line.put_back(job),
                Turn::Done(result) => {
                    self.stop_points.pass(StopPoint::SealHashed);
                    let result = SealResult { content: job.content, result };
                    if self.results.send(vec![result]).is_err() {
                        return;
                    }
                }
            }
        }
    }
}

impl LargeJob {
    fn key(&self) -> TurnKey {
        let area = &self.content.area;
        TurnKey { repo: area.repo, area: area.id, file: self.content.node }
    }

    /// Hashes on for one turn. What was hashed before is used only if the file has not changed since.
    fn turn(&mut self, stops: impl Fn() -> bool) -> Turn {
        let content = &self.content;
        let begun = self.begun.take().filter(|begun| content.is_at(begun.generation));
        let begin = || {
            panics::point("seal");
            content.seal_input()
        };
        let Some(mut input) = begun.or_else(begin) else {
            return Turn::Done(Ok(None));
        };
        let Data::Private { id, file } = &input.data else {
            // It was emptied and written anew since, and queued again at the close that followed.
            return Turn::Done(Ok(None));
        };
        let path = content.private_path(*id);
        let end = Instant::now() + TURN;
        let go_on = || Instant::now() < end && content.is_at(input.generation) && !stops();
        match hash_on(&mut input.hashing, file, input.size, go_on) {
            Ok(true) => Turn::Done(Ok(Some(Hashed {
                generation: input.generation,
                hash: input.hashing.hash(),
                size: input.size,
                source: SealSource::Private(path),
                hashing: Some(Box::new(input.hashing)),
            }))),
            Ok(false) => {
                self.begun = Some(input);
                Turn::Unfinished
            }
            // It is not what it was: whoever changed it has it sealed.
            Err(_) if !content.is_at(input.generation) => Turn::Done(Ok(None)),
            Err(source) => Turn::Done(Err(StoreError::Io { action: "hash", path, source })),
        }
    }
}
