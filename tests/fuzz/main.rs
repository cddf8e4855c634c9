//! Whatever comes from outside, as bytes that nobody made on purpose: each decoder of the store, of
//! archives and of the control socket gets mutations of real inputs and of old findings. It may
//! refuse them; it must not panic, hang, or ask for memory without bound.
//!
//! `CAIRN_FUZZ_EXECUTIONS` sets how many inputs each target gets, `CAIRN_FUZZ_SEED` which ones. The
//! same targets run under libFuzzer, see README.md here.
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::print_stderr, reason = "the test runner shows it when the test fails")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod campaign;
mod memory;
mod mutate;
mod targets;
mod watch;

use support::world;

/// One test per target: a runner gives each a process of its own.
macro_rules! fuzz {
    ($($test:ident: $target:ident, $executions:expr;)*) => {
        $(
            #[test]
            fn $test() {
                let executions = $executions;
                campaign::run(stringify!($target), &targets::$target::TARGET, executions);
            }
        )*
    };
}

fuzz! {
    tree_pages: page, 100_000;
    roots_of_versions: root, 100_000;
    directories: directory, 400;
    archives: archive, 10_000;
    paths_in_archives: path, 100_000;
    names: name, 100_000;
    manifests: manifest, 50_000;
    indexes_of_debian_archives: debian, 50_000;
    policies: policy, 100_000;
    frames: frame, 20_000;
    messages: message, 50_000;
    catalogs: catalog, 6;
    sessions: session, 300;
}

#[cfg(feature = "net")]
fuzz! {
    objects_of_buckets: bucket, 100_000;
    packs_and_indexes: pack, 50_000;
    signatures_of_events: signature, 20_000;
}
