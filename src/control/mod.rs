//! The control protocol: how the command line speaks to whoever owns the store.
//!
//! [`protocol`] lists all requests and [`reply`] all answers; what a verb asks and answers has a file of
//! the verb's name ([`commit`], [`gc`], [`why`]). These are plain values. [`rights`] says who may ask
//! what, [`service`] is what the daemon implements, [`frame`] puts messages on a unix socket, and
//! [`server`] and [`client`] are its two ends. Nothing here knows the catalog, the pool or FUSE, and no
//! two modules use each other (`tests/tidy`).

pub mod areas;
pub mod backup;
pub mod client;
pub mod commit;
pub mod delete;
pub mod diff;
pub mod du;
pub mod edge;
pub mod error;
pub mod export;
pub mod find;
pub mod flag;
pub mod frame;
pub mod fsck;
pub mod gc;
pub mod import;
pub mod jobs;
pub mod log;
pub mod metrics;
pub mod names;
pub mod places;
pub mod policy;
pub mod prefetch;
pub mod protocol;
pub(crate) mod public_socket;
pub mod quota;
pub mod reclaim;
pub mod remote;
pub mod reply;
pub mod repositories;
pub(crate) mod rights;
pub mod server;
pub mod service;
pub(crate) mod settings;
mod socket_path;
pub mod status;
pub mod sync;
pub mod tags;
pub mod transfer;
pub mod undelete;
pub mod upkeep;
pub mod utc;
pub mod versions;
pub mod wait;
pub mod why;
