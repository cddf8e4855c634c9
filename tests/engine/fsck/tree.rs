//! Directories that are lost: without a row, without a page, altered.

use cairn::engine::fsck::{Finding, TreeDamage};

use super::damage::{ONLY, Patient, import_first, lost};

fn damage_of(findings: &[Finding]) -> (TreeDamage, Vec<String>) {
    match findings {
        [finding @ Finding::Tree { damage, .. }] => (damage.clone(), lost(finding)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_altered_one_is_found_and_healed() {
    let patient = Patient::new();
    patient.sql(
        "UPDATE tree_pages SET data = zeroblob(60)
         WHERE page = (SELECT page FROM trees WHERE hash = ?1)",
        [patient.dir.as_bytes()],
    );
    let (damage, lost) = damage_of(&patient.findings(false));
    assert_eq!(damage, TreeDamage::Altered);
    assert_eq!(lost, ["web/1:dir"]);
    patient.repair();
    assert_eq!(damage_of(&patient.findings(true)).0, TreeDamage::Blank);
    assert_heals(patient);
}

#[test]
fn one_without_a_page_is_found_and_healed() {
    let patient = Patient::new();
    patient.sql(
        "DELETE FROM tree_pages WHERE page = (SELECT page FROM trees WHERE hash = ?1)",
        [patient.dir.as_bytes()],
    );
    assert_eq!(damage_of(&patient.findings(false)), (TreeDamage::NoPage, vec!["web/1:dir".into()]));
    patient.repair();
    assert_heals(patient);
}

#[test]
fn one_without_a_row_is_found_and_healed() {
    let patient = Patient::new();
    patient.sql("DELETE FROM trees WHERE hash = ?1", [patient.dir.as_bytes()]);
    let findings = patient.findings_beside_totals(false);
    assert_eq!(damage_of(&findings[1..]), (TreeDamage::NoRow(1), vec!["web/1:dir".into()]));
    assert!(findings[0].is_leftover(), "its page belongs to nothing now: {findings:?}");
    patient.repair();
    assert_heals(patient);
}

#[test]
fn the_top_of_a_version_takes_all_of_it() {
    let patient = Patient::new();
    patient.sql(
        "UPDATE tree_pages SET data = x'' WHERE page = (SELECT page FROM trees WHERE hash = ?1)",
        [patient.top.as_bytes()],
    );
    assert_eq!(damage_of(&patient.findings(false)), (TreeDamage::Blank, vec!["web/1:".into()]));
}

#[test]
fn counts_below_a_lost_one_are_left_alone() {
    let patient = Patient::new();
    patient.sql(
        "DELETE FROM tree_pages WHERE page = (SELECT page FROM trees WHERE hash = ?1)",
        [patient.dir.as_bytes()],
    );
    patient.repair();
    let (findings, report) = support::fsck::findings(&patient.closed.path(), true);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(report.unverified, 2, "its two files have a name that nobody can read");
}

#[test]
fn one_that_nothing_needs_any_more_goes() {
    let patient = Patient::new();
    patient.sql(
        "DELETE FROM tree_pages WHERE page = (SELECT page FROM trees WHERE hash = ?1)",
        [patient.dir.as_bytes()],
    );
    patient.repair();
    let Patient { closed, dir, top } = patient;
    let world = closed.open();
    world.delete(&["1"], false).unwrap();
    world.collect();
    let patient = Patient { closed: world.close(), dir, top };
    patient.repair();
    // Only now is it known what it named.
    patient.repair();
    patient.assert_clean();
}

/// Publishing the same directory again fills it in, and the first version is whole.
fn assert_heals(patient: Patient) {
    let world = patient.closed.open();
    import_first(&world, "again");
    assert_eq!(world.bytes("1", "dir/only"), ONLY);
    support::fsck::check_clean_store(&world.close().path());
}
