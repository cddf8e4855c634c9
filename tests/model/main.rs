//! Random histories, applied to a staging area on a real mount and to a plain directory: after each
//! operation both gave the same result and hold the same tree. On cairn's side the history is also
//! committed, reopened from `@latest` and restarted now and then, which must change nothing.
//!
//! `CAIRN_TEST_CASES` and `CAIRN_TEST_OPERATIONS` make it run longer.
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod operation;
mod pair;
mod path_choice;

use std::cell::RefCell;
use std::fmt::Write;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use operation::Operation;
use pair::Pair;
use support::{Cairn, scale};

#[test]
fn cairn_behaves_like_a_plain_directory() {
    run(&RefCell::new(Cairn::start()), Operation::any(), |cairn| Pair::with_cairn(cairn));
}

/// Files with several names keep them, and no two files become one, wherever their directories move
/// and however often that is published.
#[test]
fn hardlinks_follow_the_directories_that_hold_them() {
    run(&RefCell::new(Cairn::start()), Operation::of_links(), |cairn| Pair::with_cairn(cairn));
}

/// The model test against itself: two plain directories never differ.
#[test]
fn a_plain_directory_behaves_like_another() {
    let home = tempfile::tempdir().unwrap();
    run(&RefCell::new(home), Operation::any(), |home| Pair::of_directories(home.path()));
}

fn run<T>(
    world: &RefCell<T>,
    operation: impl Strategy<Value = Operation>,
    pair: impl Fn(&mut T) -> Pair<'_>,
) {
    let config = Config {
        cases: scale("CAIRN_TEST_CASES", 24),
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    };
    let length = scale("CAIRN_TEST_OPERATIONS", 40) as usize;
    let histories = proptest::collection::vec(operation, length..=length);
    let result = TestRunner::new(config).run(&histories, |history| {
        let mut world = world.borrow_mut();
        let mut pair = pair(&mut world);
        let mut done = String::new();
        for (step, operation) in history.into_iter().enumerate() {
            let operation = pair.resolve(operation);
            writeln!(done, "{step:3} {operation:?}").expect("a string takes all");
            pair.apply(&operation).map_err(|difference| {
                TestCaseError::fail(format!("after step {step}: {difference}\n{done}"))
            })?;
        }
        pair.finish().map_err(TestCaseError::fail)
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
