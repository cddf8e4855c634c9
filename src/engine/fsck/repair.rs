//! What is done about a finding: steps, each one transaction and safe to try twice.
//!
//! A step looks again, in its own transaction, at whether it is still needed; whoever runs it
//! answers for what is not in the catalog (pins, areas in memory).

use crate::engine::journal::{ID_LIMIT, ID_STEP};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::quota::Charge;
use crate::model::time::Timestamp;
use crate::store::Store;
use crate::store::catalog::{Missized, QueuedDeletion, Tx};
use crate::store::durable;
use crate::store::error::{Result, StoreError};

use super::finding::{BlobDamage, Finding, Leftover, TreeDamage};

/// One act of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Takes the mark of a damaged blob away.
    UnmarkBlob(BlobHash),
    /// Gives a blob that is named the row that it lacks.
    InsertBlob {
        /// The blob.
        hash: BlobHash,
        /// Its length in bytes.
        size: u64,
        /// Its names.
        refs: i64,
        /// Whether its file is not there, or not right.
        damaged: bool,
    },
    /// Makes an unreadable tree blank, so that storing it again fills it in; one without
    /// references goes.
    BlankTree {
        /// The tree.
        hash: TreeHash,
        /// Its names, where it has no row.
        refs: i64,
    },
    /// Adds to the count of a blob.
    CountBlob(BlobHash, i64),
    /// Says which blob a declared name stands for.
    NameBlob(Sha256, Option<BlobHash>),
    /// Adds to the references counted on a declared name.
    CountName(Sha256, i64),
    /// Adds to the count of a tree.
    CountTree(TreeHash, i64),
    /// Adds up the blobs and trees anew.
    Totals,
    /// Deletes a tag that points at no version.
    DeleteTag(RepoId, TagName, VersionNumber),
    /// Makes the next version come after this one.
    RaiseNumber(RepoId, VersionNumber),
    /// Takes away the permission to write to a blob.
    Protect(BlobHash),
    /// Gives a blob of this many bytes a file of its own, which has no name elsewhere. The file that
    /// it had stays whole under its other names.
    Unshare(BlobHash, u64),
    /// Corrects what a version counts for, unless it has been compared with another one meanwhile.
    Charge(RepoId, VersionNumber, Charge),
    /// Gives a file or directory without a name one at the top of its area.
    NameNode(AreaId, NodeId),
    /// Takes the names that an area has for all that it should have.
    AcceptNames(AreaId),
    /// Corrects the size of a file of an area, unless it has other content meanwhile.
    ResizeNode(Missized),
    /// Has ids given out that are higher than this one.
    RaiseIds(u64),
    /// Removes what nothing names.
    Remove(Leftover),
}

/// The steps that repair what can be repaired of a finding; none when nothing can.
pub fn steps(finding: &Finding) -> Vec<Step> {
    match finding {
        Finding::Blob { hash, size, damage: BlobDamage::NoRow { refs, sound }, .. } => {
            let (hash, size, refs, damaged) = (*hash, *size, *refs, !sound);
            vec![Step::InsertBlob { hash, size, refs, damaged }]
        }
        // The check has marked it.
        Finding::Blob { .. }
        | Finding::Table { .. }
        | Finding::Row(_)
        | Finding::Root { .. }
        | Finding::Links { .. }
        | Finding::NoRepository { .. }
        | Finding::Private { .. }
        | Finding::LostNode { .. }
        // A sync that finds it stores it.
        | Finding::Absent { .. } => Vec::new(),
        Finding::BlobMode { hash, .. } => vec![Step::Protect(*hash)],
        Finding::BlobLinks { hash, size, .. } => vec![Step::Unshare(*hash, *size)],
        Finding::Charge { repo, number, base, counted, .. } => {
            vec![Step::Charge(*repo, *number, Charge { base: *base, usage: *counted })]
        }
        Finding::UnnamedNode { area, node, .. } => vec![Step::NameNode(*area, *node)],
        Finding::LostNames { area, .. } => vec![Step::AcceptNames(*area)],
        Finding::NodeSize { file, .. } => vec![Step::ResizeNode(*file)],
        Finding::IdLimit { highest, .. } => vec![Step::RaiseIds(*highest)],
        Finding::BlobSound(hash) => vec![Step::UnmarkBlob(*hash)],
        Finding::Tree { refs: 1.., damage: TreeDamage::Blank, .. } => Vec::new(),
        Finding::Tree { hash, refs, .. } => vec![Step::BlankTree { hash: *hash, refs: *refs }],
        Finding::BlobCount { hash, recorded, counted } => {
            vec![Step::CountBlob(*hash, counted - recorded)]
        }
        Finding::NameBlob { sha256, found, .. } => vec![Step::NameBlob(*sha256, *found)],
        Finding::NameCount { sha256, recorded, counted } => {
            vec![Step::CountName(*sha256, counted - recorded)]
        }
        Finding::TreeCount { hash, recorded, counted } => {
            vec![Step::CountTree(*hash, counted - recorded)]
        }
        Finding::Totals { .. } => vec![Step::Totals],
        Finding::Tag { repo, tag, number, .. } => {
            vec![Step::DeleteTag(*repo, tag.clone(), *number)]
        }
        Finding::NextNumber { repo, newest, .. } => vec![Step::RaiseNumber(*repo, *newest)],
        Finding::Leftover(leftover) => vec![Step::Remove(leftover.clone())],
    }
}

