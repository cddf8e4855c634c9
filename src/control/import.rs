//! The steps of an import: how a tree enters a store without a mount.
//!
//! The command walks with its caller's credentials (H24); the store's owner sees bytes and open files,
//! never a path of the caller's. What arrives here is hostile until checked.

use serde::{Deserialize, Serialize};

use crate::model::hash::BlobHash;
use crate::model::import::{ImportEntry, ImportOptions, WantedTree};

/// Number of a running import, which ends with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImportId(pub u64);

/// One step of an import. An import that is not finished when its connection ends is aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportRequest {
    /// Starts. Replies [`Reply::ImportBegun`](super::reply::Reply::ImportBegun).
    Begin(ImportOptions),
    /// Asks which contents are there; those are touched and pinned for this import. Replies
    /// [`Reply::Known`](super::reply::Reply::Known).
    Known {
        /// The import.
        import: ImportId,
        /// At most [`HASHES_MAX`](super::protocol::HASHES_MAX).
        hashes: Vec<BlobHash>,
    },
    /// Asks which directories are there with all that is below them, and can be put whole where
    /// they are wanted; those are pinned for this import. Replies
    /// [`Reply::Known`](super::reply::Reply::Known).
    KnownTrees {
        /// The import.
        import: ImportId,
        /// At most [`HASHES_MAX`](super::protocol::HASHES_MAX).
        trees: Vec<WantedTree>,
    },
    /// Adds entries; parents come before children, or are made with default attributes. Replies
    /// [`Reply::Done`](super::reply::Reply::Done) when they have arrived; a failure to store them
    /// answers a later request. With open files, or with no entries at all, it replies when all
    /// that was put is stored.
    Put {
        /// The import.
        import: ImportId,
        /// The entries, in the order to apply them.
        entries: Vec<ImportEntry>,
    },
    /// Publishes. Replies [`Reply::Commit`](super::reply::Reply::Commit).
    Finish {
        /// The import.
        import: ImportId,
        /// Makes a version even when nothing changed.
        allow_empty: bool,
    },
    /// Throws everything away. Replies [`Reply::Done`](super::reply::Reply::Done).
    Abort {
        /// The import.
        import: ImportId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_an_import_are_the_fields_of_its_begin() {
        let options = ImportOptions {
            repository: "web".parse().unwrap(),
            create: true,
            mirror: false,
            message: String::new(),
            author: None,
            tag: Some("v1".parse().unwrap()),
        };
        let json = r#"{"begin":{"repository":"web","create":true,"mirror":false,"message":"","author":null,"tag":"v1"}}"#;
        let begin = ImportRequest::Begin(options);
        assert_eq!(serde_json::to_string(&begin).unwrap(), json);
        assert_eq!(serde_json::from_str::<ImportRequest>(json).unwrap(), begin);
    }
}
