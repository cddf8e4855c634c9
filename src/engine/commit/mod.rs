//! Commits: publishing a staging area as the next version.
//!
//! ```text
//!   Writers ──▶ Sealing ──▶ Building ──▶ Syncing ──▶ published
//!     │ grace over   │ failed, late  │ merge conflict  │ number taken meanwhile
//!     ▼              ▼               ▼                 ▼
//!   refused: the area thaws, what waited for it goes on
//! ```
//!
//! The area is frozen from `Sealing` on. Everything up to the last step is many bounded
//! transactions whose leftovers, after a crash, are unreferenced trees; the last step is one O(1)
//! transaction, durable before it is answered (H7). Nothing here blocks the metadata thread:
//! the thread calls [`Commits::advance`] in each round.

mod asker;
mod build;
mod copy;
mod prepare;
mod publish;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::after::{After, TaskId};
use super::blobs::{Blobs, Page};
use super::durability::{Durable, SYNC_ONE_BY_ONE_MAX, Scope};
use super::error::{EngineError, Result};
use super::now::Now;
use super::pins::{BlobPin, TreePin};
use super::registry::Repository;
use super::reply::Reply;

use super::staging::area::Phase;
use super::stop_point::StopPoint;
use super::workers::Workers;
use super::writer::StoreWriter;
use crate::model::hash::TreeHash;
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::on_stale::OnStale;
use crate::model::quota::Usage;
use crate::model::time::Timestamp;
use crate::model::tree::Root;
use crate::model::version::Version;
use crate::sys::panics;

pub use asker::Asker;
pub(super) use build::{BuildJob, BuildReport, build_here};
pub use copy::CopiedVersion;
use prepare::Renames;
pub(super) use prepare::rename_prepared;
pub use prepare::{ForRename, GivenUp};
use wait::Wait;
pub use wait::{RENAME_WAIT_MAX, SEAL_STALL_MAX, WRITER_GRACE, WRITER_WAIT_MAX};

/// If more time passes between two looks at the commits, the process was held: see [`Commits::look`].
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The most paths named in a refusal.
const NAMED_FILES_MAX: usize = 20;

/// How to commit.
#[derive(Debug, Clone)]
pub struct CommitOptions {
    /// The version's own name.
    pub tag: Option<TagName>,
    /// The number that the version must get.
    pub number: Option<VersionNumber>,
    /// Message; `None` keeps the area's.
    pub message: Option<String>,
    /// Author; `None` keeps the area's.
    pub author: Option<String>,
    /// Who asks, for versions whose author nobody set.
    pub caller: String,
    /// Waits for writers instead of being refused.
    pub wait: bool,
    /// A RENAME asks. It holds up all other renames, so it is refused rather than answered late.
    pub in_rename: bool,
    /// What a stale base means; `None` does what the area says.
    pub on_stale: Option<OnStale>,
    /// Makes a version even when nothing changed.
    pub allow_empty: bool,
    /// Who waits for it. When they go away before it is built, it is refused.
    pub asker: Asker,
    /// When it was asked for.
    pub now: Timestamp,
    /// The version is a copy of one that was published elsewhere.
    pub copy: Option<Box<CopiedVersion>>,
}

/// How a commit ended.
#[derive(Debug, Clone)]
pub struct CommitOutcome {
    /// The version: new, or the newest one when nothing changed.
    pub version: Arc<Version>,
    /// Whether it is new.
    pub created: bool,
}

#[derive(Debug)]
enum Stage {
    Writers(Wait),
    Sealing {
        retried: bool,
        wait: Wait,
    },
    Building,
    Syncing {
        built: Box<(Root, Usage)>,
        /// The content of all blobs up to this epoch is on its way to disk.
        epoch: u64,
    },
}

/// A commit under way. It is passed by value from one stage to the next, so the code that has it is the only
/// one that can go on with it or refuse it.
pub(super) struct CommitTask {
    id: TaskId,
    area: AreaId,
    repo: RepoId,
    options: CommitOptions,
    reply: Reply<CommitOutcome>,
    stage: Stage,
    /// The newest version when the trees were built.
    newest: Option<VersionNumber>,
    /// Trees that nothing references yet: those that this commit made or reuses, and the newest version's,
    /// with which it is compared. The collector leaves them alone, and so what is below them.
    pinned: BTreeMap<TreeHash, TreePin>,
}

