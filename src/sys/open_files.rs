//! The limit of files that this process may have open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many files this process may have open.
pub(crate) fn nofile_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the limit of open files to `wanted` or to what the hard limit allows; returns the limit
/// now in force. Never lowers it.
///
/// # Errors
/// The system call's.
pub(crate) fn set_nofile_limit(wanted: u64) -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let now = limit.current.unwrap_or(u64::MAX);
    let next = wanted.min(hard);
    if next <= now {
        return Ok(now);
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(next), maximum: limit.maximum })?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        let before = nofile_limit();
        assert!(set_nofile_limit(64).unwrap() >= 64);
        assert_eq!(nofile_limit(), before.max(64));
    }
}
