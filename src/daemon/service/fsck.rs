//! Checking and repairing a store on request: beside a running engine, or on a store that nobody
//! has open, without starting one.

use std::path::Path;
use std::time::Instant;

use parking_lot::Mutex;

use super::errors::{control_error, store_error};
use super::{Answer, StoreService, backup};
use crate::control::fsck::{
    FINDINGS_MAX, FsckFinding, FsckOutcome, FsckReply, FsckRequest, LostPath,
};
use crate::control::protocol::{ControlError, ErrorKind, Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, Service};
use crate::engine::error::EngineError;
use crate::engine::fsck::{Finding, Loss, Losses, Options, Report, Step, Stopped, bare, steps};
use crate::model::raw::RawPath;
use crate::store::Store;

/// Does a step: whether anything was to be done, or why it could not be done.
type Repair<'a> = &'a mut dyn FnMut(Step) -> Result<bool, ControlError>;

/// What a check has come to.
struct Tally<'a> {
    request: FsckRequest,
    reply: FsckReply,
    waiting: Vec<FsckFinding>,
    progress: &'a mut dyn FnMut(Progress),
}

impl StoreService {
    pub(super) fn fsck(&self, request: &FsckRequest, progress: &mut dyn FnMut(Progress)) -> Answer {
        if (request.repair || request.rebuild_counts) && self.engine.is_read_only() {
            return Err(control_error(EngineError::ReadOnly));
        }
        let began = Instant::now();
        let options = Options { full: request.full, files: true };
        // Both closures of the check tell the client.
        let tally = Mutex::new(Tally::new(*request, progress));
        let report = self.engine.check(
            options,
            &mut |finding| {
                let mut repair = |step| self.engine.repair(step).map_err(control_error);
                tally.lock().take(&finding, &mut repair);
            },
            &mut |step, done, total| tally.lock().step(step, done, total),
            &mut || !self.engine.is_stopping(),
        );
        tally.into_inner().finish(report, began)
    }
}

/// Opens a store for a check or a backup, without a daemon and without an engine: an engine would sweep and
/// collect, by counts that may be wrong, and cannot start on every store that can be checked.
///
/// # Errors
/// When the store cannot be opened.
pub fn open_bare(store: &Path) -> Result<Box<dyn Service>, ControlError> {
    let store = Store::open(store).map_err(store_error)?;
    Ok(Box::new(BareService { store: Mutex::new(store) }))
}

/// Answers what changes nothing by itself: checks and backups.
struct BareService {
    store: Mutex<Store>,
}

impl BareService {
    fn fsck(&self, request: FsckRequest, progress: &mut dyn FnMut(Progress)) -> Answer {
        let began = Instant::now();
        let options = Options { full: request.full, files: true };
        let tally = Mutex::new(Tally::new(request, progress));
        let mut store = self.store.lock();
        let report = bare::check_and_repair(
            &mut store,
            options,
            &mut |store, finding| {
                let mut repair = |step| bare::repair(store, &step).map_err(store_error);
                tally.lock().take(&finding, &mut repair);
            },
            &mut |step, done, total| tally.lock().step(step, done, total),
        );
        let answer = tally.into_inner().finish(report, began);
        bare::finish(&store).map_err(store_error)?;
        answer
    }
}

impl Service for BareService {
    fn call(
        &self,
        _caller: Caller,
        request: Request,
        _attachment: Attachment,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        match request {
            Request::Fsck(request) => Ok((self.fsck(request, progress)?, Attachment::none())),
            Request::Backup(request) => backup::bare(&self.store.lock(), request, progress),
            _ => {
                let message = "this store is open for a check or a backup only";
                Err(ControlError::new(ErrorKind::Usage, message))
            }
        }
    }
}

impl<'a> Tally<'a> {
    fn new(request: FsckRequest, progress: &'a mut dyn FnMut(Progress)) -> Self {
        let reply = FsckReply { full: request.full, ..FsckReply::default() };
        Self { request, reply, waiting: Vec::new(), progress }
    }

