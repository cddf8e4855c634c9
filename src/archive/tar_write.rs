//! Export of a version as a tar archive.
//!
//! Plain ustar headers, with a pax header before a member that needs more: nanoseconds and times
//! outside ustar's range, extended attributes, long names, big sizes and ids, and GNU's sparse
//! format 1.0 for files with holes. Later names of a hardlink group are link members. The same
//! version always gives the same bytes (but for holes, which are the file system's choice).

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use tar::Header;

use super::error::ArchiveError;
use super::export::Exported;
use super::first_names::{FirstNames, LinkName};
use super::path::ArchivePath;
use super::pax;
use super::read::data_segment;
use super::stat::{Stat, decode_rdev};
use super::tree_walk::Origin;
use super::{ExportSource, OPEN_BATCH};
use crate::model::content_name::ContentName;
use crate::model::text::count;
use crate::model::tree::{Attributes, Content, Entry};

const BLOCK: u64 = 512;
/// Archives end on a multiple of this, as tape drives once wanted and tools still expect.
const RECORD: u64 = 10_240;
/// Largest numbers of ustar's fields of 8 and 12 bytes.
const OCTAL_7_MAX: u64 = 0o777_7777;
const OCTAL_11_MAX: u64 = 0o777_7777_7777;
/// Bytes of the name fields of a header.
const NAME_BYTES: usize = 100;
/// Bytes copied at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Writes a version as a tar archive to `out`, which is flushed at the end. `progress` is called
/// now and then.
///
/// # Errors
/// What failed first; what was written until then is no whole archive.
pub fn export_archive(
    source: &mut dyn ExportSource,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(&Exported),
) -> Result<Exported, ArchiveError> {
    export_selected(source, &Some, out, progress)
}

/// Writes what is left of a version once `select` has looked at each entry: it may change attributes, and what is below
/// a directory that it takes away is left out as well.
///
/// # Errors
/// As of [`export_archive`].
pub(crate) fn export_selected(
    source: &mut dyn ExportSource,
    select: &dyn Fn(Entry) -> Option<Entry>,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(&Exported),
) -> Result<Exported, ArchiveError> {
    let origin = Origin::new(source);
    let root = origin.root()?;
    let mut writer = TarWriter { out, written: 0 };
    let mut exported = Exported { directories: 1, ..Exported::default() };
    let member = Member::new(b"./", b'5', &root.attributes);
    writer.member(&member).map_err(failed)?;
    let mut first_names = FirstNames::new(root.tree);
    let mut waiting: Vec<(ArchivePath, Entry)> = Vec::new();
    for found in origin.walk_selected(&root, select)? {
        waiting.push(found?);
        if waiting.len() >= OPEN_BATCH {
            write_some(&origin, &mut writer, &mut waiting, &mut first_names, &mut exported)?;
            progress(&exported);
        }
    }
    write_some(&origin, &mut writer, &mut waiting, &mut first_names, &mut exported)?;
    writer.finish().map_err(failed)?;
    progress(&exported);
    Ok(exported)
}

/// Writes the entries that wait, with their blobs opened in one go.
fn write_some(
    origin: &Origin<'_>,
    writer: &mut TarWriter<'_>,
    waiting: &mut Vec<(ArchivePath, Entry)>,
    first_names: &mut FirstNames,
    exported: &mut Exported,
) -> Result<(), ArchiveError> {
    let names: Vec<ContentName> = waiting
        .iter()
        .filter_map(|(_, entry)| match &entry.content {
            Content::File { blob, .. } => *blob,
            _ => None,
        })
        .collect();
    let mut blobs = origin.open(&names)?.into_iter();
    for (path, entry) in waiting.drain(..) {
        let blob = match &entry.content {
            Content::File { blob: Some(_), .. } => blobs.next(),
            _ => None,
        };
        if matches!(entry.content, Content::Socket) {
            exported.skipped += 1;
            continue;
        }
        exported.count(&entry);
        if let LinkName::Later(first) = first_names.next(origin, &path, &entry)? {
            let mut member = Member::new(path.as_bytes(), b'1', &entry.attributes);
            member.link = first.as_bytes();
            member.xattrs = false;
            writer.member(&member).map_err(failed)?;
            continue;
        }
        writer.entry(&path, &entry, blob)?;
    }
    Ok(())
}

fn failed(error: io::Error) -> ArchiveError {
    ArchiveError::Output(error)
}

