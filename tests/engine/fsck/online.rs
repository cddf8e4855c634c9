//! Checks and repairs while others change the store.

use std::sync::atomic::{AtomicBool, Ordering};

use cairn::engine::fsck::{Finding, Job, Options, Suspicion, steps};
use cairn::engine::request::Request;
use cairn::model::hash::BlobHash;
use cairn::model::time::Timestamp;

use crate::world::World;
use support::fsck::check_clean_store;
use support::wait;

const FULL: Options = Options { full: true, files: true };

/// Everything that a full check of a running store finds.
pub(crate) fn check(world: &World) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |finding| findings.push(finding);
    world.engine.check(FULL, &mut found, &mut |_, _, _| {}, &mut || true).unwrap();
    findings
}

/// Repairs a finding of a running store.
#[track_caller]
pub(crate) fn repair(world: &World, finding: &Finding) {
    for step in steps(finding) {
        assert!(world.engine.repair(step).unwrap(), "{finding}");
    }
}

#[test]
fn a_busy_store_is_clean() {
    let world = World::with_repository();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..40_u32 {
                let label = format!("r{round}");
                let area = world.stage(&label);
                for file in 0..20_u32 {
                    let bytes = (round * 5 + file).to_le_bytes().repeat(100);
                    world.write(area, &format!("d{}/f{file}", file % 3), &bytes);
                }
                // Too large for memory, and deleted again.
                world.write(area, "large", &vec![round.to_le_bytes()[0]; 2 << 20]);
                world.commit(&label);
                if round > 2 {
                    world.delete(&[&(round - 2).to_string()], true).unwrap();
                    world.collect();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut checks = 0;
        while !done.load(Ordering::SeqCst) {
            assert_eq!(check(&world), [], "check {checks}");
            checks += 1;
        }
        writer.join().unwrap();
    });
    check_clean_store(&world.close().path());
}

#[test]
fn a_private_file_that_waits_for_the_disk_is_no_leftover() {
    let world = World::with_repository();
    let area = world.stage("work");
    let content = world.open_writer(area, "large");
    content.write(0, &vec![7; 2 << 20], Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&content);
    // The next process finds the file, seals it, and keeps it until the row that says so is on disk.
    let world = world.reopen();
    world.wait_sealed(area, "large");
    let directory = world.engine.layout.area(area);
    wait::until("the private file is gone", || {
        assert_eq!(check(&world), []);
        std::fs::read_dir(&directory).unwrap().count() == 0
    });
}

#[test]
fn a_repair_removes_and_marks_beside_others() {
    let world = World::with_repository();
    let (keep, extra) = (b"kept".as_slice(), BlobHash::of(b"extra"));
    world.publish("one", &[("keep", keep)]);
    let area = world.stage("work");
    world.write(area, "pending", b"pending");
    let layout = &world.engine.layout;
    std::fs::create_dir_all(layout.fan_out(&extra)).unwrap();
    std::fs::write(layout.blob(&extra), "extra").unwrap();
    let path = layout.blob(&BlobHash::of(keep));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "tepk").unwrap();
    let findings = check(&world);
    assert_eq!(findings.len(), 2, "{findings:?}");
    for step in findings.iter().flat_map(steps) {
        assert!(world.engine.repair(step.clone()).unwrap());
        assert!(!world.engine.repair(step).unwrap(), "a second time it is not needed");
    }
    assert!(world.blob(&extra).is_none());
    world.publish("two", &[("again", keep)]);
    assert_eq!(world.bytes("1", "keep"), keep);
    assert_eq!(check(&world), []);
}

#[test]
fn a_check_can_be_ended() {
    let world = World::with_repository();
    let mut asked = 0;
    let mut go_on = || {
        asked += 1;
        asked < 3
    };
    let ended = world.engine.check(FULL, &mut |_| {}, &mut |_, _, _| {}, &mut go_on);
    assert!(matches!(ended, Err(cairn::engine::fsck::Stopped::Cancelled)));
}

#[test]
fn a_file_whose_row_may_come_back_is_no_leftover() {
    let world = World::with_repository();
    let area = world.stage("work");
    let writing = world.open_writer(area, "f");
    writing.write(0, &vec![7; 2 << 20], Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&writing);
    let world = world.reopen();
    let named = || world.engine.query(|reader| reader.private_files(area)).unwrap();
    let file = *named().first().unwrap();
    world.engine.load_area(area).unwrap();
    wait::until("its row is of a blob", || named().is_empty());
    // The row is not on disk yet, or the file is gone.
    let job = Job::Confirm(Suspicion::Private(area, file));
    let confirmed = world.engine.call(|reply| Request::Fsck { job, reply }).unwrap();
    assert!(!confirmed);
}
