//! What a daemon was told when it mounted, as `mount -o remount,…` names it again.
//!
//! A remount names the settings that stay the same as well, since mount(8) adds the options of
//! fstab. So the daemon compares all of them, and refuses another value of one that it cannot
//! change.

use serde::{Deserialize, Serialize};

/// How long a file may become, in bytes. A daemon can change it.
pub(crate) const MAX_FILE_SIZE: &str = "max_file_size";

/// How many bytes of content of `streamed` remotes are kept. A daemon can change it.
pub(crate) const CACHE_SIZE: &str = "cache_size";

/// Whether inode numbers of versions are below 2^32: `true` or `false`.
pub(crate) const INODE32: &str = "inode32";

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name in fstab: `gc_period`.
    pub name: String,
    /// Its value as text: a number of seconds or bytes, a path, a command.
    pub value: String,
}

impl Setting {
    /// Makes one.
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}
