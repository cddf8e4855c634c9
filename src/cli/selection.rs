//! Versions named on a command line, repository by repository, with ranges.

use std::collections::BTreeMap;

use super::error::CliError;
use super::parse::DeleteTarget;
use crate::control::protocol::{ControlError, ErrorKind};
use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, RepoName};

/// What was named of one repository.
#[derive(Debug, Default)]
pub(super) struct Selection {
    versions: Vec<BaseName>,
    ranges: Vec<(VersionNumber, VersionNumber)>,
    /// The repository itself was named.
    pub(super) itself: bool,
}

/// Sorts what was named by repository.
pub(super) fn by_repository(
    targets: impl IntoIterator<Item = DeleteTarget>,
) -> BTreeMap<RepoName, Selection> {
    let mut selections: BTreeMap<RepoName, Selection> = BTreeMap::new();
    for target in targets {
        match target {
            DeleteTarget::Repository(name) => selections.entry(name).or_default().itself = true,
            DeleteTarget::Version(name, version) => {
                selections.entry(name).or_default().versions.push(version);
            }
            DeleteTarget::Range(name, first, last) => {
                selections.entry(name).or_default().ranges.push((first, last));
            }
        }
    }
    selections
}

impl Selection {
    /// Whether no version was named.
    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.ranges.is_empty()
    }

    /// The versions, with those of `existing` that are in the ranges. `hint` says how to list
    /// what exists.
    ///
    /// # Errors
    /// Those of `existing`; a range without any version.
    pub(super) fn resolve(
        self,
        repository: &RepoName,
        existing: impl FnOnce() -> Result<Vec<VersionNumber>, CliError>,
        hint: &str,
    ) -> Result<Vec<BaseName>, CliError> {
        let mut versions = self.versions;
        if self.ranges.is_empty() {
            return Ok(versions);
        }
        let existing = existing()?;
        let mut numbers = Vec::new();
        for (first, last) in self.ranges {
            let before = numbers.len();
            numbers.extend(existing.iter().filter(|number| first <= **number && **number <= last));
            if numbers.len() == before {
                let message = format!("{repository} has no version from {first} to {last}");
                let error = ControlError::new(ErrorKind::NotFound, message).with_hint(hint);
                return Err(error.into());
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        versions.extend(numbers.into_iter().map(BaseName::Number));
        Ok(versions)
    }
}
