//! Sparse files in tar archives: where the stored pieces of a file belong.
//!
//! GNU tar's own format keeps the map in the header and blocks after it; pax archives keep it, in
//! format 1.0, in the first blocks of the data. Older pax forms (0.0, 0.1) are refused.

use std::io::Read;

use tar::{GnuExtSparseHeader, Header};

use super::error::ArchiveError;
use super::path::printable;
use super::pax::{self, Records};
use super::tar_header::number;
use super::tar_read::{BLOCK, Member, TarReader, read_error};

/// Pieces of data in one sparse file.
const SEGMENTS_MAX: usize = 1024 * 1024;

impl<R: Read> TarReader<R> {
    /// Starts the data of a member, and finds out where its pieces belong if it is sparse.
    pub(super) fn sparse(
        &mut self,
        member: &mut Member,
        header: &Header,
        stored: u64,
        records: &Records,
    ) -> Result<(), ArchiveError> {
        let record = |key: &str| records.get(key.as_bytes()).map(Vec::as_slice);
        let refuse = |reason: &str| ArchiveError::Entry {
            entry: printable(&member.path),
            reason: reason.to_owned(),
        };
        let bad = || refuse("its map of a sparse file is not valid");
        let segments;
        if member.kind == b'S' {
            let (size, read) = self.gnu_map(header, stored).map_err(|error| match error {
                MapError::Invalid => bad(),
                MapError::Failed(error) => error,
            })?;
            member.size = size;
            segments = read;
        } else if let Some(major) = record("GNU.sparse.major") {
            if (major, record("GNU.sparse.minor")) != (b"1", Some(b"0")) {
                return Err(refuse("its sparse format is not 1.0; make the archive without -S"));
            }
            let size = record("GNU.sparse.realsize").and_then(pax::decimal).ok_or_else(bad)?;
            member.size = size;
            self.set_data(stored)?;
            segments = self.pax_map()?.ok_or_else(bad)?;
        } else if records.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            return Err(refuse("its sparse format is not 1.0; make the archive without -S"));
        } else {
            return self.set_data(stored);
        }
        let mut end = 0;
        let mut data = 0_u64;
        for (offset, length) in &segments {
            if *offset < end {
                return Err(bad());
            }
            end = offset.checked_add(*length).ok_or_else(bad)?;
            data = data.checked_add(*length).ok_or_else(bad)?;
        }
        if end > member.size || data != self.remaining {
            return Err(bad());
        }
        member.segments = segments;
        Ok(())
    }

    /// Reads the map of GNU's old sparse format: in the header and in blocks after it.
    fn gnu_map(
        &mut self,
        header: &Header,
        stored: u64,
    ) -> Result<(u64, Vec<(u64, u64)>), MapError> {
        let gnu = header.as_gnu().ok_or(MapError::Invalid)?;
        let size = number(&gnu.realsize).and_then(|size| u64::try_from(size).ok());
        let mut pieces: Vec<_> = gnu.sparse.iter().map(piece).collect();
        let mut extended = gnu.is_extended();
        while extended {
            let mut more = GnuExtSparseHeader::new();
            self.input
                .read_exact(more.as_mut_bytes())
                .map_err(|error| MapError::Failed(read_error(error)))?;
            pieces.extend(more.sparse().iter().map(piece));
            extended = more.is_extended();
            if pieces.len() > SEGMENTS_MAX {
                return Err(MapError::Invalid);
            }
        }
        self.set_data(stored).map_err(MapError::Failed)?;
        let pieces: Option<Vec<_>> = pieces.into_iter().collect();
        let pieces = pieces.ok_or(MapError::Invalid)?.into_iter().flatten().collect();
        Ok((size.ok_or(MapError::Invalid)?, pieces))
    }

    /// Reads the map of sparse format 1.0, which fills the first blocks of the data: the number
    /// of pieces, then offset and length of each, one decimal number per line.
    fn pax_map(&mut self) -> Result<Option<Vec<(u64, u64)>>, ArchiveError> {
        let mut lines = Lines { reader: self, block: [0; BLOCK], used: BLOCK };
        let Some(count) = lines.number()?.and_then(|count| usize::try_from(count).ok()) else {
            return Ok(None);
        };
        if count > SEGMENTS_MAX {
            return Ok(None);
        }
        let mut pieces = Vec::new();
        for _ in 0..count {
            match (lines.number()?, lines.number()?) {
                (Some(offset), Some(length)) => pieces.push((offset, length)),
                _ => return Ok(None),
            }
        }
        Ok(Some(pieces))
    }
}

enum MapError {
    Invalid,
    Failed(ArchiveError),
}

/// Decimal numbers, one per line, read block by block.
struct Lines<'a, R> {
    reader: &'a mut TarReader<R>,
    block: [u8; BLOCK],
    used: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> Result<Option<u64>, ArchiveError> {
        let mut digits = Vec::new();
        loop {
            if self.used == BLOCK {
                self.reader.read_exact(&mut self.block)?;
                self.used = 0;
            }
            let byte = self.block[self.used];
            self.used += 1;
            match byte {
                b'\n' => return Ok(pax::decimal(&digits)),
                byte if digits.len() < 20 => digits.push(byte),
                _ => return Ok(None),
            }
        }
    }
}

/// An offset and a length; the inner `None` for an unused field of the header.
#[allow(
    clippy::option_option,
    reason = "outer: not a valid number, inner: a place that is not used"
)]
fn piece(raw: &tar::GnuSparseHeader) -> Option<Option<(u64, u64)>> {
    if raw.is_empty() {
        return Some(None);
    }
    let offset = u64::try_from(number(&raw.offset)?).ok()?;
    let length = u64::try_from(number(&raw.numbytes)?).ok()?;
    Some(Some((offset, length)))
}
