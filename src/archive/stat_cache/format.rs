//! A stat cache as bytes. Integers are little-endian; the last field covers all before it, so that half
//! a file, or another one, is noticed.
//!
//! ```text
//! magic       16  "cairn memo 1" and four NUL
//! top         16  major u32, minor u32, inode u64
//! records   n*80  inode u64, size u64, mtime i64+u32, ctime i64+u32, flags u32, hash 32, zero u32
//! checksum    32  BLAKE3
//! ```
//!
//! Flag 1: the file had no extended attributes.

use super::super::stat::FileId;
use super::Record;
use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;

const MAGIC: &[u8; 16] = b"cairn memo 1\0\0\0\0";
const RECORD_BYTES: usize = 80;
const CHECKSUM_BYTES: usize = 32;
const FLAG_PLAIN: u32 = 1;

/// The stat cache of the directory `top`.
pub(super) fn encode(top: FileId, records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + records.len() * RECORD_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&top.device.0.to_le_bytes());
    bytes.extend_from_slice(&top.device.1.to_le_bytes());
    bytes.extend_from_slice(&top.inode.to_le_bytes());
    for record in records {
        bytes.extend_from_slice(&record.inode.to_le_bytes());
        bytes.extend_from_slice(&record.size.to_le_bytes());
        for time in [record.mtime, record.ctime] {
            bytes.extend_from_slice(&time.seconds.to_le_bytes());
            bytes.extend_from_slice(&time.nanoseconds.to_le_bytes());
        }
        let flags = if record.plain { FLAG_PLAIN } else { 0 };
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(record.hash.as_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
    }
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// The records of a stat cache; `None` when it is damaged or that of another directory.
pub(super) fn decode(bytes: &[u8], top: FileId) -> Option<Vec<Record>> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if blake3::hash(body) != *checksum {
        return None;
    }
    let mut rest = Fields(body);
    let magic: [u8; 16] = rest.take()?;
    let found = FileId { device: (rest.u32()?, rest.u32()?), inode: rest.u64()? };
    if magic != *MAGIC || found != top || rest.0.len() % RECORD_BYTES != 0 {
        return None;
    }
    let mut records = Vec::with_capacity(rest.0.len() / RECORD_BYTES);
    while !rest.0.is_empty() {
        let (inode, size) = (rest.u64()?, rest.u64()?);
        let (mtime, ctime) = (rest.time()?, rest.time()?);
        let plain = rest.u32()? & FLAG_PLAIN != 0;
        let hash = BlobHash::from_bytes(rest.take()?);
        rest.u32()?;
        records.push(Record { inode, size, mtime, ctime, hash, plain });
    }
    Some(records)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        let seconds = self.take().map(i64::from_le_bytes)?;
        Timestamp::new(seconds, self.u32()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: FileId = FileId { device: (8, 1), inode: 2 };

    fn record(inode: u64, plain: bool) -> Record {
        let mtime = Timestamp { seconds: -1, nanoseconds: 7 };
        let ctime = Timestamp { seconds: 9, nanoseconds: 999_999_999 };
        Record { inode, size: 3, mtime, ctime, hash: BlobHash::of(b"abc"), plain }
    }

    #[test]
    fn what_was_written_is_read() {
        let records = vec![record(5, true), record(u64::MAX, false)];
        let bytes = encode(TOP, &records);
        assert_eq!(decode(&bytes, TOP), Some(records));
        assert_eq!(decode(&encode(TOP, &[]), TOP), Some(Vec::new()));
    }

    #[test]
    fn the_format_stays_as_it_is() {
        let bytes = encode(TOP, &[record(5, true)]);
        let text: String = bytes[..160 - 16].iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "636169726e206d656d6f203100000000\
            08000000010000000200000000000000\
            05000000000000000300000000000000\
            ffffffffffffffff070000000900000000000000ffc99a3b01000000\
            6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85\
            00000000";
        assert!(text.starts_with(golden), "{text}");
        assert_eq!(bytes.len(), 32 + 80 + 32);
    }

    #[test]
    fn anything_else_is_refused() {
        let good = encode(TOP, &[record(5, true)]);
        for end in 0..good.len() {
            assert_eq!(decode(&good[..end], TOP), None, "cut at {end}");
        }
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert_eq!(decode(&bad, TOP), None, "changed at {position}");
        }
        assert_eq!(decode(&good, FileId { inode: 3, ..TOP }), None);
    }
}
