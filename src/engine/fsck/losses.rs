//! What damaged blobs and trees make unreadable, by version and path.
//!
//! One walk over all pages finds the trees that have damage anywhere below. Then versions are searched along
//! those trees only, so that the cost follows the damage. Of areas only the open ones are searched, by their
//! rows: nobody sees the others any more, although their rows name things until they are purged.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::finding::{Finding, Losses};
use super::pages::{Ended, Found, Trees};
use super::{BrokenBlob, Check, Stopped};
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId};
use crate::model::name::EntryName;
use crate::model::tree_format::{ContentRef, TreePage};
use crate::store::catalog::{AreaState, DeclaredRow, NodeData, Snapshot};
use crate::store::layout::PrivateId;

/// Pages looked at in search of paths; a longer list helps nobody.
const PAGES_MAX: u64 = 1 << 20;

/// Directories between a file and the top of its area; more are a circle.
const DEPTH_MAX: usize = 4096;

/// The search.
struct Search {
    /// Trees with damage below.
    dirty: BTreeSet<TreeHash>,
    trees: BTreeMap<TreeHash, Losses>,
    blobs: BTreeMap<BlobHash, Losses>,
    /// All names of these blobs.
    names: BTreeMap<ContentName, BlobHash>,
    files: BTreeMap<(AreaId, PrivateId), Losses>,
    pages_left: u64,
    complete: bool,
}

impl Check<'_> {
    pub(super) fn report_losses(&mut self) -> Result<(), Stopped> {
        if self.broken_trees.is_empty()
            && self.broken_blobs.is_empty()
            && self.lost_files.is_empty()
        {
            return Ok(());
        }
        let mut search = Search {
            dirty: BTreeSet::new(),
            trees: self.broken_trees.keys().map(|hash| (*hash, Losses::default())).collect(),
            blobs: self.broken_blobs.keys().map(|hash| (*hash, Losses::default())).collect(),
            names: BTreeMap::new(),
            files: self.lost_files.iter().map(|file| (*file, Losses::default())).collect(),
            pages_left: PAGES_MAX,
            complete: true,
        };
        let snapshot = self.subject.snapshots.take()?;
        search.names.extend(search.blobs.keys().map(|blob| ((*blob).into(), *blob)));
        snapshot.content_names(&mut |row| {
            let Ok(DeclaredRow { sha256, blob: Some(blob), .. }) = row else { return };
            if search.blobs.contains_key(&blob) {
                search.names.insert(sha256.into(), blob);
            }
        })?;
        match self.find_dirty(&snapshot, &mut search) {
            Ok(()) => self.search_versions(&snapshot, &mut search)?,
            Err(Ended::Overdue) => search.complete = false,
            Err(Ended::Stopped(stopped)) => return Err(stopped),
        }
        self.search_areas(&snapshot, &mut search)?;
        drop(snapshot);
        self.report(search);
        Ok(())
    }

    fn report(&mut self, search: Search) {
        let Search { trees, blobs, files, complete, .. } = search;
        let finish = |mut losses: Losses| {
            losses.listed.sort();
            losses.complete = complete;
            losses
        };
        for ((hash, losses), (refs, damage)) in
            trees.into_iter().zip(std::mem::take(&mut self.broken_trees).into_values())
        {
            self.found(Finding::Tree { hash, refs, damage, losses: finish(losses) });
        }
        for ((hash, losses), BrokenBlob { size, damage, marked }) in
            blobs.into_iter().zip(std::mem::take(&mut self.broken_blobs).into_values())
        {
            self.found(Finding::Blob { hash, size, damage, marked, losses: finish(losses) });
        }
        for ((area, file), losses) in files {
            self.found(Finding::Private { area, file, losses: finish(losses) });
        }
    }

    /// Finds the trees that have damage below.
    fn find_dirty(&mut self, snapshot: &Snapshot, search: &mut Search) -> Result<(), Ended> {
        let mut trees = Trees::load(self, snapshot, false)?;
        let mut dirty = vec![false; trees.table.len()];
        // (child, parent)
        let mut edges: Vec<(usize, usize)> = Vec::new();
        trees.walk(self, snapshot, "searching what is lost", &mut |trees, _, found| {
            let (parent, page) = match found {
                Found::Page(index, page) => (index, page),
                Found::Damaged(index, _) => {
                    dirty[index] = true;
                    return Ok(());
                }
                Found::Stray(_) => return Ok(()),
            };
            for reference in page.references() {
                use crate::model::tree_format::Reference;
                match reference {
                    Reference::Blob(name) => dirty[parent] |= search.names.contains_key(&name),
                    Reference::Tree(tree) => match trees.table.find(tree.as_bytes()) {
                        Some(child) => edges.push((child, parent)),
                        None => dirty[parent] = true,
                    },
                }
            }
            Ok(())
        })?;
        edges.sort_unstable();
        let mut queue: Vec<usize> = (0..dirty.len()).filter(|index| dirty[*index]).collect();
        while let Some(child) = queue.pop() {
            let first = edges.partition_point(|(c, _)| *c < child);
            for (_, parent) in edges[first..].iter().take_while(|(c, _)| *c == child) {
                if !std::mem::replace(&mut dirty[*parent], true) {
                    queue.push(*parent);
                }
            }
        }
        search.dirty =
            (0..dirty.len()).filter(|i| dirty[*i]).map(|index| trees.hash(index)).collect();
        // Those without a row are dirty, too.
        search.dirty.extend(search.trees.keys());
        Ok(())
    }

    fn search_versions(&mut self, snapshot: &Snapshot, search: &mut Search) -> Result<(), Stopped> {
        let mut roots = Vec::new();
        snapshot.versions(&mut |row| {
            if let Ok(version) = row
                && search.dirty.contains(&version.root.tree)
            {
                let repository = self.names.repository(version.repo);
                roots.push((format!("{repository}/{}", version.number), version.root.tree));
            }
        })?;
        let mut known: BTreeSet<TreeHash> = roots.iter().map(|(_, tree)| *tree).collect();
        // The base of an area outlives its version.
        snapshot.areas(&mut |row| {
            if let Ok(area) = row
                && area.state == AreaState::Open
                && let Some(tree) = area.base.filter(|tree| search.dirty.contains(tree))
                && known.insert(tree)
            {
                roots.push((format!("base of {}", self.names.area(area.id)), tree));
            }
        })?;
        for (place, tree) in roots {
            search.walk(self, snapshot, &place, tree)?;
        }
        Ok(())
    }

    /// Lost files of areas.
    fn search_areas(&mut self, snapshot: &Snapshot, search: &mut Search) -> Result<(), Stopped> {
        let mut purged = BTreeSet::new();
        snapshot.areas(&mut |row| {
            purged.extend(row.ok().filter(|area| area.state == AreaState::Deleted).map(|a| a.id));
        })?;
        // What to name, by the node that holds it.
        let mut lost = BTreeMap::new();
        snapshot.nodes(&mut |row| {
            let Ok(node) = row else { return };
            if purged.contains(&node.area) {
                return;
            }
            let wanted = match &node.data {
                NodeData::Blob(name) => search.names.contains_key(name),
                NodeData::Private(file) => search.files.contains_key(&(node.area, *file)),
                NodeData::BaseTree(tree) => search.trees.contains_key(tree),
                NodeData::Empty | NodeData::Target(_) | NodeData::Rdev(_) => false,
            };
            if wanted {
                lost.insert((node.area, node.id), node.data);
            }
        })?;
        if lost.is_empty() {
            return Ok(());
        }
        let areas: BTreeSet<AreaId> = lost.keys().map(|(area, _)| *area).collect();
        let mut names: BTreeMap<(AreaId, NodeId), (NodeId, EntryName)> = BTreeMap::new();
        snapshot.names(&mut |row| {
            if let Ok((area, (parent, name, Some(node)))) = row
                && areas.contains(&area)
            {
                names.insert((area, node), (parent, name));
            }
        })?;
        for ((area, node), data) in lost {
            let place = self.names.area(area);
            let path = path_of(&names, area, node);
            let losses = match data {
                NodeData::Blob(name) => search.losses_of(&name),
                NodeData::Private(file) => search.files.get_mut(&(area, file)),
                NodeData::BaseTree(tree) => search.trees.get_mut(&tree),
                NodeData::Empty | NodeData::Target(_) | NodeData::Rdev(_) => None,
            };
            if let Some(losses) = losses {
                losses.add(&place, &path);
            }
        }
        Ok(())
    }
}

