//! Pure values: identifiers, hashes, names, times, trees.
//!
//! Nothing here does I/O, starts a thread or reads a clock, so everything is tested by tables and
//! properties. Layers above may use these types; this module knows none of them.

pub mod change_size;
pub mod content_name;
pub mod debian;
pub mod digest;
pub mod fetch_policy;
pub mod hash;
pub mod id;
pub mod import;
pub mod kind;
pub mod links;
pub mod manifest;
pub(crate) mod merge;
pub mod name;
pub mod on_stale;
pub mod path_pattern;
pub mod policy;
pub mod quota;
pub mod raw;
pub mod remote;
pub mod retention;
pub mod sync;
pub(crate) mod text;
pub mod time;
pub mod transfer;
pub mod tree;
pub mod tree_format;
pub mod version;
