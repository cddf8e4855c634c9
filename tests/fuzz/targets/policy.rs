//! Retention policies as the catalog keeps them, and what they decide.

use cairn::model::hash::TreeHash;
use cairn::model::id::VersionNumber;
use cairn::model::name::TagName;
use cairn::model::policy::{Policy, PolicyState};
use cairn::model::retention::decide;
use cairn::model::time::Timestamp;
use cairn::model::tree::{Attributes, Root, Summary, Xattrs};
use cairn::model::version::Version;

use super::Target;

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let state = PolicyState::from_text(Some(&text));
    let PolicyState::Set(policy) = state else {
        assert!(matches!(state, PolicyState::Unreadable { .. }));
        return;
    };
    assert_eq!(Policy::parse(&policy.to_text()), Ok(policy));
    // The clock may stand anywhere.
    for now in [i64::MIN, -1, 0, 1_000_000, i64::MAX] {
        decide_all(&policy, Timestamp { seconds: now, nanoseconds: 0 });
    }
}

fn decide_all(policy: &Policy, now: Timestamp) {
    let versions: Vec<Version> = (1..=8).map(version).collect();
    let tag: TagName = "v1".parse().unwrap();
    let tagged = versions.iter().map(|version| (version, (version.number.0 == 3).then_some(&tag)));
    let decisions = decide(tagged, policy, now);
    assert_eq!(decisions.len(), versions.len());
    for decision in &decisions {
        // Number 8 is the newest, 3 has a tag, 4 is locked.
        if matches!(decision.number.0, 8 | 3 | 4) || policy.is_empty() {
            assert!(decision.keep, "{decision:?}");
        }
        assert!(!decision.reason.to_string().is_empty());
    }
}

fn version(number: u64) -> Version {
    let time = Timestamp { seconds: i64::try_from(number).unwrap() * 100_000, nanoseconds: 0 };
    let attributes = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: time, xattrs: Xattrs::new() };
    let tree = TreeHash::of(b"");
    Version {
        number: VersionNumber(number),
        root: Root { attributes, tree, summary: Summary::default() },
        hash: tree,
        created: time,
        base: None,
        name: None,
        author: String::new(),
        message: String::new(),
        released: number.is_multiple_of(2),
        locked: number == 4,
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let policies = [
        Policy::default(),
        Policy { keep_unreleased: Some(2), keep_released: Some(1), ..Policy::default() },
        Policy { keep_within_seconds: Some(86_400), ..Policy::default() },
        Policy { expire_areas_seconds: Some(1), keep_unreleased: Some(0), ..Policy::default() },
    ];
    policies.iter().map(|policy| policy.to_text().into_bytes()).collect()
}
