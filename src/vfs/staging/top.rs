//! Repositories, areas and tags as the user of a mount makes and removes them.

use std::sync::Arc;

use super::audit::{self, logged};
use super::lookup::{repository_entry, tag_attr, tag_target};
use super::place;
use super::{Caller, Done, Entry, Keep, RenameMode, SetAttr, StagingFs, engine_error};
use crate::engine::commit::{Asker, CommitOptions};
use crate::engine::request::{Owner, OwnerChange, Request};
use crate::model::id::{AreaId, Ino, NodeId, RepoId, VersionNumber};
use crate::model::name::{AreaName, LATEST, RepoName, TagName, parse_number};
use crate::model::text::printable;
use crate::model::time::Timestamp;
use crate::vfs::attr::Attr;
use crate::vfs::error::FsError;

impl StagingFs {
    pub(super) fn make_repository(
        self: &Arc<Self>,
        caller: Caller,
        name: &[u8],
        mode: u16,
        done: Done<Entry>,
    ) {
        let name = match self.check_growable().and_then(|()| Ok(RepoName::new(name)?)) {
            Ok(name) => name,
            Err(error) => return done(Err(error)),
        };
        let owner = Owner { mode, uid: caller.uid, gid: caller.gid };
        let fs = Arc::clone(self);
        let done = logged(caller, format!("create repository {name}"), done);
        let done: Done<RepoId> = Box::new(move |made| {
            done(made.and_then(|repo| {
                let repository = fs.repository(repo)?;
                Ok(repository_entry(&repository, place::areas_ino(repo)))
            }));
        });
        let now = Timestamp::now();
        self.submit(done, |reply| Request::CreateRepository {
            name,
            owner,
            provisional: false,
            now,
            reply,
        });
    }

    pub(super) fn remove_repository(self: &Arc<Self>, caller: Caller, name: &[u8], done: Done<()>) {
        if let Err(error) = self.check_writable() {
            return done(Err(error));
        }
        let found = std::str::from_utf8(name).ok().and_then(|n| self.engine.registry.by_name(n));
        let Some(repository) = found else {
            return done(Err(FsError::NotFound));
        };
        let repo = repository.id;
        let done = logged(caller, format!("delete repository {}", repository.name), done);
        let now = Timestamp::now();
        self.submit(done, |reply| Request::DeleteRepository { repo, now, reply });
    }

    pub(super) fn change_repository(
        self: &Arc<Self>,
        repo: RepoId,
        ino: Ino,
        change: SetAttr,
        done: Done<(Attr, Keep)>,
    ) {
        if let Err(error) = self.check_writable() {
            return done(Err(error));
        }
        if change.size.is_some() {
            return done(Err(FsError::IsDirectory));
        }
        let owner = OwnerChange { mode: change.mode, uid: change.uid, gid: change.gid };
        if let Err(error) = self.repository(repo) {
            return done(Err(error));
        }
        let fs = Arc::clone(self);
        let done: Done<()> = Box::new(move |changed| {
            done(changed.and_then(|()| fs.getattr(ino)));
        });
        let now = Timestamp::now();
        self.submit(done, |reply| Request::ChangeRepository { repo, change: owner, now, reply });
    }

    pub(super) fn make_area(
        self: &Arc<Self>,
        caller: Caller,
        repo: RepoId,
        name: &[u8],
        mode: u16,
        done: Done<Entry>,
    ) {
        let name = match self.check_growable().and_then(|()| Ok(AreaName::new(name)?)) {
            Ok(name) => name,
            Err(error) => return done(Err(error)),
        };
        let owner = Owner { mode, uid: caller.uid, gid: caller.gid };
        let fs = Arc::clone(self);
        let done = Box::new(move |made: Result<crate::model::id::AreaId, FsError>| {
            done(made.and_then(|area| fs.area_entry(area)));
        });
        let now = Timestamp::now();
        self.submit(done, |reply| Request::OpenArea {
            repo,
            name,
            owner,
            journalled: true,
            now,
            reply,
        });
    }

    /// `rmdir` of an area: discards it, if it shows nothing (N12).
    pub(super) fn remove_area(
        self: &Arc<Self>,
        caller: Caller,
        repo: RepoId,
        name: &[u8],
        done: Done<()>,
    ) {
        let found = self.check_writable().and_then(|()| {
            let repository = self.repository(repo)?;
            let name = AreaName::new(name).map_err(|_| FsError::NotFound)?;
            let area = repository.areas.get(&name).copied().ok_or(FsError::NotFound)?;
            Ok((area, format!("discard area {}/{name}", repository.name)))
        });
        let (area, change) = match found {
            Ok(found) => found,
            Err(error) => return done(Err(error)),
        };
        let empty = self.engine.load_area(area).map_err(engine_error).and_then(|()| {
            let state = self.engine.staging.read();
            self.check_empty(&state, NodeId(area.0))
        });
        if let Err(error) = empty {
            return done(Err(error));
        }
        let done = logged(caller, change, done);
        self.submit(done, |reply| Request::DiscardArea { area, reply });
    }

