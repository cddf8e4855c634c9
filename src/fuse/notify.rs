//! Telling the kernel what to forget, by fuser where it can and by hand where it cannot.
//!
//! `FUSE_NOTIFY_PRUNE` is missing in fuser 0.18. It makes the kernel drop inodes that it keeps for
//! nobody (Linux 6.18, protocol 7.45; include/uapi/linux/fuse.h):
//!
//! ```text
//! struct fuse_out_header       { u32 len; i32 error = 9; u64 unique = 0; }
//! struct fuse_notify_prune_out { u32 count; u32 padding; u64 spare; }
//! u64 nodeids[count]
//! ```

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fuser::{INodeNo, Notifier};

/// The code of the notification.
const FUSE_NOTIFY_PRUNE: i32 = 9;

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
    let length = 16 + 16 + 8 * inos.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(FUSE_NOTIFY_PRUNE.to_ne_bytes());
    message.extend(0_u64.to_ne_bytes());
    message.extend(u32::try_from(inos.len()).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(0_u64.to_ne_bytes());
    message.extend(inos.iter().flat_map(|ino| ino.to_ne_bytes()));
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
}
