//! One fault per run, at counted durable steps

use std::fs;

use crate::history::{ANSWERS, play};
use support::{Cairn, fsck, scale, wait};

const FAULT: &str = "CAIRN_FAULT";

/// The numbers of the durable steps at which to act, at most `default` of them.
fn steps(default: u32) -> Vec<usize> {
    let mut cairn = Cairn::unmounted();
    let record = cairn.scratch().join("steps");
    cairn.set_env(FAULT, Some(&format!("count:{}", record.display())));
    cairn.mount();
    let promises = play(&cairn);
    assert_eq!(promises.answers, ANSWERS, "the history ends without a fault\n{}", cairn.log());
    cairn.stop();
    let total = fs::read_to_string(&record).unwrap().lines().count();
    assert!(total > 10, "{total} durable steps are too few to be true");
    let steps = spread(total, default);
    eprintln!("{} of {total} steps", steps.len());
    steps
}

/// At most `default` of the steps, or as many as `CAIRN_TEST_CRASHES` says.
pub(crate) fn spread(total: usize, default: u32) -> Vec<usize> {
    let wanted = scale("CAIRN_TEST_CRASHES", default) as usize;
    let stride = if wanted == 0 { 1 } else { total.div_ceil(wanted) };
    (1..=total).step_by(stride).collect()
}

/// A store on which the history was played with `fault`, mounted again without it.
fn after_fault(fault: &str, expect_death: bool) {
    let mut cairn = Cairn::unmounted();
    cairn.set_env(FAULT, Some(fault));
    let ended = cairn.try_mount();
    let promises = play(&cairn);
    if expect_death {
        // Group commits vary a little, so the last steps may not come this time.
        let died = ended.is_some() || wait::within(wait::SETTLE, || cairn.exit_status().is_some());
        if !died {
            cairn.kill9();
        }
    } else if ended.is_none() {
        cairn.cli(&["status"]);
        cairn.kill9();
    }
    cairn.set_env(FAULT, None);
    // As it is, before anything is recovered: no count is wrong and no byte missing.
    fsck::check_store(&cairn.store());
    cairn.mount();
    promises.check(&mut cairn);
}

#[test]
fn killed_before_a_step() {
    for step in steps(16) {
        after_fault(&format!("kill:{step}"), true);
    }
}

#[test]
fn killed_after_a_step() {
    for step in steps(16) {
        after_fault(&format!("kill-after:{step}"), true);
    }
}

#[test]
fn the_disk_fails_at_a_step() {
    for step in steps(16) {
        after_fault(&format!("eio:{step}"), false);
    }
}

#[test]
fn the_disk_is_full_at_a_step() {
    for step in steps(16) {
        after_fault(&format!("enospc:{step}"), false);
    }
}
