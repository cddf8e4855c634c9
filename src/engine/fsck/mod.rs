//! Checking a store, and repairing what can be: two acts (R5, G12).
//!
//! ```text
//! check:   rows ──▶ counts ──▶ content ──▶ losses ──▶ links ──▶ charges ──▶ files    any thread, only
//!          catalog  full walk  pool files  who lost   hardlinks quotas     leftovers   marks damage
//! repair:  Finding ──▶ Step ──▶ one transaction, on the metadata thread or on a store of one's own
//! ```
//!
//! A check reads the catalog in snapshots and the pool as it is, while others go on:
//!
//! - Counts and what they count agree in every committed state, so a difference within one
//!   snapshot is real. It is repaired by its *difference*, which stays right whatever has been
//!   counted since: every change moves the count and the names alike.
//! - What depends on files is only a suspicion, because others change files meanwhile. It is looked at again
//!   ([`Sink::confirm`]) by whoever makes all links, so that nothing can come between.
//! - While some trees cannot be read, nobody knows what they name, so counts that seem too high are left
//!   alone ([`Report::unverified`]). A count that is too high keeps garbage; one that is too low loses content.
//!
//! Nothing is ever deleted that something names. Damaged content is marked as soon as it is found,
//! by every check. From then on nobody reads it, content that is stored is not taken for known because of
//! it, and storing the content again heals it everywhere (H5).
//!
//! The check knows neither the engine's state nor who asks: it works on the parts of any open
//! store. `engine::check` asks it for a running one, [`bare`] for one that nobody runs.

pub mod bare;
mod blob_files;
mod charges;
mod content;
mod counts;
mod files;
mod finding;
mod gaps;
mod job;
mod links;
mod losses;
mod names;
mod pages;
mod repair;
mod rows;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, RepoId};
use crate::store::Store;
use crate::store::catalog::{AreaState, Snapshot, Snapshots};
use crate::store::error::StoreError;
use crate::store::layout::{Layout, PrivateId};
use crate::store::pool::{Damage, Pool};
use crate::store::staging_dir::StagingDir;
pub(in crate::engine) use content::{Examined, examine};
pub use finding::{BlobDamage, Finding, LISTED_MAX, Leftover, Loss, Losses, TreeDamage};
pub use job::Job;
pub use repair::{Step, steps};
pub(in crate::engine) use repair::{id_limit_after, is_gone};

/// Damaged blobs and trees whose losses are searched; of more, only the damage is reported.
const BROKEN_MAX: usize = 100_000;

/// Sentences taken from SQLite per table.
const PROBLEMS_MAX: u32 = 20;

/// The parts of a store that a check reads.
#[derive(Debug, Clone)]
pub struct Subject {
    snapshots: Snapshots,
    layout: Layout,
    pool: Arc<Pool>,
    private_files: Arc<StagingDir>,
}

impl Subject {
    /// Of an open store.
    pub fn new(store: &Store) -> Self {
        Self {
            snapshots: store.catalog.snapshots(),
            layout: store.layout.clone(),
            pool: Arc::clone(&store.pool),
            private_files: Arc::clone(&store.private_files),
        }
    }

    /// What takes snapshots of its catalog.
    pub(in crate::engine) fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// The catalog as the last commit left it, statement by statement.
    pub(in crate::engine) fn latest(&self) -> Result<Snapshot, StoreError> {
        self.snapshots.latest()
    }
}

/// How much to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Hash every blob and compare the catalog's indexes, instead of looking at lengths.
    pub full: bool,
    /// Look at files at all; otherwise only at the catalog.
    pub files: bool,
}

/// What a check did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Directory pages read.
    pub trees: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Counts that seem too high, which cannot be verified while there is other damage.
    pub unverified: u64,
    /// The store changed so fast that the counts could not be compared.
    pub counts_skipped: bool,
}

/// Something that may only look wrong while others work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspicion {
    /// A blob has a row, and its file is missing or of the wrong length.
    Blob(BlobHash, u64),
    /// A file of the pool has no row.
    ExtraBlob(BlobHash),
    /// A private file has no name.
    Private(AreaId, PrivateId),
    /// A directory in `staging/` belongs to no area.
    AreaDirectory(AreaId),
    /// An area is half made.
    Area(AreaId),
}

/// Is told what a check finds, on the thread that checks.
pub trait Sink {
    /// A finding.
    fn found(&mut self, finding: Finding);

    /// `done` of `total` units of a step.
    fn progress(&mut self, _step: &'static str, _done: u64, _total: u64) {}

    /// Whether a suspicion holds when nothing else can change the store.
    ///
    /// # Errors
    /// It cannot be asked any more.
    fn confirm(&mut self, suspicion: Suspicion) -> Result<bool, Stopped>;

    /// Marks those of the blobs damaged that still are. Returns whether that was written.
    ///
    /// # Errors
    /// It cannot be asked any more.
    fn mark(&mut self, damage: Vec<Damage>) -> Result<bool, Stopped>;

    /// Whether to end early. Also where a check may pause.
    fn is_cancelled(&mut self) -> bool {
        false
    }
}

/// Why a check ended early.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was asked to.
    #[error("the check was ended")]
    Cancelled,
}

