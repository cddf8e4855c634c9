//! What must be true after each change of the store.

use std::collections::{BTreeMap, BTreeSet};

use crate::bucket::event::{BucketId, Commit};
use crate::bucket::fold::{BucketState, RepositoryState};
use crate::bucket::follow::Follower;
use crate::bucket::key::{Key, LogName, ObjectKey};
use crate::bucket::log::{Cursor, Fold, Log};
use crate::bucket::memory::Memory;
use crate::bucket::store::ObjectStore;
use crate::bucket::uses::Uses;
use crate::model::name::RepoName;

/// Follows all logs as an onlooker who misses nothing.
pub(super) struct Checker {
    memory: Memory,
    bucket: BucketId,
    own: Cursor<BucketState>,
    repositories: BTreeMap<RepoName, Cursor<RepositoryState>>,
    needs: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Pushes that are in a log, by the message of their version.
    pushed: BTreeMap<(RepoName, String), u64>,
}

fn follow<F: Fold>(
    memory: &Memory,
    bucket: BucketId,
    name: LogName,
    cursor: &mut Cursor<F>,
) -> Result<(), String> {
    let log = Log::new(memory, bucket, name, &|_| false);
    log.follow(cursor).map_err(|error| error.to_string())
}

fn missed(name: &RepoName, commit: &Commit, key: &ObjectKey) -> String {
    let Commit { number, message, .. } = commit;
    format!("live version {number} of {name} ({message}) needs {key}, which is missing")
}

impl Checker {
    pub(super) fn new(memory: Memory, bucket: BucketId) -> Self {
        Self {
            memory,
            bucket,
            own: Cursor::default(),
            repositories: BTreeMap::new(),
            needs: BTreeMap::new(),
            pushed: BTreeMap::new(),
        }
    }

    /// What is wrong after somebody created the object of that key, if anything is.
    pub(super) fn after_creation(&mut self, key: &str) -> Result<(), String> {
        match key.parse() {
            Ok(Key::Event(LogName::Bucket, _)) => self.follow_own(),
            Ok(Key::Event(LogName::Repository(name), _)) => self.follow_repository(&name),
            _ => Ok(()),
        }
    }

    /// What is wrong after somebody deleted objects, if anything is.
    pub(super) fn after_deletion(&self, keys: &[String]) -> Result<(), String> {
        let gone: Vec<ObjectKey> = keys.iter().filter_map(|key| key.parse().ok()).collect();
        for (name, cursor) in &self.repositories {
            for version in cursor.state().versions().values() {
                let commit = &version.commit;
                let needs = &self.needs[&commit.uses];
                let is_missed =
                    |key: &&ObjectKey| needs.contains(key) && !self.memory.has(&key.to_string());
                if let Some(key) = gone.iter().find(is_missed) {
                    return Err(missed(name, commit, key));
                }
            }
        }
        Ok(())
    }

    fn follow_own(&mut self) -> Result<(), String> {
        follow(&self.memory, self.bucket, LogName::Bucket, &mut self.own)
    }

    fn follow_repository(&mut self, name: &RepoName) -> Result<(), String> {
        let cursor = self.repositories.entry(name.clone()).or_default();
        let before = cursor.position().seq;
        follow(&self.memory, self.bucket, LogName::Repository(name.clone()), cursor)?;
        let versions = cursor.state().versions().values();
        for version in versions.filter(|version| version.seq > before) {
            let commit = &version.commit;
            let times = self.pushed.entry((name.clone(), commit.message.clone())).or_default();
            *times += 1;
            if *times > 1 {
                return Err(format!("{} was published twice in {name}", commit.message));
            }
            let needs = needs_of(&self.memory, commit.uses)
                .map_err(|error| format!("version {} of {name}: {error}", commit.number))?;
            if let Some(key) = needs.iter().find(|key| !self.memory.has(&key.to_string())) {
                return Err(missed(name, commit, key));
            }
            self.needs.insert(commit.uses, needs);
        }
        Ok(())
    }

    /// What is wrong at the end, if anything is: acknowledged pushes that are in no log, and states that differ.
    pub(super) fn check_end(&mut self, acknowledged: &[(RepoName, String)]) -> Result<(), String> {
        self.follow_own()?;
        let names: Vec<RepoName> = self.own.state().repositories().cloned().collect();
        for name in &names {
            self.follow_repository(name)?;
        }
        for push in acknowledged {
            if !self.pushed.contains_key(push) {
                return Err(format!("{} was acknowledged and is not in {}", push.1, push.0));
            }
        }
        for (name, cursor) in &self.repositories {
            let mut again = Cursor::<RepositoryState>::default();
            let log = LogName::Repository(name.clone());
            follow(&self.memory, self.bucket, log, &mut again)
                .map_err(|error| error.to_string())?;
            if again.state() != cursor.state() {
                return Err(format!("two who folded {name} disagree"));
            }
        }
        Ok(())
    }

    /// Compares an edge that had time to follow all logs with what the logs say. Returns the first difference as an error.
    pub(super) fn check_edge(&self, edge: &Follower) -> Result<(), String> {
        for (name, cursor) in &self.repositories {
            // A publisher that crashed may have written a log that the bucket's own log does not name. No edge can know of it.
            if !self.own.state().has(name) {
                continue;
            }
            match edge.repository(name) {
                Some(known) if known.position() == cursor.position() => {}
                Some(known) => {
                    let (at, end) = (known.position().seq, cursor.position().seq);
                    return Err(format!("an edge knows {name} up to {at}, and its log has {end}"));
                }
                None => return Err(format!("an edge does not know {name}")),
            }
        }
        Ok(())
    }

    pub(super) fn events(&self) -> u64 {
        let repositories = self.repositories.values().map(|cursor| cursor.position().seq.get());
        self.own.position().seq.get() + repositories.sum::<u64>()
    }

    pub(super) fn versions(&self) -> u64 {
        self.pushed.values().sum()
    }
}

/// All keys that a version needs.
pub(super) fn needs_of(
    store: &dyn ObjectStore,
    uses: ObjectKey,
) -> Result<BTreeSet<ObjectKey>, String> {
    let get = |key: &ObjectKey| match store.get(&key.to_string()) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(format!("{key} is missing")),
        Err(error) => Err(error.to_string()),
    };
    let uses = Uses::read(uses, get, |key, error| format!("{key}: {error}"))?;
    Ok(uses.needs().copied().collect())
}
