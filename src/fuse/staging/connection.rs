//! The connection itself, and what it agrees on with the kernel when it is mounted.

use std::io;
use std::sync::Arc;

use fuser::{InitFlags, KernelConfig, Version};

use super::convert::WRITE_BYTES_MAX;
use crate::fuse::negotiate;
use crate::vfs::staging::StagingFs;

/// Of these, `DIRECT_IO_ALLOW_MMAP` lets a handle be mapped whose writes go around the page cache.
const CAPABILITIES: [InitFlags; 10] = [
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_BIG_WRITES,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_PARALLEL_DIROPS,
];

/// Requests without a waiting caller (read-ahead, RELEASE) that may be under way at once. Large,
/// since a RELEASE held back behind reads would make a commit wait for its writer (H11).
const BACKGROUND_MAX: u16 = 512;

/// The protocol of Linux 6.18, whose direct writes drop the pages they overlap before and after.
/// Older kernels drop them before the write only, so that a reader at the same moment could bring
/// the old bytes back into the cache, where they would stay.
const WRITES_AROUND_CACHE_SINCE: Version = Version(7, 45);

/// The connection.
#[derive(Debug)]
pub(crate) struct StagingConnection {
    pub(super) fs: Arc<StagingFs>,
    /// Whether the kernel can be told to send writes as they are, around its page cache.
    pub(super) writes_around_cache: bool,
}

impl StagingConnection {
    /// Serves `fs`.
    pub(crate) fn new(fs: Arc<StagingFs>) -> Self {
        Self { fs, writes_around_cache: false }
    }

    /// Agrees with the kernel on what both can do.
    pub(super) fn negotiate(&mut self, config: &mut KernelConfig) -> io::Result<()> {
        negotiate(config, &CAPABILITIES, BACKGROUND_MAX)?;
        config
            .set_max_write(WRITE_BYTES_MAX)
            .map_err(|_| io::Error::other("max_write was refused"))?;
        self.writes_around_cache = config.kernel_abi() >= WRITES_AROUND_CACHE_SINCE;
        Ok(())
    }
}