impl CommitTask {
    fn pin(&mut self, writer: &StoreWriter, trees: impl IntoIterator<Item = TreeHash>) {
        let pins = trees.into_iter().map(|tree| (tree, TreePin::new(writer.pins(), tree)));
        self.pinned.extend(pins);
    }

    /// Whether nobody waits for it any more. Only asked until it is built: from then on it is published
    /// even if whoever asked has gone.
    fn is_abandoned(&self) -> bool {
        match self.stage {
            Stage::Writers(_) | Stage::Sealing { .. } => self.options.asker.is_gone(),
            Stage::Building | Stage::Syncing { .. } => false,
        }
    }

    /// Answers it.
    pub(super) fn refuse(self, error: EngineError) {
        (self.reply)(Err(error));
    }
}

/// The commits under way, and what keeps RENAMEs short.
pub(super) struct Commits {
    /// Those that wait for an area's writers and seals, in the order in which they came.
    waiting: Vec<CommitTask>,
    /// Those that others work for: a builder, or the durability thread.
    elsewhere: BTreeMap<TaskId, CommitTask>,
    last: TaskId,
    renames: Renames,
    /// When they were looked at last.
    seen: Instant,
    workers: Workers<BuildReport>,
}

impl Commits {
    /// No commits are under way.
    pub(super) fn new(workers: Workers<BuildReport>, now: Instant) -> Self {
        Self {
            waiting: Vec::new(),
            elsewhere: BTreeMap::new(),
            last: TaskId::default(),
            renames: Renames::default(),
            seen: now,
            workers,
        }
    }

    /// Whether commits are under way, or are prepared.
    pub(super) fn are_any(&self) -> bool {
        !self.waiting.is_empty() || !self.elsewhere.is_empty() || self.renames.are_prepared()
    }

    /// Whether a commit under way is about to name the tree.
    pub(super) fn has_pinned(&self, tree: &TreeHash) -> bool {
        self.all().any(|task| task.pinned.contains_key(tree))
    }

    /// Takes all commits, for the caller to refuse: nothing will be published any more. Also answers those
    /// who prepare a RENAME.
    pub(super) fn end(&mut self, reason: impl Fn() -> EngineError) -> Vec<CommitTask> {
        self.renames.end(reason);
        let mut all = std::mem::take(&mut self.waiting);
        all.extend(std::mem::take(&mut self.elsewhere).into_values());
        all
    }

    fn all(&self) -> impl Iterator<Item = &CommitTask> {
        self.waiting.iter().chain(self.elsewhere.values())
    }

    fn next_id(&mut self) -> TaskId {
        self.last = self.last.next();
        self.last
    }

    /// A commit, or the preparation of one, is about to begin.
    fn expect(&mut self, now: Instant) {
        if !self.are_any() {
            // There was nothing to look at, so the last look may be long ago without anything being wrong.
            self.seen = now;
        }
    }

    /// Notes the time of this look, and takes the commits that wait. After a long pause the whole process was
    /// held (a stop signal, a suspended machine), also the threads that would have read the closes of writers
    /// and sealed files. So all waits are put off by the pause.
    fn look(&mut self, now: Instant) -> Vec<CommitTask> {
        let pause = now.duration_since(std::mem::replace(&mut self.seen, now));
        if pause > PAUSE_MAX {
            for wait in self.waiting.iter_mut().filter_map(|task| task.stage.wait_mut()) {
                wait.put_off(pause);
            }
            self.renames.put_off(pause);
        }
        std::mem::take(&mut self.waiting)
    }

    /// Keeps a commit while another thread works for it.
    fn hand_over(&mut self, task: CommitTask) {
        self.elsewhere.insert(task.id, task);
    }

    /// Takes a commit for which another thread has done its part; `None` if it was refused meanwhile.
    fn take_back(&mut self, id: TaskId) -> Option<CommitTask> {
        self.elsewhere.remove(&id)
    }
}

/// What `advance` decided about one task.
enum Step {
    Stay,
    Refuse(EngineError),
    Freeze,
    Build,
}

