//! The way from one tree to another as single steps on paths, in an order that can be carried out.

use crate::model::hash::TreeHash;
use crate::model::name::EntryName;
use crate::model::tree::{Content, Entry};
use crate::model::tree_format::{Change, TreeSource, diff};

/// One step on one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Slash-separated bytes.
    pub path: Vec<u8>,
    /// What the path gets, or `None` when it is removed (a directory is empty by then). Of a
    /// directory only the attributes count: what is below it has steps of its own.
    pub entry: Option<Entry>,
}

/// Lists the steps that turn directory `first` into `second`: removals first, what is in a
/// directory before the directory; then the rest, a directory before what is in it. A path that is
/// a directory in one and not in the other is removed first.
///
/// # Errors
/// Those of the source.
pub fn steps<S: TreeSource>(
    source: &S,
    first: &TreeHash,
    second: &TreeHash,
) -> Result<Vec<Step>, S::Error> {
    let mut removed = Vec::new();
    let mut set = Vec::new();
    diff(source, first, second, &mut |directory, change| match change {
        Change::Added(entry) => set.push(step(directory, entry)),
        Change::Removed(entry) => removed.push(removal(directory, &entry.name)),
        Change::Modified { before, after } => {
            if is_directory(&before) != is_directory(&after) {
                removed.push(removal(directory, &after.name));
            }
            set.push(step(directory, after));
        }
    })?;
    // Path order lists a directory before what is in it.
    removed.reverse();
    removed.append(&mut set);
    Ok(removed)
}

fn is_directory(entry: &Entry) -> bool {
    matches!(entry.content, Content::Directory { .. })
}

fn join(directory: &[u8], name: &EntryName) -> Vec<u8> {
    let mut path = directory.to_vec();
    super::push_name(&mut path, name);
    path
}

fn step(directory: &[u8], entry: Entry) -> Step {
    Step { path: join(directory, &entry.name), entry: Some(entry) }
}

fn removal(directory: &[u8], name: &EntryName) -> Step {
    Step { path: join(directory, name), entry: None }
}
