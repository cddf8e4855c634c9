//! The names in the pool, for those who compare them with the catalog.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Pool;
use crate::model::hash::BlobHash;
use crate::store::error::{Result, StoreError};

/// A name in the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolName {
    /// Of a blob.
    Blob(BlobHash),
    /// Of nothing that cairn puts there.
    Stranger(PathBuf),
}

impl Pool {
    /// The path of a blob's file.
    pub fn path(&self, hash: &BlobHash) -> PathBuf {
        self.layout.blob(hash)
    }

    /// The names of blobs whose hash begins with `first_byte`, in no order.
    ///
    /// # Errors
    /// The disk's.
    pub fn names(&self, first_byte: u8) -> Result<Vec<PoolName>> {
        let prefix = format!("{first_byte:02x}");
        let list = list(&self.layout.pool().join(&prefix))?;
        let name = |path: PathBuf| {
            let rest = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match format!("{prefix}{rest}").parse() {
                // Upper case is another name.
                Ok(hash) if self.layout.blob(&hash) == path => PoolName::Blob(hash),
                Ok(_) | Err(_) => PoolName::Stranger(path),
            }
        };
        Ok(list.into_iter().map(name).collect())
    }

    /// What is beside the directories of blobs.
    ///
    /// # Errors
    /// The disk's.
    pub fn strangers(&self) -> Result<Vec<PathBuf>> {
        let known = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let byte = u8::from_str_radix(name, 16).ok();
            byte.is_some_and(|byte| name == format!("{byte:02x}")) && path.is_dir()
        };
        Ok(list(&self.layout.pool())?.into_iter().filter(|path| !known(path)).collect())
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let names = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(StoreError::io("list", directory))?,
    };
    names.map(|name| Ok(name.map_err(StoreError::io("list", directory))?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestStore;

    #[test]
    fn blobs_and_strangers_are_told_apart() {
        let store = TestStore::new();
        let hash = store.add_blob(b"one");
        let stranger = store.layout.fan_out(&hash).join("stranger");
        fs::write(&stranger, "").unwrap();
        let upper = store.layout.fan_out(&hash).join(hash.to_string()[2..].to_uppercase());
        fs::write(&upper, "").unwrap();
        fs::write(store.layout.pool().join("AB"), "").unwrap();
        let names: Vec<_> =
            (0..=u8::MAX).flat_map(|byte| store.pool.names(byte).unwrap()).collect();
        assert_eq!(names.len(), 3);
        assert!(names.contains(&PoolName::Blob(hash)));
        assert!(names.contains(&PoolName::Stranger(stranger)));
        assert!(names.contains(&PoolName::Stranger(upper)));
        assert_eq!(store.pool.strangers().unwrap(), [store.layout.pool().join("AB")]);
    }
}
