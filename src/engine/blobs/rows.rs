//! Rows of blobs and of the pages that name them.

use std::collections::BTreeMap;

use super::{Change, PendingBlob};
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::time::Timestamp;
use crate::model::tree_format::{Reference, TreePage};
use crate::store::catalog::Tx;
use crate::store::error::StoreError;

/// One encoded page of a tree with its hash.
pub(in crate::engine) type Page = (TreeHash, Vec<u8>);

pub(super) fn parse(pages: &[Page]) -> Result<Vec<TreePage>, StoreError> {
    let parsed = pages.iter().map(|(_, bytes)| TreePage::parse(bytes.clone()));
    Ok(parsed.collect::<Result<_, _>>()?)
}

/// Writes pages and, for each new one, what it refers to. Returns the pending blobs that have rows
/// now: only those that the pages name, so that most rows are written once, with all references.
pub(super) fn write_pages(
    tx: &Tx<'_>,
    pages: &[Page],
    parsed: &[TreePage],
    pending: &BTreeMap<BlobHash, PendingBlob>,
    now: Timestamp,
) -> Result<Vec<BlobHash>, StoreError> {
    let mut names = BTreeMap::new();
    for ((hash, bytes), page) in pages.iter().zip(parsed) {
        if !tx.insert_tree(hash, bytes, now)? {
            continue;
        }
        for reference in page.references() {
            match reference {
                Reference::Blob(name) => *names.entry(name).or_insert(0) += 1,
                Reference::Tree(tree) => {
                    tx.add_tree_refs(&tree, 1)?;
                }
            }
        }
    }
    write_named(tx, pending, names, now)
}

/// Changes the references of names, and writes the rows of those of their blobs that are pending.
pub(super) fn write_named(
    tx: &Tx<'_>,
    pending: &BTreeMap<BlobHash, PendingBlob>,
    references: BTreeMap<ContentName, i64>,
    now: Timestamp,
) -> Result<Vec<BlobHash>, StoreError> {
    let mut blobs = BTreeMap::new();
    for (name, delta) in references {
        let change = match name {
            ContentName::Blake3(blob) => Some((blob, delta)),
            ContentName::Sha256(digest) => tx.add_name_refs(&digest, delta)?,
        };
        // A digest may have outlived its blob, of which a crash took the row.
        if let (ContentName::Sha256(digest), Some((blob, 1))) = (name, change)
            && !pending.contains_key(&blob)
            && tx.blob(&blob)?.is_none()
        {
            tx.correct_name(&digest, None)?;
            continue;
        }
        if let Some((blob, delta)) = change {
            *blobs.entry(blob).or_insert(0) += delta;
        }
    }
    write_counted(tx, pending, blobs, now)
}

/// Changes the references of blobs, and writes the rows of those that are pending.
pub(super) fn write_counted(
    tx: &Tx<'_>,
    pending: &BTreeMap<BlobHash, PendingBlob>,
    references: BTreeMap<BlobHash, i64>,
    now: Timestamp,
) -> Result<Vec<BlobHash>, StoreError> {
    let named: Vec<BlobHash> =
        references.keys().filter(|hash| pending.contains_key(*hash)).copied().collect();
    write_blobs(tx, pending, &named, references, now)?;
    Ok(named)
}

/// Writes the rows of those pending blobs, and changes the references of blobs.
pub(super) fn write_blobs(
    tx: &Tx<'_>,
    pending: &BTreeMap<BlobHash, PendingBlob>,
    written: &[BlobHash],
    mut references: BTreeMap<BlobHash, i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for hash in written {
        let Some(blob) = pending.get(hash) else { continue };
        let added = references.get(hash).and_then(|delta| u32::try_from(*delta).ok());
        if added.is_some() {
            references.remove(hash);
        }
        let added = added.unwrap_or(0);
        match blob.change {
            Change::New { epoch } => tx.insert_blob(hash, blob.size, epoch, added, now)?,
            Change::Renewed { epoch } => {
                tx.touch_blob(hash, added, now)?;
                tx.renew_blob(hash, blob.size, epoch)?;
            }
            Change::Reused => tx.touch_blob(hash, added, now)?,
        }
        if blob.is_own {
            tx.forget_places_of(hash)?;
        }
    }
    for (hash, delta) in references {
        tx.add_blob_refs(&hash, delta)?;
    }
    Ok(())
}
