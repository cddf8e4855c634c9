//! A repository as its log says it is.

use std::collections::BTreeMap;

use super::{At, Refusal};
use crate::bucket::event::{Commit, Event, Payload, TagChange};
use crate::bucket::key::{Nonce, ObjectKey};
use crate::bucket::log::{Fold, Position};
use crate::model::id::VersionNumber;
use crate::model::name::TagName;
use crate::model::time::Timestamp;

/// A version that was published and not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedVersion {
    /// What was published.
    pub commit: Commit,
    /// Whether it is released now.
    pub released: bool,
    /// Whether it is locked now.
    pub locked: bool,
    /// The event that published it.
    pub seq: At,
    /// Names what was published, over all tries.
    pub nonce: Nonce,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedTag {
    /// The version that it names.
    pub number: VersionNumber,
    /// Whether it protects that version.
    pub protects: bool,
    /// When it was made or moved.
    pub changed: Timestamp,
}

/// A push under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What it needs.
    pub uses: ObjectKey,
    /// The event that began it.
    pub seq: At,
}

/// From where on a mark is honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// The list of the keys that the mark names.
    pub candidates: ObjectKey,
    /// The event.
    pub seq: At,
}

/// What the log of a repository says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryState {
    versions: BTreeMap<VersionNumber, FoldedVersion>,
    tags: BTreeMap<TagName, FoldedTag>,
    highest: u64,
    drafts: BTreeMap<Nonce, Draft>,
    barriers: BTreeMap<Nonce, Barrier>,
}

impl RepositoryState {
    /// Its versions.
    pub fn versions(&self) -> &BTreeMap<VersionNumber, FoldedVersion> {
        &self.versions
    }

    /// Its tags.
    pub fn tags(&self) -> &BTreeMap<TagName, FoldedTag> {
        &self.tags
    }

    /// The newest version.
    pub fn latest(&self) -> Option<&FoldedVersion> {
        self.versions.values().next_back()
    }

    /// The highest number that was ever used; 0 for none.
    pub fn highest(&self) -> VersionNumber {
        VersionNumber(self.highest)
    }

    /// Pushes under way, by their ids.
    pub fn drafts(&self) -> &BTreeMap<Nonce, Draft> {
        &self.drafts
    }

    /// Marks that who publishes here honours, with the keys of their candidates.
    pub fn barriers(&self) -> &BTreeMap<Nonce, Barrier> {
        &self.barriers
    }

    /// The lists of what its versions and drafts need.
    pub fn uses(&self) -> impl Iterator<Item = ObjectKey> {
        let versions = self.versions.values().map(|version| version.commit.uses);
        versions.chain(self.drafts.values().map(|draft| draft.uses))
    }

    fn has(&self, number: VersionNumber) -> Result<&FoldedVersion, Refusal> {
        self.versions.get(&number).ok_or(Refusal::NoVersion(number))
    }

    fn check_commit(&self, commit: &Commit) -> Result<(), Refusal> {
        let number = commit.number;
        if number.0 <= self.highest {
            return Err(Refusal::NumberUsed { number, highest: self.highest() });
        }
        let tag = commit.name.as_ref().filter(|_| commit.tagged);
        match tag.and_then(|tag| Some((tag, self.tags.get(tag)?))) {
            None => Ok(()),
            Some((tag, found)) => Err(Refusal::TagMoved {
                tag: tag.clone(),
                expected: None,
                found: Some(found.number),
            }),
        }
    }

    fn check_tag(&self, change: &TagChange) -> Result<(), Refusal> {
        let found = self.tags.get(&change.tag).map(|tag| tag.number);
        if found != change.before {
            let (tag, expected) = (change.tag.clone(), change.before);
            return Err(Refusal::TagMoved { tag, expected, found });
        }
        change.target.map_or(Ok(()), |target| self.has(target).map(drop))
    }