impl Commits {
    /// Starts a commit; it is answered through `reply`.
    pub(super) fn start(
        &mut self,
        writer: &StoreWriter,
        area: AreaId,
        options: CommitOptions,
        reply: Reply<CommitOutcome>,
        now: Instant,
    ) {
        let repo = match self.check(writer, area, &options) {
            Ok(repo) => repo,
            Err(error) => {
                note_refusal(writer, area, &options.caller, &error);
                return reply(Err(error));
            }
        };
        self.expect(now);
        let stage = Stage::Writers(Wait::for_writers(&options, now));
        let (id, pinned) = (self.next_id(), BTreeMap::new());
        let task = CommitTask { id, area, repo, options, reply, stage, newest: None, pinned };
        self.waiting.push(task);
    }

    fn check(&self, writer: &StoreWriter, area: AreaId, options: &CommitOptions) -> Result<RepoId> {
        writer.check_writable()?;
        let (repo, base, phase, on_stale) = {
            let state = writer.staging().read();
            if let Some(lost) = state.lost(area) {
                return Err(EngineError::Lost(lost));
            }
            let area = state.areas.get(&area).ok_or_else(|| EngineError::NoArea(area))?;
            (area.shared.repo, area.base.clone(), area.phase, area.on_stale)
        };
        if phase != Phase::Open || self.all().any(|task| task.area == area) {
            return Err(EngineError::CommitRunning);
        }
        let repository = writer.repository(repo)?;
        check_place(&repository, options)?;
        if resolve_on_stale(options, on_stale) == OnStale::Refuse
            && let Some(base) = base
        {
            check_fresh(&repository, base.number)?;
        }
        Ok(repo)
    }

    /// Moves every commit as far as it can go now.
    pub(super) fn advance(&mut self, writer: &mut StoreWriter, blobs: &mut Blobs, now: Instant) {
        let waiting = self.look(now);
        self.advance_renames(writer, blobs, now);
        for task in waiting {
            self.advance_task(writer, blobs, task, now);
        }
    }

    fn advance_task(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &Blobs,
        mut task: CommitTask,
        now: Instant,
    ) {
        loop {
            let step = wait::next_step(writer, blobs, &mut task, now);
            // Whoever asked is gone, so the commit must not go on.
            let step =
                if task.is_abandoned() { Step::Refuse(EngineError::Abandoned) } else { step };
            match step {
                Step::Stay => return self.waiting.push(task),
                Step::Refuse(error) => return refuse(writer, task, error),
                Step::Freeze => {
                    self.workers.stop_points.pass(StopPoint::Freezing);
                    wait::freeze(writer, &mut task, now);
                }
                Step::Build => return self.build(writer, task),
            }
        }
    }

    fn build(&mut self, writer: &mut StoreWriter, mut task: CommitTask) {
        let repository = writer.registry().by_id(task.repo);
        let newest = repository.and_then(|repository| repository.latest().cloned());
        task.stage = Stage::Building;
        task.newest = newest.as_ref().map(|version| version.number);
        // The builder reads it, so it must stay even if it is deleted meanwhile.
        task.pin(writer, newest.as_ref().map(|version| version.root.tree));
        let on_stale = {
            let state = writer.staging().read();
            state.areas.get(&task.area).map(|area| area.on_stale).unwrap_or_default()
        };
        let job = build::BuildJob {
            task: task.id,
            area: task.area,
            newest,
            merge: resolve_on_stale(&task.options, on_stale) == OnStale::Merge,
            pool: Arc::clone(&writer.store().pool),
            staging: Arc::clone(writer.staging()),
            trees: Arc::clone(&self.workers.trees),
            tell: Arc::clone(&self.workers.tell),
            stop_points: Arc::clone(&self.workers.stop_points),
        };
        match build::spawn(job) {
            Ok(()) => self.hand_over(task),
            Err(error) => refuse(writer, task, EngineError::Store(error)),
        }
    }

    /// Writes the next pages of a commit. They stay unreferenced, but pinned, until the end.
    pub(super) fn pages(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        id: TaskId,
        pages: &[Page],
        now: Now,
    ) {
        let Some(mut task) = self.take_back(id) else { return };
        match blobs.write_pages(writer, pages, now) {
            Ok(()) => {
                task.pin(writer, pages.iter().map(|(hash, _)| *hash));
                self.hand_over(task);
            }
            Err(error) => refuse(writer, task, error),
        }
    }

