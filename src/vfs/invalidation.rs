//! What the kernel must forget before a reply may be sent.
//!
//! The kernel keeps names, attributes and pages for as long as it was told. When the engine
//! changes something that it may have cached, it submits what must be forgotten together with the
//! reply that waits for it. Sending the notifications can block on pages being read (H8), so this
//! never happens on the metadata thread. The engine must not know how they are sent.

/// One thing that the kernel must forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forget {
    /// Attributes and all cached content of an inode: pages, a symlink's target, a directory's
    /// listing. Takes no lock of a directory, so it is safe while a rename holds one.
    Content {
        /// Number of the inode.
        ino: u64,
    },
    /// Attributes of an inode, and nothing else.
    Attributes {
        /// Number of the inode.
        ino: u64,
    },
    /// Inodes that nobody uses: what is open stays. Where the kernel cannot do this, nothing
    /// happens.
    Unused {
        /// Numbers of the inodes.
        inos: Vec<u64>,
    },
    /// A name, at once, however much is below it: the next look at it asks again. What is below is
    /// let go of later, when the reply has been sent.
    Expired {
        /// Number of the directory.
        parent: u64,
        /// The name in it.
        name: Vec<u8>,
    },
    /// A name and what is below it. Waits for the parent's lock: never submit it for a directory
    /// that an operation in progress holds and whose reply waits for this job.
    Name {
        /// Number of the directory.
        parent: u64,
        /// The name in it.
        name: Vec<u8>,
    },
}

/// What the kernel must forget, and what happens then.
pub struct Invalidation {
    /// For the filesystem of versions.
    pub versions: Vec<Forget>,
    /// For the read-write filesystem.
    pub staging: Vec<Forget>,
    /// Runs after the kernel was told, also when telling it failed; sends the reply that waited.
    pub then: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Invalidation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { versions, staging, then: _ } = self;
        f.debug_struct("Invalidation")
            .field("versions", versions)
            .field("staging", staging)
            .finish_non_exhaustive()
    }
}

impl Invalidation {
    /// An invalidation that nobody waits for.
    pub fn silent(versions: Vec<Forget>, staging: Vec<Forget>) -> Self {
        Self { versions, staging, then: Box::new(|| {}) }
    }
}

/// Makes the kernel forget.
pub trait Invalidator: Send + Sync {
    /// Takes a job. Jobs are carried out in order. Never blocks on the kernel.
    fn submit(&self, job: Invalidation);
}

/// The invalidator of a store that is not mounted: no kernel has cached anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKernel;

impl Invalidator for NoKernel {
    fn submit(&self, job: Invalidation) {
        (job.then)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn without_a_kernel_the_reply_is_sent_at_once() {
        let sent = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&sent);
        let then = Box::new(move || flag.store(true, Ordering::Relaxed));
        let versions = vec![Forget::Content { ino: 1 }];
        NoKernel.submit(Invalidation { versions, staging: Vec::new(), then });
        assert!(sent.load(Ordering::Relaxed));
    }
}
