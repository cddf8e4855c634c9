//! What a change has made necessary elsewhere.

use crate::engine::after::After;
use crate::engine::durability::Durable;
use crate::model::id::RepoId;

/// What whoever changes something asks the thread to do afterwards.
#[derive(Default)]
pub(in crate::engine) struct Effects {
    durable: Vec<(Durable, After)>,
    collect: bool,
    purge: bool,
    uncharged: Vec<RepoId>,
    room_was_made: bool,
}

impl Effects {
    /// `after` is to happen once this is on disk, or cannot be brought there.
    pub(in crate::engine) fn when_durable(&mut self, what: Durable, after: After) {
        self.durable.push((what, after));
    }

    /// Something became unreferenced: a collection is to run.
    pub(in crate::engine) fn collect(&mut self) {
        self.collect = true;
    }

    /// The deletion queue or the trees have something for the collector to do between its runs.
    pub(in crate::engine) fn purge(&mut self) {
        self.purge = true;
    }

    /// Versions came or went, so what each adds to the one before it may have changed.
    pub(in crate::engine) fn expect_accounting(&mut self, repo: RepoId) {
        self.uncharged.push(repo);
    }

    /// Files were removed: there may be room for what could not be written.
    pub(in crate::engine) fn room_was_made(&mut self) {
        self.room_was_made = true;
    }

    /// Takes all, unless there are none.
    pub(in crate::engine) fn take(&mut self) -> Option<Taken> {
        let Self { durable, collect, purge, uncharged, room_was_made } = &*self;
        if durable.is_empty() && uncharged.is_empty() && !collect && !purge && !room_was_made {
            return None;
        }
        let Self { durable, collect, purge, uncharged, room_was_made } = std::mem::take(self);
        Some(Taken { durable, collect, purge, uncharged, room_was_made })
    }
}

/// The effects, for the thread to carry out. The method of [`Effects`] of the same name says what each
/// means.
pub(in crate::engine) struct Taken {
    pub(in crate::engine) durable: Vec<(Durable, After)>,
    pub(in crate::engine) collect: bool,
    pub(in crate::engine) purge: bool,
    pub(in crate::engine) uncharged: Vec<RepoId>,
    pub(in crate::engine) room_was_made: bool,
}
