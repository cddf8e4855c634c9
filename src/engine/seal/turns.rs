//! Which large file is hashed next. Repositories take turns, in each repository its areas take turns, and the
//! files of an area come in the order in which they were closed. So a file waits for one turn of each other
//! repository and area at most, however large or many their files are (H9).

use std::collections::VecDeque;

use crate::model::id::{AreaId, NodeId, RepoId};

/// The repository and the area that a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TurnKey {
    pub(super) repo: RepoId,
    pub(super) area: AreaId,
    pub(super) file: NodeId,
}

/// Jobs in waiting, one at most per file.
#[derive(Debug)]
pub(super) struct Turns<J> {
    /// The next turn is the first one's.
    repositories: VecDeque<(RepoId, Areas<J>)>,
}

type Areas<J> = VecDeque<(AreaId, Files<J>)>;
type Files<J> = VecDeque<(NodeId, J)>;

impl<J> Default for Turns<J> {
    fn default() -> Self {
        Self { repositories: VecDeque::new() }
    }
}

impl<J> Turns<J> {
    /// Adds a job behind the others of its area. If a job of the same file waits already, the new one comes
    /// back.
    pub(super) fn add(&mut self, key: TurnKey, job: J) -> Option<J> {
        let files = self.files(key);
        if files.iter().any(|(file, _)| *file == key.file) {
            return Some(job);
        }
        files.push_back((key.file, job));
        None
    }

    /// Puts back a job that is not done: it will be the next one of its area, which has had its turn. If
    /// another job of the same file came meanwhile, that one replaces it.
    pub(super) fn put_back(&mut self, key: TurnKey, job: J) {
        let files = self.files(key);
        if files.iter().all(|(file, _)| *file != key.file) {
            files.push_front((key.file, job));
        }
    }

    /// Takes the next job. Its repository and its area come last from then on.
    pub(super) fn take(&mut self) -> Option<(TurnKey, J)> {
        let (repo, mut areas) = self.repositories.pop_front()?;
        let (area, mut files) = areas.pop_front()?;
        let (file, job) = files.pop_front()?;
        if !files.is_empty() {
            areas.push_back((area, files));
        }
        if !areas.is_empty() {
            self.repositories.push_back((repo, areas));
        }
        Some((TurnKey { repo, area, file }, job))
    }

    /// The files of an area; the area and its repository come last if they had none.
    fn files(&mut self, key: TurnKey) -> &mut Files<J> {
        let areas = entry(&mut self.repositories, key.repo);
        entry(areas, key.area)
    }
}

fn entry<K: PartialEq, V: Default>(line: &mut VecDeque<(K, V)>, key: K) -> &mut V {
    let found = line.iter().position(|(other, _)| *other == key);
    let index = found.unwrap_or_else(|| {
        line.push_back((key, V::default()));
        line.len() - 1
    });
    &mut line[index].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(repo: u64, area: u64, file: u64) -> TurnKey {
        TurnKey { repo: RepoId(repo), area: AreaId(area), file: NodeId(file) }
    }

    /// The files in the order in which they are taken, each put back as often as `turns` says.
    fn order(line: &mut Turns<u32>) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some((key, turns)) = line.take() {
            order.push(key.file.0);
            if turns > 1 {
                line.put_back(key, turns - 1);
            }
        }
        order
    }

    #[test]
    fn h9_repositories_and_their_areas_take_turns() {
        let mut line = Turns::default();
        assert_eq!(line.add(key(1, 10, 100), 3), None);
        assert_eq!(line.add(key(1, 10, 101), 1), None);
        assert_eq!(line.add(key(1, 11, 110), 2), None);
        assert_eq!(line.add(key(2, 20, 200), 2), None);
        assert_eq!(order(&mut line), [100, 200, 110, 200, 100, 110, 100, 101]);
        assert!(line.take().is_none());
    }

    #[test]
    fn a_file_waits_once() {
        let mut line = Turns::default();
        assert_eq!(line.add(key(1, 10, 100), 7), None);
        assert_eq!(line.add(key(1, 10, 100), 8), Some(8));
        assert_eq!(line.take(), Some((key(1, 10, 100), 7)));
        // Closed again while it was worked on.
        assert_eq!(line.add(key(1, 10, 100), 8), None);
        line.put_back(key(1, 10, 100), 7);
        assert_eq!(line.take(), Some((key(1, 10, 100), 8)));
        assert!(line.take().is_none());
    }
}
