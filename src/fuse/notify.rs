//! Telling the kernel what to forget, by fuser where it can and by hand where it cannot.
//!
//! `FUSE_NOTIFY_STORE` is sent by hand because fuser copies the content once more:
//!
//! ```text
//! struct fuse_out_header       { u32 len; i32 error = 4; u64 unique = 0; }
//! struct fuse_notify_store_out { u64 nodeid; u64 offset; u32 size; u32 padding; }
//! content
//! ```
//!
//! Two things are missing in fuser 0.18 (include/uapi/linux/fuse.h). `FUSE_NOTIFY_PRUNE` makes the
//! kernel drop inodes that it keeps for nobody (Linux 6.18, protocol 7.45):
//!
//! ```text
//! struct fuse_out_header       { u32 len; i32 error = 9; u64 unique = 0; }
//! struct fuse_notify_prune_out { u32 count; u32 padding; u64 spare; }
//! u64 nodeids[count]
//! ```
//!
//! `FUSE_EXPIRE_ONLY` lets a name's time run out and leaves what is below for later (Linux 6.2,
//! protocol 7.38; before, the flag is padding, and all goes at once):
//!
//! ```text
//! struct fuse_out_header             { u32 len; i32 error = 3; u64 unique = 0; }
//! struct fuse_notify_inval_entry_out { u64 parent; u32 namelen; u32 flags = 1; }
//! char name[namelen + 1], ends with NUL
//! ```

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fuser::{INodeNo, Notifier};

/// The codes of the notifications.
const FUSE_NOTIFY_INVAL_ENTRY: i32 = 3;
const FUSE_NOTIFY_STORE: i32 = 4;
const FUSE_NOTIFY_PRUNE: i32 = 9;

/// The flag of an entry that only expires.
const FUSE_EXPIRE_ONLY: u32 = 1;

/// What is set aside at first for a message; content is not copied into one.
const HEAD_BYTES: usize = 64;

/// Inodes in one message; one page with its headers.
const PRUNE_INODES_MAX: usize = 500;

/// Sends notifications on one connection.
#[derive(Debug, Clone)]
pub struct KernelNotifier {
    notifier: Notifier,
    device: Arc<OwnedFd>,
}

impl KernelNotifier {
    /// Sends through `notifier`, and by hand over `device`, which is the same connection.
    pub(super) fn new(notifier: Notifier, device: OwnedFd) -> Self {
        Self { notifier, device: Arc::new(device) }
    }

    /// Makes a range of an inode's pages and its attributes stale.
    ///
    /// # Errors
    /// The kernel's refusal; that it does not know the inode is none.
    pub fn inval_inode(&self, ino: u64, offset: i64, length: i64) -> io::Result<()> {
        self.notifier.inval_inode(INodeNo(ino), offset, length)
    }

    /// Makes a name stale and detaches what is below it.
    ///
    /// # Errors
    /// The kernel's refusal; that it does not know the name is none.
    pub fn inval_entry(&self, parent: u64, name: &OsStr) -> io::Result<()> {
        self.notifier.inval_entry(INodeNo(parent), name)
    }

    /// Has the kernel ask again for a name, and leaves what is below it alone.
    ///
    /// # Errors
    /// The kernel's refusal; that it does not know the name is none.
    pub fn expire_entry(&self, parent: u64, name: &[u8]) -> io::Result<()> {
        match rustix::io::write(&self.device, &expire_message(parent, name)) {
            Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the kernel the content of a file from its start on; says whether it knows the inode. Waits for
    /// pages that are being read.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn store(&self, ino: u64, content: &[u8]) -> io::Result<bool> {
        let head = store_head(ino, content.len());
        let parts = [IoSlice::new(&head), IoSlice::new(content)];
        match rustix::io::writev(&self.device, &parts) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops those of the inodes that nobody uses. Kernels before 6.18 cannot: then inodes go when
    /// their memory is needed.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn prune(&self, inos: &[u64]) -> io::Result<()> {
        for inos in inos.chunks(PRUNE_INODES_MAX) {
            match rustix::io::write(&self.device, &prune_message(inos)) {
                // An older kernel: it knows no such code.
                Ok(_) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn prune_message(inos: &[u64]) -> Vec<u8> {
    let mut message = header(FUSE_NOTIFY_PRUNE, 16 + 8 * inos.len());
    message.extend(u32::try_from(inos.len()).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(0_u64.to_ne_bytes());
    message.extend(inos.iter().flat_map(|ino| ino.to_ne_bytes()));
    message
}

/// A message that gives content, without the content.
fn store_head(ino: u64, length: usize) -> Vec<u8> {
    let mut message = header(FUSE_NOTIFY_STORE, 24 + length);
    message.extend(ino.to_ne_bytes());
    message.extend(0_u64.to_ne_bytes());
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message
}

fn expire_message(parent: u64, name: &[u8]) -> Vec<u8> {
    let mut message = header(FUSE_NOTIFY_INVAL_ENTRY, 16 + name.len() + 1);
    message.extend(parent.to_ne_bytes());
    message.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(FUSE_EXPIRE_ONLY.to_ne_bytes());
    message.extend(name);
    message.push(0);
    message
}

/// The start of a message with that many bytes after it.
fn header(code: i32, length: usize) -> Vec<u8> {
    let length = 16 + length;
    let mut message = Vec::with_capacity(length.min(HEAD_BYTES));
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(code.to_ne_bytes());
    message.extend(0_u64.to_ne_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_the_kernel_reads_it() {
        let message = prune_message(&[0x0102_0304_0506_0708, 9]);
        assert_eq!(message.len(), 48);
        assert_eq!(message[..4], 48_u32.to_ne_bytes());
        assert_eq!(message[4..8], 9_i32.to_ne_bytes());
        assert_eq!(message[8..16], [0; 8]);
        assert_eq!(message[16..20], 2_u32.to_ne_bytes());
        assert_eq!(message[20..32], [0; 12]);
        assert_eq!(message[32..40], 0x0102_0304_0506_0708_u64.to_ne_bytes());
        assert_eq!(message[40..], 9_u64.to_ne_bytes());
    }
    #[test]
    fn the_head_of_content_is_as_the_kernel_reads_it() {
        let head = store_head(7, 5);
        assert_eq!(head.len(), 40);
        assert_eq!(head[..4], 45_u32.to_ne_bytes());
        assert_eq!(head[4..8], 4_i32.to_ne_bytes());
        assert_eq!(head[16..24], 7_u64.to_ne_bytes());
        assert_eq!(head[24..32], [0; 8]);
        assert_eq!(head[32..36], 5_u32.to_ne_bytes());
        assert_eq!(head[36..], [0; 4]);
    }

    #[test]
    fn a_message_that_expires_a_name_is_as_the_kernel_reads_it() {
        let message = expire_message(7, b"12");
        assert_eq!(message.len(), 35);
        assert_eq!(message[..4], 35_u32.to_ne_bytes());
        assert_eq!(message[4..8], 3_i32.to_ne_bytes());
        assert_eq!(message[8..16], [0; 8]);
        assert_eq!(message[16..24], 7_u64.to_ne_bytes());
        assert_eq!(message[24..28], 2_u32.to_ne_bytes());
        assert_eq!(message[28..32], 1_u32.to_ne_bytes());
        assert_eq!(message[32..], *b"12\0");
    }
}