    /// `mv staging/REPO/NAME tags/REPO/…`: the commit (N6, N7).
    pub(super) fn publish(
        self: &Arc<Self>,
        caller: Caller,
        repo: RepoId,
        from: &[u8],
        to: &[u8],
        mode: RenameMode,
        done: Done<()>,
    ) {
        let prepared = self.check_growable().and_then(|()| {
            if mode == RenameMode::Exchange {
                return Err(FsError::NotPermitted);
            }
            let repository = self.repository(repo)?;
            let name = AreaName::new(from).map_err(|_| FsError::NotFound)?;
            let area = repository.areas.get(&name).copied().ok_or(FsError::NotFound)?;
            self.engine.load_area(area).map_err(engine_error)?;
            let (tag, number) =
                wanted_name(&name, to).inspect_err(|_| self.note_bad_name(area, to))?;
            self.check_ready(caller, repo, area)?;
            Ok((area, tag, number))
        });
        let (area, tag, number) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return done(Err(error)),
        };
        let options = CommitOptions {
            tag,
            number,
            message: None,
            author: None,
            caller: audit::user(caller),
            wait: false,
            on_stale: None,
            in_rename: true,
            allow_empty: false,
            asker: Asker::default(),
            now: Timestamp::now(),
            copy: None,
        };
        let staging = Arc::clone(&self.engine.staging);
        let done: Done<_> = Box::new(move |outcome: Result<_, FsError>| {
            if outcome.is_err() {
                staging.let_name_stay(area);
            }
            done(outcome.map(|_| ()));
        });
        self.submit(done, |reply| Request::Commit { area, options, reply });
    }

    /// Keeps the reason why no version can have the name that a RENAME asks for.
    fn note_bad_name(&self, area: AreaId, name: &[u8]) {
        let name = printable(&String::from_utf8_lossy(name));
        self.engine.staging.change(|state, _| {
            if let Some(area) = state.areas.get_mut(&area) {
                area.error = format!("no version can be named `{name}`");
            }
        });
        log::info!("refused: publish an area as `{name}`, which no version can be named");
    }

    /// `ln -s 7 tags/REPO/NAME` (N10).
    pub(super) fn make_tag(
        self: &Arc<Self>,
        caller: Caller,
        repo: RepoId,
        name: &[u8],
        target: &[u8],
        done: Done<Entry>,
    ) {
        let prepared = self.check_growable().and_then(|()| {
            let repository = self.repository(repo)?;
            let tag = TagName::new(name)?;
            let number = tag_number(repository.name.as_str(), target).ok_or(FsError::Invalid)?;
            if !repository.versions.contains_key(&number) {
                return Err(FsError::Invalid);
            }
            Ok((tag, number, repository.name.clone()))
        });
        let (tag, number, repository) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return done(Err(error)),
        };
        let fs = Arc::clone(self);
        let name = tag.clone();
        let done = logged(caller, format!("tag {repository}/{number} as {tag}"), done);
        let done: Done<()> = Box::new(move |made| {
            done(made.and_then(|()| {
                let repository = fs.repository(repo)?;
                let target = tag_target(&repository, name.as_str()).ok_or(FsError::NotFound)?;
                let ino = fs.tags.ino(repo, name.as_str());
                let attr = tag_attr(&repository, ino, target.len());
                Ok(Entry { attr, keep_name: Keep::Never, keep_attr: Keep::Forever })
            }));
        });
        let now = Timestamp::now();
        self.submit(done, |reply| Request::SetTag { repo, tag, number, fresh: true, now, reply });
    }

    pub(super) fn remove_tag(
        self: &Arc<Self>,
        caller: Caller,
        repo: RepoId,
        name: &[u8],
        done: Done<()>,
    ) {
        let (repository, tag) = match self.check_writable().and_then(|()| self.tag_of(repo, name)) {
            Ok(found) => found,
            Err(error) => return done(Err(error)),
        };
        let done = logged(caller, format!("delete tag {repository}/{tag}"), done);
        let tags = Arc::clone(&self.tags);
        let removed = tag.clone();
        let done: Done<()> = Box::new(move |result| {
            if result.is_ok() {
                tags.remove(repo, removed.as_str());
            }
            done(result);
        });
        let now = Timestamp::now();
        self.submit(done, |reply| Request::DeleteTag { repo, tag, now, reply });
    }

    pub(super) fn move_tag(
        self: &Arc<Self>,
        caller: Caller,
        repo: RepoId,
        from: &[u8],
        to: &[u8],
        mode: RenameMode,
        done: Done<()>,
    ) {
        let prepared = self.check_writable().and_then(|()| {
            let (repository, from) = self.tag_of(repo, from)?;
            let to = TagName::new(to).map_err(|_| FsError::NotPermitted)?;
            let taken = self.repository(repo)?.tags.contains_key(&to);
            match mode {
                RenameMode::Exchange => Err(FsError::NotPermitted),
                RenameMode::NoReplace if taken => Err(FsError::Exists),
                RenameMode::NoReplace | RenameMode::Replace => Ok((repository, from, to)),
            }
        });
        let (repository, from, to) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return done(Err(error)),
        };
        let done = logged(caller, format!("rename tag {repository}/{from} to {to}"), done);
        let tags = Arc::clone(&self.tags);
        let (old, new) = (from.clone(), to.clone());
        let done: Done<()> = Box::new(move |result| {
            if result.is_ok() {
                tags.rename(repo, old.as_str(), new.as_str());
            }
            done(result);
        });
        let now = Timestamp::now();
        self.submit(done, |reply| Request::RenameTag { repo, from, to, now, reply });
    }

    fn tag_of(&self, repo: RepoId, name: &[u8]) -> Result<(RepoName, TagName), FsError> {
        if name == LATEST.as_bytes() {
            return Err(FsError::NotPermitted);
        }
        let tag = TagName::new(name).map_err(|_| FsError::NotFound)?;
        let repository = self.repository(repo)?;
        let found = repository.tags.contains_key(&tag).then(|| (repository.name.clone(), tag));
        found.ok_or(FsError::NotFound)
    }
}

