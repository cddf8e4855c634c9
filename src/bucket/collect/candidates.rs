//! What is listed and needed by nobody.

use std::ops::ControlFlow;
use std::time::SystemTime;

use super::{CollectError, Collected, Collector, Condemned, Found, FoundKeys, KeyLists};
use crate::bucket::event::Payload;
use crate::bucket::fold::{BucketState, RepositoryState};
use crate::bucket::key::{Key, LogName, Nonce};
use crate::bucket::key_list::KeyList;
use crate::bucket::log::Cursor;
use crate::bucket::store::DELETE_KEYS_MAX;
use crate::model::name::RepoName;

impl Collector<'_> {
    /// All objects that a collector may touch. What a probe left long ago goes at once: it is named nowhere.
    pub(super) fn list(
        &self,
        now: SystemTime,
        collected: &mut Collected,
    ) -> Result<FoundKeys, CollectError> {
        let mut found = FoundKeys::new();
        let mut left = Vec::new();
        self.store.list("", &mut |listed| {
            if (self.is_stopped)() {
                return ControlFlow::Break(());
            }
            match listed.key.parse::<Key>() {
                Ok(Key::Object(key)) => {
                    found.insert(key, Found { size: listed.size, modified: listed.modified });
                }
                Ok(Key::Probe(_)) if self.is_old(listed.modified, now) => left.push(listed.key),
                Ok(Key::Probe(_) | Key::Format | Key::Head | Key::Event(..)) => {}
                Err(_) => collected.strangers += 1,
            }
            ControlFlow::Continue(())
        })?;
        self.go_on()?;
        for keys in left.chunks(DELETE_KEYS_MAX) {
            self.store.delete(keys)?;
        }
        collected.objects = found.len() as u64;
        Ok(found)
    }

    fn is_old(&self, modified: SystemTime, now: SystemTime) -> bool {
        // Stores tell the time of an object to the millisecond in a list and to the second elsewhere, so what was written
        // just now may seem to come from the future.
        now.duration_since(modified).unwrap_or_default() >= self.patience.young
    }

    /// Of the listed keys those that nobody needs, that are not young, and that no mark names already.
    pub(super) fn candidates(
        &self,
        found: &FoundKeys,
        now: SystemTime,
        log: &Cursor<BucketState>,
        lists: &mut KeyLists,
        dry_run: bool,
    ) -> Result<KeyList, CollectError> {
        let needs = self.needs_now(log.state(), dry_run)?;
        let named = Condemned::for_bucket_log(self.store, lists, log.state())?;
        let unneeded = found.iter().filter(|(key, found)| {
            self.is_old(found.modified, now) && !needs.has(key) && !named.names(key)
        });
        Ok(KeyList::of(unneeded.map(|(key, _)| *key)))
    }

    /// Ends drafts of pushes that seem to have died. If such a push still runs it loses nothing but the protection: it checks
    /// all keys that it needs when it publishes.
    pub(super) fn end_old_drafts(
        &self,
        name: &RepoName,
        log: &mut Cursor<RepositoryState>,
    ) -> Result<(), CollectError> {
        if log.state().drafts().is_empty() {
            return Ok(());
        }
        let now = self.store_now()?;
        let mut old: Vec<Nonce> = Vec::new();
        for (draft, begun) in log.state().drafts() {
            let key = LogName::Repository(name.clone()).key(begun.seq);
            let written = self.store.head(&key)?.map_or(now, |listed| listed.modified);
            let age = now.duration_since(written).unwrap_or_default();
            old.extend((age >= self.patience.draft).then_some(*draft));
        }
        for draft in old {
            let end = |log: &Cursor<RepositoryState>| -> Result<Option<Payload>, CollectError> {
                let is_open = log.state().drafts().contains_key(&draft);
                Ok(is_open.then_some(Payload::DraftEnd { draft }))
            };
            self.repository_log(name).append(log, self.new_intent()?, &mut { end })?;
        }
        Ok(())
    }
}
