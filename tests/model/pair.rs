//! The two trees of a history, and the comparison after each step.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use tempfile::TempDir;

use crate::operation::Operation;
use support::tree::{self, Node, NodeKind, Tree};
use support::{Cairn, mounts};

/// Distinguishes the histories of a run, those of shrinking included.
static HISTORIES: AtomicU32 = AtomicU32::new(0);

/// Times before this one were set by the history; later ones mean "now".
const EXPLICIT_BEFORE_SECONDS: i64 = 1_500_000_000;

/// One side: a tree and the file that is kept open in it.
struct Side {
    root: PathBuf,
    held: Option<File>,
}

/// A plain directory, and what is compared with it.
pub(crate) struct Pair<'w> {
    plain: Side,
    _plain_home: TempDir,
    other: Side,
    cairn: Option<Staged<'w>>,
}

/// The cairn side: its area moves on with each commit.
struct Staged<'w> {
    cairn: &'w mut Cairn,
    repository: String,
    commits: u32,
    /// Each commit's tag with the tree that it must show forever.
    published: Vec<(String, Tree)>,
}

impl<'w> Pair<'w> {
    /// A plain directory and a new area in a repository of its own.
    pub(crate) fn with_cairn(cairn: &'w mut Cairn) -> Self {
        revive(cairn);
        let repository = format!("r{}", HISTORIES.fetch_add(1, Ordering::Relaxed));
        let root = cairn.area(&repository, "area");
        let staged = Staged { cairn, repository, commits: 0, published: Vec::new() };
        Self::new(root, Some(staged))
    }

    /// Two plain directories.
    pub(crate) fn of_directories(home: &Path) -> Self {
        let name = format!("other{}", HISTORIES.fetch_add(1, Ordering::Relaxed));
        let root = home.join(name);
        fs::create_dir(&root).unwrap();
        Self::new(root, None)
    }

    fn new(root: PathBuf, cairn: Option<Staged<'w>>) -> Self {
        let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let plain = Side { root: home.path().join("area"), held: None };
        fs::create_dir(&plain.root).unwrap();
        Self { plain, _plain_home: home, other: Side { root, held: None }, cairn }
    }

    /// Fixes the paths of `operation` among what exists now.
    pub(crate) fn resolve(&self, mut operation: Operation) -> Operation {
        let tree = tree::read(&self.plain.root);
        let all: Vec<_> = tree.keys().cloned().collect();
        let is_directory = |path: &&PathBuf| tree[*path].kind == NodeKind::Directory;
        let directories: Vec<_> = all.iter().filter(is_directory).cloned().collect();
        operation.resolve(&all, &directories);
        operation
    }

    /// Applies `operation` to both sides and compares results and trees.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Result<(), String> {
        match operation {
            Operation::Commit => self.commit()?,
            Operation::Restart => self.restart(),
            _ => {
                let expected = operation.apply(&self.plain.root, &mut self.plain.held);
                let found = operation.apply(&self.other.root, &mut self.other.held);
                if outcome(&expected) != outcome(&found) {
                    return Err(format!("expected {expected:?}, found {found:?}"));
                }
            }
        }
        self.compare(&self.other.root)?;
        self.compare_held()
    }

    /// What must hold at the end of a history.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        self.commit()?;
        let Some(staged) = &self.cairn else {
            return Ok(());
        };
        for (tag, tree) in &staged.published {
            let version = staged.cairn.tags(&staged.repository).join(tag);
            let lines = tree::differences(tree, &tree::read(&fs::canonicalize(version).unwrap()));
            if !lines.is_empty() {
                return Err(format!("version {tag} has changed:\n{}", lines.join("\n")));
            }
        }
        let check = staged.cairn.run(&["fsck"]);
        if check.status.success() {
            Ok(())
        } else {
            Err(format!("fsck: {}", String::from_utf8_lossy(&check.stdout)))
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        self.close_held();
        let Some(staged) = &mut self.cairn else {
            return Ok(());
        };
        staged.commits += 1;
        let tag = format!("t{}", staged.commits);
        let version = staged.cairn.tags(&staged.repository).join(&tag);
        fs::rename(&self.other.root, &version).map_err(|error| format!("commit: {error}"))?;
        let version = fs::canonicalize(version).map_err(|error| format!("the tag: {error}"))?;
        staged.published.push((tag, tree::read(&version)));
        let next = staged.cairn.staging(&staged.repository).join("area@latest");
        fs::create_dir(&next).map_err(|error| format!("mkdir area@latest: {error}"))?;
        self.other.root = next;
        self.compare(&version).map_err(|text| format!("in the version: {text}"))
    }

    fn restart(&mut self) {
        self.close_held();
        if let Some(staged) = &mut self.cairn {
            staged.cairn.restart();
        }
    }

    fn close_held(&mut self) {
        self.plain.held = None;
        self.other.held = None;
    }

    fn compare(&self, found: &Path) -> Result<(), String> {
        let (expected, found) = (comparable(&self.plain.root), comparable(found));
        let lines = tree::differences(&expected, &found);
        if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
    }

    /// The open files agree, named or not.
    fn compare_held(&self) -> Result<(), String> {
        let (Some(plain), Some(other)) = (&self.plain.held, &self.other.held) else {
            return Ok(());
        };
        let (expected, found) = (plain.metadata().unwrap(), other.metadata().unwrap());
        let shown = |meta: &fs::Metadata| (meta.len(), meta.nlink(), meta.mode());
        if expected.is_file() && shown(&expected) != shown(&found) {
            return Err(format!(
                "the open file: expected {:?}, found {:?}",
                shown(&expected),
                shown(&found)
            ));
        }
        if expected.is_file() && whole(plain) != whole(other) {
            return Err("the open file has different content".to_owned());
        }
        Ok(())
    }
}

/// An earlier history may have killed the daemon, or made it refuse changes; that was reported then.
fn revive(cairn: &mut Cairn) {
    static PROBES: AtomicU32 = AtomicU32::new(0);
    if cairn.exit_status().is_none() && !mounts::below(&cairn.mnt()).is_empty() {
        let probe = cairn.staging(format!("probe{}", PROBES.fetch_add(1, Ordering::Relaxed)));
        if fs::create_dir(probe).is_ok() {
            return;
        }
        cairn.kill9();
    }
    cairn.mount();
}

fn whole(file: &File) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut content, 0).unwrap();
    content
}

/// The tree with every time that the history did not set replaced by one value.
fn comparable(root: &Path) -> Tree {
    let now = |node: Node| {
        let explicit = node.mtime.0 < EXPLICIT_BEFORE_SECONDS;
        Node { mtime: if explicit { node.mtime } else { (i64::MAX, 0) }, ..node }
    };
    tree::read(root).into_iter().map(|(path, node)| (path, now(node))).collect()
}

fn outcome(result: &io::Result<()>) -> Result<&(), Option<Errno>> {
    result.as_ref().map_err(Errno::from_io_error)
}
