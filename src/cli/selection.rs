//! Versions named on a command line, repository by repository, with ranges.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::output::Output;
use super::parse::DeleteTarget;
use crate::control::client::Connection;
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

/// Does something with what was named of each repository, in the order of their names, and ends at
/// the first refusal. What was done before it is told all the same: by `print`, or as one JSON
/// array.
///
/// # Errors
/// The first refusal; the output cannot be written.
pub(super) fn for_each<T: Serialize>(
    context: &mut Context,
    selections: BTreeMap<RepoName, Selection>,
    mut act: impl FnMut(&mut Connection, RepoName, Selection) -> Result<T, CliError>,
    print: impl Fn(&mut Output, &T) -> io::Result<()>,
) -> Result<(), CliError> {
    let mut connection = context.connect()?;
    let mut done = Vec::new();
    let mut refused = None;
    for (repository, selection) in selections {
        match act(&mut connection, repository, selection) {
            Ok(one) if context.json => done.push(one),
            Ok(one) => print(&mut context.output, &one)?,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    if context.json && (refused.is_none() || !done.is_empty()) {
        context.output.json(&done)?;
    }
    context.output.flush()?;
    refused.map_or(Ok(()), Err)
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
