//! A store is in order: asserted after crashes, stress and long histories.

use std::path::Path;

use cairn::engine::fsck::{Finding, Options, Report, bare};
use cairn::store::Store;

/// Everything that a check finds in a store that nobody has open.
#[track_caller]
pub fn findings(store: &Path, full: bool) -> (Vec<Finding>, Report) {
    let mut store = Store::open(store).expect("the store opens");
    let mut findings = Vec::new();
    let options = Options { full, files: true };
    let report =
        bare::check(&mut store, options, &mut |finding| findings.push(finding), &mut |_, _, _| {})
            .expect("the store can be checked");
    (findings, report)
}

/// Asserts that a store that nobody has open is sound: every row, count, tree and byte. Leftovers,
/// which a crash may leave and the next start sweeps, are allowed.
#[track_caller]
pub fn check_store(store: &Path) {
    let (findings, report) = findings(store, true);
    let damage: Vec<String> = findings
        .iter()
        .filter(|finding| !finding.is_leftover())
        .map(|finding| format!("{finding}: {:?}", finding.losses()))
        .collect();
    assert!(damage.is_empty(), "the store is damaged:\n{}", damage.join("\n"));
    assert!(report.unverified == 0 && !report.counts_skipped, "{report:?}");
}

/// As [`check_store`], and nothing is left over either: for a store that was stopped cleanly.
#[track_caller]
pub fn check_clean_store(store: &Path) {
    let (findings, report) = findings(store, true);
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "the store is not clean:\n{}", lines.join("\n"));
    assert!(report.unverified == 0 && !report.counts_skipped, "{report:?}");
}
