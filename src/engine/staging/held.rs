//! Which rows the journal must not write yet (H4).
//!
//! Content that is only in memory is *unsaved*. A row that names it, written too early, would show
//! an empty or an older file after a crash, and a row that takes the old content away in its favour
//! would leave neither. So such rows wait, and no others:
//!
//! 1. Rows that belong to one story wait together. A name belongs with every node that has had it
//!    since it was written last, and a node with every such name: after `mv A B; mv B C` the rows of
//!    A, B, C and of what they replaced are one group. A group waits while the content of one of its
//!    files is in no file of the store yet. There is one exception: a file that is still open for
//!    writing and replaces nothing. Nobody loses old content by its row, so the row is written, and
//!    names the part of the content that is saved.
//! 2. A group waits if it puts a name below a directory whose own group waits: until that directory
//!    has its new place, what is moved below it could not be reached from the root.
//! 3. The removal of a directory waits while a name in it waits: the name's old row still needs it.
//!
//! What is left out of a batch stays out of date and is looked at again when something is saved. So
//! the catalog shows each group as it was at one moment, or as it was before.
//!
//! This module must not know how rows are written or who saves content.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::content::FileContent;
use super::dirty::{Dirty, NameKey};
use super::node::Node;
use super::state::State;
use crate::model::id::NodeId;

/// Rows that wait for content.
#[derive(Debug, Default)]
pub struct Held {
    nodes: HashSet<NodeId>,
    names: HashSet<NameKey>,
    /// The content that they wait for.
    pub contents: Vec<Arc<FileContent>>,
}

/// Who has had which of the names that are out of date.
type NamesOf<'a> = HashMap<NodeId, Vec<&'a NameKey>>;

