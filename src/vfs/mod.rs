//! Filesystem semantics, free of FUSE types.

pub(crate) mod attr;
pub(crate) mod error;
pub mod invalidation;
mod quota;
pub(crate) mod staging;
pub(crate) mod versions;
