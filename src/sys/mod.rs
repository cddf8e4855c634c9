//! System calls, and what a process does to itself: the floor on which every other room stands.
//!
//! The calls are thin on purpose: arguments in, `io::Result` out. Callers know the paths and add them
//! to errors. Only files of this room have `unsafe` and name `libc`. Nothing here knows of stores.

pub mod fault_injection;
mod files;
mod machine;
pub(crate) mod open_events;
pub(crate) mod open_files;
pub(crate) mod panics;
pub(crate) mod priority;
mod process;
pub(crate) mod signals;
mod sockets;

pub use files::{
    FsSpace, O_DSYNC, copy_between, copy_range, drop_page_cache, fallocate, link_open,
    read_passing, seek_hole_data, set_mode, share_blocks, statvfs,
};
pub use machine::{boot_id, new_uuid, random_bytes, user_name};
pub use process::{
    bound_free_memory, leave_all_descriptors, leave_descriptors, return_free_memory,
};
pub(crate) use signals::block_signals;
pub use sockets::{
    FDS_PER_MESSAGE_MAX, PeerCredentials, limit_unsent_bytes, peer_credentials, peer_groups,
    recv_fds, send_fds,
};
