//! The engine: the metadata thread, the threads that work for it, and the handle to them.
//!
//! Whoever holds an [`Engine`] may read the registry, the trees and the staging areas directly;
//! everything durable goes through [`Engine::submit`]. The engine knows neither FUSE nor the
//! control protocol: it tells an [`event::Observer`] what became stale.
//!
//! The rooms use each other in one direction only: [`start`] and [`thread`] are at the top and know
//! all others, [`error`] and [`pins`] are at the bottom and know none. `tests/tidy` checks it.

pub mod absent;
mod after;
pub mod ambiguous;
mod areas;
pub mod backup;
mod blob_hasher;
mod blobs;
mod check;
pub mod commit;
#[cfg(feature = "net")]
mod copied;
pub mod dry_run;
mod durability;
pub mod error;
pub mod event;
pub mod fetcher;
pub mod fsck;
pub mod gc;
mod handle;
pub mod intake;
mod journal;
mod known;
pub mod links;
mod load;
mod now;
pub mod pins;
pub mod poison;
mod provisional;
pub mod quota;
mod reaper;
pub mod reclaim;
pub mod registry;
mod remotes;
mod repair;
mod reply;
pub mod request;
pub mod resolve;
pub mod scrub;
mod seal;
pub mod staging;
mod start;
pub mod stop_point;
mod tags;
mod thread;
pub mod unsaved;
pub mod uses;
mod versions;
pub mod why;
mod workers;
mod writer;

pub use areas::REPOSITORY_AREAS_MAX;
pub use durability::Then;
pub use handle::Engine;
