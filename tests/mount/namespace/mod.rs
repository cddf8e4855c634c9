//! What only cairn does: repositories, areas, versions, tags, one file per thing a user does.

mod access;
mod backup;
mod base;
mod busy;
mod commit;
mod damage;
mod dedup;
mod delete;
mod discard;
mod full;
mod hook;
mod identity;
mod immutable;
mod inspect;
mod latest;
mod level;
mod lifecycle;
mod limits;
mod preserve;
mod program;
mod quota;
mod repository;
mod restart;
mod stale;
mod store;
mod tag;
