//! Names for the completion of a command line, which must be answered quickly.

use serde::{Deserialize, Serialize};

use crate::model::name::{AreaName, RepoName};

/// Which names are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamesOf {
    /// Repositories.
    Repositories,
    /// What a version of the repository may be called: its tags, `latest`, and numbers, newest first.
    Versions(RepoName),
    /// Open staging areas of the repository, without their base where that is clear.
    Areas(RepoName),
    /// Tags of the repository.
    Tags(RepoName),
    /// Numbers of deleted versions of the repository that can be brought back.
    Deleted(RepoName),
}

/// The most names in a reply; nobody reads more.
pub const NAMES_MAX: usize = 200;

/// The names that begin with `prefix`, the first [`NAMES_MAX`].
pub fn matching(names: impl IntoIterator<Item = impl ToString>, prefix: &str) -> Vec<String> {
    let names = names.into_iter().map(|name| name.to_string());
    names.filter(|name| name.starts_with(prefix)).take(NAMES_MAX).collect()
}

/// Areas as commands may call them: by label, or by the whole name where two have the same label.
pub fn area_names(areas: &[AreaName]) -> Vec<String> {
    let shared = |area: &AreaName| areas.iter().filter(|a| a.label() == area.label()).count() > 1;
    areas.iter().map(|a| if shared(a) { a.to_string() } else { a.label().to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_called_by_label_where_that_is_clear() {
        let areas = ["a@1", "b", "b@latest"].map(|name| name.parse().unwrap());
        assert_eq!(area_names(&areas), ["a", "b", "b@latest"]);
        assert_eq!(matching(area_names(&areas), "b"), ["b", "b@latest"]);
        assert_eq!(matching(1..=1000, "1").len(), 112);
        assert_eq!(matching(1..=1000, "").len(), NAMES_MAX);
    }
}
