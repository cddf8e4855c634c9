//! What a machine finds on the disk after the power came back.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::history::{SEEDS, SIZES, repository};
use crate::promises::{Bytes, Files, Promises};
use support::{Cairn, errno, fsck};

/// Starts the daemon on the store, checks all that was promised, works on, and checks the store.
pub(crate) fn check(store: &Path, all: &[Promises]) {
    let mut cairn = Cairn::over(store);
    cairn.mount();
    for (actor, promises) in (0..).zip(all) {
        Checked { cairn: &cairn, repository: repository(actor), promises }.check();
    }
    work_goes_on(&cairn);
    cairn.stop();
    fsck::check_store(store);
}

/// The first start after the outage does not come to the end of what it has to check (H3).
pub(crate) fn start_and_kill(store: &Path) {
    let mut cairn = Cairn::over(store);
    cairn.mount();
    cairn.kill9_and_unmount();
}

struct Checked<'a> {
    cairn: &'a Cairn,
    repository: String,
    promises: &'a Promises,
}

impl Checked<'_> {
    fn check(&self) {
        self.check_versions();
        self.check_areas();
    }

    fn check_versions(&self) {
        let Promises { published, asked, deleting, deleted, .. } = self.promises;
        for (tag, files) in published {
            if deleting.as_ref() != Some(tag) || self.tag(tag).exists() {
                self.assert_version(tag, files);
            }
        }
        if let Some((tag, files)) = asked
            && self.tag(tag).exists()
        {
            self.assert_version(tag, files);
        }
        for tag in deleted {
            assert!(!self.tag(tag).exists(), "{}/{tag} was deleted and is back", self.repository);
        }
    }

    fn tag(&self, tag: &str) -> PathBuf {
        self.cairn.tags(&self.repository).join(tag)
    }

    fn assert_version(&self, tag: &str, files: &Files) {
        let place = format!("{}/{tag}", self.repository);
        let top = fs::canonicalize(self.tag(tag)).unwrap_or_else(|e| panic!("{place}: {e}"));
        let found = read(&top).unwrap_or_else(|error| panic!("{place}: {error}"));
        let paths: Vec<&PathBuf> = found.keys().collect();
        assert_eq!(paths, files.keys().collect::<Vec<_>>(), "files of {place}");
        for (path, bytes) in files {
            let found = found[path].as_ref().unwrap_or_else(|e| panic!("{place}/{path:?}: {e}"));
            assert!(*found == bytes.make(), "{place}/{} is not {bytes:?}", path.display());
        }
    }

    /// Files hold what was synced, before and after the area was published.
    fn check_areas(&self) {
        let top = self.cairn.staging("");
        for (path, may_be) in &self.promises.files {
            self.check_file(&top, path, may_be);
        }
        for area in names(&top.join(&self.repository)) {
            let path = Path::new(&self.repository).join(&area);
            let as_published = self.cairn.tags(&self.repository).join("after");
            match fs::rename(top.join(&path), &as_published) {
                Ok(()) => {
                    read(&fs::canonicalize(&as_published).unwrap()).unwrap().into_iter().for_each(
                        |(file, bytes)| {
                            bytes.unwrap_or_else(|error| panic!("published {file:?}: {error}"));
                        },
                    );
                    for (file, may_be) in &self.promises.files {
                        if let Ok(file) = file.strip_prefix(&path) {
                            self.check_file(&as_published, file, may_be);
                        }
                    }
                    fs::remove_file(&as_published).unwrap();
                }
                // Something was lost that nobody had synced: it is not published.
                Err(error) => {
                    eprintln!("{}: {error}", path.display());
                    fs::remove_dir_all(top.join(&path)).unwrap();
                }
            }
        }
    }

    fn check_file(&self, top: &Path, path: &Path, may_be: &[Option<Bytes>]) {
        // A commit that was asked for and not answered may have happened.
        if let Some((tag, _)) = &self.promises.asked
            && path.starts_with(Path::new(&self.repository).join(tag))
            && self.tag(tag).exists()
        {
            return;
        }
        let found = match fs::read(top.join(path)) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{} was synced: {error}", path.display()),
        };
        let length = found.as_ref().map(Vec::len);
        let right = may_be.iter().any(|bytes| bytes.map(Bytes::make) == found);
        assert!(right, "{} has {length:?} bytes, synced was {may_be:?}", path.display());
    }
}

/// All contents that the load used can be stored and published, whatever is left of them.
fn work_goes_on(cairn: &Cairn) {
    let area = cairn.area("after", "all");
    let sizes = SIZES.len();
    let bytes = |index| Bytes { seed: (index / sizes) as u64, length: SIZES[index % sizes] };
    let count = usize::try_from(SEEDS).unwrap() * sizes;
    for index in 0..count {
        fs::write(area.join(index.to_string()), bytes(index).make()).unwrap();
    }
    let published = cairn.publish("after", "all");
    assert!(published.is_ok(), "{:?}", errno(published));
    for index in 0..count {
        let found = fs::read(cairn.versions("after/1").join(index.to_string())).unwrap();
        assert!(found == bytes(index).make(), "{:?} after the power loss", bytes(index));
    }
}

/// The files below a directory with their content.
fn read(top: &Path) -> io::Result<BTreeMap<PathBuf, io::Result<Vec<u8>>>> {
    let mut files = BTreeMap::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(top).unwrap().to_owned();
                files.insert(name, fs::read(path));
            }
        }
    }
    Ok(files)
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
