//! Whether the environment may ask this process to fail on purpose.
//!
//! Tests start daemons with `CAIRN_FAULT`, `CAIRN_PANIC` and `CAIRN_HOLD`. A daemon that root runs must
//! not listen to those, so a release build does so only with the feature `fault-injection`.

/// Whether this build listens to the variables.
pub const ENABLED: bool = cfg!(any(debug_assertions, feature = "fault-injection"));

/// The value of such a variable, `None` in a build that does not listen.
pub fn variable(name: &str) -> Option<String> {
    if !ENABLED {
        return None;
    }
    std::env::var(name).ok()
}
