//! Operations against trees in memory and blobs in temporary files.

mod ahead;
mod deleted;
mod files;
mod identity;
mod listing;
mod names;
mod xattrs;
