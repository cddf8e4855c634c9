//! Why a log cannot be followed, or an event not be published.

use super::Position;
use crate::bucket::fields::FormatError;
use crate::bucket::fold::Refusal;
use crate::bucket::key::{LogName, Seq};
use crate::bucket::signature::{SignError, SignatureError};
use crate::bucket::store::StoreError;
use crate::model::hash::ObjectHash;

/// Why a log cannot be followed, or an event not be published.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store failed.
    #[error("{log}: {error}")]
    Store {
        /// Which log.
        log: LogName,
        /// What happened.
        error: StoreError,
    },
    /// An event cannot be read.
    #[error("{log}: event {seq} cannot be read, and nothing after it was: {error}")]
    Unreadable {
        /// Which log.
        log: LogName,
        /// Which event.
        seq: Seq,
        /// The rule that it breaks.
        error: FormatError,
    },
    /// An event belongs elsewhere.
    #[error(
        "{log}: at number {seq} is an event of another place ({found}): somebody copied it there, and nothing after it \
         was read"
    )]
    Foreign {
        /// Which log.
        log: LogName,
        /// Which event.
        seq: Seq,
        /// Where it belongs.
        found: String,
    },
    /// An event breaks a rule of what may happen.
    #[error("{log}: event {seq} is not allowed, and nothing after it was read: {refusal}")]
    NotAllowed {
        /// Which log.
        log: LogName,
        /// Which event.
        seq: Seq,
        /// The rule.
        refusal: Refusal,
    },
    /// An event is not signed as it has to be.
    #[error("{log}: event {seq} is not believed, and nothing after it was read: {error}")]
    Signature {
        /// Which log.
        log: LogName,
        /// Which event.
        seq: Seq,
        /// What is wrong.
        error: SignatureError,
    },
    /// What is to be published must be signed, and nobody is there to do it.
    #[error("{log}: this remote takes signed events alone, and there is no key to sign with")]
    NoSigner {
        /// Which log.
        log: LogName,
    },
    /// What is to be published could not be signed.
    #[error("{log}: {error}. Nothing was published")]
    NotSigned {
        /// Which log.
        log: LogName,
        /// Why.
        error: SignError,
    },
    /// What is to be published would be believed by nobody.
    #[error("{log}: what is published here would not be believed: {error}. Nothing was published")]
    OwnSignature {
        /// Which log.
        log: LogName,
        /// Why.
        error: SignatureError,
    },
    /// The log is older than what was seen of it.
    #[error(
        "{log} was rolled back: it ends before event {}, which was there before (event {}). Nothing is taken from it. A \
         mirror or a cache may be behind: try again later, or read from the bucket itself. If the bucket was restored \
         from an older copy, pushes since then are lost there: push again from a machine that has them, into a new bucket",
        .seen.seq, .seen
    )]
    Rollback {
        /// Which log.
        log: LogName,
        /// The newest event that was seen.
        seen: Position,
    },
    /// Another event is where one was.
    #[error(
        "{log} was forked: event {} is {found} here and was {} before. Nothing is taken from it. Two histories cannot be \
         merged: find out who wrote the other one",
        .known.seq, .known.hash
    )]
    Fork {
        /// Which log.
        log: LogName,
        /// What is known.
        known: Position,
        /// The hash of what is there, or that the next event names.
        found: ObjectHash,
    },
    /// An event may have been published, or may be yet.
    #[error(
        "{log}: whether event {seq} was published is not known: {error}. Try again: if it was, that is found out and it \
         is not published a second time"
    )]
    Unsettled {
        /// Which log.
        log: LogName,
        /// Its number.
        seq: Seq,
        /// The last failure.
        error: StoreError,
    },
    /// What is to be published cannot be written as an event.
    #[error("{log}: {error}")]
    Unfit {
        /// Which log.
        log: LogName,
        /// The rule that it breaks.
        error: FormatError,
    },
    /// What is to be published is not allowed.
    #[error("{log}: {refusal}")]
    Refused {
        /// Which log.
        log: LogName,
        /// The rule.
        refusal: Refusal,
    },
}
