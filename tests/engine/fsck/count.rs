//! References counted wrongly.

use cairn::engine::fsck::Finding;
use cairn::model::hash::BlobHash;

use super::damage::{KEEP, ONLY, Patient};

#[test]
fn of_a_blob_are_found_and_rewritten() {
    for (change, recorded) in [("refs + 4", 7), ("0", 0)] {
        let patient = Patient::new();
        let hash = BlobHash::of(KEEP);
        let sql = format!("UPDATE blobs SET refs = {change} WHERE hash = ?1");
        patient.sql(&sql, [hash.as_bytes()]);
        assert_eq!(patient.finding(false), Finding::BlobCount { hash, recorded, counted: 3 });
        patient.repair();
        patient.assert_clean();
    }
}

#[test]
fn of_a_tree_are_found_and_rewritten() {
    for (change, recorded) in [("refs + 1", 2), ("0", 0)] {
        let patient = Patient::new();
        let hash = patient.dir;
        let sql = format!("UPDATE trees SET refs = {change} WHERE hash = ?1");
        patient.sql(&sql, [hash.as_bytes()]);
        assert_eq!(patient.finding(false), Finding::TreeCount { hash, recorded, counted: 1 });
        patient.repair();
        patient.assert_clean();
    }
}

#[test]
fn a_tree_that_nothing_reaches_is_found() {
    let patient = Patient::new();
    // As if the row of the first version had been lost.
    patient.sql("DELETE FROM versions WHERE number = 1", []);
    patient.sql("DELETE FROM tags WHERE number = 1", []);
    let hash = patient.top;
    assert_eq!(patient.finding(false), Finding::TreeCount { hash, recorded: 1, counted: 0 });
    patient.repair();
    let world = patient.closed.open();
    world.collect();
    assert!(world.blob(&BlobHash::of(ONLY)).is_none(), "nothing names it any more");
    support::fsck::check_clean_store(&world.close().path());
}

#[test]
fn a_difference_is_right_whatever_is_counted_in_between() {
    let patient = Patient::new();
    patient
        .sql("UPDATE blobs SET refs = refs + 4 WHERE hash = ?1", [BlobHash::of(KEEP).as_bytes()]);
    let finding = patient.finding(false);
    let world = patient.closed.open();
    world.publish("three", &[("a", KEEP), ("b", KEEP)]);
    world.delete(&["2"], false).unwrap();
    world.collect();
    for step in cairn::engine::fsck::steps(&finding) {
        assert!(world.engine.repair(step).unwrap());
    }
    support::fsck::check_clean_store(&world.close().path());
}

#[test]
fn sums_that_are_wrong_or_lost_are_found_and_written_anew() {
    let patient = Patient::new();
    patient.sql("UPDATE meta SET value = '1 0 2 3 4' WHERE key = 'totals'", []);
    let Finding::Totals { recorded: Some(recorded), counted } = patient.finding(false) else {
        panic!("other sums are noted");
    };
    assert_eq!((recorded.blobs, recorded.bytes, recorded.damaged, recorded.trees), (1, 2, 3, 4));
    patient.repair();
    patient.assert_clean();
    patient.sql("DELETE FROM meta WHERE key = 'totals'", []);
    assert_eq!(patient.finding(false), Finding::Totals { recorded: None, counted });
    let world = patient.closed.open();
    assert_eq!(world.engine.query(|reader| reader.totals()).unwrap(), counted, "they are counted");
    let repaired = world.engine.repair(cairn::engine::fsck::Step::Totals).unwrap();
    assert!(repaired, "while the engine runs");
    support::fsck::check_clean_store(&world.close().path());
}
