//! A repository, as it is listed.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::RepoName;

use super::utc::Created;

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInfo {
    /// Its name.
    #[serde(rename = "repository")]
    pub name: RepoName,
    /// Permission bits of its directory; four octal digits in JSON.
    #[serde(with = "octal")]
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of versions.
    #[serde(rename = "version_count")]
    pub versions: u64,
    /// The newest version.
    pub latest: Option<VersionNumber>,
    /// Number of open staging areas.
    #[serde(rename = "area_count")]
    pub areas: u64,
    /// Number of tags, `latest` not counted.
    #[serde(rename = "tag_count")]
    pub tags: u64,
    /// When it was created.
    #[serde(flatten)]
    pub created: Created,
}

/// Permission bits as people write them.
mod octal {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(mode: &u16, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{mode:04o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        u16::from_str_radix(&text, 8).map_err(D::Error::custom)
    }
}
