//! Filesystem semantics, free of FUSE types.

pub mod attr;
pub mod error;
pub mod invalidation;
mod quota;
pub mod staging;
pub mod versions;
