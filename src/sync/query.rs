//! The query stage: finds what the store has already, under whichever name (V3).

use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, Sender};

use super::difference::Step;
use super::fetch::Content;
use super::gathered::Gathered;
use super::pipeline::send;
use super::{BaseFile, Destination, SyncError, Tally, add, check_stop};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::manifest::DeclaredFile;
use crate::model::text::count;

/// Files that are looked for at a time.
const BATCH: usize = 500;

/// What a path needs, and how far that is.
#[derive(Debug)]
pub(super) enum Item<'a> {
    Step(Step),
    /// The file is in the newest version as it is declared.
    Unchanged(DeclaredFile),
    /// It is fetched when it is read.
    Absent {
        file: DeclaredFile,
        base: Option<BaseFile>,
    },
    /// The store has the content, and holds it.
    Known {
        file: DeclaredFile,
        base: Option<BaseFile>,
        content: Option<(BlobHash, u64)>,
    },
    /// It was fetched and is what was declared.
    Fetched {
        file: DeclaredFile,
        base: Option<BaseFile>,
        content: Content<'a>,
    },
    /// It cannot be had.
    Failed {
        file: DeclaredFile,
        reason: String,
        disagrees: bool,
    },
}

/// What becomes of unchanged files whose content is not in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They stay as they are: there are none, or they are fetched when they are read.
    IsUnchanged,
    /// They are fetched now.
    IsFetched,
}

/// The stage after the query when content is fetched as it is read: marks what the store lacks as absent, so that it is not fetched
/// now. Content of which the store has a damaged blob is fetched, which mends it.
pub(super) fn defer<'a>(
    destination: &dyn Destination,
    gathered: Option<&Gathered>,
    items: &Receiver<Item<'a>>,
    next: &Sender<Item<'a>>,
) -> Result<(), SyncError> {
    // Indexes were fetched to be read, so they are stored now.
    let came = |file: &DeclaredFile| gathered.is_some_and(|all| all.find(&file.sha256).is_some());
    items.iter().try_for_each(|item| match item {
        Item::Step(Step::Put { file, base })
            if file.content_name().is_some()
                && !came(&file)
                && destination.blob_of(&file.sha256)?.is_none() =>
        {
            send(next, Item::Absent { file, base })
        }
        other => send(next, other),
    })
}

/// Looks for files in batches: as many as have come, [`BATCH`] at most.
pub(super) fn query<'a>(
    destination: &dyn Destination,
    (tally, missing): (&Tally, Missing),
    stop: &AtomicBool,
    items: &Receiver<Item<'a>>,
    next: &Sender<Item<'a>>,
) -> Result<(), SyncError> {
    while let Ok(first) = items.recv() {
        check_stop(stop)?;
        let mut batch = vec![first];
        batch.extend(items.try_iter().take(BATCH - 1));
        for item in look_up(destination, tally, missing, batch)? {
            send(next, item)?;
        }
    }
    Ok(())
}

fn look_up<'a>(
    destination: &dyn Destination,
    tally: &Tally,
    missing: Missing,
    batch: Vec<Item<'a>>,
) -> Result<Vec<Item<'a>>, SyncError> {
    let mut found = Vec::with_capacity(batch.len());
    let mut wanted: Vec<BlobHash> = Vec::new();
    for item in batch {
        let Item::Step(Step::Put { file, base }) = item else {
            found.push((item, None));
            continue;
        };
        let known = match compare(destination, &file, base.as_ref(), missing)? {
            Compared::Unchanged => {
                add(&tally.unchanged, 1);
                found.push((Item::Unchanged(file), None));
                continue;
            }
            Compared::OtherName(blob) => Some(blob),
            Compared::Different => destination.blob_of(&file.sha256)?,
        };
        wanted.extend(known);
        found.push((Item::Step(Step::Put { file, base }), known));
    }
    let held = if wanted.is_empty() { Vec::new() } else { destination.hold(wanted)? };
    let mut held = held.into_iter();
    let resolved = found.into_iter().map(|(item, known)| {
        let content = known.and_then(|blob| Some((blob, held.next()??)));
        match item {
            Item::Step(Step::Put { file, base }) => resolve(file, base, content),
            other => other,
        }
    });
    Ok(resolved.collect())
}

/// A file whose content the store may have, with its length in bytes.
fn resolve<'a>(
    file: DeclaredFile,
    base: Option<BaseFile>,
    content: Option<(BlobHash, u64)>,
) -> Item<'a> {
    let fits = |length: u64| file.size_bytes.is_none_or(|size| size == length);
    match content {
        Some((_, length)) if fits(length) => Item::Known { file, base, content },
        _ if file.sha256 == Sha256::of(b"") && fits(0) => Item::Known { file, base, content: None },
        Some((_, length)) => {
            let declared = file.size_bytes.unwrap_or_default();
            let length = count(length, "byte");
            let reason = format!("its content has {length}, not the {declared} that are declared");
            Item::Failed { file, reason, disagrees: true }
        }
        _ => Item::Step(Step::Put { file, base }),
    }
}

/// What the newest version has at a path, beside what is declared.
enum Compared {
    /// It is what is declared.
    Unchanged,
    /// It is the same content under another name, in this blob.
    OtherName(BlobHash),
    /// It is something else, or nothing.
    Different,
}

/// Compares a file with the newest version's. One that came in some other way is hashed once.
fn compare(
    destination: &dyn Destination,
    file: &DeclaredFile,
    base: Option<&BaseFile>,
    missing: Missing,
) -> Result<Compared, SyncError> {
    let Some(base) = base.filter(|base| file.size_bytes.is_none_or(|size| size == base.size_bytes))
    else {
        return Ok(Compared::Different);
    };
    let same = |same| if same { Compared::Unchanged } else { Compared::Different };
    let blob = match base.blob {
        None => return Ok(same(file.sha256 == Sha256::of(b""))),
        Some(ContentName::Sha256(declared)) if missing == Missing::IsFetched => {
            return Ok(same(declared == file.sha256 && is_here(destination, &declared)?));
        }
        Some(ContentName::Sha256(declared)) => return Ok(same(declared == file.sha256)),
        Some(ContentName::Blake3(blob)) => blob,
    };
    let is_known = destination.blob_of(&file.sha256)? == Some(blob);
    // What is not here cannot be compared: from now on it is what the remote declares.
    if !is_known && destination.digest_of(&blob)? != Some(file.sha256) {
        return Ok(Compared::Different);
    }
    Ok(match file.content_name() {
        // A file with several names stays one file, and keeps the name of its content.
        Some(_) if !base.is_linked => Compared::OtherName(blob),
        Some(_) | None => Compared::Unchanged,
    })
}

fn is_here(destination: &dyn Destination, declared: &Sha256) -> Result<bool, SyncError> {
    match destination.blob_of(declared)? {
        Some(blob) => Ok(destination.hold(vec![blob])?.iter().all(Option::is_some)),
        None => Ok(false),
    }
}