/// What the target name of a publishing rename asks for: a name, or a number.
fn wanted_name(
    area: &AreaName,
    to: &[u8],
) -> Result<(Option<TagName>, Option<VersionNumber>), FsError> {
    let text = std::str::from_utf8(to).map_err(|_| FsError::NotPermitted)?;
    // The `@base` of the area's own name is not part of the version's.
    let name = if text == area.as_str() { area.label() } else { text };
    if let Some(number) = parse_number(name) {
        return Ok((None, Some(number)));
    }
    TagName::new(name.as_bytes()).map(|tag| (Some(tag), None)).map_err(|_| FsError::NotPermitted)
}

/// The version that a link's target means: `7`, or a path that ends in `versions/REPO/7`.
fn tag_number(repository: &str, target: &[u8]) -> Option<VersionNumber> {
    let text = std::str::from_utf8(target).ok()?;
    let mut parts = text.trim_end_matches('/').rsplit('/');
    let number = parse_number(parts.next()?)?;
    match (parts.next(), parts.next()) {
        (None, _) => Some(number),
        (Some(repo), Some("versions")) if repo == repository => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_be_given_by_number_or_by_path() {
        let seven = Some(VersionNumber(7));
        assert_eq!(tag_number("r", b"7"), seven);
        assert_eq!(tag_number("r", b"../../versions/r/7"), seven);
        assert_eq!(tag_number("r", b"/mnt/versions/r/7/"), seven);
        assert_eq!(tag_number("r", b"/mnt/versions/other/7"), None);
        assert_eq!(tag_number("r", b"latest"), None);
        assert_eq!(tag_number("r", b"/etc/passwd"), None);
    }

    #[test]
    fn the_base_is_not_part_of_the_name() {
        let area: AreaName = "b42@7".parse().unwrap();
        let tag: TagName = "b42".parse().unwrap();
        assert_eq!(wanted_name(&area, b"b42@7").unwrap(), (Some(tag), None));
        assert_eq!(wanted_name(&area, b"13").unwrap(), (None, Some(VersionNumber(13))));
        let numbered: AreaName = "13@7".parse().unwrap();
        assert_eq!(wanted_name(&numbered, b"13@7").unwrap(), (None, Some(VersionNumber(13))));
        assert_eq!(wanted_name(&area, b"latest"), Err(FsError::NotPermitted));
        assert_eq!(wanted_name(&area, b"x@9"), Err(FsError::NotPermitted));
    }
}
