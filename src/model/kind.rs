//! The kinds of files that a tree may hold.

use super::tree::Content;

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Unix domain socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

impl FileKind {
    /// The kind of a tree entry.
    pub fn of(content: &Content) -> Self {
        match content {
            Content::File { .. } => Self::File,
            Content::Directory { .. } => Self::Directory,
            Content::Symlink { .. } => Self::Symlink,
            Content::Fifo => Self::Fifo,
            Content::Socket => Self::Socket,
            Content::CharDevice { .. } => Self::CharDevice,
            Content::BlockDevice { .. } => Self::BlockDevice,
        }
    }
}
