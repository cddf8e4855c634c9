//! Which versions a policy lets go, and why: a pure function of versions, policy and time.
//!
//! Locked versions and those that a tag other than their own name points at never expire and do
//! not count; neither does the newest version expire, though it counts. The rest is counted by
//! class, released and unreleased, newest first (G9).

use std::fmt;

use super::id::VersionNumber;
use super::name::TagName;
use super::policy::Policy;
use super::time::Timestamp;
use super::version::Version;

/// Why a version stays or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is locked.
    Locked,
    /// This tag points at it.
    Tagged(TagName),
    /// Its class has no rule.
    NoRule {
        /// The class.
        released: bool,
    },
    /// It is among the newest of its class.
    Newest {
        /// The class.
        released: bool,
        /// How many are kept.
        keep: u64,
    },
    /// It is younger than the policy wants.
    Young,
    /// The newest version of a repository never expires.
    Latest,
    /// None of the rules keeps it.
    Expired {
        /// The class.
        released: bool,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = |released: &bool| if *released { "released" } else { "unreleased" };
        match self {
            Self::Locked => write!(f, "locked"),
            Self::Tagged(tag) => write!(f, "pointed at by tag `{tag}`"),
            Self::NoRule { released } => {
                write!(f, "the policy has no rule for {} versions", class(released))
            }
            Self::Newest { released, keep: 1 } => {
                write!(f, "the newest {} version", class(released))
            }
            Self::Newest { released, keep } => {
                write!(f, "among the newest {keep} {} versions", class(released))
            }
            Self::Young => write!(f, "younger than keep-within"),
            Self::Latest => write!(f, "the newest version"),
            Self::Expired { released } => {
                write!(f, "no rule keeps this {} version", class(released))
            }
        }
    }
}

/// What is to be done with one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The version.
    pub number: VersionNumber,
    /// Whether it stays.
    pub keep: bool,
    /// Why.
    pub reason: Reason,
}

/// Decides about all versions of a repository. `versions` are in ascending order, each with a tag
/// that protects it, if there is one; the decisions are in descending order.
pub fn decide<'a>(
    versions: impl DoubleEndedIterator<Item = (&'a Version, Option<&'a TagName>)>,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Decision> {
    let mut counted = [0_u64; 2];
    let mut decisions = Vec::new();
    // Versions are made in the order of their numbers: one whose time is in the future, since the
    // clock was ahead then, is no younger than the next one whose time is not.
    let mut newer = now;
    for (version, tag) in versions.rev() {
        let latest = decisions.is_empty();
        let created = if version.created > now { newer } else { version.created };
        newer = created;
        let reason = if version.locked {
            Reason::Locked
        } else if let Some(tag) = tag {
            Reason::Tagged(tag.clone())
        } else {
            let released = version.released;
            let before = counted[usize::from(released)];
            counted[usize::from(released)] += 1;
            match by_class((version, created), before, policy, now) {
                Reason::Expired { .. } if latest => Reason::Latest,
                reason => reason,
            }
        };
        let keep = !matches!(reason, Reason::Expired { .. });
        decisions.push(Decision { number: version.number, keep, reason });
    }
    decisions
}

