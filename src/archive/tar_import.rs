//! Import of a tar archive, plain, gzip, xz or zstd.
//!
//! The archive is hostile: a member that breaks a rule makes the whole import fail before
//! anything is published, and the message names it. Paths are [`ArchivePath`]s, no path occurs
//! twice, nothing lies below what is no directory, and hardlinks name another member. Directories
//! may come after what they hold or be missing; the store then makes them with default
//! attributes. Hardlinks are delivered last, so their order does not matter either.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::batch::Batcher;
use super::error::ArchiveError;
use super::import::{Imported, publish};
use super::observer::{ImportTotals, Observer};
use super::path::{ArchivePath, printable};
use super::payload::{Buffers, Bytes, Filling};
use super::read::{Prepared, PreparedContent, hash_zeros};
use super::stat::encode_rdev;
use super::tar_read::{Member, TarReader};
use super::tar_rules::{Hardlinks, Part, Rules};
use super::{EntrySink, INLINE_FILE_BYTES_MAX, ImportSink};
use crate::model::hash::BlobHash;
use crate::model::import::ImportContent;
use crate::model::raw::RawBytes;
use crate::model::tree::{Attributes, FILE_BYTES_MAX};
use crate::model::tree_format::check_attributes;

/// Members in a chunk.
const CHUNK_MEMBERS_MAX: usize = 256;
/// Bytes of small members in a chunk.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes copied at a time; a chunk of zeros becomes a hole.
const CHUNK_BYTES: usize = 64 * 1024;
/// The longest target of a symbolic link, in bytes.
const TARGET_BYTES_MAX: usize = 4095;
/// Imports the tar archive that `input` yields into `sink` and publishes it. On any failure the
/// import is aborted, and nothing is published. Large files pass through `TMPDIR`.
///
/// # Errors
/// What failed, with the member that is to blame.
pub fn import_archive(
    input: impl Read,
    sink: &mut dyn ImportSink,
    observer: &mut dyn Observer,
) -> Result<Imported, ArchiveError> {
    let spool = std::env::temp_dir();
    publish(sink, |sink| {
        let part = Part { below: None, spool: &spool };
        read_archive(input, part, sink, observer)
    })
}

/// Puts what an archive holds.
///
/// # Errors
/// What failed, with the member that is to blame.
pub(super) fn read_archive(
    input: impl Read,
    part: Part<'_>,
    sink: &mut dyn EntrySink,
    observer: &mut dyn Observer,
) -> Result<ImportTotals, ArchiveError> {
    let batcher = Batcher::new(sink, observer);
    match decompress(input)? {
        Input::Plain(input) => deliver(TarReader::new(input), part, batcher),
        Input::Gzip(input) => deliver(TarReader::new(input), part, batcher),
        Input::Xz(input) => deliver(TarReader::new(input), part, batcher),
        Input::Zstd(input) => deliver(TarReader::new(input), part, batcher),
    }
}

/// Reads an archive to its end without storing anything, to test it. Returns the number of members that are no
/// directories, and the name of the compression if there is one.
#[cfg(feature = "net")]
pub(super) fn count(input: impl Read) -> Result<(u64, Option<&'static str>), ArchiveError> {
    fn all<R: Read>(mut reader: TarReader<R>) -> Result<u64, ArchiveError> {
        let mut rules = Rules::default();
        let mut files = 0;
        while let Some(member) = reader.next()? {
            let (_, kind) = check(&member, &mut rules)?;
            files += u64::from(kind != Kind::Directory);
        }
        reader.finish()?;
        Ok(files)
    }
    Ok(match decompress(input)? {
        Input::Plain(input) => (all(TarReader::new(input))?, None),
        Input::Gzip(input) => (all(TarReader::new(input))?, Some("gzip")),
        Input::Xz(input) => (all(TarReader::new(input))?, Some("xz")),
        Input::Zstd(input) => (all(TarReader::new(input))?, Some("zstd")),
    })
}

type Start<R> = io::Chain<Cursor<Vec<u8>>, R>;

