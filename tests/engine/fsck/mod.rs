//! Stores damaged in every way that is known: what a check says, what a repair does, and that the
//! store is in order after it or after the content was stored again (R5, H5, G12).

mod blob;
mod count;
mod damage;
mod file;
mod gap;
mod leftover;
mod online;
mod row;
mod tree;
