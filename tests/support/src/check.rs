//! Assertions on results of system calls.

use std::fmt::Debug;
use std::io;

use rustix::io::Errno;

/// The errno that `result` failed with.
///
/// # Panics
/// When it succeeded, or failed without an errno.
#[track_caller]
pub fn errno<T: Debug, E: Into<io::Error>>(result: Result<T, E>) -> Errno {
    match result {
        Ok(value) => panic!("expected a failure, got {value:?}"),
        Err(error) => errno_of(&error.into()),
    }
}

/// The errno inside of `error`.
#[track_caller]
pub fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or_else(|| panic!("an error without errno: {error}"))
}

/// Asserts that `result` failed with one of `allowed`, where POSIX leaves the choice.
#[track_caller]
pub fn one_of<T: Debug, E: Into<io::Error>>(result: Result<T, E>, allowed: &[Errno]) {
    let found = errno(result);
    assert!(allowed.contains(&found), "{found:?} is none of {allowed:?}");
}
