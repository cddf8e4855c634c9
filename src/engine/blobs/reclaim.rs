//! Content becomes absent and its file goes: what [`crate::engine::reclaim`] has the metadata thread do.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Blobs;
use crate::engine::error::Result;
use crate::engine::writer::StoreWriter;
use crate::model::hash::BlobHash;
use crate::store::catalog::ReclaimableRow;

/// What one slice of a reclaim did.
#[derive(Debug, Default)]
pub struct MadeAbsent {
    /// Contents that are absent now. Their files are still there.
    pub absent: Vec<ReclaimableRow>,
    /// Those that stay since somebody holds them.
    pub held: Vec<ReclaimableRow>,
    /// Those that stay since something else needs them by now.
    pub needed: Vec<ReclaimableRow>,
}

impl Blobs {
    /// Makes contents absent that nobody holds. Meanwhile their names resolve to nothing: whoever found one before has
    /// pinned it before that, so the look at the pins sees it. A file of an area pins nothing; for an area, too, content may
    /// be absent (L13).
    pub(in crate::engine) fn make_absent(
        &self,
        writer: &mut StoreWriter,
        contents: Vec<ReclaimableRow>,
    ) -> Result<MadeAbsent> {
        let names = Arc::clone(&writer.staging().store.names);
        let pool = Arc::clone(&writer.store().pool);
        names.hide(contents.iter().filter_map(|content| content.name.sha256().copied()));
        let own = |content: &&ReclaimableRow| content.name.sha256().is_none();
        let blobs: Vec<BlobHash> =
            contents.iter().filter(own).map(|content| content.blob).collect();
        // Another reclaim may have made some of them absent since they were listed: those stay marked, whatever comes of this.
        let marked = pool.mark_absent(&blobs);
        let (held, free): (Vec<_>, Vec<_>) =
            contents.into_iter().partition(|content| self.is_held(writer, content));
        let made = writer.write(|tx| {
            let mut made = MadeAbsent::default();
            for content in free {
                match tx.make_absent(&content)? {
                    true => made.absent.push(content),
                    false => made.needed.push(content),
                }
            }
            Ok(made)
        });
        names.removed();
        names.show_all();
        let absent: BTreeSet<BlobHash> =
            made.iter().flat_map(|made| &made.absent).map(|content| content.blob).collect();
        marked
            .iter()
            .filter(|blob| !absent.contains(blob))
            .for_each(|blob| pool.unmark_absent(blob));
        Ok(MadeAbsent { held, ..made? })
    }

    /// Removes the files of contents that are absent by what is on disk; says whether the space of all removed files is
    /// free. What was stored again meanwhile stays. So does what somebody has pinned who found it before: a full run of
    /// the collector removes that later.
    pub(in crate::engine) fn remove_absent(
        &self,
        writer: &mut StoreWriter,
        contents: &[ReclaimableRow],
    ) -> Result<bool> {
        writer.check_writable()?;
        for content in contents {
            let row = writer.reader().blob(&content.blob)?;
            if self.is_held(writer, content) || row.is_some_and(|row| !row.is_absent()) {
                continue;
            }
            let (pool, lock) = (&writer.store().pool, &writer.store().lock);
            match pool.remove(lock, &content.blob, Some(content.size)) {
                Ok(unlinked) => writer.let_go(unlinked),
                // It is a leftover.
                Err(error) => log::error!("cannot remove blob {}: {error}", content.blob),
            }
        }
        if !contents.is_empty() {
            writer.effects().room_was_made();
            writer.fill_reserve();
        }
        Ok(writer.reaper().is_idle())
    }

    /// Whether somebody holds the content, under either of its names.
    fn is_held(&self, writer: &StoreWriter, content: &ReclaimableRow) -> bool {
        let pins = writer.pins();
        pins.is_pinned(&content.blob.into())
            || pins.is_pinned(&content.name)
            || self.is_pending(&content.blob)
            || self.unverified.concern(&content.blob)
    }
}
