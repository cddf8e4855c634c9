//! Identifiers of rows and inodes. Each is its own type, so that swapped arguments do not compile.

use std::fmt;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id_type! {
    /// A repository, for as long as the store lives; never used twice.
    RepoId
}
id_type! {
    /// A staging area, for as long as the store lives; never used twice.
    AreaId
}
id_type! {
    /// A file or directory of a staging area. It is also its inode number on the staging mount.
    NodeId
}
id_type! {
    /// The number of a version within its repository: starts at 1, only grows, never reused.
    VersionNumber
}
id_type! {
    /// A job of a daemon: starts at 1 with each daemon, and is never used twice by one.
    JobId
}
id_type! {
    /// An inode number as one mount shows it.
    Ino
}
