//! What damage of the catalog took from areas: files that have a name and no row, and names that have
//! no row themselves.
//!
//! Without its row a file is not there, and where its name has no row the base shows through. Published
//! so, the loss would be silent. So the area remembers what it lost, says so, and is not published
//! until somebody who knows what should be there has given each name anew, or has accepted what is left.
//!
//! This module must not know how rows are read.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::area::AreaShared;
use super::dirty::{Dirty, NameKey};
use super::node::{Area, Node, Slot};
use super::state::State;
use crate::model::id::{AreaId, NodeId};
use crate::model::name::EntryName;
use crate::model::text::count;
use crate::store::catalog::NameRow;

/// The most paths that are told.
const NAMED_MAX: usize = 20;

/// What an area lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// Names of files and directories that have no row. The name's own row stays until the name is
    /// given anew, or its directory goes: so the loss is known after a restart, too.
    names: BTreeSet<NameKey>,
    /// Whether the top directory has no row.
    top: bool,
    /// How many names have no row.
    unknown: u64,
}

impl Lost {
    fn is_nothing(&self) -> bool {
        self.names.is_empty() && !self.top && self.unknown == 0
    }
}

impl Area {
    /// One thing is not lost any more.
    fn regain(&mut self) {
        if self.lost.is_nothing() {
            self.error.clear();
        }
    }
}

impl State {
    /// Puts the names of an area back that the catalog has; there were `recorded` of them. Remembers
    /// what is missing.
    pub fn restore_names(&mut self, area: AreaId, names: Vec<NameRow>, recorded: u64) {
        let mut lost = Lost {
            top: self.node(NodeId(area.0)).is_none(),
            unknown: recorded.saturating_sub(names.len() as u64),
            ..Lost::default()
        };
        for (parent, name, node) in names {
            match node {
                Some(id) if self.node(id).is_some() => self.add_name(id, parent, &name),
                Some(_) => {
                    self.hide(parent, &name);
                    // What a lost directory held is lost with it.
                    if self.node(parent).is_some() {
                        lost.names.insert((parent, name));
                    }
                }
                None => self.hide(parent, &name),
            }
        }
        let error = self.describe(area, &lost);
        if let Some(area) = self.areas.get_mut(&area) {
            area.error.extend(error);
            area.lost = lost;
        }
    }

    /// Makes a name of a directory stand for nothing, whatever the base has there.
    fn hide(&mut self, parent: NodeId, name: &EntryName) {
        let directory = self.node_mut(parent).and_then(Node::directory_mut);
        if let Some(directory) = directory.filter(|directory| directory.base.is_some()) {
            directory.slots.insert(name.clone(), Slot::Whiteout);
        }
    }

    /// What an area lost, and what can be done about it; `None` when nothing is lost.
    pub fn lost(&self, area: AreaId) -> Option<String> {
        self.describe(area, &self.areas.get(&area)?.lost)
    }

    fn describe(&self, area: AreaId, lost: &Lost) -> Option<String> {
        // A directory that was removed while it was open takes its lost names along.
        let is_there =
            |id: NodeId| id.0 == area.0 || self.node(id).is_some_and(|node| !node.names.is_empty());
        let names = lost.names.iter().filter(|(parent, _)| is_there(*parent));
        let paths: Vec<Vec<u8>> =
            names.map(|(parent, name)| self.path_of_name(*parent, name)).collect();
        let mut sentences = Vec::new();
        if lost.top {
            let top = "the catalog lost the top directory of the area, and so all that was in it";
            sentences.push(format!("{top} (discard the area)"));
        }
        if !paths.is_empty() {
            let mut listed: Vec<_> =
                paths.iter().take(NAMED_MAX).map(|path| String::from_utf8_lossy(path)).collect();
            if paths.len() > NAMED_MAX {
                listed.push(format!("{} more", paths.len() - NAMED_MAX).into());
            }
            sentences.push(format!(
                "the catalog lost what was at {} (write it anew, and remove it again where nothing \
                 should be)",
                listed.join(", ")
            ));
        }
        if lost.unknown > 0 {
            sentences.push(format!(
                "the catalog lost {} of the area: what was removed may be back, and what had several \
                 names may have fewer (`cairn fsck --repair` accepts what is left)",
                count(lost.unknown, "name")
            ));
        }
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }

    /// A name is given: if what it stood for was lost, that is settled.
    pub(super) fn settle_name(&mut self, area: AreaId, parent: NodeId, name: &EntryName) {
        if let Some(area) = self.areas.get_mut(&area).filter(|area| !area.lost.names.is_empty())
            && area.lost.names.remove(&(parent, name.clone()))
        {
            area.regain();
        }
    }

    /// A directory is gone, and the rows of names in it that were lost go with it.
    pub(super) fn settle_directory(
        &mut self,
        dirty: &mut Dirty,
        shared: &Arc<AreaShared>,
        directory: NodeId,
    ) {
        let Some(area) = self.areas.get_mut(&shared.id).filter(|area| !area.lost.names.is_empty())
        else {
            return;
        };
        area.lost.names.retain(|key| {
            if key.0 == directory {
                dirty.mark_name(key.clone(), shared, None);
            }
            key.0 != directory
        });
        area.regain();
    }

    /// Names that have no row are not missed any more.
    pub fn accept_names(&mut self, area: AreaId) {
        if let Some(area) = self.areas.get_mut(&area) {
            area.lost.unknown = 0;
            area.regain();
        }
    }
}
