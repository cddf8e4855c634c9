//! The names in the pool, for those who compare them with the catalog. Reads no file.

use std::fs;
use std::io;

use super::Pool;
use crate::model::hash::BlobHash;
use crate::store::error::{Result, StoreError};

impl Pool {
    /// The blobs whose hash begins with `first_byte`, in no order. Names that are no hash are
    /// nobody's and left out.
    ///
    /// # Errors
    /// The disk's.
    pub fn list(&self, first_byte: u8) -> Result<Vec<BlobHash>> {
        let prefix = format!("{first_byte:02x}");
        let directory = self.layout.pool().join(&prefix);
        let names = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(StoreError::io("list", &directory))?,
        };
        let mut found = Vec::new();
        for name in names {
            let name = name.map_err(StoreError::io("list", &directory))?.file_name();
            let rest = name.to_str().unwrap_or_default();
            found.extend(format!("{prefix}{rest}").parse::<BlobHash>());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::TestStore;

    #[test]
    fn blobs_are_listed_by_their_first_byte() {
        let store = TestStore::new();
        let mut added = [store.add_blob(b"one"), store.add_blob(b"two"), store.add_blob(b"three")];
        let stray = store.layout.fan_out(&added[0]).join("stray");
        std::fs::write(stray, "").unwrap();
        let mut listed: Vec<_> =
            (0..=u8::MAX).flat_map(|byte| store.pool.list(byte).unwrap()).collect();
        listed.sort();
        added.sort();
        assert_eq!(listed, added);
    }
}
