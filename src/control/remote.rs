//! Remotes: adding, listing, changing, trying and removing them.

use serde::{Deserialize, Serialize};

use super::transfer::SigningKey;
use crate::model::name::{RemoteName, RepoName};
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
    /// Checks a bucket against its names. Replies [`Reply::BucketCheck`](super::reply::Reply::BucketCheck).
    Fsck {
        /// Which.
        name: RemoteName,
        /// Reads packs and large contents as well.
        with_content: bool,
    },
    /// Removes what no log of a bucket needs. Replies
    /// [`Reply::BucketCollection`](super::reply::Reply::BucketCollection).
    Gc {
        /// Which.
        name: RemoteName,
        /// Only says what it would ask to be given up.
        dry_run: bool,
        /// Signs the events that it publishes, instead of the key that the remote's settings name.
        #[serde(default)]
        sign: Option<SigningKey>,
    },
    /// Takes what a bucket holds of a repository for the truth from now on, although it was something else before, or is
    /// signed by nobody. Replies [`Reply::Done`](super::reply::Reply::Done).
    Accept {
        /// Which.
        name: RemoteName,
        /// A repository of this store.
        repository: RepoName,
    },
    /// Removes one; versions that came from it stay. Replies [`Reply::Done`](super::reply::Reply::Done).
    Remove {
        /// Which.
        name: RemoteName,
        /// Also if nobody else has some content of versions.
        force: bool,
    },
}

/// What a collection of a bucket did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketCollection {
    /// Which bucket.
    pub remote: RemoteName,
    /// Nothing was marked or deleted.
    pub dry_run: bool,
    /// Objects that were listed.
    #[serde(rename = "object_count")]
    pub objects: u64,
    /// Things that are no objects of a bucket, which stay.
    #[serde(rename = "stranger_count")]
    pub strangers: u64,
    /// Objects that nothing needs, as far as could be seen.
    #[serde(rename = "candidate_count")]
    pub candidates: u64,
    /// Their bytes; `null` after a collection that was no dry run.
    pub candidate_bytes: Option<u64>,
    /// Objects on which a sentence was passed.
    #[serde(rename = "condemned_count")]
    pub condemned: u64,
    /// Condemned objects that wait until readers had their time.
    #[serde(rename = "waiting_count")]
    pub waiting: u64,
    /// Objects that were deleted.
    #[serde(rename = "deleted_count")]
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
}

/// What a check of a bucket found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketCheck {
    /// Which bucket.
    pub remote: RemoteName,
    /// Repositories whose logs were read.
    #[serde(rename = "repository_count")]
    pub repositories: u64,
    /// Versions that are not deleted.
    #[serde(rename = "version_count")]
    pub versions: u64,
    /// Objects that are needed.
    #[serde(rename = "object_count")]
    pub objects: u64,
    /// Bytes that were read and hashed.
    pub read_bytes: u64,
    /// How much is wrong.
    #[serde(rename = "finding_count")]
    pub found: u64,
    /// What is wrong, the first of it.
    pub notes: Vec<String>,
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
