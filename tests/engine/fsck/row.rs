//! Rows that break a rule or contradict each other.

use cairn::engine::fsck::Finding;
use cairn::model::id::VersionNumber;

use super::damage::Patient;

#[test]
fn a_tag_that_points_nowhere_goes() {
    let patient = Patient::new();
    patient.sql("UPDATE tags SET number = 9 WHERE name = 'one'", []);
    assert!(matches!(patient.finding(false), Finding::Tag { number: VersionNumber(9), .. }));
    patient.repair();
    patient.assert_clean();
    let world = patient.closed.open();
    let repository = world.engine.registry.by_name("web").unwrap();
    assert_eq!(repository.tags.size(), 1);
}

#[test]
fn a_number_is_never_given_twice() {
    let patient = Patient::new();
    patient.sql("UPDATE repositories SET next_number = 2", []);
    assert!(matches!(
        patient.finding(false),
        Finding::NextNumber { next: VersionNumber(2), newest: VersionNumber(2), .. }
    ));
    patient.repair();
    patient.assert_clean();
    let reply = patient.closed.open().publish("next", &[("a", b"a")]);
    assert_eq!(reply.version.number, VersionNumber(3));
}

#[test]
fn a_version_whose_hash_is_wrong_is_named() {
    let patient = Patient::new();
    patient.sql("UPDATE versions SET hash = zeroblob(32) WHERE number = 2", []);
    assert_eq!(patient.finding(false), Finding::Root { version: "web/2".to_owned() });
}

#[test]
fn what_has_no_repository_is_named() {
    let patient = Patient::new();
    patient.sql("DELETE FROM repositories", []);
    let findings = patient.findings(false);
    let what: Vec<&str> = findings
        .iter()
        .map(|finding| match finding {
            Finding::NoRepository { what, .. } => what.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        what,
        ["version #1/1", "version #1/2", "tag #1/one", "tag #1/two", "area staging/#1/work"]
    );
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    for (table, sql) in [
        ("repositories", "UPDATE repositories SET name = 'a/b'"),
        ("versions", "UPDATE versions SET root = x'00' WHERE number = 1"),
        ("tags", "UPDATE tags SET created_ns = 1000000000 WHERE name = 'one'"),
        ("areas", "UPDATE areas SET state = 7"),
        ("nodes", "UPDATE nodes SET kind = 99 WHERE data_kind = 1"),
        ("names", "UPDATE names SET name = x'2f' WHERE name = x'6e6577'"),
        ("doomed", "INSERT INTO doomed(tree) VALUES(x'00')"),
        ("trees", "INSERT INTO trees VALUES(x'00', 1, 1, 1)"),
        ("blobs", "INSERT INTO blobs VALUES(x'00', 1, 1, 1, 0, 0)"),
    ] {
        let patient = Patient::new();
        patient.sql(sql, []);
        let findings = patient.findings(false);
        let named = |finding: &Finding| matches!(finding, Finding::Row(bad) if bad.table == table);
        assert!(findings.iter().any(named), "{table}: {findings:?}");
        // What the row names is not known: nothing that it may name is given up.
        let given_up = |finding: &Finding| match finding {
            Finding::BlobCount { recorded, counted, .. }
            | Finding::TreeCount { recorded, counted, .. } => recorded > counted,
            _ => false,
        };
        assert!(!findings.iter().any(given_up), "{table}: {findings:?}");
    }
}

#[test]
fn a_torn_table_is_reported_and_the_others_are_read() {
    use std::os::unix::fs::FileExt;
    let patient = Patient::new();
    let path = patient.layout().catalog();
    let root: u64 = {
        let connection = rusqlite::Connection::open(&path).unwrap();
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'blobs'";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 4096], (root - 1) * 4096).unwrap();
    let findings = patient.findings(false);
    assert!(matches!(findings[0], Finding::Table { table: "blobs", .. }), "{findings:?}");
    let others =
        |finding: &Finding| matches!(finding, Finding::Table { table, .. } if *table != "blobs");
    assert!(!findings.iter().any(others), "{findings:?}");
}
