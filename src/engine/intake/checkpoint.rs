//! Checkpoints: of a large import only a part is in memory.
//!
//! After so many entries the trees of the area are built and written as a commit would do it, and the area goes on as one
//! over them, without a node in memory. So memory does not follow the number of entries (V4), and the commit builds only
//! what came after the last checkpoint. The trees are in no version: a pin keeps them until the next checkpoint or the
//! commit refers to them, and after a crash they are garbage.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Import;
use crate::engine::after::TaskId;
use crate::engine::commit::{BuildJob, BuildReport, build_here};
use crate::engine::error::{EngineError, Result};
use crate::engine::pins::TreePin;
use crate::engine::request::{Request, TreesFor};
use crate::model::hash::BlobHash;
use crate::model::id::NodeId;
use crate::model::version::Version;

/// So many entries of an import are in memory at a time: some 60 MB.
pub(in crate::engine) const ENTRIES_MAX: usize = 50_000;

/// Nodes that are let go of in one step, between which others use the namespace.
const NODES_PER_STEP: usize = 1000;

impl Import {
    /// Takes what came so far out of memory. `named` is the content that its entries name: the trees hold it from now on.
    pub(super) fn checkpoint(&self, named: Vec<BlobHash>) -> Result<()> {
        let _alone = self.shared.write();
        let (newest, _newest_pin) = self.newest()?;
        let pins: Arc<Mutex<Vec<TreePin>>> = Arc::default();
        let (engine, kept) = (Arc::clone(&self.engine), Arc::clone(&pins));
        let tell = move |report| {
            if let BuildReport::Pages(_, pages) = report {
                let written = engine.call(|reply| Request::KeepPages { pages, reply })?;
                kept.lock().extend(written);
            }
            Ok(())
        };
        let tree = build_here(BuildJob {
            task: TaskId::default(),
            area: self.area,
            newest,
            merge: false,
            pool: Arc::clone(&self.engine.pool),
            staging: Arc::clone(&self.engine.staging),
            trees: Arc::clone(&self.engine.trees),
            tell: Arc::new(tell),
            stop_points: Arc::clone(&self.engine.stop_points),
        })?;
        let root = NodeId(self.area.0);
        let staging = &self.engine.staging;
        let nodes = staging.change(|state, _| state.rest_on(root, tree));
        // What is below the root is held by it.
        let pins = std::mem::take(&mut *pins.lock());
        if let Some(pin) = pins.into_iter().find(|pin| *pin.tree() == tree) {
            *self.checkpoint.lock() = Some(pin);
        }
        for step in nodes.chunks(NODES_PER_STEP) {
            staging.change(|state, dirty| state.let_go(dirty, step));
        }
        let mut held = self.held.lock();
        named.iter().for_each(|blob| drop(held.remove(blob)));
        Ok(())
    }

    /// The newest version, whose names of content are kept, and a pin of its tree.
    fn newest(&self) -> Result<(Option<Arc<Version>>, Option<TreePin>)> {
        let repo = {
            let state = self.engine.staging.read();
            let area = state.areas.get(&self.area);
            area.ok_or(EngineError::ImportAreaGone)?.shared.repo
        };
        let repository = self.engine.registry.by_id(repo);
        let newest = repository.and_then(|repository| repository.latest().cloned());
        let Some(newest) = newest else { return Ok((None, None)) };
        let trees = vec![newest.root.tree];
        // Only its names are looked at.
        let trees_for = TreesFor::Names;
        let pins = self.engine.call(|reply| Request::ReuseTrees { trees, trees_for, reply })?;
        let pin = pins.into_iter().next().flatten();
        // While there is damage no tree can be pinned, and so content keeps no name of the newest version.
        Ok((pin.is_some().then_some(newest), pin))
    }
}
