//! What differs between two places that strangers may look into, file by file.
//!
//! What is hidden on one side is as if it were not there on that side (H55).

use crate::engine::Engine;
use crate::model::hash::TreeHash;
use crate::model::tree::{Content, Entry};
use crate::model::tree_format;
use crate::store::error::StoreError;
use crate::web::look::{Found, RegularFile, is_visible};

/// Differences that are looked at.
const CHANGES_MAX: usize = 5000;

/// Directories that are looked into: most of them may be hidden or differ in nothing that is shown.
const DIRECTORIES_MAX: usize = 50_000;

/// One difference; not both sides are `None`.
pub(super) struct Change {
    /// Its path below the places.
    pub(super) path: Vec<u8>,
    /// Before.
    pub(super) before: Option<Entry>,
    /// After.
    pub(super) after: Option<Entry>,
}

/// All differences, or the first of them.
#[derive(Default)]
pub(super) struct Changes {
    /// In the order of paths.
    pub(super) all: Vec<Change>,
    /// Whether there are more.
    pub(super) is_cut: bool,
}

impl Change {
    /// The regular files on both sides.
    pub(super) fn files(&self) -> (Option<RegularFile>, Option<RegularFile>) {
        let file = |entry: &Option<Entry>| entry.clone().and_then(RegularFile::of);
        (file(&self.before), file(&self.after))
    }
}

fn tree(entry: Option<&Entry>) -> Option<TreeHash> {
    match entry?.content {
        Content::Directory { tree, .. } => Some(tree),
        _ => None,
    }
}

/// The tree of what was found, if it is a directory.
fn found_tree(found: Option<&Found>) -> Option<TreeHash> {
    match found? {
        Found::Directory(directory) => Some(directory.tree),
        Found::File(_) => None,
    }
}

/// Compares two places. Directories are there for what is in them, and are no differences themselves.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn between(
    engine: &Engine,
    before: Option<&Found>,
    after: Option<&Found>,
) -> Result<Changes, StoreError> {
    let mut changes = Changes::default();
    let mut open = vec![(Vec::new(), found_tree(before), found_tree(after))];
    let mut looked_at = 0;
    while let Some((path, first, second)) = open.pop() {
        looked_at += 1;
        if looked_at > DIRECTORIES_MAX {
            changes.is_cut = true;
            break;
        }
        let mut below = Vec::new();
        tree_format::diff_entries(
            &*engine.trees,
            first.as_ref(),
            second.as_ref(),
            &mut |one, two| {
                let (one, two) = (one.filter(is_visible), two.filter(is_visible));
                let Some(name) = one.as_ref().or(two.as_ref()).map(|entry| entry.name.clone())
                else {
                    return;
                };
                let mut path: Vec<u8> = path.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name.as_bytes());
                let trees = (tree(one.as_ref()), tree(two.as_ref()));
                if trees.0 != trees.1 {
                    below.push((path.clone(), trees.0, trees.1));
                }
                let is_file = |entry: &Entry| !matches!(entry.content, Content::Directory { .. });
                let (before, after) = (one.filter(is_file), two.filter(is_file));
                if before.is_none() && after.is_none() {
                    return;
                }
                if changes.all.len() < CHANGES_MAX {
                    changes.all.push(Change { path, before, after });
                } else {
                    changes.is_cut = true;
                }
            },
        )?;
        if changes.is_cut {
            break;
        }
        open.extend(below.into_iter().rev());
    }
    changes.all.sort_by(|one, two| one.path.cmp(&two.path));
    Ok(changes)
}
