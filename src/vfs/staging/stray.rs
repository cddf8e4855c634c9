//! Files that somebody wanted to make beside the areas of a repository, as `rsync -a DIR/ staging/REPO/`
//! does. Directories made so are areas, since nothing tells that mkdir from one that means it; files are
//! refused, and an errno says little. So the reason is logged and kept for `user.cairn.error`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::id::RepoId;

/// A copy is refused for each of its files; the log gets the reason once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// When the reason was logged last, by repository. There is one at most for each that exists or did since
/// the start.
#[derive(Debug, Default)]
pub(super) struct Strays {
    logged: Mutex<HashMap<RepoId, Instant>>,
}

/// What was wrong, and what to do.
pub(super) fn reason(repository: &str) -> String {
    format!(
        "only staging areas lie directly in staging/{repository}, no files: make one (mkdir \
         staging/{repository}/NAME) and copy into that; directories that a copy made here are areas, \
         which `rm -r` removes"
    )
}

impl Strays {
    /// Notes that a file was refused; returns whether it is to be logged.
    pub(super) fn note(&self, repo: RepoId, now: Instant) -> bool {
        let mut logged = self.logged.lock();
        let last = logged.get(&repo);
        let is_due = last.is_none_or(|last| now.duration_since(*last) >= LOG_INTERVAL);
        if is_due {
            logged.insert(repo, now);
        }
        is_due
    }

    /// Whether a file was refused in this repository since the start.
    pub(super) fn any(&self, repo: RepoId) -> bool {
        self.logged.lock().contains_key(&repo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_copy_is_logged_once_a_minute() {
        let (strays, repo, now) = (Strays::default(), RepoId(1), Instant::now());
        assert!(!strays.any(repo));
        assert!(strays.note(repo, now));
        assert!(!strays.note(repo, now + LOG_INTERVAL / 2));
        assert!(strays.note(RepoId(2), now));
        assert!(strays.note(repo, now + LOG_INTERVAL));
        assert!(strays.any(repo) && !strays.any(RepoId(3)));
    }
}