impl Finding {
    /// Whether its steps, done, leave nothing wrong. Lost content stays lost until it is stored
    /// again.
    pub fn is_repairable(&self) -> bool {
        match self {
            Self::Blob { damage: BlobDamage::NoRow { sound: true, .. }, .. } => true,
            Self::Blob { losses, .. } | Self::Tree { losses, .. } => {
                losses.complete && losses.listed.is_empty()
            }
            Self::Table { .. }
            | Self::Row(_)
            | Self::Root { .. }
            | Self::Links { .. }
            | Self::NoRepository { .. }
            | Self::Private { .. }
            | Self::LostNode { .. }
            | Self::LostNames { .. }
            | Self::Absent { .. } => false,
            Self::BlobSound(_)
            | Self::BlobMode { .. }
            | Self::BlobLinks { .. }
            | Self::Charge { .. }
            | Self::UnnamedNode { .. }
            | Self::NodeSize { .. }
            | Self::IdLimit { .. }
            | Self::BlobCount { .. }
            | Self::NameCount { .. }
            | Self::NameBlob { .. }
            | Self::TreeCount { .. }
            | Self::Totals { .. }
            | Self::Tag { .. }
            | Self::NextNumber { .. }
            | Self::Leftover(_) => true,
        }
    }
}

impl Step {
    /// The step's part in the catalog. Returns whether anything was to be done.
    ///
    /// # Errors
    /// The database's; nothing has changed then.
    pub(in crate::engine) fn rows(&self, tx: &Tx<'_>, now: Timestamp) -> Result<bool> {
        match self {
            Self::UnmarkBlob(hash) => {
                if tx.blob(hash)?.is_none_or(|row| !row.is_damaged()) {
                    return Ok(false);
                }
                tx.set_blob_damaged(hash, false)?;
            }
            Self::InsertBlob { hash, size, refs, damaged } => {
                if tx.blob(hash)?.is_some() {
                    return Ok(false);
                }
                tx.insert_lost_blob(hash, *size, *refs, now)?;
                tx.set_blob_damaged(hash, *damaged)?;
            }
            Self::BlankTree { hash, refs } => return blank(tx, hash, *refs, now),
            Self::CountBlob(hash, delta) => {
                tx.add_blob_refs(hash, *delta)?;
            }
            Self::NameBlob(sha256, blob) => tx.correct_name(sha256, blob.as_ref())?,
            Self::CountName(sha256, delta) => {
                tx.add_content_refs(&ContentName::from(*sha256), *delta)?;
            }
            Self::CountTree(hash, delta) => {
                tx.add_tree_refs(hash, *delta)?;
            }
            Self::Totals => return tx.repair_totals(),
            Self::DeleteTag(repo, tag, _) => return tx.delete_tag(*repo, tag),
            Self::RaiseNumber(repo, newest) => return tx.raise_next_number(*repo, *newest),
            Self::Remove(Leftover::Area(area) | Leftover::AreaRows(area)) => {
                tx.queue_deletion(&QueuedDeletion::Area(*area))?;
            }
            Self::Charge(repo, number, charge) => return tx.recharge(*repo, *number, charge),
            Self::NameNode(area, node) => return tx.name_node(*area, *node),
            Self::AcceptNames(area) => return tx.recount_names(*area),
            Self::ResizeNode(Missized { area, node, blob, size, .. }) => {
                return tx.resize_node(*area, *node, blob.as_ref(), *size);
            }
            Self::RaiseIds(highest) => return raise_ids(tx, *highest),
            Self::Protect(_) => {}
            // Content that is known to be damaged has nothing to keep apart.
            Self::Unshare(hash, _) => {
                return Ok(tx.blob(hash)?.is_some_and(|row| row.is_stored()));
            }
            Self::Remove(Leftover::Page(page)) => return tx.delete_stray_page(*page),
            Self::Remove(
                Leftover::Blob(_)
                | Leftover::Incoming(_)
                | Leftover::Private(..)
                | Leftover::AreaDirectory(_)
                | Leftover::Stranger(_),
            ) => {}
        }
        Ok(true)
    }

