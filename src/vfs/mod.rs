//! Filesystem semantics, free of FUSE types.

pub mod attr;
pub mod error;
mod quota;
pub mod staging;
pub mod versions;
