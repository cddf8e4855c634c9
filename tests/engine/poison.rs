//! A step of the disk fails: whoever waits hears of it, and what was acknowledged stays (R3, R4, R8).

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn::control::protocol::Request;
use cairn::engine::stop_point::StopPoint;
use cairn::model::time::Timestamp;
use cairn::store::durable::testing::{Fault, everywhere};

use crate::common::wait;
use crate::world::{World, commit};

/// More than the steps of the commit below.
const STEPS_MAX: u64 = 100;

#[test]
fn what_waits_for_a_commit_goes_on_whichever_step_of_it_fails() {
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
fn a_file_that_lost_its_end_refuses_the_commit() {
    let world = World::with_repository();
    let area = world.stage("work");
    let content = world.open_writer(area, "f");
    content.write(0, &vec![7; 2 << 20], Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&content);
    let files = fs::read_dir(world.engine.layout.area(area)).unwrap();
    for file in files.map(|file| file.unwrap().path()) {
        File::options().write(true).open(file).unwrap().set_len(1).unwrap();
    }
    world.close_writer(&content);
    let refused = world.ask(Request::Commit(commit("work"))).unwrap_err();
    assert!(refused.message.contains("sealed"), "{refused:?}");
    // Written again, it is published.
    world.write(area, "f", b"short");
    world.commit("work");
    assert_eq!(world.bytes("1", "f"), b"short");
}
