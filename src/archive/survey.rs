//! How much there is to import, for the progress of an import that somebody watches.
//!
//! A walk of its own runs ahead of the import's and looks at sizes only. It must not hold up the import:
//! nobody waits for it, and an error in it means that the total stays unknown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::walk::{EntryHandle, Refused, Walked, Walker};
use crate::model::kind::FileKind;

/// A walk that counts, ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Survey {
    total: Arc<Mutex<Option<u64>>>,
    stop: Arc<AtomicBool>,
}

impl Survey {
    /// Starts to walk the directory `top` as an import of it would.
    pub(crate) fn start(top: &Path, refused: &[Refused]) -> Self {
        let survey = Self { total: Arc::default(), stop: Arc::default() };
        let (total, stop) = (Arc::clone(&survey.total), Arc::clone(&survey.stop));
        let (top, refused): (PathBuf, _) = (top.to_owned(), refused.to_vec());
        let walk = move || {
            if let Some(bytes) = count(&top, refused, &stop) {
                *total.lock() = Some(bytes);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("survey".to_owned()).spawn(walk) {
            log::debug!("no total is shown: {error}");
        }
        survey
    }

    /// Sizes of all regular files, in bytes; `None` while they are not known.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        *self.total.lock()
    }
}

impl Drop for Survey {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn count(top: &Path, refused: Vec<Refused>, stop: &AtomicBool) -> Option<u64> {
    let mut bytes = 0;
    // An entry that cannot be read is reported by the import itself.
    for walked in Walker::new(top, refused).ok()?.flatten() {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        bytes += size(&walked);
    }
    Some(bytes)
}

/// What an import counts for this entry: a further name of a file counts nothing.
fn size(walked: &Walked) -> u64 {
    match &walked.handle {
        EntryHandle::Name { .. } if walked.stat.kind == FileKind::File => walked.stat.size,
        EntryHandle::Name { .. } | EntryHandle::Directory(_) | EntryHandle::Hardlink(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn counts_what_an_import_counts() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("d")).unwrap();
        fs::write(top.path().join("a"), [1; 1000]).unwrap();
        fs::write(top.path().join("d/b"), [2; 24]).unwrap();
        rustix::fs::link(top.path().join("a"), top.path().join("d/c")).unwrap();
        std::os::unix::fs::symlink("a", top.path().join("l")).unwrap();
        let go_on = AtomicBool::new(false);
        assert_eq!(count(top.path(), Vec::new(), &go_on), Some(1024));
        assert_eq!(count(&top.path().join("none"), Vec::new(), &go_on), None);
        assert_eq!(count(top.path(), Vec::new(), &AtomicBool::new(true)), None);
    }
}
