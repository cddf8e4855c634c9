//! The command line and the control protocol, against a service that keeps no store.

#![allow(clippy::unwrap_used, reason = "a failure anywhere in a test is the test's failure")]

mod backup;
mod complete;
mod control;
mod exit_codes;
mod fake;
mod fsck;
mod help;
mod jobs;
mod json;
mod parse;
mod past;
mod progress;
mod upkeep;
mod verbs;
