//! What keeps a blob, by name: versions, staging areas, and what is being taken apart (G13).
//!
//! Every distinct directory page of the store is looked at once, and how often the blob is named
//! below it remembered; versions share most of theirs. It reads on a connection of its own, on the
//! asker's thread. Must not know how the answer is shown.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::Result;
use super::handle::Engine;
use super::registry::Repository;
use super::request::Request;
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId, VersionNumber};
use crate::model::name::AreaName;
use crate::model::tree_format::{ContentRef, Reference, TreePage, TreeSource};
use crate::store::catalog::{BlobRow, QueuedDeletion, Reader};
use crate::store::error::StoreError;

/// Pages between two reports of progress.
const PAGES_PER_REPORT: u64 = 1000;

/// How much is listed.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Holders.
    pub holders: usize,
    /// Paths in each.
    pub paths: usize,
}

/// Where in a holder the blob is.
#[derive(Debug, Default)]
pub struct Names {
    /// The first paths.
    pub paths: Vec<Vec<u8>>,
    /// How many there are in all.
    pub total: u64,
}

/// One thing that holds the blob.
#[derive(Debug)]
pub enum Holder {
    /// A version, whether it is deleted (since when) or not.
    Version {
        /// Its repository.
        repository: Arc<Repository>,
        /// Its number.
        number: VersionNumber,
        /// When it was deleted.
        deleted: Option<i64>,
        /// Where in it.
        names: Names,
    },
    /// A staging area.
    Area {
        /// Its repository.
        repository: Arc<Repository>,
        /// Its name.
        name: AreaName,
        /// The version that it started from holds the blob, not a file of the area itself.
        base: bool,
        /// Where in it.
        names: Names,
    },
    /// What is being taken apart.
    Queue,
}

/// What keeps a blob.
#[derive(Debug)]
pub struct Holders {
    /// The blob's row.
    pub row: BlobRow,
    /// Names that it has in trees and areas, under either digest.
    pub references: u64,
    /// Whether a pin holds it.
    pub pinned: bool,
    /// The first things that hold it.
    pub listed: Vec<Holder>,
    /// How many more do.
    pub more: u64,
    /// References of pages that nothing listed reaches: of a commit under way, or about to go.
    pub elsewhere: u64,
}

impl Engine {
    /// Finds what keeps a blob; `None` when the store does not have it. `progress` is told how
    /// many pages were looked at.
    ///
    /// # Errors
    /// When the store cannot be read, or the engine has stopped.
    pub fn holders(
        &self,
        blob: &BlobHash,
        bounds: Bounds,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Holders>> {
        // The counts of the catalog are right only once the journal is written.
        self.call(|reply| Request::Flush { reply })?;
        let reader = self.open_reader()?;
        let Some(row) = reader.blob(blob)? else { return Ok(None) };
        let declared = reader.digest_of(blob)?;
        let mut found = Holders {
            row,
            pinned: self.pins.is_pinned(&(*blob).into())
                || declared.is_some_and(|digest| self.pins.is_pinned(&digest.into())),
            references: 0,
            listed: Vec::new(),
            more: 0,
            elsewhere: 0,
        };
        if row.refs == 0 {
            return Ok(Some(found));
        }
        let mut search = Search {
            engine: self,
            blob: *blob,
            declared,
            bounds,
            below: HashMap::new(),
            direct: 0,
            pages: 0,
            progress,
        };
        search.areas(&reader, &mut found)?;
        search.versions(&mut found)?;
        search.queue(&reader, &mut found)?;
        // Those under the declared name are counted there, and hold the blob together.
        let under = declared.map(|digest| reader.declared(&digest)).transpose()?.flatten();
        let (own, others) =
            (row.refs.unsigned_abs(), under.map_or(0, |row| row.refs.unsigned_abs()));
        let refs = own.saturating_sub(u64::from(under.is_some())).saturating_add(others);
        found.references = refs;
        found.elsewhere = refs.saturating_sub(search.direct);
        Ok(Some(found))
    }
}

impl Holders {
    fn add(&mut self, bounds: Bounds, holder: Holder) {
        if self.listed.len() < bounds.holders {
            self.listed.push(holder);
        } else {
            self.more += 1;
        }
    }
}

struct Search<'s> {
    engine: &'s Engine,
    blob: BlobHash,
    /// Its declared name, if it has one.
    declared: Option<Sha256>,
    bounds: Bounds,
    /// How often the blob is named in a tree and below it.
    below: HashMap<TreeHash, u64>,
    /// References found: names in distinct pages, and files of areas.
    direct: u64,
    pages: u64,
    progress: &'s mut dyn FnMut(u64),
}

