//! Import and export without an engine: a store in memory, real directories, GNU tar.

#![allow(
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "test data is small, and a table of cases is one function"
)]

mod compare;
mod directory;
mod hostile;
mod memo;
mod memory;
mod remote;
mod stranger;
mod tar;
