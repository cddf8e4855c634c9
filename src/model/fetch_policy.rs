//! When content is fetched that a remote declares.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// When the content is fetched that a remote declares (L1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchPolicy {
    /// During the sync.
    #[default]
    Immediate,
    /// When it is first read; then it is kept.
    OnDemand,
    /// When it is read; then it is cached: what was used the longest time ago makes room for what is read now.
    Streamed,
}

impl FetchPolicy {
    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::OnDemand => "on_demand",
            Self::Streamed => "streamed",
        }
    }

    /// Whether content is fetched only when somebody reads it.
    pub fn is_lazy(self) -> bool {
        match self {
            Self::Immediate => false,
            Self::OnDemand | Self::Streamed => true,
        }
    }

    /// Whether it is the one that nobody has to say.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for FetchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A string that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policies are `immediate`, `on_demand` and `streamed`")]
pub struct FetchPolicyError;

impl FromStr for FetchPolicy {
    type Err = FetchPolicyError;

    fn from_str(text: &str) -> Result<Self, FetchPolicyError> {
        match text {
            "immediate" => Ok(Self::Immediate),
            "on_demand" | "on-demand" => Ok(Self::OnDemand),
            "streamed" => Ok(Self::Streamed),
            _ => Err(FetchPolicyError),
        }
    }
}
