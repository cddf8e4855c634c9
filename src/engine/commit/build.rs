//! Building the trees of a commit, on a thread of its own.
//!
//! The area is frozen, so its names and sealed contents do not change; the namespace is looked at
//! one directory at a time. Unchanged subtrees keep their hash without being visited: the cost
//! follows what changed (O(changed), not O(version)). Pages go to the metadata thread in bounded
//! batches, children before parents.

use std::collections::hash_map::Entry as Known;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::NAMED_FILES_MAX;
use crate::engine::after::TaskId;
use crate::engine::blobs::Page;
use crate::engine::error::EngineError;
use crate::engine::staging::Staging;
use crate::engine::staging::node::{Base, Body, Node, Slot};
use crate::engine::staging::state::State;
use crate::engine::stop_point::{StopPoint, StopPoints};
use crate::engine::workers::Tell;
use crate::model::hash::TreeHash;
use crate::model::id::{AreaId, NodeId};
use crate::model::links::Naming;
use crate::model::merge::{self, Merge};
use crate::model::name::EntryName;
use crate::model::quota::{self, Usage};
use crate::model::tree::{Attributes, Content, Entry, LinkGroup, Root, Summary};
use crate::model::tree_format::{self, BuiltTree, TreePage, TreeSource};
use crate::model::version::Version;
use crate::store::error::StoreError;
use crate::store::pool::Pool;
use crate::store::tree_cache::TreeCache;
use crate::sys::panics;

/// Pages and bytes per transaction: a slice of a few milliseconds on the metadata thread.
const BATCH_PAGES_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What a tree builder tells the metadata thread.
pub(in crate::engine) enum BuildReport {
    /// The next pages, children first.
    Pages(TaskId, Vec<Page>),
    /// The trees are complete; with what the version adds to the newest one. Or why they cannot be.
    Built(TaskId, Result<(Root, Usage), EngineError>),
}

/// What a tree builder needs.
pub(super) struct BuildJob {
    pub(super) task: TaskId,
    pub(super) area: AreaId,
    /// The newest version. The new version's charge is what it adds to this one.
    pub(super) newest: Option<Arc<Version>>,
    /// Merge with the newest version instead of replacing it.
    pub(super) merge: bool,
    /// Knows which blobs are damaged: a version with one of them is refused (H3).
    pub(super) pool: Arc<Pool>,
    pub(super) staging: Arc<Staging>,
    pub(super) trees: Arc<TreeCache>,
    pub(super) tell: Tell<BuildReport>,
    pub(super) stop_points: Arc<StopPoints>,
}

/// Starts a builder. It ends with a [`BuildReport::Built`].
///
/// # Errors
/// When no thread can be started.
pub(super) fn spawn(job: BuildJob) -> Result<(), StoreError> {
    let name = format!("build-{}", job.task);
    let body = move || {
        let (task, tell) = (job.task, Arc::clone(&job.tell));
        job.stop_points.pass(StopPoint::Building);
        let mut builder = Builder {
            source: Pages { trees: Arc::clone(&job.trees), new: HashMap::new() },
            job,
            pages: Vec::new(),
            bytes: 0,
            damaged: Vec::new(),
            groups: HashMap::new(),
        };
        let built = panics::contain("building a version's trees", || {
            panics::point("build");
            builder.run().and_then(|root| {
                let newest = builder.job.newest.as_ref().map(|newest| &newest.root.tree);
                let usage = quota::added(&builder.source, newest, &root.tree)?;
                Ok((root, usage))
            })
        });
        let built = built.unwrap_or_else(|panicked| Err(StoreError::from(panicked).into()));
        // Where the engine has stopped, the commit is not acknowledged.
        tell(BuildReport::Built(task, built)).unwrap_or_default();
    };
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(body)
        .map(drop)
        .map_err(|source| StoreError::Io { action: "start a thread", path: name.into(), source })
}

/// Reads the pages of this commit, and all others from the catalog.
struct Pages {
    trees: Arc<TreeCache>,
    new: HashMap<TreeHash, Arc<TreePage>>,
}

