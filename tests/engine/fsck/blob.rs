//! Blobs that are missing, cut off, grown, altered, or without a row.

use std::fs;

use cairn::engine::fsck::{BlobDamage, Finding};
use cairn::model::hash::BlobHash;
use cairn::model::id::AreaId;

use super::damage::{KEEP, ONLY, Patient, lost};
use crate::world::World;

fn damage_of(finding: &Finding) -> BlobDamage {
    match finding {
        Finding::Blob { damage, .. } => damage.clone(),
        other => panic!("{other:?}"),
    }
}

/// Storing the content again, in a version of its own, heals it in all.
fn heal(patient: Patient, content: &[u8]) -> World {
    let world = patient.closed.open();
    world.publish("again", &[("stored/again", content)]);
    world
}

#[test]
fn a_missing_one_is_found_and_healed() {
    let patient = Patient::new();
    fs::remove_file(patient.blob(KEEP)).unwrap();
    for full in [false, true] {
        let finding = patient.finding(full);
        assert_eq!(damage_of(&finding), BlobDamage::Missing);
        assert_eq!(lost(&finding), ["staging/web/work:sub/keep", "web/1:keep", "web/2:keep"]);
    }
    patient.repair();
    assert_eq!(damage_of(&patient.finding(true)), BlobDamage::Missing, "it stays lost");
    let world = heal(patient, KEEP);
    assert_eq!(world.bytes("1", "keep"), KEEP);
    support::fsck::check_clean_store(&world.close().path());
}

#[test]
fn a_truncated_one_is_found_and_healed() {
    let patient = Patient::new();
    patient.overwrite(&patient.blob(ONLY), &ONLY[..5]);
    let finding = patient.finding(false);
    assert_eq!(damage_of(&finding), BlobDamage::Size(5));
    assert_eq!(lost(&finding), ["web/1:dir/only"]);
    // The length tells the engine without a repair.
    let world = heal(patient, ONLY);
    assert_eq!(world.bytes("1", "dir/only"), ONLY);
    support::fsck::check_clean_store(&world.close().path());
}

#[test]
fn a_grown_one_is_found() {
    let patient = Patient::new();
    patient.overwrite(&patient.blob(ONLY), &[ONLY, b"!"].concat());
    let expected = BlobDamage::Size(ONLY.len() as u64 + 1);
    assert_eq!(damage_of(&patient.finding(false)), expected);
}

#[test]
fn an_altered_one_is_found_marked_and_healed() {
    let patient = Patient::new();
    let mut altered = ONLY.to_vec();
    altered[3] ^= 1;
    patient.overwrite(&patient.blob(ONLY), &altered);
    assert_eq!(patient.findings(false), [], "its length is right");
    let finding = patient.finding(true);
    assert_eq!(damage_of(&finding), BlobDamage::Altered);
    assert_eq!(lost(&finding), ["web/1:dir/only"]);
    patient.repair();
    assert_eq!(damage_of(&patient.finding(false)), BlobDamage::Marked);
    let world = heal(patient, ONLY);
    assert_eq!(world.bytes("1", "dir/only"), ONLY);
    support::fsck::check_clean_store(&world.close().path());
}

#[test]
fn one_that_was_restored_by_other_means_loses_its_mark() {
    let patient = Patient::new();
    patient.sql("UPDATE blobs SET state = 1 WHERE hash = ?1", [BlobHash::of(ONLY).as_bytes()]);
    let findings = patient.findings_beside_totals(false);
    assert_eq!(findings.iter().map(damage_of).collect::<Vec<_>>(), [BlobDamage::Marked]);
    let sound = [Finding::BlobSound(BlobHash::of(ONLY))];
    assert_eq!(patient.findings_beside_totals(true), sound);
    patient.repair();
    patient.assert_clean();
}

#[test]
fn one_without_a_row_gets_one_and_keeps_its_file() {
    let patient = Patient::new();
    patient.sql("DELETE FROM blobs WHERE hash = ?1", [BlobHash::of(KEEP).as_bytes()]);
    let findings = patient.findings_beside_totals(true);
    assert_eq!(damage_of(&findings[0]), BlobDamage::NoRow { refs: 3, sound: true });
    assert!(findings[0].is_repairable());
    assert!(findings[1..].iter().all(Finding::is_leftover), "{findings:?}");
    patient.repair();
    patient.assert_clean();
    assert_eq!(fs::read(patient.blob(KEEP)).unwrap(), KEEP);
}

#[test]
fn one_without_row_and_file_can_be_stored_again() {
    let patient = Patient::new();
    patient.sql("DELETE FROM blobs WHERE hash = ?1", [BlobHash::of(ONLY).as_bytes()]);
    fs::remove_file(patient.blob(ONLY)).unwrap();
    let findings = patient.findings_beside_totals(true);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(damage_of(&findings[0]), BlobDamage::NoRow { refs: 1, sound: false });
    assert_eq!(lost(&findings[0]), ["web/1:dir/only"]);
    patient.repair();
    let world = heal(patient, ONLY);
    support::fsck::check_clean_store(&world.close().path());
}

#[test]
fn a_long_list_of_losses_is_cut() {
    let world = World::with_repository();
    let names: Vec<String> = (0..80).map(|number| format!("d{}/f{number}", number % 7)).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), KEEP)).collect();
    world.publish("one", &files);
    fs::remove_file(world.engine.layout.blob(&BlobHash::of(KEEP))).unwrap();
    let (findings, _) = support::fsck::findings(&world.close().path(), false);
    let losses = findings[0].losses().unwrap();
    assert_eq!((losses.listed.len(), losses.more, losses.complete), (50, 30, true));
}

#[test]
fn losses_of_an_area_that_was_published_are_those_of_the_version() {
    let patient = Patient::new();
    // As a commit leaves it, until its rows are purged.
    patient.sql("UPDATE areas SET state = 1", []);
    patient.sql("INSERT INTO doomed(area) SELECT id FROM areas", []);
    fs::remove_file(patient.blob(KEEP)).unwrap();
    assert_eq!(lost(&patient.finding(false)), ["web/1:keep", "web/2:keep"]);
}

#[test]
fn a_private_file_that_is_gone_is_named() {
    let world = World::with_repository();
    let area: AreaId = world.stage("work");
    // Open for writing and too large for memory: it stays private.
    let content = world.open_writer(area, "big/file");
    let bytes = vec![7; 2 << 20];
    content.write(0, &bytes, cairn::model::time::Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&content);
    let closed = world.close();
    let directory = closed.path().join("staging").join(area.to_string());
    let file = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    support::fsck::check_clean_store(&closed.path());
    fs::remove_file(file).unwrap();
    let (findings, _) = support::fsck::findings(&closed.path(), false);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(lost(&findings[0]), ["staging/web/work:big/file"]);
    assert!(!findings[0].is_repairable());
}
