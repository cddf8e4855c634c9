//! What a deletion deleted.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;

/// Result of a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReply {
    /// The versions deleted, ascending.
    pub deleted: Vec<VersionNumber>,
}
