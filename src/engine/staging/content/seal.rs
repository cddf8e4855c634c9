//! Turning content into a blob.

use std::sync::Arc;

use super::{Data, FileContent, Hashing};
use crate::engine::pins::NamePin;
use crate::model::hash::BlobHash;
use crate::store::catalog::NodeData;
use crate::store::error::StoreError;

/// What a sealer works on.
#[derive(Debug)]
pub(crate) struct SealInput {
    /// The bytes.
    pub(crate) data: Data,
    /// Their length.
    pub(crate) size: u64,
    /// The state they belong to.
    pub(crate) generation: u64,
    /// What is hashed of them.
    pub(crate) hashing: Hashing,
}

/// How sealing one file ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SealOutcome {
    /// The content is now the blob.
    Sealed,
    /// It changed meanwhile, or is open for writing: the next close seals it.
    Overtaken,
}

impl FileContent {
    /// What to hash; `None` when there is nothing to seal (sealed, open for writing, deleted).
    pub(crate) fn seal_input(&self) -> Option<SealInput> {
        let hashing = self.hashing();
        let mut state = self.state.lock();
        if state.writers > 0 || state.abandoned || !state.unsealed {
            return None;
        }
        if matches!(state.data, Data::Empty | Data::Blob(_)) {
            // It is what a seal would make of it. Nobody else would end the wait of a commit.
            self.mark_sealed(&mut state);
            return None;
        }
        Some(SealInput {
            data: state.data.clone(),
            size: state.size,
            generation: state.generation,
            hashing: state.valid(hashing),
        })
    }

    /// Whether the content is still in the state that a sealer took.
    pub(crate) fn is_at(&self, generation: u64) -> bool {
        let state = self.state.lock();
        state.generation == generation && state.writers == 0
    }

    /// Makes the content the blob `hash`, unless it changed since `generation`. `hashed` is where the
    /// hash of a large one came from. `link` puts the blob into the pool and runs while nobody can
    /// change the file. Metadata thread only.
    pub(crate) fn seal(
        self: &Arc<Self>,
        generation: u64,
        hash: BlobHash,
        hashed: Option<Box<Hashing>>,
        link: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<SealOutcome, StoreError> {
        let hashing = self.hashing.try_lock();
        let mut state = self.state.lock();
        if state.generation != generation || state.writers > 0 || state.abandoned {
            return Ok(SealOutcome::Overtaken);
        }
        link()?;
        let pin = NamePin::new(&self.store.pins, hash.into());
        self.replace_data(&mut state, Data::Blob(hash.into()));
        self.mark_saved(&mut state, NodeData::Blob(hash.into()), Some(pin));
        self.mark_sealed(&mut state);
        Self::keep_hashing(hashing, &mut state, hashed);
        Ok(SealOutcome::Sealed)
    }
}