impl TreeSource for Pages {
    type Error = StoreError;

    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, StoreError> {
        match self.new.get(hash) {
            Some(page) => Ok(Arc::clone(page)),
            None => self.trees.page(hash),
        }
    }
}

struct Builder {
    job: BuildJob,
    source: Pages,
    pages: Vec<Page>,
    bytes: usize,
    /// Paths of files whose content is damaged (some of them).
    damaged: Vec<String>,
    /// How hardlink groups are named, by their nodes.
    groups: HashMap<NodeId, Naming>,
}

/// A directory being built.
struct Frame {
    node: NodeId,
    base: Option<TreeHash>,
    /// Its changed directories that are still to be built.
    pending: Vec<(EntryName, NodeId)>,
    changes: BTreeMap<EntryName, Option<Entry>>,
}

/// A directory as the namespace shows it, with the changed entries that are no directories.
type Opened = Result<Frame, EngineError>;

impl Builder {
    fn run(&mut self) -> Result<Root, EngineError> {
        let (root_node, base) = {
            let state = self.job.staging.read();
            let area = state
                .areas
                .get(&self.job.area)
                .ok_or_else(|| EngineError::NoArea(self.job.area))?;
            (area.root, area.base.clone())
        };
        let built = self.build(root_node)?;
        if !self.damaged.is_empty() {
            return Err(EngineError::Damaged { files: std::mem::take(&mut self.damaged) });
        }
        let attributes = {
            let state = self.job.staging.read();
            let node = state.node(root_node).ok_or_else(|| EngineError::NoArea(self.job.area))?;
            attributes(node)
        };
        let mut root = Root { attributes, tree: built.root, summary: built.summary };
        if self.job.merge
            && let Some(theirs) = self.job.newest.clone()
            && base.as_ref().is_some_and(|base| base.number != Some(theirs.number))
        {
            root = self.merge(base, root, &theirs)?;
        }
        self.send()?;
        Ok(root)
    }

    /// Builds a directory and everything changed below it, without recursion: a path may be
    /// deeper than a stack.
    fn build(&mut self, top: NodeId) -> Result<BuiltTree, EngineError> {
        let mut stack = vec![self.open(top)?];
        loop {
            let Some(frame) = stack.last_mut() else {
                return Err(inconsistent(self.job.area, "it has no root"));
            };
            if let Some((_, child)) = frame.pending.last() {
                let child = *child;
                let opened = self.open(child)?;
                stack.push(opened);
                continue;
            }
            let Some(frame) = stack.pop() else { continue };
            let built = tree_format::apply(&self.source, frame.base.as_ref(), &frame.changes)?;
            self.add_pages(&built.pages)?;
            let Some(parent) = stack.last_mut() else {
                return Ok(built);
            };
            if let Some((name, _)) = parent.pending.pop() {
                let state = self.job.staging.read();
                let gone = || vanished(self.job.area);
                let node = state.node(frame.node).ok_or_else(gone)?;
                let content = Content::Directory { tree: built.root, summary: built.summary };
                let entry = Entry {
                    name: name.clone(),
                    attributes: attributes(node),
                    link_group: None,
                    content,
                };
                parent.changes.insert(name, Some(entry));
            }
        }
    }

    fn open(&mut self, id: NodeId) -> Opened {
        let state = self.job.staging.read();
        let gone = || vanished(self.job.area);
        let directory = state.node(id).and_then(Node::directory).ok_or_else(gone)?;
        let mut frame =
            Frame { node: id, base: directory.base, pending: Vec::new(), changes: BTreeMap::new() };
        for (name, slot) in &directory.slots {
            let Slot::Node(child) = slot else {
                frame.changes.insert(name.clone(), None);
                continue;
            };
            let node = state.node(*child).ok_or_else(gone)?;
            if !node.changed {
                continue;
            }
            if node.is_directory() {
                frame.pending.push((name.clone(), *child));
            } else {
                let link_group = link_group(&mut self.groups, &state, *child, (id, name));
                let entry = file_entry(node, name, link_group)?;
                if self.damaged.len() < NAMED_FILES_MAX
                    && let Content::File { blob: Some(blob), .. } = &entry.content
                    && self.job.pool.is_damaged(blob)
                {
                    let path = state.paths(*child).into_iter().next().unwrap_or_default();
                    self.damaged.push(String::from_utf8_lossy(&path).into_owned());
                }
                frame.changes.insert(name.clone(), Some(entry));
            }
        }
        Ok(frame)
    }

