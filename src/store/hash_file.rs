//! The hash of an open file, of which each piece can be looked at on the way.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use crate::model::hash::BlobHash;
use crate::sys;

/// Bytes read at once.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// Hashes a file from its beginning to its end, or to the end of the piece in which it has more than
/// `bytes_max`. Pieces are of [`CHUNK_BYTES`], but for the last one. `each` gets every piece, with its
/// offset, and says whether to go on. What is read leaves the page cache again, unless others have it
/// there.
///
/// # Errors
/// The file's.
pub(crate) fn hash_file<B>(
    file: &File,
    bytes_max: u64,
    each: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<B>,
) -> io::Result<ControlFlow<B, BlobHash>> {
    let mut hasher = blake3::Hasher::new();
    let length = usize::try_from(bytes_max).unwrap_or(CHUNK_BYTES).clamp(1, CHUNK_BYTES);
    let mut chunk = vec![0; length];
    let mut offset = 0;
    while offset <= bytes_max {
        // Whole chunks, so that a copy keeps holes where they are.
        let count = read_chunk(file, &mut chunk, offset)?;
        if count == 0 {
            break;
        }
        hasher.update(&chunk[..count]);
        if let ControlFlow::Break(reason) = each(offset, &chunk[..count]) {
            return Ok(ControlFlow::Break(reason));
        }
        offset += count as u64;
    }
    Ok(ControlFlow::Continue(hasher.finalize().into()))
}

/// Fills the buffer unless the file ends before.
fn read_chunk(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match sys::read_passing(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn every_piece_is_shown_until_somebody_has_enough() {
        let file = tempfile::tempfile().unwrap();
        let content = vec![7; CHUNK_BYTES + 3];
        file.write_all_at(&content, 0).unwrap();
        let mut seen = Vec::new();
        let hashed = hash_file(&file, u64::MAX, &mut |offset, piece| {
            seen.push((offset, piece.len()));
            ControlFlow::<()>::Continue(())
        });
        assert_eq!(hashed.unwrap(), ControlFlow::Continue(BlobHash::of(&content)));
        assert_eq!(seen, [(0, CHUNK_BYTES), (CHUNK_BYTES as u64, 3)]);
        let ended = hash_file(&file, u64::MAX, &mut |_, _| ControlFlow::Break("enough"));
        assert_eq!(ended.unwrap(), ControlFlow::Break("enough"));
    }

    #[test]
    fn a_file_that_grows_for_ever_is_read_a_bit_beyond_what_it_should_have() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100 * CHUNK_BYTES as u64).unwrap();
        let mut read = 0;
        let hashed = hash_file(&file, CHUNK_BYTES as u64, &mut |_, piece| {
            read += piece.len();
            ControlFlow::<()>::Continue(())
        });
        assert!(hashed.unwrap().is_continue());
        assert_eq!(read, 2 * CHUNK_BYTES);
    }
}
