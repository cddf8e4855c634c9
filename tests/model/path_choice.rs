//! Where an operation acts: chosen among what exists at that moment, so that histories do not
//! consist of ENOENT.

use std::fmt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

/// A choice of a path, and the path once it was resolved against a tree.
#[derive(Clone)]
pub(crate) struct PathChoice {
    how: How,
    pick: u16,
    name: &'static str,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// Any existing path.
    Existing,
    /// A name in an existing directory, perhaps taken.
    InDirectory,
    /// A name below any existing path, perhaps a file.
    Below,
}

impl fmt::Debug for PathChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl PathChoice {
    /// Something that exists, most of the time.
    pub(crate) fn existing() -> impl Strategy<Value = Self> {
        let how = prop_oneof![
            16 => Just(How::Existing),
            2 => Just(How::InDirectory),
            1 => Just(How::Below)
        ];
        Self::any(how)
    }

    /// A free name, most of the time.
    pub(crate) fn free() -> impl Strategy<Value = Self> {
        let how = prop_oneof![
            12 => Just(How::InDirectory),
            3 => Just(How::Existing),
            1 => Just(How::Below)
        ];
        Self::any(how)
    }

    fn any(how: impl Strategy<Value = How>) -> impl Strategy<Value = Self> {
        let name = proptest::sample::select(&["a", "b", "c", "d", "e", "f"][..]);
        (how, any::<u16>(), name).prop_map(|(how, pick, name)| Self {
            how,
            pick,
            name,
            path: PathBuf::from(name),
        })
    }

    /// Fixes the path, given all paths and those of directories, the root as an empty path included.
    pub(crate) fn resolve(&mut self, all: &[PathBuf], directories: &[PathBuf]) {
        let pick = |paths: &[PathBuf]| paths[usize::from(self.pick) % paths.len()].clone();
        let below_root: Vec<_> =
            all.iter().filter(|path| !path.as_os_str().is_empty()).cloned().collect();
        self.path = match self.how {
            How::Existing if below_root.is_empty() => PathBuf::from(self.name),
            How::Existing => pick(&below_root),
            How::InDirectory => pick(directories).join(self.name),
            How::Below => pick(all).join(self.name),
        };
    }
}

impl AsRef<Path> for PathChoice {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}
