//! Renaming: inside an area, tags, and the rename that publishes an area.

use std::sync::Arc;

use super::place::Place;
use super::{Caller, Denied, Done, StagingFs, check_open, entry_name};
use crate::engine::staging::state::Child;
use crate::model::id::{Ino, NodeId};
use crate::model::time::Timestamp;
use crate::vfs::error::FsError;

/// What happens to a target that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenameMode {
    /// It is replaced.
    Replace,
    /// The rename is refused.
    NoReplace,
    /// It takes the old name.
    Exchange,
}

impl StagingFs {
    /// Renames. `staging/REPO/NAME` to `tags/REPO/` publishes the area (N6, N7).
    pub(crate) fn rename(
        self: &Arc<Self>,
        caller: Caller,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        mode: RenameMode,
        done: Done<()>,
    ) {
        let (Some(source), Some(target)) = (Place::of(from.0), Place::of(to.0)) else {
            return done(Err(FsError::Stale));
        };
        match (source, target) {
            (Place::Areas(repo), Place::TagsOf(other)) if repo == other => {
                self.publish(caller, repo, from.1, to.1, mode, done);
            }
            (Place::TagsOf(repo), Place::TagsOf(other)) if repo == other => {
                self.move_tag(caller, repo, from.1, to.1, mode, done);
            }
            (Place::Node(source), Place::Node(target)) => {
                let (from, to) = (from.1.to_vec(), to.1.to_vec());
                let step =
                    move |fs: &Arc<Self>| fs.rename_node((source, &from), (target, &to), mode);
                // A rename within one directory holds up nobody outside the area.
                if source == target { self.run(done, step) } else { self.run_briefly(done, step) }
            }
            // Never EXDEV: `mv` would copy the tree instead (H12).
            (_, _) => done(Err(FsError::NotPermitted)),
        }
    }

    fn rename_node(
        &self,
        from: (NodeId, &[u8]),
        to: (NodeId, &[u8]),
        mode: RenameMode,
    ) -> Result<(), Denied> {
        self.check_writable()?;
        let (from_name, to_name) = (entry_name(from.1)?, entry_name(to.1)?);
        let moved = self.resolve(from.0, from.1)?.ok_or(FsError::NotFound)?;
        let replaced = self.resolve(to.0, to.1)?;
        let mut reaching_out = self.prepare_move(moved)?;
        match replaced {
            Some(replaced) if mode == RenameMode::Exchange => {
                reaching_out.extend(self.prepare_move(replaced)?);
            }
            Some(replaced) => self.complete_links(replaced)?,
            None => {}
        }
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| {
            check_open(state, from.0)?;
            check_open(state, to.0)?;
            let area = |id| state.node(id).map(|node| node.area.id);
            if area(from.0) != area(to.0) {
                return Err(FsError::CrossArea.into());
            }
            if state.child(from.0, from.1) != Some(Child::Node(moved)) {
                return Err(FsError::NotFound.into());
            }
            let target = match state.child(to.0, to.1) {
                Some(Child::Node(node)) => Some(node),
                Some(Child::Absent | Child::InBase(_)) => None,
                None => return Err(FsError::NotDirectory.into()),
            };
            if target != replaced {
                // Another process was faster, which is rare, since the kernel locks both
                // directories.
                return Err(FsError::Busy.into());
            }
            match (mode, target) {
                (RenameMode::Exchange, None) => return Err(FsError::NotFound.into()),
                (RenameMode::Exchange, Some(_)) => {
                    state.mark_all_changed(dirty, reaching_out);
                    let (from, to) = ((from.0, &from_name), (to.0, &to_name));
                    state.exchange(dirty, from, to, now);
                    return Ok(());
                }
                (RenameMode::NoReplace, Some(_)) => return Err(FsError::Exists.into()),
                // Two names of one file: POSIX says that nothing happens.
                (RenameMode::Replace, Some(target)) if target == moved => return Ok(()),
                (RenameMode::Replace, Some(target)) => {
                    let is_directory = |id| state.node(id).is_some_and(|node| node.is_directory());
                    match (is_directory(moved), is_directory(target)) {
                        (true, false) => return Err(FsError::NotDirectory.into()),
                        (false, true) => return Err(FsError::IsDirectory.into()),
                        (true, true) => self.check_empty(state, target)?,
                        (false, false) => {}
                    }
                }
                (RenameMode::Replace | RenameMode::NoReplace, None) => {}
            }
            state.mark_all_changed(dirty, reaching_out);
            state.rename(dirty, (from.0, &from_name), (to.0, &to_name), now);
            Ok(())
        })
    }
}
