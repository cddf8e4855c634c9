//! Hashing what is in a file: data is read, holes are not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::engine::staging::content::Hashing;
use crate::model::hash::BlobHash;
use crate::sys;

/// Bytes of data hashed between two looks whether to go on.
const DATA_STEP: usize = 1 << 20;

/// The same for a hole. Hashing its zeros takes about as long the first time.
const HOLE_STEP: u64 = 64 << 20;

/// Hashes the first `size` bytes of a file; `None` when `go_on` has ended it. It is an error if the file is
/// shorter.
///
/// # Errors
/// When it cannot be read, or is shorter.
pub(in crate::engine) fn hash_file(
    file: &File,
    size: u64,
    go_on: impl FnMut() -> bool,
) -> io::Result<Option<BlobHash>> {
    let mut hashing = Hashing::new();
    Ok(hash_on(&mut hashing, file, size, go_on)?.then(|| hashing.hash()))
}

/// Goes on hashing the first `size` bytes of a file. Returns whether it is done; `go_on` is asked after each
/// step and may end it before.
///
/// # Errors
/// As [`hash_file`].
pub(in crate::engine) fn hash_on(
    hashing: &mut Hashing,
    file: &File,
    size: u64,
    mut go_on: impl FnMut() -> bool,
) -> io::Result<bool> {
    if file.metadata()?.len() < size {
        // Shorter than recorded.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut chunk = Vec::new();
    while hashing.length() < size {
        let data = sys::seek_hole_data(file, hashing.length(), false)?.unwrap_or(size).min(size);
        while hashing.length() < data {
            let place = hashing.length();
            // Up to a multiple, so that what is known of zeros can be used.
            let step = HOLE_STEP - place % HOLE_STEP;
            hashing.zeros(step.min(data - place));
            if !go_on() {
                return Ok(hashing.length() == size);
            }
        }
        if data == size {
            break;
        }
        let hole = sys::seek_hole_data(file, data, true)?.unwrap_or(size).min(size);
        chunk.resize(DATA_STEP, 0);
        while hashing.length() < hole {
            let left = usize::try_from(hole - hashing.length()).unwrap_or(usize::MAX);
            let want = left.min(DATA_STEP);
            let read = file.read_at(&mut chunk[..want], hashing.length())?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hashing.update(&chunk[..read]);
            if !go_on() {
                return Ok(hashing.length() == size);
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sparse file of so many bytes, with some data at each of the places.
    fn sparse(size: u64, places: &[u64]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for place in places {
            file.write_all_at(&place.to_le_bytes(), *place).unwrap();
        }
        file
    }

    fn plain(file: &File, size: u64) -> BlobHash {
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        BlobHash::of(&bytes)
    }

    #[test]
    fn h9_a_file_with_holes_hashes_to_what_it_reads_as() {
        const MIB: u64 = 1 << 20;
        for (size, places) in [
            (0, &[][..]),
            (5, &[]),
            (200 * MIB, &[]),
            (200 * MIB + 77, &[0, 3 * MIB + 5, 130 * MIB, 200 * MIB]),
            (64 * MIB, &[64 * MIB - 8]),
        ] {
            let file = sparse(size, places);
            let hash = hash_file(&file, size, || true).unwrap();
            assert_eq!(hash, Some(plain(&file, size)), "{size} {places:?}");
        }
    }

    #[test]
    fn h9_it_can_be_stopped_and_gone_on_with() {
        let size = (130 << 20) + 3;
        let file = sparse(size, &[9, 70 << 20]);
        let mut hashing = Hashing::new();
        let mut slices = 1;
        while !hash_on(&mut hashing, &file, size, || false).unwrap() {
            slices += 1;
        }
        assert!(slices > 4, "{slices}");
        assert_eq!(hashing.hash(), plain(&file, size));
        assert_eq!(hash_file(&file, size, || false).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error() {
        let file = sparse(1 << 20, &[]);
        let error = hash_file(&file, 2 << 20, || true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
