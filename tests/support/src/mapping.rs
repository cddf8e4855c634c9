//! A shared memory mapping of a file.

use std::fs::File;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

/// A mapping that is removed when dropped.
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Maps the first `length` bytes of `file`, shared, for reading and, if asked, writing.
    pub fn shared(file: &File, length: usize, writable: bool) -> rustix::io::Result<Self> {
        let protection =
            if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other memory.
        let start =
            unsafe { mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start.cast()).expect("a mapping is never at address 0");
        Ok(Self { start, length })
    }

    /// Copies the mapped bytes.
    pub fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset + length <= self.length);
        (offset..offset + length).map(|at| self.byte(at)).collect()
    }

    fn byte(&self, at: usize) -> u8 {
        // SAFETY: `at` is within the mapping, as `read` has checked.
        let address = unsafe { self.start.add(at) };
        // SAFETY: mapped and readable; volatile because the file's other users may change it.
        unsafe { address.read_volatile() }
    }

    /// Writes into the mapping.
    pub fn write(&self, offset: usize, content: &[u8]) {
        assert!(offset + content.len() <= self.length);
        for (index, byte) in content.iter().enumerate() {
            // SAFETY: within the mapping, as checked above.
            let address = unsafe { self.start.add(offset + index) };
            // SAFETY: mapped and writable, since the caller asked for that.
            unsafe { address.write_volatile(*byte) };
        }
    }

    /// Writes the dirty pages to the file and waits for that.
    pub fn sync(&self) {
        // SAFETY: the range is exactly the mapping.
        unsafe { msync(self.start.as_ptr().cast(), self.length, MsyncFlags::SYNC) }.expect("msync");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly the mapping, and nothing borrows from it.
        unsafe { munmap(self.start.as_ptr().cast(), self.length) }.expect("munmap");
    }
}
