//! Import and export without an engine: a store in memory, real directories, GNU tar.

#![allow(
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "test data is small, and a table of cases is one function"
)]

mod compare;
mod control_sink;
mod directory;
mod hostile;
mod keep_going;
mod memory;
mod stat_cache;
mod stranger;
mod tar;