impl Held {
    /// Looks at everything that is out of date.
    pub fn of(state: &State, dirty: &Dirty) -> Self {
        let touched = dirty.names.values().flat_map(|name| &name.nodes);
        let unsaved: BTreeSet<NodeId> =
            touched.chain(&dirty.nodes).copied().filter(|id| is_unsaved(state, *id)).collect();
        let mut held = Self::default();
        if unsaved.is_empty() {
            return held;
        }
        let mut names_of = NamesOf::new();
        for (key, name) in &dirty.names {
            for node in &name.nodes {
                names_of.entry(*node).or_default().push(key);
            }
        }
        let mut seen = HashSet::new();
        for id in unsaved {
            if seen.contains(&id) {
                continue;
            }
            let group = Group::around(id, dirty, &names_of);
            seen.extend(group.nodes.iter().copied());
            if group.waits(state, dirty) {
                held.add(group, state);
            }
        }
        held.add_dependants(state, dirty, &names_of);
        held
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether the row of a node waits.
    pub fn has_node(&self, id: NodeId) -> bool {
        self.nodes.contains(&id)
    }

    /// Whether the row of a name waits.
    pub fn has_name(&self, key: &NameKey) -> bool {
        self.names.contains(key)
    }

    /// Content in memory for which rows have waited for `age`, because files are replaced again and again, each
    /// before it was saved. Other content is saved when its own buffer has been dirty for long.
    pub fn overdue(&self, state: &State, dirty: &Dirty, age: Duration) -> Vec<Arc<FileContent>> {
        let names = self.names.iter().filter_map(|key| dirty.names.get(key));
        let old = names.filter(|name| name.nodes.len() > 1 && name.since.elapsed() >= age);
        let nodes: HashSet<NodeId> = old.flat_map(|name| &name.nodes).copied().collect();
        let unsaved = nodes.into_iter().filter(|id| is_unsaved(state, *id));
        let contents = unsaved.filter_map(|id| state.node(id)?.content().cloned());
        contents.filter(|content| content.is_buffered()).collect()
    }

    /// Whether a file or directory would not be found by its name, or one of the names in it would
    /// not be as it is now, if everything was written that does not wait.
    pub fn concerns(&self, state: &State, id: NodeId) -> bool {
        !self.is_empty()
            && (self.is_below(state, id) || self.names.iter().any(|(parent, _)| *parent == id))
    }

    /// Whether a node, or a directory above it, waits.
    fn is_below(&self, state: &State, id: NodeId) -> bool {
        let mut seen = HashSet::new();
        let mut queue = vec![id];
        while let Some(id) = queue.pop() {
            if self.nodes.contains(&id) {
                return true;
            }
            if seen.insert(id) {
                let names = state.node(id).map(|node| node.names.iter());
                queue.extend(names.into_iter().flatten().map(|(parent, _)| *parent));
            }
        }
        false
    }

    fn add(&mut self, group: Group, state: &State) {
        let fresh = group.nodes.iter().filter(|id| !self.nodes.contains(*id));
        let unsaved = fresh.filter(|id| is_unsaved(state, **id));
        let contents = unsaved.filter_map(|id| state.node(*id)?.content().cloned());
        self.contents.extend(contents);
        self.nodes.extend(group.nodes);
        self.names.extend(group.names);
    }

    /// Rules 2 and 3, until nothing more follows from them.
    fn add_dependants(&mut self, state: &State, dirty: &Dirty, names_of: &NamesOf<'_>) {
        loop {
            let gone = self.names.iter().map(|(parent, _)| *parent);
            let mut more: Vec<NodeId> =
                gone.filter(|id| is_gone(state, *id) && !self.nodes.contains(id)).collect();
            let is_directory = |id: &NodeId| state.node(*id).is_some_and(Node::is_directory);
            if self.nodes.iter().any(is_directory) {
                let others = dirty.names.iter().filter(|(key, _)| !self.names.contains(key));
                let below = others.filter(|((parent, _), _)| self.is_below(state, *parent));
                more.extend(below.flat_map(|(_, name)| &name.nodes));
            }
            if more.is_empty() {
                return;
            }
            for id in more {
                self.add(Group::around(id, dirty, names_of), state);
            }
        }
    }
}

/// Nodes and names that belong to one story.
struct Group {
    nodes: HashSet<NodeId>,
    names: HashSet<NameKey>,
}

impl Group {
    fn around(id: NodeId, dirty: &Dirty, names_of: &NamesOf<'_>) -> Self {
        let mut group = Self { nodes: HashSet::from([id]), names: HashSet::new() };
        let mut queue = vec![id];
        while let Some(id) = queue.pop() {
            for key in names_of.get(&id).into_iter().flatten() {
                if !group.names.insert((*key).clone()) {
                    continue;
                }
                let nodes = dirty.names.get(key).into_iter().flat_map(|name| &name.nodes);
                queue.extend(nodes.filter(|node| group.nodes.insert(**node)));
            }
        }
        group
    }

    /// Rule 1: whether a file of it is unsaved that is closed, or stands for what another was.
    fn waits(&self, state: &State, dirty: &Dirty) -> bool {
        let replaces = |key| dirty.names.get(key).is_some_and(|name| name.nodes.len() > 1);
        let is_closed = |id: &NodeId| {
            let content = state.node(*id).and_then(Node::content);
            content.is_some_and(|content| !content.has_writers())
        };
        let mut unsaved = self.nodes.iter().filter(|id| is_unsaved(state, **id));
        self.names.iter().any(replaces) || unsaved.any(is_closed)
    }
}

/// Whether a file that can be found by a name has content that is in no file of the store. Of areas
/// that were published or discarded nothing is written any more, so nothing waits there.
fn is_unsaved(state: &State, id: NodeId) -> bool {
    let named = state.node(id).filter(|node| !node.names.is_empty());
    let open = named.filter(|node| state.areas.contains_key(&node.area.id));
    open.and_then(Node::content).is_some_and(|content| content.is_unsaved())
}

fn is_gone(state: &State, id: NodeId) -> bool {
    let is_root = |node: &Node| node.area.id.0 == id.0;
    state.node(id).is_none_or(|node| node.names.is_empty() && !is_root(node))
}
