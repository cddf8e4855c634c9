//! The bucket as its own log says it is: repositories, marks, and what became of them.

use std::collections::BTreeMap;

use super::Refusal;
use crate::bucket::event::{Event, Payload};
use crate::bucket::key::{Nonce, ObjectKey, Seq};
use crate::bucket::log::{Fold, Position};
use crate::bucket::rules::{Rule, is_left_out};
use crate::model::name::RepoName;

/// What became of a mark. The first decision counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// These of its keys may be deleted.
    Sentence {
        /// The list of the keys.
        condemned: ObjectKey,
        /// The event.
        at: Position,
    },
    /// None of them.
    Abandoned,
}

/// A mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its id.
    pub id: Nonce,
    /// The list of the keys that it names.
    pub candidates: ObjectKey,
    /// The event.
    pub at: Position,
    /// What became of it, if that was decided.
    pub decision: Option<Decision>,
}

/// What the bucket's own log says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BucketState {
    /// Each with the event that made it.
    repositories: BTreeMap<RepoName, Seq>,
    /// In the order of the log.
    marks: Vec<Mark>,
}

impl BucketState {
    /// All repositories.
    pub fn repositories(&self) -> impl Iterator<Item = &RepoName> {
        self.repositories.keys()
    }

    /// Whether that repository was made.
    pub fn has(&self, name: &RepoName) -> bool {
        self.repositories.contains_key(name)
    }

    /// Repositories that were made before that event.
    pub fn made_before(&self, seq: Seq) -> impl Iterator<Item = &RepoName> {
        self.repositories.iter().filter(move |(_, made)| **made < seq).map(|(name, _)| name)
    }

    /// All marks, the oldest first.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// A mark by its id.
    pub fn mark(&self, id: Nonce) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.id == id)
    }

    /// Marks that were made before that repository; all if it was not made.
    pub fn marks_before(&self, name: &RepoName) -> impl Iterator<Item = &Mark> {
        let made = self.repositories.get(name).copied().unwrap_or(Seq::MAX);
        self.marks.iter().filter(move |mark| mark.at.seq < made)
    }
}

impl Fold for BucketState {
    fn check(&self, event: &Event) -> Result<(), Refusal> {
        match &event.payload {
            Payload::Repository { .. } | Payload::Mark { .. } => Ok(()),
            Payload::Sentence { mark, .. } | Payload::Abandon { mark } => {
                self.mark(*mark).map(drop).ok_or(Refusal::NoMark(*mark))
            }
            Payload::Commit(_)
            | Payload::Tag(_)
            | Payload::Flags { .. }
            | Payload::Delete { .. }
            | Payload::Remove
            | Payload::Draft { .. }
            | Payload::DraftEnd { .. }
            | Payload::Barrier { .. } => Err(Refusal::WrongLog(event.payload.kind())),
        }
    }

    fn apply(&mut self, event: &Event, at: Position) {
        let (mark, decision) = match &event.payload {
            Payload::Repository { name } => {
                self.repositories.entry(name.clone()).or_insert(event.seq);
                return;
            }
            Payload::Mark { candidates } => {
                let (id, candidates) = (event.nonce, *candidates);
                self.marks.push(Mark { id, candidates, at, decision: None });
                return;
            }
            Payload::Sentence { mark, condemned } => {
                (mark, Decision::Sentence { condemned: *condemned, at })
            }
            Payload::Abandon { mark } => (mark, Decision::Abandoned),
            // Refused by `check`: they belong into the log of a repository.
            Payload::Commit(_)
            | Payload::Tag(_)
            | Payload::Flags { .. }
            | Payload::Delete { .. }
            | Payload::Remove
            | Payload::Draft { .. }
            | Payload::DraftEnd { .. }
            | Payload::Barrier { .. } => return,
        };
        let found = self.marks.iter_mut().find(|known| known.id == *mark);
        let may_change =
            |known: &Mark| known.decision.is_none() || is_left_out(Rule::FirstDecision);
        if let Some(known) = found.filter(|known| may_change(known)) {
            known.decision = Some(decision);
        }
    }
}
