//! The metadata thread and what it owns.

pub mod pins;
pub mod registry;
