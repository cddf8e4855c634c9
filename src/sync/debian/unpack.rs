//! Reads an index, whatever it is packed with: never more of it than it may have (H27), line by line.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// Memory that a packed index may ask for, in bytes: twice what the strongest setting of `xz` needs.
const MEMORY_BYTES_MAX: u64 = 128 << 20;

/// The same for `zstd`, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How an index is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Xz,
    Zstd,
    Gzip,
    Bzip2,
    Lzma,
    None,
}

impl Compression {
    /// All of them, the best first.
    pub(super) const ALL: [Self; 6] =
        [Self::Xz, Self::Zstd, Self::Gzip, Self::Bzip2, Self::Lzma, Self::None];

    /// What a name ends with.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Lzma => ".lzma",
            Self::None => "",
        }
    }

    /// Whether it can be unpacked here. The others are old, and no archive has them alone.
    pub(super) fn is_readable(self) -> bool {
        !matches!(self, Self::Bzip2 | Self::Lzma)
    }
}

/// Unpacks `packed`, which holds at most `most` bytes then.
pub(super) fn unpack<'a>(
    packed: impl Read + 'a,
    compression: Compression,
    most: u64,
) -> io::Result<impl BufRead + 'a> {
    let packed = BufReader::with_capacity(64 << 10, packed);
    let reader: Box<dyn Read + 'a> = match compression {
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(MEMORY_BYTES_MAX, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(packed, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        Compression::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Compression::None => Box::new(packed),
        Compression::Bzip2 | Compression::Lzma => {
            return Err(io::Error::other("it cannot be unpacked here"));
        }
    };
    Ok(BufReader::with_capacity(64 << 10, Bounded { reader, left: most }))
}

/// A reader that fails where more comes than may.
struct Bounded<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other("more comes out of it than the size that it is said to have")
        })?;
        Ok(read)
    }
}

/// Reads the next line without its newline: `most` bytes of it, and one more where it is longer. `false` at the end.
pub(super) fn next_line(
    reader: &mut impl BufRead,
    most: usize,
    line: &mut Vec<u8>,
) -> io::Result<bool> {
    line.clear();
    let mut is_there = false;
    loop {
        let data = reader.fill_buf()?;
        if data.is_empty() {
            return Ok(is_there);
        }
        is_there = true;
        let end = data.iter().position(|byte| *byte == b'\n');
        let part = &data[..end.unwrap_or(data.len())];
        let room = (most + 1).saturating_sub(line.len());
        line.extend(&part[..part.len().min(room)]);
        let read = end.map_or(data.len(), |end| end + 1);
        reader.consume(read);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(content: &[u8], compression: Compression) -> Vec<u8> {
        match compression {
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(content, 3).unwrap(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            _ => content.to_vec(),
        }
    }

    fn read(packed: &[u8], compression: Compression, most: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        unpack(packed, compression, most)?.read_to_end(&mut content)?;
        Ok(content)
    }

    const READABLE: [Compression; 4] =
        [Compression::Xz, Compression::Zstd, Compression::Gzip, Compression::None];

    #[test]
    fn h27_a_bomb_ends_where_more_comes_than_may() {
        let content = vec![b'a'; 10 << 20];
        for compression in READABLE {
            let packed = packed(&content, compression);
            assert!(read(&packed, compression, 10 << 20).unwrap() == content);
            let error = read(&packed, compression, (10 << 20) - 1).unwrap_err();
            assert!(error.to_string().contains("more comes out of it"), "{error}");
        }
    }

    #[test]
    fn h27_a_packed_index_that_was_cut_is_none() {
        let content = b"Package: a\n".repeat(1000);
        for compression in [Compression::Xz, Compression::Zstd, Compression::Gzip] {
            let whole = packed(&content, compression);
            assert!(
                read(&whole[..whole.len() - 1], compression, 1 << 20).is_err(),
                "{compression:?}"
            );
            assert!(read(b"no such thing", compression, 1 << 20).is_err(), "{compression:?}");
            // Two in one file are read one after the other, as the programs do.
            let twice = [&whole[..], &whole[..]].concat();
            assert!(read(&twice, compression, 1 << 20).unwrap() == content.repeat(2));
        }
    }

    #[test]
    fn lines_are_cut_where_nobody_reads_on() {
        let text = [b"a\n\n", &b"x".repeat(100)[..], b"\nb"].concat();
        let mut reader = BufReader::with_capacity(7, &text[..]);
        let mut line = Vec::new();
        let mut found = Vec::new();
        while next_line(&mut reader, 10, &mut line).unwrap() {
            found.push(String::from_utf8(line.clone()).unwrap());
        }
        assert_eq!(found, ["a", "", &"x".repeat(11), "b"]);
    }
}