/// Decides about one version that was created at `created`, when `newer` versions of its class were
/// counted before it.
fn by_class(
    (version, created): (&Version, Timestamp),
    newer: u64,
    policy: &Policy,
    now: Timestamp,
) -> Reason {
    let released = version.released;
    let count = if released { policy.keep_released } else { policy.keep_unreleased };
    let has_rule = count.is_some() || (!released && policy.keep_within_seconds.is_some());
    if !has_rule {
        return Reason::NoRule { released };
    }
    if let Some(keep) = count.filter(|keep| newer < *keep) {
        return Reason::Newest { released, keep };
    }
    let within = policy.keep_within_seconds.map_or(0, |s| i64::try_from(s).unwrap_or(i64::MAX));
    if within > 0 && created.seconds > now.seconds.saturating_sub(within) {
        return Reason::Young;
    }
    Reason::Expired { released }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hash::TreeHash;
    use crate::model::tree::{Attributes, Root, Summary, Xattrs};

    const DAY: i64 = 86_400;
    const NOW: Timestamp = Timestamp { seconds: 1000 * DAY, nanoseconds: 0 };

    /// A version per letter, the oldest first, a day apart, the newest made just now: `u`nreleased,
    /// `r`eleased, `l`ocked, `t`agged.
    fn versions(kinds: &str) -> Vec<(Version, Option<TagName>)> {
        let days = i64::try_from(kinds.len()).unwrap();
        (1_i64..)
            .zip(kinds.chars())
            .map(|(number, kind)| {
                let created = Timestamp { seconds: NOW.seconds - (days - number) * DAY, ..NOW };
                let attributes =
                    Attributes { mode: 0o755, uid: 0, gid: 0, mtime: NOW, xattrs: Xattrs::new() };
                let tree = TreeHash::of(b"");
                let version = Version {
                    number: VersionNumber(number.unsigned_abs()),
                    root: Root { attributes, tree, summary: Summary::default() },
                    hash: tree,
                    created,
                    base: None,
                    name: None,
                    author: String::new(),
                    message: String::new(),
                    released: kind == 'r',
                    locked: kind == 'l',
                };
                (version, (kind == 't').then(|| "stable".parse().unwrap()))
            })
            .collect()
    }

    fn kept(kinds: &str, policy: Policy) -> String {
        let versions = versions(kinds);
        let decisions =
            decide(versions.iter().map(|(version, tag)| (version, tag.as_ref())), &policy, NOW);
        let mut kept: Vec<_> = decisions.iter().map(|d| if d.keep { 'k' } else { '-' }).collect();
        kept.reverse();
        kept.into_iter().collect()
    }

    #[test]
    fn classes_are_counted_newest_first() {
        let none = Policy::default();
        let two = Policy { keep_unreleased: Some(2), ..none };
        let two_one = Policy { keep_released: Some(1), ..two };
        let zero = Policy { keep_unreleased: Some(0), keep_released: Some(0), ..none };
        let within = Policy { keep_within_seconds: Some(3 * 86_400), ..none };
        let two_within = Policy { keep_unreleased: Some(2), ..within };
        let all_within = Policy { keep_released: Some(0), ..within };
        let cases: [(&str, Policy, &str); 14] = [
            ("", two, ""),
            ("uuuuu", none, "kkkkk"),
            ("uuuuu", two, "---kk"),
            ("ururu", two, "-kkkk"),
            ("urururulu", two_one, "-----kkkk"),
            ("lutut", two, "kkkkk"),
            ("uuluutu", two, "--k-kkk"),
            ("uuu", zero, "--k"),
            ("ur", zero, "-k"),
            ("uur", zero, "--k"),
            ("uuuuu", within, "--kkk"),
            ("ruruu", within, "k-kkk"),
            ("uuuuu", two_within, "--kkk"),
            ("rrrrr", all_within, "--kkk"),
        ];
        for (kinds, policy, expected) in cases {
            assert_eq!(kept(kinds, policy), expected, "{kinds} with {policy:?}");
        }
    }

    #[test]
    fn reasons_are_told() {
        let versions = versions("urtlu");
        let policy = Policy { keep_unreleased: Some(1), ..Policy::default() };
        let decisions =
            decide(versions.iter().map(|(version, tag)| (version, tag.as_ref())), &policy, NOW);
        let told: Vec<_> = decisions.iter().map(|d| format!("{} {}", d.number, d.reason)).collect();
        let expected = [
            "5 the newest unreleased version",
            "4 locked",
            "3 pointed at by tag `stable`",
            "2 the policy has no rule for released versions",
            "1 no rule keeps this unreleased version",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_was_made_while_the_clock_was_ahead_is_as_old_as_what_came_next() {
        let policy = Policy { keep_within_seconds: Some(3 * 86_400), ..Policy::default() };
        // Made 6, 5, 4, 3, 2, 1 and 0 days ago; of some the clock was ten years ahead.
        for (ahead, expected) in [
            ([1, 2].as_slice(), "----kkk"),
            (&[4], "---kkkk"),
            (&[5, 6], "----kkk"),
            (&[1, 2, 3, 4, 5, 6, 7], "kkkkkkk"),
        ] {
            let mut versions = versions("uuuuuuu");
            for number in ahead {
                versions[number - 1].0.created.seconds += 3650 * DAY;
            }
            let all = versions.iter().map(|(version, tag)| (version, tag.as_ref()));
            let kept = decide(all, &policy, NOW).into_iter().rev();
            let kept: String = kept.map(|d| if d.keep { 'k' } else { '-' }).collect();
            assert_eq!(kept, expected, "{ahead:?}");
        }
    }

    #[test]
    fn a_clock_that_went_back_deletes_nothing_young() {
        let policy = Policy { keep_within_seconds: Some(60), ..Policy::default() };
        let versions = versions("uu");
        let past = Timestamp { seconds: 0, nanoseconds: 0 };
        let decisions =
            decide(versions.iter().map(|(version, tag)| (version, tag.as_ref())), &policy, past);
        assert!(decisions.iter().all(|decision| decision.keep));
    }
}