/// A member about to be written.
struct Member<'a> {
    path: &'a [u8],
    kind: u8,
    attributes: &'a Attributes,
    link: &'a [u8],
    /// Bytes of data that follow the header.
    size: u64,
    device: (u32, u32),
    /// Whether the extended attributes are written with it.
    xattrs: bool,
    /// The length of a sparse file; `size` then counts its map and its pieces.
    real_size: Option<u64>,
}

impl<'a> Member<'a> {
    fn new(path: &'a [u8], kind: u8, attributes: &'a Attributes) -> Self {
        Self {
            path,
            kind,
            attributes,
            link: b"",
            size: 0,
            device: (0, 0),
            xattrs: true,
            real_size: None,
        }
    }

    /// What does not fit into a ustar header.
    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut push = |key: &[u8], value: &[u8]| pax::push(&mut records, key, value);
        if let Some(size) = self.real_size {
            push(b"GNU.sparse.major", b"1");
            push(b"GNU.sparse.minor", b"0");
            push(b"GNU.sparse.name", self.path);
            push(b"GNU.sparse.realsize", size.to_string().as_bytes());
        } else if self.path.len() > NAME_BYTES {
            push(b"path", self.path);
        }
        if self.link.len() > NAME_BYTES {
            push(b"linkpath", self.link);
        }
        if self.size > OCTAL_11_MAX {
            push(b"size", self.size.to_string().as_bytes());
        }
        for (key, id) in [(&b"uid"[..], self.attributes.uid), (b"gid", self.attributes.gid)] {
            if u64::from(id) > OCTAL_7_MAX {
                push(key, id.to_string().as_bytes());
            }
        }
        let mtime = self.attributes.mtime;
        if mtime.nanoseconds != 0 || plain_seconds(self.attributes).is_none() {
            push(b"mtime", pax::format_time(mtime).as_bytes());
        }
        if self.xattrs {
            for (name, value) in &self.attributes.xattrs {
                push(&pax::xattr_key(name), value);
            }
        }
        records
    }

    fn header(&self) -> Header {
        let mut header = Header::new_ustar();
        let name = match self.real_size {
            Some(_) => &[b"GNUSparseFile.0/", base_name(self.path)].concat()[..],
            None => self.path,
        };
        put(&mut header.as_old_mut().name, name);
        put(&mut header.as_old_mut().linkname, self.link);
        header.as_old_mut().linkflag = [self.kind];
        let old = header.as_old_mut();
        octal(&mut old.mode, self.attributes.mode.into());
        octal(&mut old.uid, fitting(self.attributes.uid.into(), OCTAL_7_MAX));
        octal(&mut old.gid, fitting(self.attributes.gid.into(), OCTAL_7_MAX));
        octal(&mut old.size, fitting(self.size, OCTAL_11_MAX));
        octal(&mut old.mtime, plain_seconds(self.attributes).unwrap_or(0));
        if let Some(ustar) = header.as_ustar_mut() {
            octal(&mut ustar.dev_major, self.device.0.into());
            octal(&mut ustar.dev_minor, self.device.1.into());
        }
        header.set_cksum();
        header
    }
}

/// The time's seconds, where a ustar header can hold them.
fn plain_seconds(attributes: &Attributes) -> Option<u64> {
    u64::try_from(attributes.mtime.seconds).ok().filter(|seconds| *seconds <= OCTAL_11_MAX)
}

/// 0 in place of what a pax record says instead.
fn fitting(number: u64, max: u64) -> u64 {
    if number <= max { number } else { 0 }
}

fn put(field: &mut [u8], value: &[u8]) {
    let len = value.len().min(field.len());
    field[..len].copy_from_slice(&value[..len]);
}

/// Octal digits, filled up with zeros, and a NUL.
fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    put(field, format!("{number:0digits$o}\0").as_bytes());
}

fn base_name(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

struct TarWriter<'a> {
    out: &'a mut dyn Write,
    written: u64,
}

