//! The hardlink groups of versions: whether each has the names that it says, and is one file.
//!
//! Releases up to 0.1.0 gave several groups of a version one id. Nothing is lost by that any more,
//! since files that differ are never put together ([`crate::model::links`]); but what was published
//! meanwhile may hold what an earlier release put together, so people should know where to look.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::finding::{Finding, LISTED_MAX};
use super::{Check, Stopped};
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::links::{FileKey, scope_of, walk, walk_unknown};
use crate::model::tree::Entry;
use crate::model::tree_format::{TreeError, TreePage, TreeSource};
use crate::store::catalog::Snapshot;
use crate::store::error::StoreError;

/// Directories remembered as right, so that the next version's check need not read them again.
const KNOWN_MAX: usize = 1 << 20;

/// A group as its names show it.
struct Group {
    file: Option<FileKey>,
    nlink: u32,
    names: u32,
    /// Whether all names so far are one file.
    is_one: bool,
}

impl Check<'_> {
    pub(super) fn check_links(&mut self) -> Result<(), Stopped> {
        let mut versions = Vec::new();
        self.subject.snapshots.latest()?.versions(&mut |row| {
            // Rows that cannot be read have been reported.
            if let Ok(facts) = row
                && facts.root.summary.has_links
            {
                versions.push((facts.repo, facts.number, facts.root.tree));
            }
        })?;
        let total = versions.len() as u64;
        let mut known = HashSet::new();
        for (done, (repo, number, root)) in (0..).zip(versions) {
            self.check_cancelled()?;
            self.sink.progress("checking hardlinks", done, total);
            if known.contains(&root) {
                continue;
            }
            let snapshot = self.subject.snapshots.take()?;
            let pages = Pages::new(&snapshot, self);
            match wrong_names(&pages, &root, &mut known) {
                Ok((paths, more)) => {
                    if !paths.is_empty() {
                        let version = format!("{}/{number}", self.names.repository(repo));
                        self.found(Finding::Links { version, paths, more });
                    }
                }
                // It was deleted meanwhile, or the damage is reported elsewhere.
                Err(Unread::Page) => {}
                Err(Unread::Stopped(stopped)) => return Err(stopped),
            }
        }
        Ok(())
    }
}

/// Paths of names that are in a group with what is another file, or in one with other names than it
/// says; and how many more there are. What is right is added to `known`.
fn wrong_names(
    pages: &Pages<'_, '_>,
    root: &TreeHash,
    known: &mut HashSet<TreeHash>,
) -> Result<(Vec<Vec<u8>>, u64), Unread> {
    let mut groups: HashMap<u128, Group> = HashMap::new();
    let closed = walk_unknown(pages, root, known, &mut |path, entry| {
        let Some(link) = entry.link_group else { return };
        let file = FileKey::of(entry);
        let group = groups.entry(key(path, entry)).or_insert(Group {
            file,
            nlink: link.nlink,
            names: 0,
            is_one: scope_of(path, link).is_some(),
        });
        group.is_one &= group.file == file;
        group.names = group.names.saturating_add(1);
    })?;
    groups.retain(|_, group| !group.is_one || group.names != group.nlink);
    let (mut paths, mut more) = (Vec::new(), 0);
    if groups.is_empty() {
        let room = KNOWN_MAX.saturating_sub(known.len());
        known.extend(closed.into_iter().take(room));
        return Ok((paths, more));
    }
    walk(pages, root, &mut |path, entry| {
        if !groups.contains_key(&key(path, entry)) {
            return;
        }
        if paths.len() < LISTED_MAX {
            paths.push(path.to_vec());
        } else {
            more += 1;
        }
    })?;
    Ok((paths, more))
}

/// What tells groups apart by scope and id alone.
fn key(path: &[u8], entry: &Entry) -> u128 {
    let mut hasher = blake3::Hasher::new();
    if let Some(group) = entry.link_group {
        hasher.update(&group.id.to_le_bytes());
        match scope_of(path, group) {
            Some(scope) => hasher.update(b"in").update(scope),
            None => hasher.update(b"nowhere").update(path),
        };
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(key)
}

/// The trees of a snapshot, for as long as nobody ends the check.
pub(super) struct Pages<'p, 'c> {
    snapshot: &'p Snapshot,
    check: RefCell<&'p mut Check<'c>>,
    /// Contents with names of two kinds are taken for different ones.
    by_names: bool,
    /// Somebody compared a content with one that has a name of the other kind.
    asked: Cell<bool>,
}

impl<'p, 'c> Pages<'p, 'c> {
    pub(super) fn new(snapshot: &'p Snapshot, check: &'p mut Check<'c>) -> Self {
        Self { snapshot, check: RefCell::new(check), by_names: false, asked: Cell::new(false) }
    }

    /// The same trees, whose contents are the same only under the same names.
    pub(super) fn by_names(snapshot: &'p Snapshot, check: &'p mut Check<'c>) -> Self {
        Self { by_names: true, ..Self::new(snapshot, check) }
    }

    /// Whether a content was compared with one that has a name of the other kind.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.get()
    }
}

/// Why a version cannot be read.
pub(super) enum Unread {
    /// A page is not there, or not one.
    Page,
    Stopped(Stopped),
}

impl From<TreeError> for Unread {
    fn from(_: TreeError) -> Self {
        Self::Page
    }
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        if error.is_corrupt() { Self::Page } else { Self::Stopped(error.into()) }
    }
}

impl TreeSource for Pages<'_, '_> {
    type Error = Unread;

    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, Unread> {
        self.check.borrow_mut().check_cancelled().map_err(Unread::Stopped)?;
        let bytes = self.snapshot.tree(hash)?.ok_or(Unread::Page)?;
        Ok(Arc::new(TreePage::parse(bytes)?))
    }

    fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>, Unread> {
        self.asked.set(true);
        Ok(if self.by_names { None } else { self.snapshot.blob_of(digest)? })
    }
}