/// One check under way.
struct Check<'c> {
    subject: &'c Subject,
    options: Options,
    sink: &'c mut dyn Sink,
    report: Report,
    names: Names,
    /// Tables that are damaged or have unreadable rows: what they name is unknown.
    bad_tables: BTreeSet<&'static str>,
    broken_trees: BTreeMap<TreeHash, (i64, TreeDamage)>,
    broken_blobs: BTreeMap<BlobHash, BrokenBlob>,
    lost_files: BTreeSet<(AreaId, PrivateId)>,
    /// Blobs whose file has more than one name.
    linked: Vec<blob_files::Linked>,
    /// Areas of which rows are lost: what those named is unknown.
    gaps: BTreeSet<AreaId>,
    /// Blobs of declared names, where the catalog has something else.
    true_names: names::TrueNames,
}

/// A damaged blob whose losses are not known yet.
#[derive(Debug, Clone)]
struct BrokenBlob {
    size: u64,
    damage: BlobDamage,
    marked: bool,
}

/// What people call things, and which areas there are.
#[derive(Debug, Default)]
struct Names {
    repositories: BTreeMap<RepoId, String>,
    areas: BTreeMap<AreaId, (RepoId, String, AreaState)>,
}

impl Names {
    fn repository(&self, repo: RepoId) -> String {
        self.repositories.get(&repo).cloned().unwrap_or_else(|| format!("#{repo}"))
    }

    /// Whether it was published or discarded, and is being purged.
    fn is_being_purged(&self, area: AreaId) -> bool {
        matches!(self.areas.get(&area), Some((_, _, AreaState::Deleted)))
    }

    fn area(&self, area: AreaId) -> String {
        match self.areas.get(&area) {
            Some((repo, name, _)) => format!("staging/{}/{name}", self.repository(*repo)),
            None => format!("staging/#{area}"),
        }
    }
}

/// Checks a store. Changes nothing but the marks of damaged blobs.
///
/// # Errors
/// [`Stopped`]; what was found until then has been handed on.
pub fn check(subject: &Subject, options: Options, sink: &mut dyn Sink) -> Result<Report, Stopped> {
    let mut check = Check {
        subject,
        options,
        sink,
        report: Report::default(),
        names: Names::default(),
        bad_tables: BTreeSet::new(),
        broken_trees: BTreeMap::new(),
        broken_blobs: BTreeMap::new(),
        lost_files: BTreeSet::new(),
        linked: Vec::new(),
        gaps: BTreeSet::new(),
        true_names: names::TrueNames::new(),
    };
    check.check_rows()?;
    check.check_names()?;
    check.check_counts()?;
    check.check_totals()?;
    if options.files {
        check.check_content()?;
    }
    check.check_sizes()?;
    check.report_losses()?;
    check.check_links()?;
    check.check_charges()?;
    // If rows are missing, a file that no row names may belong to one of those.
    if options.files && check.bad_tables.is_empty() {
        check.check_files()?;
    }
    Ok(check.report)
}

impl Check<'_> {
    fn check_cancelled(&mut self) -> Result<(), Stopped> {
        if self.sink.is_cancelled() { Err(Stopped::Cancelled) } else { Ok(()) }
    }

    fn found(&mut self, finding: Finding) {
        self.sink.found(finding);
    }

    /// Remembers a damaged tree until its losses are known. The first cause found stays.
    fn broken_tree(&mut self, hash: TreeHash, refs: i64, damage: TreeDamage) {
        if self.broken_trees.len() < BROKEN_MAX {
            self.broken_trees.entry(hash).or_insert((refs, damage));
        } else {
            let losses = Losses::default();
            self.found(Finding::Tree { hash, refs, damage, losses });
        }
    }

    /// Remembers a damaged blob until its losses are known. The first cause found stays.
    /// `marked` says whether its row has the mark.
    fn broken_blob(&mut self, hash: BlobHash, size: u64, damage: BlobDamage, marked: bool) {
        if self.broken_blobs.len() < BROKEN_MAX {
            self.broken_blobs.entry(hash).or_insert(BrokenBlob { size, damage, marked });
        } else {
            let losses = Losses::default();
            self.found(Finding::Blob { hash, size, damage, marked, losses });
        }
    }

    /// Takes a row's value; reports one that cannot be read.
    fn row<T>(&mut self, row: Result<T, crate::store::catalog::BadRow>) -> Option<T> {
        match row {
            Ok(value) => Some(value),
            Err(bad) => {
                self.bad_tables.insert(bad.table);
                self.found(Finding::Row(bad));
                None
            }
        }
    }
}