/// A page whose children are being counted.
struct Open {
    tree: TreeHash,
    children: Vec<TreeHash>,
    names: u64,
}

impl Search<'_> {
    fn versions(&mut self, found: &mut Holders) -> Result<()> {
        let registry = &self.engine.registry;
        let retired = registry.deleted().into_iter().map(|(repository, _)| repository);
        for repository in registry.all().into_iter().chain(retired) {
            let live = repository.versions.values().map(|version| (version, None));
            let gone = repository.deleted.values();
            let gone = gone.map(|gone| (&gone.version, Some(gone.deleted)));
            for (version, deleted) in live.chain(gone) {
                let (number, tree) = (version.number, version.root.tree);
                let Some(names) = self.names(&tree, found)? else { continue };
                let repository = Arc::clone(&repository);
                found.add(self.bounds, Holder::Version { repository, number, deleted, names });
            }
        }
        Ok(())
    }

    fn areas(&mut self, reader: &Reader, found: &mut Holders) -> Result<()> {
        let mut nodes: HashMap<AreaId, Vec<NodeId>> = HashMap::new();
        for (area, node) in reader.nodes_naming(&self.blob)? {
            self.direct += 1;
            nodes.entry(area).or_default().push(node);
        }
        let mut known = 0;
        for row in reader.areas()? {
            let own = nodes.remove(&row.id).unwrap_or_default();
            let open = self.engine.registry.by_id(row.repo);
            let open = open.filter(|repository| repository.areas.get(&row.name) == Some(&row.id));
            let base = row.base_root.map(|root| root.tree);
            let Some(repository) = open else {
                // Its rows are on the deletion queue.
                known += own.len();
                if let Some(tree) = base {
                    known += usize::from(self.count(&tree)? > 0);
                }
                continue;
            };
            if !own.is_empty() {
                let names = self.names_of_nodes(row.id, &own)?;
                let (repository, name) = (Arc::clone(&repository), row.name.clone());
                found.add(self.bounds, Holder::Area { repository, name, base: false, names });
            }
            let Some(tree) = base else { continue };
            if let Some(names) = self.names(&tree, found)? {
                let name = row.name;
                found.add(self.bounds, Holder::Area { repository, name, base: true, names });
            }
        }
        if known > 0 || !nodes.is_empty() {
            found.add(self.bounds, Holder::Queue);
        }
        Ok(())
    }

    fn names_of_nodes(&self, area: AreaId, nodes: &[NodeId]) -> Result<Names> {
        self.engine.load_area(area)?;
        let state = self.engine.staging.read();
        let mut names = Names::default();
        for node in nodes {
            let paths = state.paths(*node);
            names.total += paths.len() as u64;
            let room = self.bounds.paths.saturating_sub(names.paths.len());
            names.paths.extend(paths.into_iter().take(room));
        }
        Ok(names)
    }

    fn queue(&mut self, reader: &Reader, found: &mut Holders) -> Result<()> {
        for deletion in reader.queued_deletions()? {
            let QueuedDeletion::Tree(tree) = deletion else { continue };
            if self.count(&tree)? > 0 {
                found.add(self.bounds, Holder::Queue);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where in a tree the blob is; paths only as long as the holder is to be listed.
    fn names(&mut self, tree: &TreeHash, found: &Holders) -> Result<Option<Names>> {
        let total = self.count(tree)?;
        if total == 0 {
            return Ok(None);
        }
        let listed = found.listed.len() < self.bounds.holders;
        let paths = if listed { self.paths(tree)? } else { Vec::new() };
        Ok(Some(Names { paths, total }))
    }

    /// How often the blob is named in a tree and below it.
    fn count(&mut self, root: &TreeHash) -> Result<u64> {
        let mut stack = Vec::new();
        self.open(root, &mut stack)?;
        while let Some(top) = stack.last_mut() {
            match top.children.pop() {
                Some(child) => match self.below.get(&child) {
                    Some(names) => top.names = top.names.saturating_add(*names),
                    None => self.open(&child, &mut stack)?,
                },
                None => {
                    let Some(Open { tree, names, .. }) = stack.pop() else { break };
                    self.below.insert(tree, names);
                    if let Some(parent) = stack.last_mut() {
                        parent.names = parent.names.saturating_add(names);
                    }
                }
            }
        }
        Ok(self.below.get(root).copied().unwrap_or(0))
    }

    fn open(&mut self, tree: &TreeHash, stack: &mut Vec<Open>) -> Result<()> {
        if self.below.contains_key(tree) {
            return Ok(());
        }
        let Some(page) = self.page(tree)? else {
            self.below.insert(*tree, 0);
            return Ok(());
        };
        self.pages += 1;
        if self.pages.is_multiple_of(PAGES_PER_REPORT) {
            (self.progress)(self.pages);
        }
        let mut open = Open { tree: *tree, children: Vec::new(), names: 0 };
        for reference in page.references() {
            match reference {
                Reference::Tree(child) => open.children.push(child),
                Reference::Blob(name) => open.names += u64::from(self.is_named(&name)),
            }
        }
        self.direct += open.names;
        stack.push(open);
        Ok(())
    }

    /// Whether a name is one of the blob's.
    fn is_named(&self, name: &ContentName) -> bool {
        match name {
            ContentName::Blake3(blob) => *blob == self.blob,
            ContentName::Sha256(digest) => self.declared == Some(*digest),
        }
    }

    /// `None` if the collector has removed it meanwhile.
    fn page(&self, tree: &TreeHash) -> Result<Option<Arc<TreePage>>> {
        match self.engine.trees.page(tree) {
            Ok(page) => Ok(Some(page)),
            Err(StoreError::MissingTree(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The first paths at which the blob is, in the order of names.
    fn paths(&self, root: &TreeHash) -> Result<Vec<Vec<u8>>> {
        let mut paths = Vec::new();
        let mut stack = vec![(Vec::new(), Step::Tree(*root))];
        while let Some((path, step)) = stack.pop() {
            let Step::Tree(tree) = step else {
                paths.push(path);
                if paths.len() >= self.bounds.paths {
                    break;
                }
                continue;
            };
            let Some(page) = self.page(&tree)? else { continue };
            // Reversed, because the last one is taken first.
            for index in (0..page.len()).rev() {
                let (name, next) = match (page.child(index), page.entry_ref(index)) {
                    (Some(child), _) => (None, self.step(&child.page)),
                    (None, Some(entry)) => match entry.content {
                        ContentRef::Directory { tree, .. } => (Some(entry.name), self.step(&tree)),
                        ContentRef::File { blob: Some(name), .. } if self.is_named(&name) => {
                            (Some(entry.name), Some(Step::Found))
                        }
                        _ => continue,
                    },
                    (None, None) => continue,
                };
                if let Some(next) = next {
                    stack.push((joined(&path, name), next));
                }
            }
        }
        Ok(paths)
    }

    /// The way into a tree, if the blob is there.
    fn step(&self, tree: &TreeHash) -> Option<Step> {
        self.below.get(tree).is_some_and(|names| *names > 0).then_some(Step::Tree(*tree))
    }
}

enum Step {
    /// Into a page of the directory at this path.
    Tree(TreeHash),
    /// The path is one.
    Found,
}

/// A path and a name below it; index pages are of the same directory and have none.
fn joined(path: &[u8], name: Option<&[u8]>) -> Vec<u8> {
    let mut joined = path.to_vec();
    if let Some(name) = name {
        if !joined.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(name);
    }
    joined
}
