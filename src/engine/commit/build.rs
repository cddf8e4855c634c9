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
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
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
pub(in crate::engine) struct BuildJob {
    pub(in crate::engine) task: TaskId,
    pub(in crate::engine) area: AreaId,
    /// The newest version. The new version's charge is what it adds to this one.
    pub(in crate::engine) newest: Option<Arc<Version>>,
    /// Merge with the newest version instead of replacing it.
    pub(in crate::engine) merge: bool,
    /// Knows which blobs are damaged: a version with one of them is refused (H3).
    pub(in crate::engine) pool: Arc<Pool>,
    pub(in crate::engine) staging: Arc<Staging>,
    pub(in crate::engine) trees: Arc<TreeCache>,
    pub(in crate::engine) tell: Tell<BuildReport>,
    pub(in crate::engine) stop_points: Arc<StopPoints>,
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
        let mut builder = Builder::new(job);
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

/// Builds the trees of an area as it is, on the calling thread, and tells of their pages only: when that returns they are
/// written, so none stays in memory. Nobody may change the area meanwhile.
///
/// # Errors
/// As a commit's: damaged content, the database's.
pub(in crate::engine) fn build_here(job: BuildJob) -> Result<TreeHash, EngineError> {
    let mut builder = Builder { keeps_pages: false, ..Builder::new(job) };
    let (_, built) = builder.build_area()?;
    builder.send()?;
    Ok(built.root)
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

    fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>, StoreError> {
        self.trees.blob_of(digest)
    }
}

struct Builder {
    job: BuildJob,
    /// Whether pages stay readable that were told of: they may not be in the catalog yet.
    keeps_pages: bool,
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
    /// What was at its path before, if names of content are to be kept.
    names: Option<TreeHash>,
    /// Its changed directories that are still to be built.
    pending: Vec<(EntryName, NodeId)>,
    changes: BTreeMap<EntryName, Option<Entry>>,
}

/// A directory as the namespace shows it, with the changed entries that are no directories.
type Opened = Result<Frame, EngineError>;

impl Builder {
    fn new(job: BuildJob) -> Self {
        Self {
            source: Pages { trees: Arc::clone(&job.trees), new: HashMap::new() },
            job,
            keeps_pages: true,
            pages: Vec::new(),
            bytes: 0,
            damaged: Vec::new(),
            groups: HashMap::new(),
        }
    }

    /// Builds the trees of the area. Returns what it began on, too.
    fn build_area(&mut self) -> Result<(Option<Base>, BuiltTree), EngineError> {
        let (root_node, base) = {
            let state = self.job.staging.read();
            let area = state
                .areas
                .get(&self.job.area)
                .ok_or_else(|| EngineError::NoArea(self.job.area))?;
            (area.root, area.base.clone())
        };
        let earlier = base.as_ref().and_then(|base| base.root.as_ref());
        let earlier = earlier.or(self.job.newest.as_ref().map(|newest| &newest.root));
        let names = match self.job.trees.blob_names().any_declared()? {
            true => earlier.map(|root| root.tree),
            false => None,
        };
        let built = self.build(root_node, names)?;
        if !self.damaged.is_empty() {
            return Err(EngineError::Damaged { files: std::mem::take(&mut self.damaged) });
        }
        Ok((base, built))
    }

    fn run(&mut self) -> Result<Root, EngineError> {
        let (base, built) = self.build_area()?;
        let attributes = {
            let state = self.job.staging.read();
            let root = state.node(NodeId(self.job.area.0));
            attributes(root.ok_or_else(|| EngineError::NoArea(self.job.area))?)
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
    fn build(&mut self, top: NodeId, names: Option<TreeHash>) -> Result<BuiltTree, EngineError> {
        let mut stack = vec![self.open(top, names)?];
        loop {
            let Some(frame) = stack.last_mut() else {
                return Err(inconsistent(self.job.area, "it has no root"));
            };
            if let Some((name, child)) = frame.pending.last() {
                let (child, names) = (*child, frame.names.map(|tree| (tree, name.clone())));
                let names =
                    names.map(|(tree, name)| self.directory_at(&tree, &name)).transpose()?;
                let opened = self.open(child, names.flatten())?;
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

    fn open(&mut self, id: NodeId, names: Option<TreeHash>) -> Opened {
        let state = self.job.staging.read();
        let gone = || vanished(self.job.area);
        let directory = state.node(id).and_then(Node::directory).ok_or_else(gone)?;
        let (pending, changes) = (Vec::new(), BTreeMap::new());
        let mut frame = Frame { node: id, base: directory.base, names, pending, changes };
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
                frame.changes.insert(name.clone(), Some(entry));
            }
        }
        drop(state);
        self.look_at_content(&mut frame)?;
        Ok(frame)
    }

    /// Keeps names of content, and lists files whose content is damaged. The catalog is asked, so the namespace is
    /// not locked meanwhile.
    fn look_at_content(&mut self, frame: &mut Frame) -> Result<(), StoreError> {
        for (name, entry) in &mut frame.changes {
            let Some(entry) = entry else { continue };
            if let Some(names) = &frame.names {
                self.keep_name(names, entry)?;
            }
            if self.damaged.len() < NAMED_FILES_MAX && self.is_damaged(&entry.content)? {
                let path = self.job.staging.read().path_of_name(frame.node, name);
                self.damaged.push(String::from_utf8_lossy(&path).into_owned());
            }
        }
        Ok(())
    }

    /// Gives the content of a file the declared name that it had at this path before, if it is the same content:
    /// so what is copied over a mirror is no change. The names of a hardlink stay what they are, since they must
    /// have one in common.
    fn keep_name(&self, names: &TreeHash, entry: &mut Entry) -> Result<(), StoreError> {
        let Content::File { size, blob } = &mut entry.content else { return Ok(()) };
        let Some(ContentName::Blake3(own)) = *blob else { return Ok(()) };
        if entry.link_group.is_some() {
            return Ok(());
        }
        let before = tree_format::lookup(&self.source, names, entry.name.as_bytes())?;
        if let Some(Content::File { size: size_before, blob: Some(name) }) =
            before.map(|before| before.content)
            && size_before == *size
            && let ContentName::Sha256(digest) = name
            && self.source.blob_of(&digest)? == Some(own)
        {
            *blob = Some(name);
        }
        Ok(())
    }

    /// The tree of a directory in a directory.
    fn directory_at(
        &self,
        tree: &TreeHash,
        name: &EntryName,
    ) -> Result<Option<TreeHash>, StoreError> {
        let entry = tree_format::lookup(&self.source, tree, name.as_bytes())?;
        Ok(entry.and_then(|entry| match entry.content {
            Content::Directory { tree, .. } => Some(tree),
            _ => None,
        }))
    }

    /// Whether the content of an entry is known to be damaged.
    fn is_damaged(&self, content: &Content) -> Result<bool, StoreError> {
        let blob = match content {
            Content::File { blob: Some(ContentName::Blake3(blob)), .. } => Some(*blob),
            Content::File { blob: Some(ContentName::Sha256(digest)), .. } => {
                self.source.blob_of(digest)?
            }
            _ => None,
        };
        Ok(blob.is_some_and(|blob| self.job.pool.is_damaged(&blob)))
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
        (self.job.tell)(BuildReport::Pages(self.job.task, pages))?;
        if !self.keeps_pages {
            self.source.new.clear();
        }
        Ok(())
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