    fn check_deletion(&self, number: VersionNumber, force: bool) -> Result<(), Refusal> {
        let version = self.has(number)?;
        let protected = |reason: String| Err(Refusal::Protected { number, reason });
        if version.locked {
            return protected("locked".to_owned());
        }
        if force {
            return Ok(());
        }
        if version.released {
            return protected("released".to_owned());
        }
        if self.latest().is_some_and(|latest| latest.commit.number == number) {
            return protected("the newest version".to_owned());
        }
        let mut tags = self.tags.iter().filter(|(_, tag)| tag.number == number && tag.protects);
        match tags.next() {
            Some((tag, _)) => protected(format!("named by tag {tag}")),
            None => Ok(()),
        }
    }

    fn check_removal(&self) -> Result<(), Refusal> {
        match self.versions.iter().find(|(_, version)| version.locked) {
            Some((number, _)) => {
                Err(Refusal::Protected { number: *number, reason: "locked".to_owned() })
            }
            None => Ok(()),
        }
    }

    fn publish(&mut self, commit: &Commit, event: &Event) {
        let (number, seq, nonce) = (commit.number, event.seq, event.nonce);
        self.highest = number.0;
        if let Some(tag) = commit.name.clone().filter(|_| commit.tagged) {
            self.tags.insert(tag, FoldedTag { number, protects: false, changed: event.time });
        }
        if let Some(draft) = &commit.draft {
            self.drafts.remove(draft);
        }
        let (released, locked) = (commit.released, commit.locked);
        let commit = commit.clone();
        self.versions.insert(number, FoldedVersion { commit, released, locked, seq, nonce });
    }
}

impl Fold for RepositoryState {
    fn check(&self, event: &Event) -> Result<(), Refusal> {
        match &event.payload {
            Payload::Commit(commit) => self.check_commit(commit),
            Payload::Tag(change) => self.check_tag(change),
            Payload::Flags { number, .. } => self.has(*number).map(drop),
            Payload::Delete { number, force } => self.check_deletion(*number, *force),
            Payload::Remove => self.check_removal(),
            Payload::Draft { .. } | Payload::DraftEnd { .. } | Payload::Barrier { .. } => Ok(()),
            Payload::Repository { .. }
            | Payload::Mark { .. }
            | Payload::Sentence { .. }
            | Payload::Abandon { .. } => Err(Refusal::WrongLog(event.payload.kind())),
        }
    }

    fn apply(&mut self, event: &Event, _: Position) {
        match &event.payload {
            Payload::Commit(commit) => self.publish(commit, event),
            Payload::Tag(TagChange { tag, target: None, .. }) => {
                self.tags.remove(tag);
            }
            Payload::Tag(TagChange { tag, target: Some(number), protects, .. }) => {
                let (number, protects) = (*number, *protects);
                let value = FoldedTag { number, protects, changed: event.time };
                self.tags.insert(tag.clone(), value);
            }
            Payload::Flags { number, released, locked } => {
                if let Some(version) = self.versions.get_mut(number) {
                    version.released = released.unwrap_or(version.released);
                    version.locked = locked.unwrap_or(version.locked);
                }
            }
            Payload::Delete { number, .. } => {
                self.versions.remove(number);
                self.tags.retain(|_, tag| tag.number != *number);
            }
            Payload::Remove => {
                self.versions.clear();
                self.tags.clear();
            }
            Payload::Draft { uses } => {
                self.drafts.insert(event.nonce, Draft { uses: *uses, seq: event.seq });
            }
            Payload::DraftEnd { draft } => {
                self.drafts.remove(draft);
            }
            Payload::Barrier { mark, candidates } => {
                let barrier = Barrier { candidates: *candidates, seq: event.seq };
                self.barriers.entry(*mark).or_insert(barrier);
            }
            // Refused by `check`: they belong into the bucket's own log.
            Payload::Repository { .. }
            | Payload::Mark { .. }
            | Payload::Sentence { .. }
            | Payload::Abandon { .. } => {}
        }
    }
}
