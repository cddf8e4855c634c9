//! The engine and the service of control requests, without a mount: what holds for every door to a
//! store holds here first.
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod backup;
mod buffers;
mod checkpoint;
mod clock;
mod closed;
mod collect;
mod commit;
mod damage;
mod declared;
mod delete;
mod diff;
mod doors;
mod dry_run;
mod export;
mod find;
mod fsck;
mod held;
mod hostile;
mod import;
mod known_subtrees;
mod left;
mod links;
mod log;
mod lost;
mod names;
mod order;
mod quota;
mod race;
mod read_only;
mod reclaim;
mod repository;
mod restart;
mod retention;
mod scrub;
mod seal_delay;
mod stale;
mod sweep;
mod sync;
mod tag;
mod undelete;
mod unneeded;
mod upkeep;
mod waiting;

use support::world;
