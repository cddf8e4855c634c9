//! The flags of a version.

use serde::{Deserialize, Serialize};

/// A flag of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// It has a retention class of its own and is deleted with force only.
    Released,
    /// It is never deleted.
    Locked,
}