impl TarWriter<'_> {
    fn entry(
        &mut self,
        path: &ArchivePath,
        entry: &Entry,
        blob: Option<File>,
    ) -> Result<(), ArchiveError> {
        let attributes = &entry.attributes;
        let mut slashed = path.as_bytes().to_vec();
        let mut member = Member::new(path.as_bytes(), b'0', attributes);
        match &entry.content {
            Content::File { size, .. } => {
                member.size = *size;
                return match blob {
                    Some(blob) => self.file(path, member, &blob),
                    None => self.member(&member).map_err(failed),
                };
            }
            Content::Directory { .. } => {
                slashed.push(b'/');
                member.path = &slashed;
                member.kind = b'5';
            }
            Content::Symlink { target } => {
                member.link = target;
                member.kind = b'2';
            }
            Content::Fifo => member.kind = b'6',
            Content::CharDevice { rdev } => {
                (member.kind, member.device) = (b'3', decode_rdev(*rdev));
            }
            Content::BlockDevice { rdev } => {
                (member.kind, member.device) = (b'4', decode_rdev(*rdev));
            }
            // The caller skips sockets: tar has no form for them.
            Content::Socket => return Ok(()),
        }
        self.member(&member).map_err(failed)
    }

    /// Writes a regular file that is not empty.
    fn file(
        &mut self,
        path: &ArchivePath,
        mut member: Member<'_>,
        blob: &File,
    ) -> Result<(), ArchiveError> {
        let size = member.size;
        let damaged = |reason: String| ArchiveError::NotExported { path: path.clone(), reason };
        let stat = Stat::of(blob).map_err(|error| failed(error.into()))?;
        if stat.size != size {
            return Err(damaged(format!(
                "the store's content has {}, the version says {size}",
                count(stat.size, "byte")
            )));
        }
        let pieces = match stat.allocated < size {
            true => pieces(blob, size).map_err(|error| failed(error.into()))?,
            false => vec![(0, size)],
        };
        let map = match pieces[..] {
            [(0, length)] if length == size => Vec::new(),
            _ => sparse_map(&pieces, size),
        };
        if !map.is_empty() {
            let data: u64 = pieces.iter().map(|(_, length)| length).sum();
            member.real_size = Some(size);
            member.size = data + u64::try_from(map.len()).unwrap_or(0);
        }
        self.member(&member).map_err(failed)?;
        self.write(&map).map_err(failed)?;
        let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(size).unwrap_or(CHUNK_BYTES))];
        for (mut offset, length) in pieces {
            let end = offset + length;
            while offset < end {
                let want = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
                blob.read_exact_at(&mut buffer[..want], offset)
                    .map_err(|error| damaged(format!("the store's content: {error}")))?;
                self.write(&buffer[..want]).map_err(failed)?;
                offset += u64::try_from(want).unwrap_or(end);
            }
        }
        self.pad(BLOCK).map_err(failed)
    }

    /// Writes a header, after a pax header where one is needed.
    fn member(&mut self, member: &Member<'_>) -> io::Result<()> {
        let records = member.records();
        if !records.is_empty() {
            let name = [b"PaxHeaders/", base_name(member.path)].concat();
            let plain = Attributes {
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: crate::model::time::Timestamp::default(),
                xattrs: crate::model::tree::Xattrs::new(),
            };
            let mut extension = Member::new(&name, b'x', &plain);
            extension.size = u64::try_from(records.len()).unwrap_or(u64::MAX);
            self.write(extension.header().as_bytes())?;
            self.write(&records)?;
            self.pad(BLOCK)?;
        }
        self.write(member.header().as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    /// Writes zeros up to a multiple of `unit`.
    fn pad(&mut self, unit: u64) -> io::Result<()> {
        let missing = self.written.next_multiple_of(unit) - self.written;
        self.write(&vec![0; usize::try_from(missing).unwrap_or(0)])
    }

    fn finish(mut self) -> io::Result<()> {
        self.write(&[0; 1024])?;
        self.pad(RECORD)?;
        self.out.flush()
    }
}

/// Offsets and lengths of the data of a file with holes.
fn pieces(blob: &File, size: u64) -> Result<Vec<(u64, u64)>, rustix::io::Errno> {
    let mut pieces = Vec::new();
    let mut end = 0;
    while end < size {
        let segment = data_segment(blob, end, size)?;
        if segment.start < segment.end {
            pieces.push((segment.start, segment.end - segment.start));
        }
        end = segment.end;
    }
    Ok(pieces)
}

/// The map of sparse format 1.0, filled up to whole blocks. A file that ends in a hole has an
/// empty last piece, as GNU tar writes it.
fn sparse_map(pieces: &[(u64, u64)], size: u64) -> Vec<u8> {
    let ends_in_hole = pieces.last().is_none_or(|(offset, length)| offset + length < size);
    let last = ends_in_hole.then_some((size, 0));
    let all: Vec<_> = pieces.iter().copied().chain(last).collect();
    let mut map = format!("{}\n", all.len());
    for (offset, length) in all {
        map.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut map = map.into_bytes();
    let whole = map.len().next_multiple_of(512);
    map.resize(whole, 0);
    map
}