    fn merge(
        &mut self,
        base: Option<Base>,
        ours: Root,
        theirs: &Version,
    ) -> Result<Root, EngineError> {
        let base = match base.and_then(|base| base.root) {
            Some(root) => root,
            None => {
                let empty = tree_format::build([]).map_err(StoreError::from)?;
                self.add_pages(&empty.pages)?;
                let attributes = theirs.root.attributes.clone();
                Root { attributes, tree: empty.root, summary: empty.summary }
            }
        };
        match merge::merge(&self.source, &base, &ours, &theirs.root)? {
            Merge::Merged(merged) => {
                self.add_pages(&merged.pages)?;
                Ok(merged.root)
            }
            Merge::Conflicts(conflicts) => {
                let conflicts = conflicts
                    .into_iter()
                    .map(|conflict| {
                        let path = String::from_utf8_lossy(&conflict.path).into_owned();
                        (path, conflict.reason.to_string())
                    })
                    .collect();
                Err(EngineError::Conflicts { conflicts })
            }
        }
    }

    fn add_pages(&mut self, pages: &[Page]) -> Result<(), EngineError> {
        for (hash, bytes) in pages {
            if self.source.new.contains_key(hash) {
                continue;
            }
            let page = TreePage::parse(bytes.clone()).map_err(StoreError::from)?;
            self.source.new.insert(*hash, Arc::new(page));
            self.bytes += bytes.len();
            self.pages.push((*hash, bytes.clone()));
            if self.pages.len() >= BATCH_PAGES_MAX || self.bytes >= BATCH_BYTES_MAX {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), EngineError> {
        self.bytes = 0;
        let pages = std::mem::take(&mut self.pages);
        if pages.is_empty() {
            return Ok(());
        }
        (self.job.tell)(BuildReport::Pages(self.job.task, pages))
    }
}

fn vanished(area: AreaId) -> EngineError {
    inconsistent(area, "a file of it vanished")
}

fn inconsistent(area: AreaId, what: &'static str) -> EngineError {
    EngineError::Inconsistent { area, what }
}

fn attributes(node: &Node) -> Attributes {
    Attributes {
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: node.content().map_or(node.mtime, |content| content.attr().mtime),
        xattrs: node.xattrs.clone(),
    }
}

/// The hardlink group that a file's entry at one of its names records.
fn link_group(
    known: &mut HashMap<NodeId, Naming>,
    state: &State,
    id: NodeId,
    (parent, name): (NodeId, &EntryName),
) -> Option<LinkGroup> {
    if state.node(id)?.names.len() < 2 {
        return None;
    }
    let naming = match known.entry(id) {
        Known::Occupied(known) => *known.get(),
        Known::Vacant(unknown) => *unknown.insert(Naming::of(&state.paths(id))?),
    };
    Some(naming.group(&state.path_of_name(parent, name)))
}

/// The entry of anything that is not a directory.
fn file_entry(
    node: &Node,
    name: &EntryName,
    link_group: Option<LinkGroup>,
) -> Result<Entry, EngineError> {
    let content = match &node.body {
        Body::File(content) => {
            let unsealed = |()| inconsistent(node.area.id, "a file of it is not sealed");
            let blob = content.blob().map_err(unsealed)?;
            Content::File { size: content.attr().size, blob }
        }
        Body::Symlink(target) => Content::Symlink { target: target.clone() },
        Body::Fifo => Content::Fifo,
        Body::Socket => Content::Socket,
        Body::CharDevice(rdev) => Content::CharDevice { rdev: *rdev },
        Body::BlockDevice(rdev) => Content::BlockDevice { rdev: *rdev },
        Body::Directory(_) => {
            Content::Directory { tree: TreeHash::from_bytes([0; 32]), summary: Summary::default() }
        }
    };
    Ok(Entry { name: name.clone(), attributes: attributes(node), link_group, content })
}
