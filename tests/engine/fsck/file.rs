//! Blobs that somebody could change without the daemon: by the mode of the file, or by a name outside.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use cairn::engine::fsck::{Finding, Step, bare, steps};
use cairn::model::hash::BlobHash;
use cairn::store::Store;

use super::damage::{KEEP, ONLY, Patient};
use super::online::{check, repair};

fn mode_of(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn one_that_can_be_written_to_is_found_and_protected() {
    for mode in [0o644, 0o464, 0o446] {
        let patient = Patient::new();
        let path = patient.blob(KEEP);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for full in [false, true] {
            let hash = BlobHash::of(KEEP);
            assert_eq!(patient.finding(full), Finding::BlobMode { hash, mode });
        }
        patient.repair();
        patient.assert_clean();
        assert_eq!(mode_of(&path), 0o444);
    }
}

#[test]
fn one_with_names_outside_is_found_and_gets_a_file_of_its_own() {
    for names in 1..3 {
        let patient = Patient::new();
        let path = patient.blob(ONLY);
        let outside = |name| patient.closed.path().with_file_name(format!("outside-{name}"));
        for name in 0..names {
            fs::hard_link(&path, outside(name)).unwrap();
        }
        let (hash, size) = (BlobHash::of(ONLY), ONLY.len() as u64);
        assert_eq!(patient.finding(false), Finding::BlobLinks { hash, size, names });
        patient.repair();
        patient.assert_clean();
        // Whoever writes there changes no version any more, and has lost nothing.
        assert_eq!(fs::read(outside(0)).unwrap(), ONLY);
        fs::remove_file(outside(0)).unwrap();
        fs::write(outside(0), b"other").unwrap();
        assert_eq!(fs::read(&path).unwrap(), ONLY);
    }
}

#[test]
fn one_that_was_changed_by_its_other_name_is_not_taken_for_right() {
    let patient = Patient::new();
    let outside = patient.closed.path().with_file_name("outside");
    fs::write(&outside, [b'x'; ONLY.len()]).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o444)).unwrap();
    fs::remove_file(patient.blob(ONLY)).unwrap();
    fs::hard_link(&outside, patient.blob(ONLY)).unwrap();
    // Its length is right, and so is all that can be known without reading it.
    let finding = patient.finding(false);
    let mut store = Store::open(&patient.closed.path()).unwrap();
    for step in steps(&finding) {
        bare::repair(&mut store, &step).unwrap_err();
    }
    assert_eq!(fs::metadata(&outside).unwrap().nlink(), 2, "nothing was copied");
}

#[test]
fn a_second_name_inside_the_store_is_no_finding_of_its_own() {
    let patient = Patient::new();
    // As a crash between the link and the end of the private name leaves it.
    let connection = rusqlite::Connection::open(patient.layout().catalog()).unwrap();
    let area: u64 = connection.query_row("SELECT id FROM areas", [], |row| row.get(0)).unwrap();
    drop(connection);
    let directory = patient.layout().staging().join(area.to_string());
    fs::create_dir_all(&directory).unwrap();
    fs::hard_link(patient.blob(KEEP), directory.join("999")).unwrap();
    assert!(matches!(patient.finding(false), Finding::Leftover(_)), "it is a leftover");
    patient.repair();
    patient.assert_clean();
}

#[test]
fn both_are_repaired_while_the_store_is_in_use() {
    let patient = Patient::new();
    let (kept, only) = (patient.blob(KEEP), patient.blob(ONLY));
    let outside = patient.closed.path().with_file_name("outside");
    let world = patient.closed.open();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
    fs::hard_link(&only, &outside).unwrap();
    let findings = check(&world);
    assert_eq!(findings.len(), 2, "{findings:?}");
    for finding in &findings {
        assert!(finding.is_repairable());
        repair(&world, finding);
    }
    assert_eq!(check(&world), []);
    assert_eq!(world.bytes("1", "dir/only"), ONLY);
    let again = Step::Unshare(BlobHash::of(ONLY), ONLY.len() as u64);
    assert!(!world.engine.repair(again).unwrap(), "it has one name");
    assert_eq!(fs::read(outside).unwrap(), ONLY);
    support::fsck::check_clean_store(&world.close().path());
}
