//! Requests of users who are not the owner of the store.
//!
//! Checked by the table of [`crate::control::rights`], before anything is looked up or waits; the answer
//! is cut down to what that user may see.

use super::StoreService;
use super::errors::control_error;
use crate::control::names::NamesOf;
use crate::control::protocol::{ControlError, ErrorDetail, ErrorKind, Progress, Request};
use crate::control::reply::Reply;
use crate::control::rights::{Right, required};
use crate::control::service::{Attachment, Caller, Service};
use crate::engine::registry::Repository;
use crate::model::id::AreaId;
use crate::model::name::{AreaName, RepoName};
use crate::model::text::{count, is_or_are};
use crate::model::tree::Attributes;

/// To list a directory and to enter it.
pub(super) const READ: u32 = 0o5;

/// To enter a directory.
pub(super) const ENTER: u32 = 0o1;

/// To read a file.
pub(super) const READ_FILE: u32 = 0o4;

/// To change the names in a directory.
const WRITE: u32 = 0o3;

/// In a sticky directory, names are changed by the owners of the directory and of what they name.
const STICKY: u32 = 0o1000;

/// A user with all their groups.
pub(super) struct User {
    uid: u32,
    groups: Vec<u32>,
}

/// Owner and mode of a directory, or of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owned {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Owned {
    fn of(repository: &Repository) -> Self {
        let Repository { uid, gid, mode, .. } = *repository;
        Self { uid, gid, mode: u32::from(mode) }
    }

    /// Of something in a version.
    pub(super) fn of_entry(attributes: &Attributes) -> Self {
        let Attributes { uid, gid, mode, .. } = *attributes;
        Self { uid, gid, mode: u32::from(mode) }
    }
}

impl User {
    /// Whether all of these bits are granted, as the kernel decides it: to the owner by the owner's
    /// bits alone, to a member of the group by the group's.
    pub(super) fn may(&self, wanted: u32, directory: Owned) -> bool {
        let shift = if self.uid == directory.uid {
            6
        } else if self.groups.contains(&directory.gid) {
            3
        } else {
            0
        };
        (directory.mode >> shift) & wanted == wanted
    }

    /// Whether this user may rename `taken` out of `directory`, as the kernel would decide.
    fn may_take(&self, taken: Owned, directory: Owned) -> bool {
        if self.uid == directory.uid {
            return true;
        }
        let is_kept = directory.mode & STICKY != 0 && self.uid != taken.uid;
        // Renaming a directory changes its `..` entry, so the directory itself must be writable.
        self.may(WRITE, directory) && self.may(0o2, taken) && !is_kept
    }
}

