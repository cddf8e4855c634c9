#![doc = include_str!("ARCHITECTURE.md")]

pub mod archive;
pub mod backup;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod fuse;
pub mod model;
pub mod store;
pub mod vfs;
