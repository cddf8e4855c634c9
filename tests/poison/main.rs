//! A step of the disk fails in this process: whoever waits hears of it, and what was acknowledged
//! stays (R3, R4, R8). Faults are everybody's, so one test runs at a time.
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn::control::protocol::Request;
use cairn::engine::stop_point::StopPoint;
use cairn::store::durable::testing::{Fault, everywhere};
use cairn::store::layout::PrivateId;
use parking_lot::Mutex;
use support::wait;
use support::world::{World, commit};

static ALONE: Mutex<()> = Mutex::new(());

/// More than the steps of the commit below.
const STEPS_MAX: u64 = 100;

/// Runs whose steps are counted.
const RUNS: usize = 5;

#[test]
fn what_waits_for_a_commit_goes_on_whichever_step_of_it_fails() {
    let _alone = ALONE.lock();
    let failed = (1..STEPS_MAX).take_while(|step| commit_fails_at(*step)).count();
    assert!(failed > 3, "the commit has more than {failed} steps");
}

/// Publishes an area while an operation in it waits; says whether the step's failure was met.
fn commit_fails_at(step: u64) -> bool {
    let world = World::with_repository();
    world.publish("before", &[("f", b"published")]);
    let area = world.stage("work");
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    world.write(area, "f", b"content");
    hold.wait_reached();
    let ran = Arc::new(AtomicBool::new(false));
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| world.ask(Request::Commit(commit("work"))));
        wait::until("the area is frozen", || {
            let ran = Arc::clone(&ran);
            let operation = Box::new(move || ran.store(true, Ordering::SeqCst));
            world.engine.staging.park(area, operation).is_none()
        });
        let fault = everywhere(Fault::io_error(step));
        drop(hold);
        let answer = answer.join().unwrap();
        let met = fault.steps() >= step;
        drop(fault);
        answer.map(|_| met).map_err(|error| (met, error))
    });
    wait::until(&format!("step {step}: what waited goes on"), || ran.load(Ordering::SeqCst));
    assert_eq!(world.bytes("1", "f"), b"published");
    match answer {
        // A step of somebody else, or of the clean-up after it.
        Ok(met) => met,
        Err((met, error)) => {
            assert!(met, "{error}");
            true
        }
    }
}

#[test]
fn leftovers_go_after_a_flush_of_the_rows_that_let_them_go() {
    let _alone = ALONE.lock();
    let world = World::with_repository();
    let area = world.stage("work");
    let world = world.reopen();
    let steps_of_a_run = |leftovers| {
        let steps = everywhere(Fault::none());
        assert_eq!(world.run(true, 0).leftovers, leftovers);
        steps.steps()
    };
    // Other threads may take a step of their own meanwhile: the fewest are the run's.
    let without = (0..RUNS).map(|_| steps_of_a_run(0)).min();
    let file = world.engine.layout.private(area, PrivateId(7));
    fs::create_dir_all(world.engine.layout.area(area)).unwrap();
    let with = (0..RUNS).map(|_| {
        fs::write(&file, "abandoned").unwrap();
        steps_of_a_run(1)
    });
    assert_eq!(with.min(), without.map(|steps| steps + 2), "the flush, and then the removal");
    assert!(!file.exists());
}
