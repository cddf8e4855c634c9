//! What a sync says about its remote besides what it did: what should be better, and what to do about an archive that cannot
//! be used.

use crate::model::name::RemoteName;
use crate::sync::{DebianError, Note, SignatureError};

/// What of the notes on a remote everybody should hear who syncs from it.
pub(super) fn warnings(notes: Vec<Note>) -> Vec<String> {
    let warning = |note| match note {
        Note::Warning(text) => Some(text),
        Note::Fact(_) => None,
    };
    notes.into_iter().filter_map(warning).collect()
}

/// What to do about an archive that cannot be used.
pub(super) fn debian_hint(error: &DebianError, remote: &RemoteName) -> Option<String> {
    let hint = match error {
        DebianError::Signature(_, SignatureError::Program(_)) => {
            "nothing was fetched; install gpgv, which checks signatures".to_owned()
        }
        DebianError::Signature(_, SignatureError::Keyring(_)) => format!(
            "nothing was fetched; give the public keys of the archive: \
             `cairn remote set {remote} --keyring FILE`"
        ),
        DebianError::Signature(..) => format!(
            "nothing was fetched; is this the keyring of that archive (`cairn remote show {remote}`)? \
             If it is, do not trust the archive"
        ),
        DebianError::Expired(..) => format!(
            "the mirror stands still, or withholds what is new; if an old archive is what you want: \
             `cairn remote set {remote} --allow-expired`"
        ),
        DebianError::Older { .. } => format!(
            "nothing was fetched; this mirror is behind, so try again later, or somebody withholds what is new; \
             if the archive went back: `cairn remote set {remote} --allow-expired`"
        ),
        DebianError::NoIndex(_) => {
            format!("`cairn remote set {remote}` takes other components and architectures")
        }
        DebianError::Other(..) | DebianError::Unpack(..) => {
            "nothing was fetched; the archive is wrong, or on the way to the next state: try again later"
                .to_owned()
        }
        DebianError::Release(..)
        | DebianError::OtherSuite(..)
        | DebianError::Index(..)
        | DebianError::Path(..) => format!(
            "nothing was fetched; is this the archive that you mean (`cairn remote show {remote}`)?"
        ),
        DebianError::TooMany => return None,
    };
    Some(hint)
}