enum Input<R> {
    Plain(Start<R>),
    Gzip(MultiGzDecoder<Start<R>>),
    Xz(XzDecoder<BufReader<Start<R>>>),
    Zstd(zstd::Decoder<'static, BufReader<Start<R>>>),
}

/// Memory that an xz archive may ask for, in bytes: twice what the strongest setting of `xz` needs.
const XZ_MEMORY_BYTES_MAX: u64 = 128 << 20;

/// Memory that a zstd archive may ask for, as a power of two: what the zstd program grants.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Looks at the first bytes, whatever the file is called.
fn decompress<R: Read>(mut input: R) -> Result<Input<R>, ArchiveError> {
    let mut first = Vec::new();
    input
        .by_ref()
        .take(6)
        .read_to_end(&mut first)
        .map_err(|error| ArchiveError::Format(format!("the archive cannot be read: {error}")))?;
    if first.starts_with(b"BZh") {
        return Err(ArchiveError::Format(
            "the archive is compressed with bzip2; decompress it on the way: \
             bzip2 -dc ARCHIVE | cairn import - REPO"
                .to_owned(),
        ));
    }
    let is_gzip = first.starts_with(b"\x1f\x8b");
    let is_xz = first.starts_with(b"\xfd7zXZ\0");
    let is_zstd = first.starts_with(b"\x28\xb5\x2f\xfd");
    let whole = Cursor::new(first).chain(input);
    if is_xz {
        let stream = Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, CONCATENATED);
        let failed = |error| ArchiveError::Format(format!("xz cannot decompress it: {error}"));
        let stream = stream.map_err(failed)?;
        return Ok(Input::Xz(XzDecoder::new_stream(BufReader::new(whole), stream)));
    }
    if is_zstd {
        let decoder = zstd::Decoder::new(whole).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Ok(decoder)
        });
        let failed = |error| ArchiveError::Format(format!("zstd cannot decompress it: {error}"));
        return Ok(Input::Zstd(decoder.map_err(failed)?));
    }
    Ok(if is_gzip { Input::Gzip(MultiGzDecoder::new(whole)) } else { Input::Plain(whole) })
}

/// Checks a member by itself and beside those before it.
fn check(member: &Member, rules: &mut Rules) -> Result<(ArchivePath, Kind), ArchiveError> {
    let refuse = |reason: String| refused(member, reason);
    let path = ArchivePath::parse(&member.path)
        .map_err(|rule| ArchiveError::EntryPath { entry: printable(&member.path), rule })?;
    let kind = Kind::of(member).map_err(refuse)?;
    rules.add(&path, kind == Kind::Directory).map_err(refuse)?;
    check_attributes(&attributes(member))
        .map_err(|rule| refuse(format!("its attributes cannot be kept: {}", rule.0)))?;
    if member.size > FILE_BYTES_MAX {
        return Err(refuse("it is longer than 16 TiB".to_owned()));
    }
    Ok((path, kind))
}

fn refused(member: &Member, reason: String) -> ArchiveError {
    ArchiveError::Entry { entry: printable(&member.path), reason }
}

fn deliver<R: Read>(
    mut reader: TarReader<R>,
    part: Part<'_>,
    mut batcher: Batcher<'_>,
) -> Result<ImportTotals, ArchiveError> {
    let mut rules = Rules::default();
    let mut hardlinks = Hardlinks::default();
    let buffers = Buffers::default();
    let mut chunk = Chunk::new(&buffers);
    while let Some(member) = reader.next()? {
        let (path, kind) = check(&member, &mut rules)?;
        let refuse = |reason: String| refused(&member, reason);
        if kind == Kind::Hardlink {
            let to = ArchivePath::parse(&member.link)
                .map_err(|rule| refuse(format!("its link target: {rule}")))?;
            hardlinks.add(path, to, attributes(&member));
            continue;
        }
        let Some(path) = part.of(path) else { continue };
        if path.is_root() && kind != Kind::Directory {
            return Err(refuse("it is no directory".to_owned()));
        }
        let content = match kind {
            Kind::File => file(&mut reader, &member, &mut chunk.buffer, part.spool)?,
            other => PreparedContent::Other(special(other, &member).map_err(refuse)?),
        };
        let attributes = attributes(&member);
        chunk.members.push(Prepared {
            path,
            attributes,
            content,
            reread: false,
            acl: false,
            has_links: false,
            record: None,
        });
        if chunk.is_full() {
            std::mem::replace(&mut chunk, Chunk::new(&buffers)).deliver(&mut batcher)?;
        }
    }
    reader.finish()?;
    chunk.deliver(&mut batcher)?;
    for prepared in hardlinks.resolve(&rules, part)? {
        batcher.push(prepared)?;
    }
    batcher.complete()
}

/// Members whose contents share a buffer.
struct Chunk {
    members: Vec<Prepared>,
    buffer: Filling,
}

impl Chunk {
    fn new(buffers: &Buffers) -> Self {
        Self { members: Vec::new(), buffer: buffers.take() }
    }

    fn is_full(&self) -> bool {
        let large = matches!(
            self.members.last(),
            Some(Prepared { content: PreparedContent::Large { .. }, .. })
        );
        large || self.members.len() >= CHUNK_MEMBERS_MAX || self.buffer.len() >= CHUNK_BYTES_MAX
    }

