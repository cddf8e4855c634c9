//! What logs say: the state of a repository, and of the bucket.
//!
//! One set of rules decides what a publisher may append and what a reader accepts, so all who read a log come to the
//! same state. Events of different versions and tags commute: each is checked against the state that it meets, not
//! against the one that its author saw. Two commits of one number do not, nor a deletion and a lock of that version,
//! nor a tag that meanwhile names something else.

mod bucket;
mod repository;

pub use bucket::{BucketState, Decision, Mark};
pub use repository::{Barrier, Draft, FoldedTag, FoldedVersion, RepositoryState};

use super::key::{Nonce, Seq};
use crate::model::id::VersionNumber;
use crate::model::name::TagName;

/// Why an event may not come next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The number of a version was used.
    #[error(
        "version {number} cannot be published: numbers up to {highest} are used. Pull first, or let it take the next one"
    )]
    NumberUsed {
        /// The number.
        number: VersionNumber,
        /// The highest one that was ever used.
        highest: VersionNumber,
    },
    /// There is no such version.
    #[error("there is no version {0}: it was deleted, or never published")]
    NoVersion(VersionNumber),
    /// A tag names something else.
    #[error(
        "tag {tag} was changed meanwhile: it names {} and not {}. Pull, and decide again",
        named(*.found), named(*.expected)
    )]
    TagMoved {
        /// The tag.
        tag: TagName,
        /// What it was to name.
        expected: Option<VersionNumber>,
        /// What it names.
        found: Option<VersionNumber>,
    },
    /// A version must not be deleted.
    #[error("version {number} is {reason}")]
    Protected {
        /// The version.
        number: VersionNumber,
        /// Why.
        reason: String,
    },
    /// There is no such mark.
    #[error("there is no mark {0}")]
    NoMark(Nonce),
    /// That happens in logs of another kind.
    #[error("a {0} does not belong into this log")]
    WrongLog(&'static str),
}

fn named(number: Option<VersionNumber>) -> String {
    number.map_or_else(|| "nothing".to_owned(), |number| format!("version {number}"))
}

/// Where an event is in its log, for what was noted of it.
type At = Seq;

#[cfg(test)]
mod tests;
