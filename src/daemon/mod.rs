//! The process that serves a store: in the background or not, its log, its signals, the order in
//! which it starts and stops.

pub(crate) mod background;
pub(crate) mod config;
mod error;
mod guard;
pub(crate) mod hook;
pub(crate) mod housekeeping;
pub(crate) mod logging;
mod privileges;
pub mod run;
pub mod serve;
pub mod service;
mod service_manager;
pub mod signals;
mod stop;
mod unmounted;
mod web;

pub use error::DaemonError;
pub use guard::stand as stand_guard;
pub use stop::Timing;
pub use unmounted::serve_unmounted;