    fn step(&mut self, step: &'static str, done: u64, total: u64) {
        let is_bytes = step.contains("hash");
        let step = Progress::Step { what: step.to_owned(), done, total: Some(total), is_bytes };
        (self.progress)(step);
    }

    /// Repairs a finding, if asked to, and tells the client.
    fn take(&mut self, finding: &Finding, repair: Repair<'_>) {
        let asked = self.request.repair || (self.request.rebuild_counts && finding.is_count());
        let (outcome, note) = if asked {
            act(finding, repair)
        } else if finding.is_leftover() {
            (FsckOutcome::Leftover, None)
        } else {
            (FsckOutcome::Left, marked(finding).map(str::to_owned))
        };
        let count = match outcome {
            FsckOutcome::Repaired => &mut self.reply.repaired,
            FsckOutcome::Leftover => &mut self.reply.leftovers,
            FsckOutcome::Left => &mut self.reply.left,
        };
        *count += 1;
        log::log!(
            if outcome == FsckOutcome::Left { log::Level::Error } else { log::Level::Warn },
            "check: {finding}: {outcome:?} {}",
            note.as_deref().unwrap_or_default(),
        );
        self.waiting.push(describe(finding, outcome, note));
        if self.waiting.len() == FINDINGS_MAX {
            self.send();
        }
    }

    fn send(&mut self) {
        if !self.waiting.is_empty() {
            (self.progress)(Progress::Findings(std::mem::take(&mut self.waiting)));
        }
    }

    fn finish(mut self, report: Result<Report, Stopped>, began: Instant) -> Answer {
        self.send();
        let report = report.map_err(|stopped| match stopped {
            Stopped::Store(error) => store_error(error),
            Stopped::Cancelled => ControlError::new(ErrorKind::Busy, stopped.to_string()),
        })?;
        Ok(Reply::Fsck(FsckReply {
            blobs: report.blobs,
            hashed_bytes: report.bytes,
            trees: report.trees,
            unverified_counts: report.unverified,
            counts_skipped: report.counts_skipped,
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..self.reply
        }))
    }
}

/// What is said of a blob that a check has marked, or found marked.
fn marked(finding: &Finding) -> Option<&'static str> {
    match finding {
        Finding::Blob { marked: true, .. } => Some("marked: storing the content again heals it"),
        _ => None,
    }
}

/// Does what can be done about a finding.
fn act(finding: &Finding, repair: Repair<'_>) -> (FsckOutcome, Option<String>) {
    let steps = steps(finding);
    for step in steps.iter().cloned() {
        if let Err(error) = repair(step) {
            return (FsckOutcome::Left, Some(format!("cannot be repaired: {error}")));
        }
    }
    if finding.is_repairable() {
        return (FsckOutcome::Repaired, None);
    }
    let note = match finding {
        Finding::Blob { .. } => marked(finding).unwrap_or("it could not be marked: see the log"),
        Finding::Tree { .. } => "marked: storing the same directory again heals it",
        Finding::Private { .. } => "its content is lost",
        Finding::LostNode { .. } => {
            "nothing that may be its content is removed; write it anew, or discard the area"
        }
        Finding::LostNames { .. } => {
            "what they named or hid is not known; the area can be published as it is from now on: \
             compare it with its base"
        }
        Finding::Links { .. } => {
            "left as it is: each is read as a file of its own; compare them with what they should be"
        }
        _ => "cannot be repaired: restore a backup",
    };
    (FsckOutcome::Left, Some(note.to_owned()))
}

fn describe(finding: &Finding, outcome: FsckOutcome, note: Option<String>) -> FsckFinding {
    let nothing = Losses { complete: true, ..Losses::default() };
    let losses = finding.losses().unwrap_or(&nothing);
    let lost = |loss: &Loss| LostPath {
        place: loss.place.clone(),
        path: RawPath::from(loss.path.as_slice()),
    };
    FsckFinding {
        kind: finding.kind().to_owned(),
        message: finding.to_string(),
        outcome,
        note,
        lost: losses.listed.iter().map(lost).collect(),
        lost_more: losses.more,
        lost_unknown: !losses.complete,
    }
}
