//! Finding names in an area: in memory, or in the base tree that a directory stands on.

use super::handle::Engine;
use super::staging::state::Child;
use crate::model::id::NodeId;
use crate::model::tree_format;
use crate::store::error::StoreError;

/// Why a name cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The parent is no directory.
    #[error("not a directory")]
    NotDirectory,
    /// The parent is not in memory: its area is gone, or it was forgotten.
    #[error("gone")]
    Gone,
    /// The base tree cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// What is at a name, taken into memory from the base where necessary.
    ///
    /// # Errors
    /// When the parent is no directory, or its base cannot be read.
    pub fn resolve(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, ResolveError> {
        let child = {
            let state = self.staging.read();
            match state.child(parent, name) {
                Some(child) => child,
                None if state.node(parent).is_some() => return Err(ResolveError::NotDirectory),
                None => return Err(ResolveError::Gone),
            }
        };
        let tree = match child {
            Child::Node(node) => return Ok(Some(node)),
            Child::Absent => return Ok(None),
            Child::InBase(tree) => tree,
        };
        let Some(entry) = tree_format::lookup(&*self.trees, &tree, name)? else {
            return Ok(None);
        };
        let apart = self.is_ambiguous(parent, &entry)?;
        let store = &self.staging.store;
        Ok(self.staging.change(|state, _| state.materialise(store, parent, &entry, apart)))
    }
}
