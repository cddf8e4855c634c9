//! Rows of areas that are missing, and what is counted or given out wrongly because of a wrong row.

use cairn::engine::fsck::{Finding, Step, bare, steps};
use cairn::model::hash::BlobHash;
use cairn::model::quota::Usage;
use cairn::store::Store;

use super::damage::{ONLY, Patient, lost};
use super::online::{check, repair};
use crate::world::World;

/// A store whose area `work` lost the rows that `sql` deletes.
fn without(sql: &str) -> Patient {
    let patient = Patient::new();
    patient.sql(sql, []);
    patient
}

const NODE_OF_NEW: &str = "SELECT node FROM names WHERE name = x'6e6577'";
const NODE_OF_SUB: &str = "SELECT node FROM names WHERE name = x'737562'";

#[test]
fn a_file_without_a_row_is_named_and_nothing_of_it_is_removed() {
    let patient = without(&format!("DELETE FROM nodes WHERE id = ({NODE_OF_NEW})"));
    let content = BlobHash::of(b"in the area alone");
    let (findings, report) = support::fsck::findings(&patient.closed.path(), false);
    let [finding @ Finding::LostNode { place, .. }] = &findings[..] else {
        panic!("{findings:#?}");
    };
    assert_eq!(
        (place.as_str(), lost(finding)),
        ("staging/web/work", vec!["staging/web/work:sub/new".to_owned()])
    );
    assert!(!finding.is_repairable());
    assert_eq!(report.unverified, 1, "its content may be what has a count too high");
    patient.repair();
    let mut store = Store::open(&patient.closed.path()).unwrap();
    let refs = store.catalog.begin().unwrap().blob(&content).unwrap().map(|row| row.refs);
    assert_eq!(refs, Some(1), "a repair keeps it");
}

#[test]
fn a_directory_without_a_row_is_named() {
    let patient = without(&format!("DELETE FROM nodes WHERE id = ({NODE_OF_SUB})"));
    let finding = patient.finding(false);
    assert!(matches!(finding, Finding::LostNode { .. }), "{finding:?}");
    assert_eq!(lost(&finding), ["staging/web/work:sub"]);
}

#[test]
fn the_top_of_an_area_without_a_row_is_all_of_it() {
    let patient = without("DELETE FROM nodes WHERE id = area");
    assert_eq!(lost(&patient.finding(false)), ["staging/web/work:"]);
}

#[test]
fn a_private_file_of_a_lost_row_is_no_leftover() {
    let world = World::with_repository();
    let area = world.stage("work");
    let content = world.open_writer(area, "file");
    content.write(0, &vec![7; 2 << 20], cairn::model::time::Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&content);
    let closed = world.close();
    let catalog = rusqlite::Connection::open(closed.path().join("catalog.db")).unwrap();
    assert_eq!(catalog.execute("DELETE FROM nodes WHERE id <> area", []).unwrap(), 1);
    drop(catalog);
    let (findings, _) = support::fsck::findings(&closed.path(), false);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(lost(&findings[0]), ["staging/web/work:file"]);
}

#[test]
fn a_file_without_a_name_is_told_and_gets_one_at_the_top() {
    let patient = without("DELETE FROM names WHERE name = x'6e6577'");
    let finding = patient.finding(false);
    let Finding::UnnamedNode { node, place, what, .. } = &finding else { panic!("{finding:?}") };
    assert_eq!(place, "staging/web/work");
    let blob = BlobHash::of(b"in the area alone");
    assert_eq!(*what, format!("a file of 17 bytes with the content of blob {blob}"));
    let name = format!("recovered-{node}");
    patient.repair();
    patient.assert_clean();
    let world = patient.closed.open();
    world.commit("work");
    assert_eq!(world.bytes("latest", &name), b"in the area alone");
}

