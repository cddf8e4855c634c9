//! Large contents that go into the store before the entries that name them (V6).
//!
//! A large file is hashed here and then copied by the store, and may change between the two. If its entry was there with
//! the copy, the file could not be left out any more, and what was at its path before would be lost. So a sink that can
//! takes the content first. If the file did not hold still until then it is read once more, as a small one is.

use std::collections::HashMap;
use std::path::PathBuf;

use super::error::{ArchiveError, Problem};
use super::read::{ATTEMPTS, Prepared, PreparedContent, ReadFile, kept_changing};
use super::stat::Stat;
use super::{EntrySink, Taken};
use crate::model::hash::BlobHash;

/// Has the sink take the content of a file, if it is large, others can change it and the store lacks it; returns
/// what is to be put then. The problem is that it kept changing, or could not be read again.
pub(super) fn take(
    mut prepared: Prepared,
    known: &HashMap<BlobHash, bool>,
    sink: &mut dyn EntrySink,
    read_file: &ReadFile<'_>,
) -> Result<Result<Prepared, Problem>, ArchiveError> {
    for attempt in 1..=ATTEMPTS {
        let PreparedContent::Large { hash, size, file, stable: Some(before) } = &prepared.content
        else {
            return Ok(Ok(prepared));
        };
        if known.get(hash) == Some(&true) {
            return Ok(Ok(prepared));
        }
        let (hash, size, id) = (*hash, *size, before.id);
        let held_still = match sink.take_content(file, size)? {
            Taken::WithEntry => return Ok(Ok(prepared)),
            Taken::Short => false,
            Taken::Whole(found) => {
                let path = PathBuf::from(prepared.path.to_string());
                let after = Stat::of(file).map_err(ArchiveError::io("stat", &path))?;
                found == hash && !before.content_changed(&after)
            }
        };
        if held_still {
            prepared.content = PreparedContent::Taken { hash, size };
            return Ok(Ok(prepared));
        }
        if attempt < ATTEMPTS {
            // Its other names become links of the file that the walk saw, so this must be that file.
            let only = prepared.has_links.then_some(id);
            prepared = match read_file(prepared.path, only) {
                Ok(again) => Prepared { reread: true, ..again },
                Err(problem) => return Ok(Err(problem)),
            };
        }
    }
    Ok(Err(kept_changing(prepared.path)))
}
