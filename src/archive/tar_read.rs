//! Reads the members of a tar stream, one after the other.
//!
//! Understood are v7, ustar, pax (names, sizes, owners, times, extended attributes, GNU sparse
//! format 1.0) and GNU tar's own format (long names, base-256 numbers, sparse files). Layouts of
//! headers come from the `tar` crate; its reader is not used, because it cuts pax records at
//! newlines, which attribute values and file names may contain, and drops sizes with them.
//!
//! Invariants: the archive's numbers are hostile until checked; no header makes this module hold
//! more than [`EXTENSION_BYTES_MAX`] at once; an archive without its end marker is
//! damaged, since half of it may be missing. Paths are handed out as they are: judging them is
//! `tar_import`'s business.

use std::io::{self, Read};

use tar::Header;

use super::error::ArchiveError;
use super::path::printable;
use super::pax::{self, Records};
use super::tar_header::{checksum_fits, device, number};
use super::xattr;
use crate::model::time::Timestamp;
use crate::model::tree::Xattrs;

/// Size of a tar block.
pub(super) const BLOCK: usize = 512;
/// Bytes in one extended header or long name.
const EXTENSION_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A member of an archive, as its headers describe it.
#[derive(Debug)]
pub(super) struct Member {
    /// The name as the archive spells it.
    pub(super) path: Vec<u8>,
    /// Target of a link, empty without.
    pub(super) link: Vec<u8>,
    /// The type flag of the header.
    pub(super) kind: u8,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) xattrs: Xattrs,
    /// Major and minor number of a device.
    pub(super) device: (u32, u32),
    /// Length of the file in bytes, holes included.
    pub(super) size: u64,
    /// Where the stored bytes belong: ascending offsets and lengths in bytes. One segment for
    /// an ordinary file.
    pub(super) segments: Vec<(u64, u64)>,
}

/// A tar stream.
pub(super) struct TarReader<R> {
    pub(super) input: R,
    /// Bytes of the current member's data that nobody has read.
    pub(super) remaining: u64,
    /// Fill bytes after them.
    padding: u64,
    global: Records,
    started: bool,
}

