//! What is missing in areas, a file's row or its name, what is said wrongly of their files, and the ids
//! that the next start would give out.
//!
//! Nobody knows which content the file of a lost row had, or where a lost name was. Counts that seem too
//! high, and private files that nothing seems to name, may belong to it, so they are left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Losses};
use super::losses::path_of;
use super::{Check, Stopped};
use crate::engine::journal::ID_LIMIT;
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, NodeId};
use crate::model::name::EntryName;
use crate::model::text::count;
use crate::store::catalog::{NodeData, Snapshot};

/// A node of an area.
type Node = (AreaId, NodeId);

impl Check<'_> {
    pub(super) fn check_gaps(&mut self, snapshot: &Snapshot) -> Result<(), Stopped> {
        let unreadable = |table: &&str| self.bad_tables.contains(table);
        if ["areas", "nodes", "names", "meta"].iter().any(unreadable) {
            // What of them cannot be read has been reported, and may be what is missing.
            return Ok(());
        }
        self.check_lost_nodes(snapshot)?;
        let unnamed = self.check_unnamed_nodes(snapshot)?;
        self.check_lost_names(snapshot, &unnamed)?;
        let noted = snapshot.meta(ID_LIMIT)?;
        let recorded = noted.and_then(|text| text.parse().ok()).unwrap_or(0);
        let highest = snapshot.highest_id()?;
        if highest > 0 && recorded <= highest {
            self.found(Finding::IdLimit { recorded, highest });
        }
        Ok(())
    }

    /// Names whose file or directory has no row.
    fn check_lost_nodes(&mut self, snapshot: &Snapshot) -> Result<(), Stopped> {
        let lost: BTreeSet<Node> = snapshot.lost_nodes()?.into_iter().collect();
        if lost.is_empty() {
            return Ok(());
        }
        self.gaps.extend(lost.iter().map(|(area, _)| *area));
        let mut names: BTreeMap<Node, (NodeId, EntryName)> = BTreeMap::new();
        let mut named: Vec<(Node, NodeId, EntryName)> = Vec::new();
        snapshot.names(&mut |row| {
            let Ok((area, (parent, name, Some(node)))) = row else { return };
            if self.gaps.contains(&area) {
                if lost.contains(&(area, node)) {
                    named.push(((area, node), parent, name.clone()));
                }
                names.insert((area, node), (parent, name));
            }
        })?;
        let mut losses: BTreeMap<Node, Losses> = lost
            .iter()
            .map(|node| (*node, Losses { complete: true, ..Losses::default() }))
            .collect();
        for ((area, node), parent, name) in named {
            let mut path = path_of(&names, area, parent);
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name.as_bytes());
            if let Some(losses) = losses.get_mut(&(area, node)) {
                losses.add(&self.names.area(area), &path);
            }
        }
        for ((area, node), mut losses) in losses {
            let place = self.names.area(area);
            if area.0 == node.0 {
                losses.add(&place, b"");
            }
            losses.listed.sort();
            self.found(Finding::LostNode { area, node, place, losses });
        }
        Ok(())
    }

    /// Areas with fewer names than there should be, where that is not the name of an `unnamed` file, or
    /// with more.
    fn check_lost_names(
        &mut self,
        snapshot: &Snapshot,
        unnamed: &BTreeSet<Node>,
    ) -> Result<(), Stopped> {
        for (area, recorded, counted) in snapshot.miscounted_areas()? {
            let found = unnamed.range((area, NodeId(0))..=(area, NodeId(u64::MAX))).count();
            if recorded.checked_sub(counted) != Some(found as u64) {
                let place = self.names.area(area);
                self.found(Finding::LostNames { area, place, recorded, counted });
            }
        }
        Ok(())
    }

    /// Files whose size is not that of their content. What is wrong with the content itself has been
    /// found before: then its row may be the wrong one.
    pub(super) fn check_sizes(&mut self) -> Result<(), Stopped> {
        let unreadable = |table: &&str| self.bad_tables.contains(table);
        if ["areas", "nodes", "names", "blobs"].iter().any(unreadable) {
            return Ok(());
        }
        let snapshot = self.subject.snapshots.take()?;
        let mut wrong = snapshot.missized_nodes()?;
        let in_doubt = |blob: BlobHash| self.broken_blobs.contains_key(&blob);
        wrong.retain(|file| !file.blob.is_some_and(in_doubt));
        if wrong.is_empty() {
            return Ok(());
        }
        let areas: BTreeSet<AreaId> = wrong.iter().map(|file| file.area).collect();
        let mut names: BTreeMap<Node, (NodeId, EntryName)> = BTreeMap::new();
        snapshot.names(&mut |row| {
            if let Ok((area, (parent, name, Some(node)))) = row
                && areas.contains(&area)
            {
                names.insert((area, node), (parent, name));
            }
        })?;
        drop(snapshot);
        for file in wrong {
            let path = path_of(&names, file.area, file.node);
            let place = self.names.area(file.area);
            let path = format!("{place}/{}", String::from_utf8_lossy(&path));
            self.found(Finding::NodeSize { file, path });
        }
        Ok(())
    }

    /// Files and directories that are in no directory. Returns them.
    fn check_unnamed_nodes(&mut self, snapshot: &Snapshot) -> Result<BTreeSet<Node>, Stopped> {
        let unnamed: BTreeSet<Node> = snapshot.unnamed_nodes()?.into_iter().collect();
        if unnamed.is_empty() {
            return Ok(unnamed);
        }
        let mut found = Vec::new();
        snapshot.nodes(&mut |row| {
            if let Ok(facts) = row
                && unnamed.contains(&(facts.area, facts.id))
            {
                let what = describe(&facts.data, facts.size);
                found.push((facts.area, facts.id, what));
            }
        })?;
        for (area, node, what) in found {
            let place = self.names.area(area);
            self.found(Finding::UnnamedNode { area, node, place, what });
        }
        Ok(unnamed)
    }
}

/// What a node is, for whoever looks for it.
fn describe(data: &NodeData, size: u64) -> String {
    match data {
        NodeData::Blob(hash) => {
            format!("a file of {} with the content of blob {hash}", count(size, "byte"))
        }
        NodeData::Private(file) => format!("a file, in private file {}", file.0),
        NodeData::BaseTree(tree) => format!("a directory over tree {tree}"),
        NodeData::Target(target) => {
            format!("a symbolic link to {}", String::from_utf8_lossy(target))
        }
        NodeData::Rdev(_) => "a device".to_owned(),
        NodeData::Empty => "a directory or an empty file".to_owned(),
    }
}
