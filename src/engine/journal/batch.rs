//! Rows of nodes and names as they are at one moment, to be written in one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::error::EngineError;
use crate::engine::pins::NamePin;
use crate::engine::reply::Reply;
use crate::engine::staging::area::AreaShared;
use crate::engine::staging::content::FileContent;
use crate::engine::staging::dirty::Dirty;
use crate::engine::staging::held::Held;
use crate::engine::staging::node::{Body, Node, Slot};
use crate::engine::staging::state::State;
use crate::model::content_name::ContentName;
use crate::model::id::{AreaId, NodeId};
use crate::model::kind::FileKind;
use crate::model::name::EntryName;
use crate::store::catalog::{NodeData, NodeRow};

/// Row of one node.
#[derive(Debug)]
pub(in crate::engine) struct NodeDraft {
    pub(in crate::engine) area: Arc<AreaShared>,
    pub(in crate::engine) row: NodeRow,
    pub(in crate::engine) content: Option<Arc<FileContent>>,
}

/// Rows taken at one instant.
#[derive(Default)]
pub(in crate::engine) struct Batch {
    pub(in crate::engine) nodes: Vec<NodeDraft>,
    pub(in crate::engine) deleted: Vec<(Arc<AreaShared>, NodeId)>,
    pub(in crate::engine) names: Vec<(Arc<AreaShared>, NodeId, EntryName, Option<Slot>)>,
    /// How they change reference counts.
    pub(in crate::engine) references: Vec<(AreaId, ContentName, i64)>,
    /// Pins of the blobs that it names, taken after a try that failed: they must stay until it is written.
    pub(in crate::engine) pins: Vec<NamePin>,
    pub(in crate::engine) waiters: Vec<Waiter>,
}

/// Who waits for a batch.
pub(in crate::engine) enum Waiter {
    /// Waits for a batch that has everything except what cannot be saved. Closed files are sealed first.
    All(Reply<()>),
    /// The same, once the closed files are sealed.
    Sealed(Reply<()>),
    /// Waits for a batch that has what concerns these files and directories. It is told which of them still
    /// wait for content.
    Nodes { waiting: BTreeSet<NodeId>, reply: Reply<BTreeSet<NodeId>> },
}

impl Waiter {
    pub(in crate::engine) fn tell(self, result: Result<(), EngineError>) {
        match self {
            Self::All(reply) | Self::Sealed(reply) => reply(result),
            Self::Nodes { waiting, reply } => reply(result.map(|()| waiting)),
        }
    }
}

impl Batch {
    /// Whether it changes nothing.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.deleted.is_empty() && self.names.is_empty()
    }

    /// The areas that it changes.
    pub(in crate::engine) fn areas(&self) -> impl Iterator<Item = &Arc<AreaShared>> {
        let nodes = self.nodes.iter().map(|draft| &draft.area);
        let names = self.names.iter().map(|(area, ..)| area);
        let deleted = self.deleted.iter().map(|(area, _)| area);
        let areas: BTreeMap<AreaId, &Arc<AreaShared>> =
            nodes.chain(names).chain(deleted).map(|area| (area.id, area)).collect();
        areas.into_values()
    }

    /// Takes the rows that are out of date and need not wait. A row of a file names the part of its content
    /// that is saved at this moment.
    pub(in crate::engine) fn take(&mut self, state: &mut State, dirty: &mut Dirty, held: &Held) {
        let (wait, nodes) =
            std::mem::take(&mut dirty.nodes).into_iter().partition(|id| held.has_node(*id));
        dirty.nodes = wait;
        let nodes: BTreeSet<NodeId> = nodes;
        for id in nodes {
            if let Some(node) = state.node_mut(id).filter(|node| node.area.journalled) {
                self.take_node(id, node);
            }
        }
        for (key, name) in std::mem::take(&mut dirty.names) {
            if held.has_name(&key) {
                dirty.names.insert(key, name);
                continue;
            }
            if name.area.journalled {
                let (parent, entry) = key;
                let directory = state.node(parent).and_then(Node::directory);
                let slot = directory.and_then(|directory| directory.slots.get(&entry)).copied();
                self.names.push((name.area, parent, entry, slot));
            }
        }
        for (id, (area, data)) in std::mem::take(&mut dirty.removed) {
            if held.has_node(id) {
                dirty.removed.insert(id, (area, data));
            } else if area.journalled {
                self.count(area.id, &data, -1);
                self.deleted.push((area, id));
            }
        }
    }

    fn take_node(&mut self, id: NodeId, node: &mut Node) {
        let area = Arc::clone(&node.area);
        let is_root = area.id.0 == id.0;
        if node.names.is_empty() && !is_root {
            if let Some(data) = node.journalled.take() {
                self.count(area.id, &data, -1);
                self.deleted.push((area, id));
            }
            return;
        }
        let content = node.content().cloned();
        let mut row = node_row(id, node);
        if let Some(content) = &content {
            let saved = content.saved();
            row.data = saved.data;
            row.size = saved.size;
            row.mtime = saved.mtime;
            row.ctime = saved.ctime;
        }
        if let Some(old) = node.journalled.replace(row.data.clone()) {
            self.count(area.id, &old, -1);
        }
        self.count(area.id, &row.data, 1);
        self.nodes.push(NodeDraft { area, row, content });
    }

    fn count(&mut self, area: AreaId, data: &NodeData, delta: i64) {
        if let NodeData::Blob(name) = data {
            self.references.push((area, *name, delta));
        }
    }
}

/// The row of a node; of a regular file without its content.
fn node_row(id: NodeId, node: &Node) -> NodeRow {
    let (kind, data) = match &node.body {
        Body::File(_) => (FileKind::File, NodeData::Empty),
        Body::Directory(directory) => {
            (FileKind::Directory, directory.base.map_or(NodeData::Empty, NodeData::BaseTree))
        }
        Body::Symlink(target) => (FileKind::Symlink, NodeData::Target(target.clone())),
        Body::Fifo => (FileKind::Fifo, NodeData::Empty),
        Body::Socket => (FileKind::Socket, NodeData::Empty),
        Body::CharDevice(rdev) => (FileKind::CharDevice, NodeData::Rdev(*rdev)),
        Body::BlockDevice(rdev) => (FileKind::BlockDevice, NodeData::Rdev(*rdev)),
    };
    NodeRow {
        id,
        kind,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: node.mtime,
        ctime: node.ctime,
        xattrs: node.xattrs.clone(),
        size: 0,
        data,
        charged: node.is_charged(),
    }
}
