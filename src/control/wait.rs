//! The version that somebody waited for.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;

use super::versions::VersionInfo;

/// What a [`Request::Wait`](super::protocol::Request::Wait) saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitReply {
    /// What it waited for: a number above this one.
    pub after: VersionNumber,
    /// The first such version; `None` when there is none yet.
    pub version: Option<VersionInfo>,
}
