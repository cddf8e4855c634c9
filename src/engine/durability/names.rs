//! Bringing the names of files and directories into the journal, for those who sync them.
//!
//! A sync of a file promises that its name is on disk as well. While a row waits for content
//! (`staging::held`), that content, which may be other files' too, is brought to disk first. If it cannot
//! be, the sync fails with the reason. Syncs of what waits for nothing are not concerned.

use std::collections::{BTreeMap, BTreeSet};

use super::Then;
use super::thread::Metadata;
use super::to_disk::{TRIES_MAX, ToDisk};
use crate::engine::error::{EngineError, Result};
use crate::engine::poison::Blocked;
use crate::model::id::NodeId;

/// What that needs.
pub(in crate::engine) struct Names<'a> {
    pub(in crate::engine) to_disk: ToDisk<'a>,
    pub(in crate::engine) metadata: &'a dyn Metadata,
}

impl Names<'_> {
    /// Has the rows of these files and directories written. Tells those to whom the promise cannot be
    /// kept, and returns those to whom it is, once the WAL is synced.
    pub(in crate::engine) fn flush(self, mut nodes: BTreeMap<NodeId, Vec<Then>>) -> Vec<Then> {
        let mut kept = Vec::new();
        for tries in 0..TRIES_MAX {
            if nodes.is_empty() {
                return kept;
            }
            let wanted: BTreeSet<NodeId> = nodes.keys().copied().collect();
            // Nothing is saved in the first try, because nearly always nothing waits.
            let asked = wanted.iter().filter(|_| tries > 0);
            let failures: Vec<(NodeId, EngineError)> =
                asked.filter_map(|node| Some((*node, self.save_for(*node).err()?))).collect();
            let waiting = match self.metadata.flush_nodes(wanted) {
                Ok(waiting) => waiting,
                Err(error) => {
                    self.refuse(nodes.into_values().flatten(), &error);
                    return kept;
                }
            };
            let (left, written): (BTreeMap<_, _>, BTreeMap<_, _>) =
                nodes.into_iter().partition(|(node, _)| waiting.contains(node));
            nodes = left;
            kept.extend(written.into_values().flatten());
            for (node, error) in failures {
                self.refuse(nodes.remove(&node).into_iter().flatten(), &error);
            }
        }
        self.refuse(nodes.into_values().flatten(), &EngineError::ChangesTooFast);
        kept
    }

    /// Brings to disk what the rows of a file or directory wait for. A file that cannot be saved keeps
    /// none of the others from it.
    fn save_for(&self, node: NodeId) -> Result<()> {
        let contents = self.to_disk.staging.waited_for(node);
        let saved = contents.iter().map(|content| self.to_disk.content(content));
        saved.fold(Ok(()), Result::and)
    }

    fn refuse(&self, thens: impl Iterator<Item = Then>, error: &EngineError) {
        for then in thens {
            then.tell(Err(match (self.to_disk.staging.poison.blocked(), error) {
                (Blocked::Poisoned, _) => EngineError::Poisoned,
                (_, EngineError::Stopping) => EngineError::Stopping,
                _ => EngineError::Unsealed {
                    count: 1,
                    reason: error.to_string(),
                    full: error.is_full(),
                },
            }));
        }
    }
}
