//! Signatures of events (D4): who signs what is published here, and whose signatures count.
//!
//! An event is signed as a whole, with the bucket, the log, the number and the hash of the event before it, so a signature says
//! nothing anywhere else. Whoever reads a log with a list of signers compares each event that is new to it. An event
//! that must be signed and is not, or that somebody else signed, ends the reading of the log; it is never skipped.
//!
//! The events name everything else by its hash: a version names the list of its objects, this names the indexes, and contents
//! and pages of trees are compared with their own names. So what signed events lead to needs no signature.

mod allowed;
mod program;

pub use allowed::{AllowedSigners, AllowedSignersError};
pub use program::SshKeygen;

use ssh_key::{HashAlg, PublicKey, SshSig};

use super::event::Event;

/// What signatures of events are for: one that was made for something else is refused, and the other way round.
pub const NAMESPACE: &str = "cairn";

/// Signs events.
pub trait Signer: Send + Sync {
    /// The signature of these bytes, as `ssh-keygen -Y sign` writes it.
    ///
    /// # Errors
    /// Why there is none.
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Why something could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignError(pub String);

/// Why an event is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It has none.
    #[error("it is not signed, and this remote takes signed events alone")]
    Missing,
    /// It is none.
    #[error("its signature cannot be read: {0}")]
    Malformed(String),
    /// Nobody who is on the list.
    #[error("it was signed by {0}, which is not in the file of allowed signers")]
    UnknownKey(String),
    /// The list allows that key for something else, or for another time.
    #[error("it was signed by {key} of {principals}, which is {rule}")]
    NotValid {
        /// The key.
        key: String,
        /// Whose it is.
        principals: String,
        /// What the list says.
        rule: &'static str,
    },
    /// It is of other bytes, or for another purpose.
    #[error(
        "its signature is not of this event: somebody changed the event, or copied the signature"
    )]
    Wrong,
}

/// Whose events are believed, and who signs those that are made here.
#[derive(Default)]
pub struct Signatures {
    /// Who may sign; without it no signature is looked at.
    pub allowed: Option<AllowedSigners>,
    /// An event without a signature is refused.
    pub required: bool,
    /// Signs what is published here.
    pub signer: Option<Box<dyn Signer>>,
}

impl std::fmt::Debug for Signatures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signatures").field("required", &self.required).finish_non_exhaustive()
    }
}

impl Signatures {
    /// Nothing is signed, and no signature is looked at.
    pub const NONE: &'static Self = &Self { allowed: None, required: false, signer: None };

    /// Whether an event is to be believed.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, event: &Event) -> Result<(), SignatureError> {
        if event.signature.is_empty() {
            return if self.required { Err(SignatureError::Missing) } else { Ok(()) };
        }
        let Some(allowed) = &self.allowed else { return Ok(()) };
        let signature = SshSig::from_pem(&event.signature)
            .map_err(|error| SignatureError::Malformed(error.to_string()))?;
        let key = PublicKey::from(signature.public_key().clone());
        allowed.check(&key, event.time)?;
        key.verify(NAMESPACE, &event.signed_bytes(), &signature).map_err(|_| SignatureError::Wrong)
    }
}

/// How a key is shown, as `ssh-keygen -l` does.
fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests;
