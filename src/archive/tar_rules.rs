//! What the members of an archive must not do to each other, and which of them are read.

use std::collections::HashMap;
use std::path::Path;

use super::error::ArchiveError;
use super::path::{ArchivePath, printable};
use super::read::{Prepared, PreparedContent};
use crate::model::import::ImportContent;
use crate::model::tree::Attributes;

/// The most hardlinks in a row of which each points at the next one.
const LINK_STEPS_MAX: usize = 16;

/// What of an archive is read, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    /// Only what is below that directory, as if that was the top.
    pub(crate) below: Option<&'a ArchivePath>,
    /// The directory through which large members pass.
    pub(crate) spool: &'a Path,
}

impl Part<'_> {
    /// Where a member goes that is part of it.
    pub(super) fn of(self, path: ArchivePath) -> Option<ArchivePath> {
        match self.below {
            Some(directory) => path.below(directory),
            None => Some(path),
        }
    }
}

/// The paths of an archive and what they must not do to each other.
#[derive(Debug, Default)]
pub(super) struct Rules {
    seen: HashMap<Box<[u8]>, Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Named by a member.
    Directory,
    /// Only known from what lies below it.
    Implied,
    Other,
}

impl Rules {
    pub(super) fn add(&mut self, path: &ArchivePath, directory: bool) -> Result<(), String> {
        if path.is_root() && !directory {
            return Err("it names the top, but is no directory".to_owned());
        }
        for above in path.ancestors() {
            match self.seen.get(above) {
                None => self.seen.insert(above.into(), Seen::Implied),
                Some(Seen::Directory | Seen::Implied) => break,
                Some(Seen::Other) => {
                    let above = printable(above);
                    return Err(format!("it is below `{above}`, which is no directory"));
                }
            };
        }
        let new = if directory { Seen::Directory } else { Seen::Other };
        match self.seen.insert(path.as_bytes().into(), new) {
            None => Ok(()),
            Some(Seen::Implied) if directory => Ok(()),
            Some(Seen::Implied) => {
                Err("other entries are below it, but it is no directory".to_owned())
            }
            Some(Seen::Directory | Seen::Other) => Err("it occurs twice".to_owned()),
        }
    }
}

/// Hardlinks of an archive, kept until all members are known.
#[derive(Debug, Default)]
pub(super) struct Hardlinks {
    in_order: Vec<(ArchivePath, Attributes)>,
    targets: HashMap<ArchivePath, ArchivePath>,
}

impl Hardlinks {
    pub(super) fn add(&mut self, path: ArchivePath, to: ArchivePath, attributes: Attributes) {
        self.targets.insert(path.clone(), to);
        self.in_order.push((path, attributes));
    }

    /// Finds the file behind each link.
    pub(super) fn resolve(
        self,
        rules: &Rules,
        part: Part<'_>,
    ) -> Result<Vec<Prepared>, ArchiveError> {
        let Self { in_order, targets } = self;
        let resolve = |path: &ArchivePath| {
            let mut to = path;
            for _ in 0..=LINK_STEPS_MAX {
                let Some(next) = targets.get(to) else { break };
                to = next;
            }
            let reason = match rules.seen.get(to.as_bytes()) {
                _ if targets.contains_key(to) => "is only a chain of links",
                None => "is not in the archive",
                Some(Seen::Directory | Seen::Implied) => "is a directory",
                Some(Seen::Other) => match part.of(to.clone()) {
                    Some(to) => return Ok(to.to_raw()),
                    None => "is in another part of the archive",
                },
            };
            let reason = format!("its link target `{to}` {reason}");
            Err(ArchiveError::Entry { entry: path.to_string(), reason })
        };
        let taken = |(path, attributes): (ArchivePath, Attributes)| {
            part.of(path.clone()).map(|place| (path, place, attributes))
        };
        in_order
            .into_iter()
            .filter_map(taken)
            .map(|(path, place, attributes)| {
                let content =
                    PreparedContent::Other(ImportContent::Hardlink { to: resolve(&path)? });
                Ok(Prepared {
                    path: place,
                    attributes,
                    content,
                    reread: false,
                    acl: false,
                    has_links: true,
                    record: None,
                })
            })
            .collect()
    }
}
