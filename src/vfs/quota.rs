//! The space that a repository with a quota shows (G15).

use crate::engine::quota::Account;
use crate::sys::FsSpace;

/// A file system of the size of the quota; what is left is never more than the disk has.
pub(super) fn limited(space: FsSpace, account: &Account) -> FsSpace {
    let (quota, usage) = (account.quota(), account.usage());
    let mut limited = space;
    if let Some(bytes) = quota.bytes {
        let block = space.block_size.max(1);
        let left = bytes.saturating_sub(usage.bytes) / block;
        limited.blocks = bytes.div_ceil(block);
        limited.blocks_free = left.min(space.blocks_free);
        limited.blocks_available = left.min(space.blocks_available);
    }
    if let Some(files) = quota.files {
        limited.files = files;
        limited.files_free = files.saturating_sub(usage.files).min(space.files_free);
    }
    limited
}
