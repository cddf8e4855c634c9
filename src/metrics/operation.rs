//! Operations of the kernel, with how long they took until they were answered or handed on.

use std::time::Instant;

use super::{Counter, Times};

/// Names that are told apart; all others are counted together.
const NAMES: [&str; 25] = [
    "lookup",
    "getattr",
    "setattr",
    "readlink",
    "open",
    "read",
    "write",
    "flush",
    "release",
    "fsync",
    "opendir",
    "readdir",
    "readdirplus",
    "releasedir",
    "create",
    "mkdir",
    "mknod",
    "symlink",
    "link",
    "unlink",
    "rmdir",
    "rename",
    "getxattr",
    "listxattr",
    "other",
];

/// One kind of operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// How long they took.
    pub(crate) times: Times,
    /// How many were answered with EIO.
    pub(crate) failures: Counter,
}

static OPERATIONS: [Operation; NAMES.len()] =
    [const { Operation { times: Times::new(), failures: Counter::new() } }; NAMES.len()];

/// All kinds with their names.
pub(crate) fn operations() -> impl Iterator<Item = (&'static str, &'static Operation)> {
    NAMES.into_iter().zip(&OPERATIONS)
}

/// The operations of a name.
pub(crate) fn named(name: &str) -> &'static Operation {
    let index = NAMES.iter().position(|known| *known == name).unwrap_or(NAMES.len() - 1);
    &OPERATIONS[index]
}

/// Runs an operation, and counts it under its name.
pub(crate) fn timed<R>(name: &str, run: impl FnOnce(&'static Operation) -> R) -> R {
    let operation = named(name);
    let began = Instant::now();
    let result = run(operation);
    operation.times.add(began.elapsed());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_counted_under_its_name_and_a_strange_one_with_others() {
        let count = |name: &str| {
            let found = operations().find(|(known, _)| *known == name).unwrap().1;
            found.times.count()
        };
        let before = (count("link"), count("other"));
        assert_eq!(timed("link", |_| 7), 7);
        timed("no such operation", |operation| operation.failures.add(1));
        assert!(count("link") > before.0 && count("other") > before.1);
    }
}