impl StoreService {
    pub(super) fn answer_other(
        &self,
        caller: Caller,
        request: Request,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Reply, ControlError> {
        let user = self.user(caller)?;
        let mut owns = false;
        let names_repositories =
            matches!(&request, Request::Names { of: NamesOf::Repositories, .. });
        match required(&request) {
            Right::StoreOwner => return Err(for_the_owner_alone()),
            Right::Listing => {}
            Right::Read(name) => {
                if !user.may(READ, Owned::of(&*self.repository(name)?)) {
                    return Err(denied(name));
                }
            }
            Right::Own(first, second) => {
                for name in [first, second] {
                    if self.repository(name)?.uid != user.uid {
                        return Err(denied(name)
                            .with_hint("only its owner may compare versions, and look for paths"));
                    }
                }
            }
            Right::Publish(name, area) => owns = self.check_publish(&user, name, area)?,
        }
        let answer = match request {
            Request::Prefetch(prefetch) => self.prefetch(caller, &prefetch, Some(&user), progress),
            other => self.call(caller, other, Attachment::none(), progress).map(|(reply, _)| reply),
        };
        let reply = answer.map_err(|error| if owns { error } else { without_paths(error) })?;
        match reply {
            Reply::Names(names) if names_repositories => {
                let is_visible = |name: &String| {
                    let repository = self.engine.registry.by_name(name);
                    repository.is_some_and(|found| user.may(READ, Owned::of(&found)))
                };
                Ok(Reply::Names(names.into_iter().filter(is_visible).collect()))
            }
            reply => Ok(self.visible(&user, reply)),
        }
    }

    fn user(&self, caller: Caller) -> Result<User, ControlError> {
        let peer = self.peers.lock().get(&caller.connection).cloned();
        let groups = peer.and_then(|peer| peer.groups().ok());
        let mut groups = groups.ok_or_else(|| {
            ControlError::new(ErrorKind::Permission, "cannot tell which groups you belong to")
        })?;
        groups.push(caller.gid);
        Ok(User { uid: caller.uid, groups })
    }

    /// Checks the right to publish an area; says whether the user owns the repository or the area, and
    /// so may know the paths in it.
    fn check_publish(
        &self,
        user: &User,
        name: &RepoName,
        area: &AreaName,
    ) -> Result<bool, ControlError> {
        let directory = Owned::of(&*self.repository(name)?);
        if !user.may(WRITE, directory) {
            return Err(denied(name));
        }
        let (_, id, full) = self.area(name, area)?;
        self.engine.load_area(id).map_err(control_error)?;
        let top = self.top(id).ok_or_else(|| denied(name))?;
        if !user.may_take(top, directory) {
            let message = format!("permission denied: the area `{name}/{full}`");
            return Err(ControlError::new(ErrorKind::Permission, message)
                .with_hint("who may rename its directory may publish it"));
        }
        Ok(user.uid == directory.uid || user.uid == top.uid)
    }

    /// Owner and mode of the top directory of an area.
    fn top(&self, area: AreaId) -> Option<Owned> {
        let state = self.engine.staging.read();
        let root = state.areas.get(&area)?.root;
        let top = state.node(root)?;
        Some(Owned { uid: top.uid, gid: top.gid, mode: u32::from(top.mode) })
    }

    /// A listing without repositories that the user may not read.
    fn visible(&self, user: &User, reply: Reply) -> Reply {
        let reads = |name: &RepoName| {
            let found = self.engine.registry.by_name(name.as_str());
            found.is_some_and(|repository| user.may(READ, Owned::of(&repository)))
        };
        match reply {
            Reply::Repositories(mut all) => {
                all.retain(|repository| reads(&repository.name));
                Reply::Repositories(all)
            }
            Reply::Jobs(mut all) => {
                all.retain(|job| reads(&job.repository));
                for job in &mut all {
                    // It may name paths and URLs.
                    job.error = None;
                    if let Some(progress) = &mut job.progress {
                        progress.retry = None;
                    }
                }
                Reply::Jobs(all)
            }
            Reply::Areas(mut all) => {
                all.retain(|area| reads(&area.repository));
                Reply::Areas(all)
            }
            other => other,
        }
    }
}

/// An error that names no paths: some may be in directories that the user cannot look into.
fn without_paths(error: ControlError) -> ControlError {
    match error.detail.as_deref() {
        Some(ErrorDetail::OpenFiles(files)) => {
            let (files, are) = (count(files.len(), "file"), is_or_are(files.len()));
            let message = format!("{files} {are} open for writing");
            ControlError::new(error.kind, message).with_hint("close them, or wait with --wait")
        }
        Some(ErrorDetail::Conflicts(paths)) => {
            let message = format!("both sides changed {}", count(paths.len(), "path"));
            ControlError::new(error.kind, message)
                .with_hint("the owner of the area or of the repository is told which")
        }
        Some(
            ErrorDetail::StaleBase { .. }
            | ErrorDetail::Unreadable { .. }
            | ErrorDetail::FailedFiles { .. }
            | ErrorDetail::RemoteChanged { .. }
            | ErrorDetail::Locked { .. },
        )
        | None => error,
    }
}

fn denied(repository: &RepoName) -> ControlError {
    let message = format!("permission denied: the repository `{repository}`");
    ControlError::new(ErrorKind::Permission, message)
}

fn for_the_owner_alone() -> ControlError {
    let message = "permission denied: that is for the store's owner and root";
    ControlError::new(ErrorKind::Permission, message).with_hint(
        "others may use: list, versions, log, show, tags, areas, wait, jobs, prefetch; commit, where they may rename \
         the area; diff, find and log of a path, in repositories of their own",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, groups: &[u32]) -> User {
        User { uid, groups: groups.to_vec() }
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let directory = |mode| Owned { uid: 1, gid: 10, mode };
        for (mode, wanted, owner, member, other) in [
            (0o755, READ, true, true, true),
            (0o755, WRITE, true, false, false),
            (0o775, WRITE, true, true, false),
            (0o077, READ, false, true, true),
            (0o707, READ, true, false, true),
            (0o750, READ, true, true, false),
            (0o744, READ, true, false, false),
            (0o766, WRITE, true, false, false),
        ] {
            let directory = directory(mode);
            assert_eq!(user(1, &[10]).may(wanted, directory), owner, "{mode:o}");
            assert_eq!(user(2, &[7, 10]).may(wanted, directory), member, "{mode:o}");
            assert_eq!(user(2, &[7]).may(wanted, directory), other, "{mode:o}");
        }
    }

    #[test]
    fn an_area_is_taken_by_who_may_rename_it() {
        let owned = |uid, mode| Owned { uid, gid: 10, mode };
        for (repository, area, may) in [
            (owned(1, 0o755), owned(2, 0o755), false),
            (owned(1, 0o777), owned(2, 0o755), true),
            (owned(1, 0o777), owned(1, 0o755), false),
            (owned(1, 0o777), owned(1, 0o777), true),
            (owned(1, 0o1777), owned(1, 0o777), false),
            (owned(1, 0o1777), owned(2, 0o755), true),
            (owned(2, 0o755), owned(1, 0o700), true),
        ] {
            assert_eq!(user(2, &[]).may_take(area, repository), may, "{repository:?} {area:?}");
        }
    }
}
