//! Rules of the protocol that a test can leave out, to see that the model test misses each of them.
//!
//! In a build for use every rule holds, and the question costs nothing.

use super::key::Nonce;

/// A rule that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// The nonce of an event belongs to what is published, not to a try.
    NonceOfIntent,
    /// A mark is in the bucket's log before its barriers are in those of repositories.
    MarkBeforeBarriers,
    /// Of several decisions on a mark the first counts.
    FirstDecision,
    /// A repository honours the marks that were made before it was.
    MarksBeforeRepository,
    /// A key of a mark without a decision is not used.
    UndecidedMarks,
    /// A sentence does not condemn keys that a version needs which was published before the barrier.
    NeedsAtBarrier,
}

#[cfg(test)]
thread_local! {
    static LEFT_OUT: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether a test of this thread leaves the rule out.
#[cfg(test)]
pub(super) fn is_left_out(rule: Rule) -> bool {
    LEFT_OUT.get() == Some(rule)
}

/// All rules hold.
#[cfg(not(test))]
pub(super) fn is_left_out(_: Rule) -> bool {
    false
}

/// Leaves a rule out on this thread from now on, or none.
#[cfg(test)]
pub(super) fn leave_out(rule: Option<Rule>) {
    LEFT_OUT.set(rule);
}

/// The nonce of an intent, whichever try it is.
#[cfg(not(test))]
pub(super) fn nonce_of_try(nonce: Nonce, _: u8) -> Nonce {
    nonce
}

/// The nonce of an intent; where [`Rule::NonceOfIntent`] is left out, another one for each try.
#[cfg(test)]
pub(super) fn nonce_of_try(nonce: Nonce, tries: u8) -> Nonce {
    let mut bytes = *nonce.as_bytes();
    if is_left_out(Rule::NonceOfIntent) {
        bytes[0] ^= tries;
    }
    Nonce::from_bytes(bytes)
}