    /// The step's part among the files, after that in the catalog.
    ///
    /// # Errors
    /// The disk's.
    pub(in crate::engine) fn files(&self, store: &Store) -> Result<()> {
        let Store { layout, lock, pool, private_files, .. } = store;
        match self {
            Self::Remove(Leftover::Blob(hash)) => pool.remove(lock, hash, None).map(drop),
            Self::Remove(Leftover::Incoming(path)) => {
                pool.remove_incoming(lock, &layout.root().join(path))
            }
            Self::Remove(Leftover::Private(area, file)) => {
                private_files.remove(lock, *area, *file).map(drop)
            }
            Self::Remove(Leftover::AreaDirectory(area)) => {
                while !private_files.remove_area(lock, *area, &mut Vec::new())? {}
                Ok(())
            }
            Self::Remove(Leftover::Stranger(path)) => {
                match durable::unlink(&layout.root().join(path)) {
                    Err(error) if error.is_not_found() => Ok(()),
                    removed => removed,
                }
            }
            Self::Protect(hash) => pool.protect(lock, hash).map(drop),
            Self::Unshare(hash, size) => {
                let copy = pool.copy_apart(hash, *size)?;
                pool.adopt(lock, copy, hash)?;
                pool.sync_fan_out(hash)
            }
            Self::UnmarkBlob(hash) | Self::InsertBlob { hash, damaged: false, .. } => {
                pool.unmark(hash);
                Ok(())
            }
            Self::InsertBlob { hash, damaged: true, .. } => {
                pool.mark_damaged([*hash]);
                Ok(())
            }
            Self::Remove(Leftover::Area(_) | Leftover::AreaRows(_) | Leftover::Page(_))
            | Self::BlankTree { .. }
            | Self::CountBlob(..)
            | Self::NameBlob(..)
            | Self::CountName(..)
            | Self::CountTree(..)
            | Self::Totals
            | Self::Charge(..)
            | Self::NameNode(..)
            | Self::AcceptNames(_)
            | Self::ResizeNode(_)
            | Self::RaiseIds(_)
            | Self::DeleteTag(..)
            | Self::RaiseNumber(..) => Ok(()),
        }
    }
}

/// The id that the next start begins with comes after `highest`, as after a run that gave it out.
fn raise_ids(tx: &Tx<'_>, highest: u64) -> Result<bool> {
    let recorded = tx.meta(ID_LIMIT)?.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    if recorded > highest {
        return Ok(false);
    }
    tx.set_meta(ID_LIMIT, &id_limit_after(highest).to_string())?;
    Ok(true)
}

/// The limit of ids once those up to `highest` are in use: a running store is far below it.
pub(in crate::engine) fn id_limit_after(highest: u64) -> u64 {
    highest.saturating_add(1).saturating_add(ID_STEP)
}

fn blank(tx: &Tx<'_>, hash: &TreeHash, refs: i64, now: Timestamp) -> Result<bool> {
    let bytes = tx.tree_page(hash)?;
    if bytes.is_some_and(|bytes| TreeHash::of(&bytes) == *hash) {
        return Ok(false);
    }
    let recorded = tx.tree_refs(hash)?;
    tx.blank_tree(hash, refs, now)?;
    if recorded == Some(0) {
        tx.delete_tree(hash)?;
    }
    Ok(true)
}

/// Does a step on a store that nobody else has open. Returns whether anything was to be done.
///
/// # Errors
/// The disk's or the database's.
pub(super) fn apply(step: &Step, store: &mut Store) -> Result<bool> {
    if let Step::Remove(Leftover::Blob(hash)) = step {
        let tx = store.catalog.begin()?;
        if tx.blob(hash)?.is_some() {
            return Ok(false);
        }
    }
    if let Step::Remove(Leftover::Private(..)) = step {
        // A run that was killed may have let it go by a row that is not on disk (H2).
        durable::sync_file(&store.layout.wal())?;
    }
    let tx = store.catalog.begin()?;
    let done = step.rows(&tx, Timestamp::now())?;
    tx.commit()?;
    if done {
        step.files(store)?;
    }
    Ok(done)
}

/// A count can be added to by a difference only while its row is there.
pub(in crate::engine) fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::MissingBlob(_) | StoreError::MissingTree(_))
}
