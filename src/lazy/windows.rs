//! How much of a pack is asked for around a content that somebody reads.
//!
//! Packs are in the order of paths, so whoever reads the files of a directory one after the other reads a pack from its
//! beginning to its end. The more of it was read in sequence, the more comes with the next request.

use std::collections::VecDeque;

use crate::bucket::pull::GAP_BYTES;
use crate::model::name::RemoteName;

/// Bytes at first.
const BYTES_MIN: u64 = 64 << 10;

/// Bytes after a while, and for a prefetch.
pub(super) const BYTES_MAX: u64 = 1 << 20;

/// Packs that are remembered.
const PACKS_MAX: usize = 256;

struct Window {
    remote: RemoteName,
    key: Box<[u8]>,
    /// Where the last request ended.
    end: u64,
    bytes: u64,
}

/// The last requests, the newest last.
#[derive(Default)]
pub(super) struct Windows(VecDeque<Window>);

impl Windows {
    /// How many bytes from `start` of a pack on are to be asked for.
    pub(super) fn open(&mut self, remote: &RemoteName, key: &[u8], start: u64) -> u64 {
        let known = self.0.iter().position(|known| known.remote == *remote && *known.key == *key);
        let last = known.and_then(|index| self.0.remove(index));
        let bytes = match &last {
            Some(last) if (last.end..=last.end.saturating_add(GAP_BYTES)).contains(&start) => {
                (last.bytes * 2).min(BYTES_MAX)
            }
            _ => BYTES_MIN,
        };
        let end = start + bytes;
        self.0.push_back(Window { remote: remote.clone(), key: key.into(), end, bytes });
        if self.0.len() > PACKS_MAX {
            self.0.pop_front();
        }
        bytes
    }

    /// The request for a window ended there, before all of it.
    pub(super) fn close(&mut self, remote: &RemoteName, key: &[u8], end: u64) {
        if let Some(last) =
            self.0.iter_mut().rev().find(|last| last.remote == *remote && *last.key == *key)
        {
            last.end = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_while_a_pack_is_read_in_sequence() {
        let (mut windows, remote) = (Windows::default(), "one".parse().unwrap());
        let mut start = 0;
        for expected in [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 1 << 20] {
            assert_eq!(windows.open(&remote, b"pack", start), expected);
            start += expected;
        }
        windows.close(&remote, b"pack", 500);
        assert_eq!(windows.open(&remote, b"pack", 600), BYTES_MAX, "with a gap");
        assert_eq!(windows.open(&remote, b"pack", 7), BYTES_MIN, "elsewhere in it");
        assert_eq!(windows.open(&remote, b"other", 7 + BYTES_MIN), BYTES_MIN);
        for number in 0..PACKS_MAX as u64 * 2 {
            windows.open(&remote, &number.to_le_bytes(), 0);
        }
        assert_eq!(windows.0.len(), PACKS_MAX);
    }
}