    fn deliver(self, batcher: &mut Batcher<'_>) -> Result<(), ArchiveError> {
        let Self { members, buffer } = self;
        drop(buffer);
        members.into_iter().try_for_each(|prepared| batcher.push(prepared))
    }
}

fn attributes(member: &Member) -> Attributes {
    Attributes {
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        xattrs: member.xattrs.clone(),
    }
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Hardlink,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
}

impl Kind {
    fn of(member: &Member) -> Result<Self, String> {
        Ok(match member.kind {
            // Before ustar, a directory was a file whose name ends with a slash.
            b'0' | b'\0' | b'7' if member.path.ends_with(b"/") => Self::Directory,
            b'0' | b'\0' | b'7' | b'S' => Self::File,
            b'1' => Self::Hardlink,
            b'2' => Self::Symlink,
            b'3' => Self::CharDevice,
            b'4' => Self::BlockDevice,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            other => {
                let flag = printable(&[other]);
                return Err(format!("its type `{flag}` is not supported"));
            }
        })
    }
}

fn special(kind: Kind, member: &Member) -> Result<ImportContent, String> {
    let rdev = || {
        encode_rdev(member.device.0, member.device.1)
            .ok_or_else(|| "its device number is too large".to_owned())
    };
    Ok(match kind {
        Kind::Directory => ImportContent::Directory,
        Kind::Symlink => {
            let target = &member.link;
            if target.is_empty() || target.len() > TARGET_BYTES_MAX || target.contains(&0) {
                return Err("its link target is empty, too long or has a NUL byte".to_owned());
            }
            ImportContent::Symlink { target: RawBytes::from(target.as_slice()) }
        }
        Kind::Fifo => ImportContent::Fifo,
        Kind::CharDevice => ImportContent::CharDevice { rdev: rdev()? },
        Kind::BlockDevice => ImportContent::BlockDevice { rdev: rdev()? },
        Kind::File | Kind::Hardlink => return Err("it is no special file".to_owned()),
    })
}

/// Takes the content of a regular file: into memory when small, else into a temporary file
/// without a name.
fn file<R: Read>(
    reader: &mut TarReader<R>,
    member: &Member,
    into: &mut Filling,
    spool: &Path,
) -> Result<PreparedContent, ArchiveError> {
    if member.size <= INLINE_FILE_BYTES_MAX {
        let bytes = read_small(reader, member, into)?;
        return Ok(PreparedContent::Small { hash: BlobHash::of(into.get(&bytes)), bytes });
    }
    let failed = |action| ArchiveError::io::<io::Error>(action, spool);
    let mut file = tempfile::tempfile_in(spool).map_err(failed("make a temporary file in"))?;
    // A size that this file system cannot hold is refused at once, even if most of the file is a
    // hole.
    file.set_len(member.size).map_err(failed("make a large enough file in"))?;
    let mut hasher = blake3::Hasher::new();
    let mut end = 0;
    for (offset, length) in &member.segments {
        hash_zeros(&mut hasher, offset - end);
        end = offset + length;
        copy_segment(reader, (&file, spool), *offset..end, &mut hasher)?;
    }
    hash_zeros(&mut hasher, member.size - end);
    file.seek(SeekFrom::Start(0)).map_err(failed("rewind a temporary file in"))?;
    let hash = hasher.finalize().into();
    Ok(PreparedContent::Large { hash, size: member.size, file, stable: None })
}

fn read_small<R: Read>(
    reader: &mut TarReader<R>,
    member: &Member,
    into: &mut Filling,
) -> Result<Bytes, ArchiveError> {
    let size = usize::try_from(member.size).unwrap_or(0);
    into.add(size, |bytes| {
        if member.segments != [(0, member.size)] {
            // Between the segments are zeros. The buffer has been used before, so it is cleared.
            bytes.fill(0);
        }
        for (offset, length) in &member.segments {
            let start = usize::try_from(*offset).unwrap_or(usize::MAX);
            let end = usize::try_from(offset.saturating_add(*length)).unwrap_or(usize::MAX);
            if let Some(segment) = bytes.get_mut(start..end) {
                reader.read_exact(segment)?;
            }
        }
        Ok(size)
    })
}

fn copy_segment<R: Read>(
    reader: &mut TarReader<R>,
    (to, spool): (&File, &Path),
    range: std::ops::Range<u64>,
    hasher: &mut blake3::Hasher,
) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut offset = range.start;
    while offset < range.end {
        let want = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let chunk = &mut buffer[..want];
        reader.read_exact(chunk)?;
        hasher.update(chunk);
        if chunk.iter().any(|byte| *byte != 0) {
            to.write_all_at(chunk, offset)
                .map_err(ArchiveError::io("write a temporary file in", spool))?;
        }
        offset += u64::try_from(want).unwrap_or(range.end);
    }
    Ok(())
}
