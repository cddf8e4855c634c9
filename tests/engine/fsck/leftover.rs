//! Files that nothing names.

use std::fs;
use std::path::PathBuf;

use cairn::engine::fsck::{Finding, Leftover};
use cairn::model::hash::BlobHash;
use cairn::model::id::AreaId;
use cairn::store::layout::PrivateId;

use super::damage::Patient;

#[track_caller]
fn assert_removed(patient: &Patient, expected: &[Leftover]) {
    let findings = patient.findings(false);
    let expected: Vec<Finding> = expected.iter().cloned().map(Finding::Leftover).collect();
    assert_eq!(findings, expected);
    assert!(findings.iter().all(Finding::is_repairable));
    patient.repair();
    patient.assert_clean();
}

#[test]
fn in_the_pool_are_removed() {
    let patient = Patient::new();
    let hash = BlobHash::of(b"nobody's");
    fs::create_dir_all(patient.layout().fan_out(&hash)).unwrap();
    fs::write(patient.layout().blob(&hash), "nobody's").unwrap();
    assert_removed(&patient, &[Leftover::Blob(hash)]);
}

#[test]
fn strange_names_are_removed() {
    let patient = Patient::new();
    let (pool, staging) = (patient.layout().pool(), patient.layout().staging());
    let paths = [pool.join("readme"), pool.join("00").join("x"), staging.join("notes")];
    fs::create_dir_all(pool.join("00")).unwrap();
    for path in &paths {
        fs::write(path, "").unwrap();
    }
    let inside = |path: PathBuf| path.strip_prefix(patient.layout().root()).unwrap().to_owned();
    assert_removed(&patient, &paths.map(|path| Leftover::Stranger(inside(path))));
}

#[test]
fn in_incoming_are_removed() {
    let patient = Patient::new();
    let path = patient.layout().incoming().join("half");
    fs::write(&path, "").unwrap();
    assert_removed(&patient, &[Leftover::Incoming("incoming/half".into())]);
}

#[test]
fn private_files_and_directories_of_areas_are_removed() {
    let patient = Patient::new();
    let (layout, gone) = (patient.layout(), AreaId(3));
    let area: u64 = {
        let connection = rusqlite::Connection::open(layout.catalog()).unwrap();
        connection.query_row("SELECT id FROM areas", [], |row| row.get(0)).unwrap()
    };
    for (area, file) in [(gone, 4), (AreaId(area), 5)] {
        fs::create_dir_all(layout.area(area)).unwrap();
        fs::write(layout.private(area, PrivateId(file)), "").unwrap();
    }
    let private = Leftover::Private(AreaId(area), PrivateId(5));
    assert_removed(&patient, &[Leftover::AreaDirectory(gone), private]);
}

#[test]
fn rows_of_areas_are_purged() {
    let patient = Patient::new();
    patient.sql("DELETE FROM areas", []);
    let findings = patient.findings(false);
    assert!(matches!(findings[..], [Finding::Leftover(Leftover::AreaRows(_)), ..]), "{findings:?}");
    patient.repair();
    let world = patient.closed.open();
    world.collect();
    support::fsck::check_clean_store(&world.close().path());
}

#[test]
fn a_page_of_no_tree_is_removed() {
    let patient = Patient::new();
    patient.sql("INSERT INTO tree_pages VALUES(77777, x'00')", []);
    assert_removed(&patient, &[Leftover::Page(77777)]);
}
