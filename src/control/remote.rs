//! Remotes: adding, listing, changing, trying and removing them.

use serde::{Deserialize, Serialize};

use crate::model::name::RemoteName;
use crate::model::remote::RemoteSettings;

/// Something about remotes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteRequest {
    /// All of them by name. Replies [`Reply::Remotes`](super::reply::Reply::Remotes).
    List,
    /// One of them. Replies [`Reply::Remotes`](super::reply::Reply::Remotes).
    Show {
        /// Which.
        name: RemoteName,
    },
    /// Adds one, or gives one other settings. Replies [`Reply::Remotes`](super::reply::Reply::Remotes).
    Put {
        /// Which.
        name: RemoteName,
        /// All of its settings.
        settings: Box<RemoteSettings>,
        /// It is there already; otherwise it must not be.
        replace: bool,
    },
    /// Asks it for what a sync needs. Replies [`Reply::RemoteTest`](super::reply::Reply::RemoteTest).
    Test {
        /// Which.
        name: RemoteName,
    },
    /// Removes one; versions that came from it stay. Replies [`Reply::Done`](super::reply::Reply::Done).
    Remove {
        /// Which.
        name: RemoteName,
        /// Also if nobody else has some content of versions.
        force: bool,
    },
}

/// A remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteInfo {
    /// Its name.
    #[serde(rename = "remote")]
    pub name: RemoteName,
    /// Its settings.
    #[serde(flatten)]
    pub settings: RemoteSettings,
}