#[test]
fn each_file_is_told_when_all_names_are_gone() {
    let patient = without("DELETE FROM names");
    let findings = patient.findings(false);
    assert_eq!(findings.len(), 3, "a directory and two files: {findings:#?}");
    assert!(findings.iter().all(|finding| matches!(finding, Finding::UnnamedNode { .. })));
    patient.repair();
    patient.assert_clean();
}

#[test]
fn a_name_is_given_while_the_area_is_not_in_use_alone() {
    let patient = without("DELETE FROM names WHERE name = x'6e6577'");
    let world = patient.closed.open();
    let findings = check(&world);
    assert!(matches!(findings[..], [Finding::UnnamedNode { .. }]), "{findings:#?}");
    world.engine.load_area(world.area("work")).unwrap();
    let refused = world.engine.repair(steps(&findings[0]).remove(0)).unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    let world = world.reopen();
    repair(&world, &findings[0]);
    assert_eq!(check(&world), []);
    support::fsck::check_clean_store(&world.close().path());
}

#[test]
fn what_a_version_is_charged_wrongly_is_found_and_corrected() {
    for (change, recorded) in [
        ("charge_bytes = charge_bytes + 5", Usage { bytes: 26, files: 1 }),
        ("charge_files = 7", Usage { bytes: 21, files: 7 }),
    ] {
        for running in [false, true] {
            let world = World::with_repository();
            world.publish("one", &[("file", b"one")]);
            world.publish("two", &[("file", b"one"), ("more", b"another of some bytes")]);
            let patient = world.close();
            let catalog = rusqlite::Connection::open(patient.path().join("catalog.db")).unwrap();
            let sql = format!("UPDATE versions SET {change} WHERE number = 2");
            assert_eq!(catalog.execute(&sql, []).unwrap(), 1);
            drop(catalog);
            let (findings, _) = support::fsck::findings(&patient.path(), false);
            let [finding @ Finding::Charge { version, recorded: found, counted, .. }] =
                &findings[..]
            else {
                panic!("{findings:#?}");
            };
            assert_eq!((version.as_str(), *found), ("web/2", recorded));
            assert_eq!(*counted, Usage { bytes: 21, files: 1 });
            if running {
                let world = patient.open();
                repair(&world, finding);
                assert_eq!(world.repository().account.usage(), Usage { bytes: 24, files: 2 });
                support::fsck::check_clean_store(&world.close().path());
            } else {
                let mut store = Store::open(&patient.path()).unwrap();
                steps(finding).iter().for_each(|step| {
                    assert!(bare::repair(&mut store, step).unwrap());
                });
                drop(store);
                support::fsck::check_clean_store(&patient.path());
            }
        }
    }
}

#[test]
fn a_limit_of_ids_that_is_too_low_is_found_and_raised() {
    for limit in ["'1'", "'nonsense'"] {
        let patient = without(&format!("UPDATE meta SET value = {limit} WHERE key = 'id_limit'"));
        let finding = patient.finding(false);
        let Finding::IdLimit { highest, .. } = finding else { panic!("{finding:?}") };
        assert!(highest > 1);
        patient.repair();
        patient.assert_clean();
        let world = patient.closed.open();
        assert!(world.stage("other").0 > highest);
        support::fsck::check_clean_store(&world.close().path());
    }
    let patient = without("DELETE FROM meta WHERE key = 'id_limit'");
    assert!(matches!(patient.finding(false), Finding::IdLimit { recorded: 0, .. }));
}

#[test]
fn the_limit_of_ids_is_raised_while_the_store_is_in_use() {
    let world = Patient::new().closed.open();
    let high = world.area("work").0 + (1 << 40);
    assert!(world.engine.repair(Step::RaiseIds(high)).unwrap());
    assert!(!world.engine.repair(Step::RaiseIds(high)).unwrap(), "it is above that");
    assert!(world.stage("other").0 > high);
    world.write(world.area("other"), "file", ONLY);
    let world = world.reopen();
    assert!(world.stage("third").0 > high + 1);
    assert_eq!(check(&world), []);
    support::fsck::check_clean_store(&world.close().path());
}