impl<R: Read> TarReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, remaining: 0, padding: 0, global: Records::new(), started: false }
    }

    /// The next member; `None` at the end of the archive. What was not read of the one before is
    /// skipped.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        let mut local = Records::new();
        let mut long_name = None;
        let mut long_link = None;
        loop {
            self.skip()?;
            let Some(block) = self.header()? else {
                if long_name.is_some() || long_link.is_some() || !local.is_empty() {
                    return Err(format("it ends after an extended header"));
                }
                return Ok(None);
            };
            let header = Header::from_byte_slice(&block);
            let size = size_of(field(&header.as_old().size)?)?;
            match header.as_old().linkflag[0] {
                b'x' | b'X' => {
                    let data = self.extension(size)?;
                    pax::parse(&data, &mut local)
                        .ok_or_else(|| format("a malformed pax header"))?;
                }
                b'g' => {
                    let data = self.extension(size)?;
                    pax::parse(&data, &mut self.global)
                        .ok_or_else(|| format("a malformed pax header"))?;
                }
                b'L' => long_name = Some(trim_nul(self.extension(size)?)),
                b'K' => long_link = Some(trim_nul(self.extension(size)?)),
                _ => {
                    let mut records = self.global.clone();
                    records.append(&mut local);
                    return self.member(header, size, long_name, long_link, &records).map(Some);
                }
            }
        }
    }

    /// Reads from the data of the current member; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let want = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        loop {
            match self.input.read(&mut buffer[..want]) {
                Ok(0) => return Err(format("it ends in the middle of a file")),
                Ok(count) => {
                    self.remaining -= u64::try_from(count).unwrap_or(self.remaining);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
    }

    /// Fills `buffer` from the data of the current member.
    pub(super) fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => return Err(format("a file is shorter than its header says")),
                count => filled += count,
            }
        }
        Ok(())
    }

    /// Reads on to the end of the input, so that a writer on a pipe is not cut off.
    ///
    /// # Errors
    /// When there is more than padding: a second archive would be lost silently.
    pub(super) fn finish(mut self) -> Result<(), ArchiveError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) if buffer[..count].iter().all(|byte| *byte == 0) => {}
                Ok(_) => {
                    return Err(format(
                        "there is data after its end; import concatenated archives one by one",
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
    }

    fn skip(&mut self) -> Result<(), ArchiveError> {
        self.remaining = self.remaining.saturating_add(std::mem::take(&mut self.padding));
        let mut buffer = [0; 16 * 1024];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Reads a header block; `None` for the end marker.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof if !self.started => format("it is no tar archive"),
            io::ErrorKind::UnexpectedEof => format("it ends without its end marker"),
            _ => read_error(error),
        })?;
        let zero = block.iter().all(|byte| *byte == 0);
        if !zero && !checksum_fits(&block) {
            return Err(match self.started {
                true => format("a header has a wrong checksum"),
                false => format("it is no tar archive (plain, gzip, xz or zstd)"),
            });
        }
        self.started = true;
        Ok((!zero).then_some(block))
    }

    pub(super) fn set_data(&mut self, size: u64) -> Result<(), ArchiveError> {
        let padded =
            size.checked_next_multiple_of(512).ok_or_else(|| format("a size overflows"))?;
        self.remaining = size;
        self.padding = padded - size;
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > EXTENSION_BYTES_MAX {
            return Err(format("an extended header is larger than 8 MiB"));
        }
        self.set_data(size)?;
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        self.read_exact(&mut data)?;
        Ok(data)
    }

    fn member(
        &mut self,
        header: &Header,
        mut size: u64,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        records: &Records,
    ) -> Result<Member, ArchiveError> {
        let record = |key: &str| records.get(key.as_bytes());
        let path = record("GNU.sparse.name").or_else(|| record("path")).cloned();
        let path = path.or(long_name).unwrap_or_else(|| header.path_bytes().into_owned());
        let wrong = |what: &str| ArchiveError::Entry {
            entry: printable(&path),
            reason: format!("its {what} is not valid"),
        };
        let link = record("linkpath").cloned().or(long_link);
        let link = link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        if let Some(text) = record("size") {
            size = pax::decimal(text).ok_or_else(|| wrong("size"))?;
        }
        let old = header.as_old();
        let id = |key: &str, raw: &[u8]| -> Result<u32, ArchiveError> {
            let number = match record(key) {
                Some(text) => pax::decimal(text).map(i128::from),
                None => number(raw),
            };
            number.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| wrong("owner"))
        };
        let (uid, gid) = (id("uid", &old.uid)?, id("gid", &old.gid)?);
        let mtime = match record("mtime") {
            Some(text) => pax::parse_time(text),
            None => number(&old.mtime)
                .and_then(|seconds| i64::try_from(seconds).ok())
                .and_then(|seconds| Timestamp::new(seconds, 0)),
        };
        let mtime = mtime.ok_or_else(|| wrong("time"))?;
        let mode = number(&old.mode).ok_or_else(|| wrong("mode"))?;
        let mode = u16::try_from(mode & 0o7777).map_err(|_| wrong("mode"))?;
        let kind = old.linkflag[0];
        let device = match kind {
            b'3' | b'4' => device(header).ok_or_else(|| wrong("device number"))?,
            _ => (0, 0),
        };
        let xattrs = records
            .iter()
            .filter_map(|(key, value)| Some((pax::xattr_name(key)?, value)))
            .filter(|(name, _)| xattr::is_kept(name))
            .map(|(name, value)| (name.into(), value.clone().into()))
            .collect();
        // Only files have data: old writers leave the size of the target in the header of a link.
        let stored = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        let segments = vec![(0, stored)];
        let mut member = Member {
            path,
            link,
            kind,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
            device,
            size: stored,
            segments,
        };
        self.sparse(&mut member, header, stored, records)?;
        Ok(member)
    }
}

fn field(raw: &[u8]) -> Result<i128, ArchiveError> {
    number(raw).ok_or_else(|| format("a header has a malformed number"))
}

fn size_of(number: i128) -> Result<u64, ArchiveError> {
    u64::try_from(number).map_err(|_| format("a header has a negative size"))
}

fn trim_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

fn format(reason: &str) -> ArchiveError {
    ArchiveError::Format(format!("the archive is damaged or not supported: {reason}"))
}

pub(super) fn read_error(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => format("it is cut off"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            format(&format!("it cannot be decompressed: {error}"))
        }
        _ => ArchiveError::Format(format!("the archive cannot be read: {error}")),
    }
}
