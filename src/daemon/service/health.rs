//! What about a store needs attention: the problems of `cairn status`.
//!
//! A mount whose daemon has ended is not among them, since there is no daemon then that could tell:
//! the command looks for it.

use std::sync::Arc;

use super::StoreService;
use super::gc::unreadable_policy;
use crate::control::quota::QuotaInfo;
use crate::control::status::{Problem, ProblemKind};
use crate::engine::REPOSITORY_AREAS_MAX;
use crate::engine::gc::RunReport;
use crate::engine::poison::Blocked;
use crate::engine::registry::Repository;
use crate::model::policy::PolicyState;
use crate::model::text::{count, is_or_are};
use crate::sys::FsSpace;

/// Why nothing changes any more, and what helps.
pub(super) const POISONED: &str = "a write or flush failed; restart the daemon to go on";

/// Space is low where less than this part of the disk is free, and less than [`LOW_BYTES`].
const LOW_PART: u64 = 20;

/// So much is enough on a disk of any size.
const LOW_BYTES: u64 = 10 << 30;

/// What the kernel appends to the name of a running program whose file was removed.
const GONE: &[u8] = b" (deleted)";

/// What `Status` has found out already.
pub(super) struct Seen<'a> {
    pub(super) blocked: Blocked,
    /// Blobs that are marked damaged.
    pub(super) damaged: u64,
    /// Of the disk; `None` where it cannot be asked.
    pub(super) space: Option<FsSpace>,
    pub(super) last_run: Option<&'a RunReport>,
    pub(super) repositories: &'a [Arc<Repository>],
}

impl StoreService {
    /// What needs attention, the worst first.
    pub(super) fn problems(&self, seen: &Seen<'_>, quotas: &[QuotaInfo]) -> Vec<Problem> {
        let mut problems = of_blocked(seen.blocked, seen.space);
        if seen.damaged > 0 {
            let (blobs, are) = (count(seen.damaged, "blob"), is_or_are(seen.damaged));
            let message = format!("{blobs} {are} damaged: `cairn fsck` says what is lost");
            problems.push(Problem::new(ProblemKind::Damage, message));
        }
        let areas = &self.engine.staging.read().areas;
        let failed: usize = areas.values().map(|area| area.shared.failed_count()).sum();
        if failed > 0 {
            let files = count(failed, "file");
            let message = format!("{files} of staging areas cannot be stored: see the log");
            problems.push(Problem::new(ProblemKind::FailedSeals, message));
        }
        problems.extend(self.limits(seen.repositories));
        problems.extend(quotas.iter().map(of_quota));
        for repository in seen.repositories {
            if let PolicyState::Unreadable { reason, .. } = &repository.policy {
                let message = unreadable_policy(repository.name.as_str(), reason);
                problems.push(Problem::new(ProblemKind::Policy, message));
            }
        }
        if let Some(errors) = seen.last_run.map(|run| run.errors).filter(|errors| *errors > 0) {
            let message =
                format!("{} in the last collection run: see the log", count(errors, "error"));
            problems.push(Problem::new(ProblemKind::FailedRun, message));
        }
        // Where that cannot be told, the status fails.
        let edge = self.edge_info().ok().flatten();
        problems.extend(edge.iter().flat_map(Self::edge_problems));
        if self.facts.pid.is_some() && is_replaced() {
            let message = "the daemon's program was replaced or removed: unmount and mount again, \
                           to run the new one";
            problems.push(Problem::new(ProblemKind::ReplacedBinary, message));
        }
        problems
    }

    /// Limits that somebody is about to meet.
    fn limits(&self, repositories: &[Arc<Repository>]) -> Vec<Problem> {
        let slots = &self.engine.staging.store.slots;
        let (open, max) = (slots.open(), slots.max());
        let files = is_near(open, max)
            .then(|| format!("{open} large files are being written, of {max} at a time"));
        let areas = repositories.iter().filter_map(|repository| {
            let areas = repository.areas.size();
            let near = is_near(areas as u64, REPOSITORY_AREAS_MAX as u64);
            let name = &repository.name;
            near.then(|| format!("{name} has {areas} of at most {REPOSITORY_AREAS_MAX} areas"))
        });
        let limits = files.into_iter().chain(areas);
        limits.map(|message| Problem::new(ProblemKind::Limit, message)).collect()
    }
}

fn of_blocked(blocked: Blocked, space: Option<FsSpace>) -> Vec<Problem> {
    match (blocked, space) {
        (Blocked::Poisoned, _) => vec![Problem::new(ProblemKind::Poisoned, POISONED)],
        (Blocked::Full, _) => {
            let message = "the store is full: changes wait until space is freed";
            vec![Problem::new(ProblemKind::Full, message)]
        }
        (Blocked::No | Blocked::ReadOnly, Some(space)) if is_low(space) => {
            let mib = space.available_bytes() >> 20;
            let message = format!("only {mib} MiB are free on the disk of the store");
            vec![Problem::new(ProblemKind::LowSpace, message)]
        }
        (Blocked::No | Blocked::ReadOnly, _) => Vec::new(),
    }
}

fn of_quota(quota: &QuotaInfo) -> Problem {
    let message = format!("{} uses more than nine tenths of its quota", quota.repository);
    Problem::new(ProblemKind::Quota, message)
}

fn is_low(space: FsSpace) -> bool {
    let total = space.blocks.saturating_mul(space.block_size);
    space.available_bytes() < LOW_BYTES.min(total / LOW_PART)
}

/// Whether more than three quarters are in use.
fn is_near(used: u64, max: u64) -> bool {
    used > max / 4 * 3
}

/// Whether the file of the program that runs here has been replaced or removed since it was started.
fn is_replaced() -> bool {
    std::fs::read_link("/proc/self/exe")
        .is_ok_and(|program| program.as_os_str().as_encoded_bytes().ends_with(GONE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_low_by_the_size_of_the_disk_and_never_above_a_fixed_amount() {
        let space = |total_gib: u64, free_mib: u64| FsSpace {
            block_size: 1 << 20,
            blocks: total_gib << 10,
            blocks_free: free_mib,
            blocks_available: free_mib,
            files: 0,
            files_free: 0,
        };
        for (total_gib, free_mib, low) in [
            (20, 1023, true),
            (20, 1024, false),
            (10_000, 10_239, true),
            (10_000, 10_240, false),
            (0, 0, false),
        ] {
            assert_eq!(is_low(space(total_gib, free_mib)), low, "{total_gib} {free_mib}");
        }
    }

    #[test]
    fn what_blocks_all_changes_is_told_and_hides_that_space_is_low() {
        let kinds = |blocked| -> Vec<_> {
            of_blocked(blocked, None).iter().map(|problem| problem.kind).collect()
        };
        assert_eq!(kinds(Blocked::Poisoned), [ProblemKind::Poisoned]);
        assert_eq!(kinds(Blocked::Full), [ProblemKind::Full]);
        assert_eq!(kinds(Blocked::No), []);
    }
}
