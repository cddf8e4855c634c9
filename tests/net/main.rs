//! The HTTP client against a server that misbehaves on purpose (V12, H29, H32)
#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod credentials;
mod fetch;
mod redirect;