impl Search {
    fn losses_of(&mut self, name: &ContentName) -> Option<&mut Losses> {
        self.blobs.get_mut(self.names.get(name)?)
    }

    /// Walks a version along its damage.
    fn walk(
        &mut self,
        check: &mut Check<'_>,
        snapshot: &Snapshot,
        place: &str,
        root: TreeHash,
    ) -> Result<(), Stopped> {
        let mut waiting: Vec<(TreeHash, Rc<[u8]>)> = vec![(root, Rc::from([]))];
        while let Some((tree, path)) = waiting.pop() {
            if let Some(losses) = self.trees.get_mut(&tree) {
                losses.add(place, &path);
                continue;
            }
            if self.pages_left == 0 {
                self.complete = false;
                return Ok(());
            }
            self.pages_left -= 1;
            check.check_cancelled()?;
            let bytes = match snapshot.tree(&tree) {
                Err(error) if error.is_corrupt() => None,
                bytes => bytes?,
            };
            let Some(Ok(page)) = bytes.map(TreePage::parse) else {
                // Damaged since the walk over all pages: the next check says so.
                self.complete = false;
                continue;
            };
            self.page(&page, place, &path, &mut waiting);
        }
        Ok(())
    }

    fn page(
        &mut self,
        page: &TreePage,
        place: &str,
        path: &Rc<[u8]>,
        waiting: &mut Vec<(TreeHash, Rc<[u8]>)>,
    ) {
        for index in 0..page.len() {
            if let Some(child) = page.child(index)
                && self.dirty.contains(&child.page)
            {
                waiting.push((child.page, Rc::clone(path)));
            }
            let Some(entry) = page.entry_ref(index) else { continue };
            match entry.content {
                ContentRef::File { blob: Some(name), .. } => {
                    if let Some(losses) = self.losses_of(&name) {
                        losses.add(place, &join(path, entry.name));
                    }
                }
                ContentRef::Directory { tree, .. } if self.dirty.contains(&tree) => {
                    waiting.push((tree, join(path, entry.name).into()));
                }
                _ => {}
            }
        }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// The path of a node from the top of its area.
pub(super) fn path_of(
    names: &BTreeMap<(AreaId, NodeId), (NodeId, EntryName)>,
    area: AreaId,
    node: NodeId,
) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut at = node;
    while let Some((parent, name)) = names.get(&(area, at))
        && parts.len() < DEPTH_MAX
    {
        parts.push(name.as_bytes());
        at = *parent;
    }
    parts.reverse();
    parts.join(&b'/')
}
