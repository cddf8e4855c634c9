//! The control protocol: how the command line speaks to whoever owns the store.
//!
//! [`rights`] says who may ask what. [`protocol`], [`transfer`], [`settings`] and [`upkeep`] are plain
//! values, [`service`] is what the engine implements,
//! [`frame`] puts messages on a unix socket, [`server`] and [`client`] are its two ends.
//! Nothing here knows the catalog, the pool or FUSE.

pub mod backup;
pub mod client;
pub mod frame;
pub mod fsck;
pub mod names;
pub mod places;
pub mod protocol;
pub mod public_socket;
pub mod reply;
pub mod rights;
pub mod server;
pub mod service;
pub mod settings;
mod socket_path;
pub mod transfer;
pub mod upkeep;
pub mod utc;
