//! How much memory an input costs: an allocator that remembers the greatest request.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// No input may have as many bytes allocated at once.
pub(crate) const ALLOCATION_BYTES_MAX: usize = 80 << 20;

static GREATEST: AtomicUsize = AtomicUsize::new(0);

/// The greatest allocation so far, in bytes.
pub(crate) fn greatest_allocation() -> usize {
    GREATEST.load(Ordering::Relaxed)
}

struct Remembering;

#[global_allocator]
static ALLOCATOR: Remembering = Remembering;

fn note(bytes: usize) {
    if bytes > GREATEST.load(Ordering::Relaxed) {
        GREATEST.fetch_max(bytes, Ordering::Relaxed);
    }
}

// SAFETY: everything is handed on to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Remembering {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