    /// The trees are complete: bring their content to disk.
    pub(super) fn built(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        id: TaskId,
        built: Result<(Root, Usage)>,
    ) {
        let Some(mut task) = self.take_back(id) else { return };
        let built = match built {
            Ok(built) => Box::new(built),
            Err(error) => return refuse(writer, task, error),
        };
        panics::point("commit");
        task.stage = Stage::Syncing { built, epoch: blobs.close_epoch() };
        self.hand_over(task);
        // The rows need no flush here: the last transaction is flushed, and all before it with it.
        let scope = unsynced(writer, blobs);
        writer.effects().when_durable(Durable::Content(scope), After::CommitSynced { task: id });
    }

    /// Content is on disk: publish.
    pub(super) fn synced(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        id: TaskId,
        synced: Result<()>,
    ) {
        let Some(mut task) = self.take_back(id) else { return };
        match (synced, std::mem::replace(&mut task.stage, Stage::Building)) {
            (Ok(()), Stage::Syncing { built, epoch }) => {
                self.publish(writer, blobs, task, *built, epoch)
            }
            (Ok(()), stage) => unreachable!("a commit is synced in {stage:?}"),
            (Err(error), _) => refuse(writer, task, error),
        }
    }
}

/// What is to be brought to disk so that all blobs are there.
fn unsynced(writer: &mut StoreWriter, blobs: &Blobs) -> Scope {
    match blobs.unsynced(writer, SYNC_ONE_BY_ONE_MAX + 1) {
        Ok(blobs) if blobs.len() <= SYNC_ONE_BY_ONE_MAX => {
            Scope::Blobs(blobs.into_iter().map(|hash| BlobPin::new(writer.pins(), hash)).collect())
        }
        Ok(_) | Err(_) => Scope::Everything,
    }
}

/// Ends a commit without a version; the area thaws.
pub(super) fn refuse(writer: &mut StoreWriter, task: CommitTask, error: EngineError) {
    note_refusal(writer, task.area, &task.options.caller, &error);
    // Nothing will reference the trees that it wrote, so the collector has work.
    writer.effects().purge();
    writer.staging().change(|state, _| {
        if let Some(area) = state.areas.get_mut(&task.area) {
            area.phase = Phase::Open;
        }
    });
    for operation in writer.staging().unpark(task.area) {
        writer.notify(Vec::new(), operation);
    }
    task.refuse(error);
}

/// Keeps the reason for `user.cairn.error` and `cairn areas`, and logs it, because the errno that the
/// caller gets says little (H12).
fn note_refusal(writer: &StoreWriter, area: AreaId, caller: &str, error: &EngineError) {
    let refused = writer.staging().change(|state, _| {
        let area = state.areas.get_mut(&area)?;
        area.error = error.to_string();
        Some((area.shared.repo, area.name.clone()))
    });
    if let Some((repo, name)) = refused
        && let Some(repository) = writer.registry().by_id(repo)
    {
        log::info!("refused: publish {}/{name}, by {caller}: {error}", repository.name);
    }
}

/// What whoever asked wants to happen, or else what the area says.
fn resolve_on_stale(options: &CommitOptions, area: OnStale) -> OnStale {
    options.on_stale.unwrap_or(area)
}

/// Whether name and number of the coming version are free.
fn check_place(repository: &Repository, options: &CommitOptions) -> Result<()> {
    if let Some(tag) = &options.tag
        && repository.tags.contains_key(tag)
    {
        return Err(EngineError::TagExists(tag.to_string()));
    }
    if let Some(copy) = &options.copy {
        return match copy.fits(repository) {
            true => Ok(()),
            false => Err(EngineError::NumberTaken(copy.number)),
        };
    }
    match options.number {
        Some(wanted) if wanted < repository.next_number => Err(EngineError::NumberTaken(wanted)),
        Some(wanted) if wanted > repository.next_number => {
            Err(EngineError::NumberNotNext { wanted, next: repository.next_number })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether `base` is still the newest version.
fn check_fresh(repository: &Repository, base: Option<VersionNumber>) -> Result<()> {
    let after = base.map_or(0, |number| number.0);
    let newer = repository.versions.range(VersionNumber(after.saturating_add(1))..);
    let between: Vec<_> = newer.map(|(number, _)| *number).collect();
    if between.is_empty() {
        return Ok(());
    }
    Err(EngineError::StaleBase { base: VersionNumber(after), between })
}
