//! The codec of single records: entries of a leaf, children of an index page. Layouts are drawn in
//! the parent module.

use super::attributes::{
    XattrsRef, check_attributes, read_mode, read_time, read_xattrs, write_xattrs,
};
use super::bytes::ByteReader;
use super::{TreeError, invalid};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::name::EntryName;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Content, Entry, LinkGroup, LinkScope, Summary};

/// Most bytes of a symbolic link's target (`PATH_MAX` of Linux less its NUL).
const TARGET_BYTES_MAX: usize = 4095;

/// Largest file: what `off_t` can say.
const SIZE_MAX: u64 = i64::MAX.unsigned_abs();

const KIND_MASK: u8 = 0x0f;
const FLAG_VERSION_GROUP: u8 = 0x10;
const FLAG_XATTRS: u8 = 0x20;
const FLAG_SCOPED_GROUP: u8 = 0x40;
const FLAG_SHA256: u8 = 0x80;
const FLAG_HAS_LINKS: u8 = 1;

const KIND_FILE: u8 = 1;
const KIND_DIRECTORY: u8 = 2;
const KIND_SYMLINK: u8 = 3;
const KIND_FIFO: u8 = 4;
const KIND_SOCKET: u8 = 5;
const KIND_CHAR_DEVICE: u8 = 6;
const KIND_BLOCK_DEVICE: u8 = 7;

/// Where the name of a leaf record begins.
const LEAF_NAME_AT: usize = 24;

/// Where the name of an index record begins.
const INDEX_NAME_AT: usize = 2;

/// Kind and content of an entry, borrowed from its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants and fields are those of `Content`")]
pub enum ContentRef<'a> {
    File { size: u64, blob: Option<ContentName> },
    Directory { tree: TreeHash, summary: Summary },
    Symlink { target: &'a [u8] },
    Fifo,
    Socket,
    CharDevice { rdev: u32 },
    BlockDevice { rdev: u32 },
}

/// One entry of a leaf, borrowed from its page: what listings read without copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Its name; a valid [`EntryName`].
    pub name: &'a [u8],
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// The hardlink group.
    pub link_group: Option<LinkGroup>,
    /// Extended attributes.
    pub xattrs: XattrsRef<'a>,
    /// Kind and content.
    pub content: ContentRef<'a>,
}

impl EntryRef<'_> {
    /// Copies the entry out of its page.
    ///
    /// # Errors
    /// When the name is not valid, which no parsed page holds.
    pub fn to_entry(&self) -> Result<Entry, TreeError> {
        Ok(Entry {
            name: EntryName::new(self.name).map_err(|error| TreeError(error.to_string()))?,
            attributes: Attributes {
                mode: self.mode,
                uid: self.uid,
                gid: self.gid,
                mtime: self.mtime,
                xattrs: self.xattrs.to_xattrs(),
            },
            link_group: self.link_group,
            content: match self.content {
                ContentRef::File { size, blob } => Content::File { size, blob },
                ContentRef::Directory { tree, summary } => Content::Directory { tree, summary },
                ContentRef::Symlink { target } => Content::Symlink { target: target.into() },
                ContentRef::Fifo => Content::Fifo,
                ContentRef::Socket => Content::Socket,
                ContentRef::CharDevice { rdev } => Content::CharDevice { rdev },
                ContentRef::BlockDevice { rdev } => Content::BlockDevice { rdev },
            },
        })
    }

    /// What the entry adds to the summary of its directory.
    pub(super) fn contribution(&self) -> Result<Summary, TreeError> {
        let linked = self.link_group.is_some();
        Ok(match self.content {
            ContentRef::Directory { summary, .. } => {
                Summary { directories: checked(summary.directories, 1)?, ..summary }
            }
            ContentRef::File { size, .. } => {
                Summary { files: 1, bytes: size, directories: 0, has_links: linked }
            }
            _ => Summary { files: 1, bytes: 0, directories: 0, has_links: linked },
        })
    }
}

/// One child of an index page, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildRef<'a> {
    /// The first name in the child.
    pub first_name: &'a [u8],
    /// The child page.
    pub page: TreeHash,
    /// Number of directory entries in and below the child.
    pub entries: u64,
    /// Totals over the child's entries and what is below them.
    pub summary: Summary,
}

fn checked(a: u64, b: u64) -> Result<u64, TreeError> {
    a.checked_add(b).ok_or_else(|| invalid("the totals overflow"))
}

/// Adds totals; a sum that does not fit is refused.
pub(super) fn add_summary(a: Summary, b: Summary) -> Result<Summary, TreeError> {
    Ok(Summary {
        files: checked(a.files, b.files)?,
        bytes: checked(a.bytes, b.bytes)?,
        directories: checked(a.directories, b.directories)?,
        has_links: a.has_links || b.has_links,
    })
}

/// Adds entry counts; a sum that does not fit is refused.
pub(super) fn add_count(a: u64, b: u64) -> Result<u64, TreeError> {
    checked(a, b)
}

/// The name of a record without decoding the rest.
pub(super) fn record_name(record: &[u8], level: u8) -> Option<&[u8]> {
    let start = if level == 0 { LEAF_NAME_AT } else { INDEX_NAME_AT };
    let length = usize::from(*record.first()?);
    record.get(start..start + length)
}

pub(super) fn write_summary(out: &mut Vec<u8>, summary: &Summary) {
    for total in [summary.files, summary.bytes, summary.directories] {
        out.extend_from_slice(&total.to_le_bytes());
    }
}

pub(super) fn read_totals(
    reader: &mut ByteReader<'_>,
    has_links: bool,
) -> Result<Summary, TreeError> {
    Ok(Summary {
        files: reader.u64()?,
        bytes: reader.u64()?,
        directories: reader.u64()?,
        has_links,
    })
}

pub(super) fn links_flag(has_links: bool) -> u8 {
    if has_links { FLAG_HAS_LINKS } else { 0 }
}

pub(super) fn read_links_flag(byte: u8) -> Result<bool, TreeError> {
    match byte {
        0 => Ok(false),
        FLAG_HAS_LINKS => Ok(true),
        _ => Err(invalid("reserved bits are set")),
    }
}

fn read_name<'a>(reader: &mut ByteReader<'a>, length: u8) -> Result<&'a [u8], TreeError> {
    let name = reader.take(usize::from(length))?;
    crate::model::name::check_bytes(name).map_err(|error| TreeError(error.to_string()))?;
    Ok(name)
}

// Leaf records

/// Checks that an entry has an encoding.
///
/// # Errors
/// The rule that it breaks, with its name.
pub fn check_entry(entry: &Entry) -> Result<(), TreeError> {
    let checked = check_attributes(&entry.attributes).and_then(|()| check_content(entry));
    checked.map_err(|TreeError(rule)| TreeError(format!("{}: {rule}", entry.name)))
}

fn check_content(entry: &Entry) -> Result<(), TreeError> {
    if let Some(group) = entry.link_group {
        check_link_group(group, matches!(entry.content, Content::Directory { .. }))?;
    }
    match &entry.content {
        Content::File { size, blob } => check_file(*size, blob.is_some()),
        Content::Symlink { target } => check_target(target),
        Content::Directory { .. }
        | Content::Fifo
        | Content::Socket
        | Content::CharDevice { .. }
        | Content::BlockDevice { .. } => Ok(()),
    }
}

fn check_link_group(group: LinkGroup, directory: bool) -> Result<(), TreeError> {
    if directory {
        return Err(invalid("a directory is in a hardlink group"));
    }
    if group.nlink < 2 {
        return Err(invalid("a hardlink group has fewer than two names"));
    }
    Ok(())
}

fn check_file(size: u64, has_blob: bool) -> Result<(), TreeError> {
    if size > SIZE_MAX {
        return Err(invalid("a file is larger than a file can be"));
    }
    if has_blob != (size > 0) {
        return Err(invalid("a file has a blob exactly when it is not empty"));
    }
    Ok(())
}

fn check_target(target: &[u8]) -> Result<(), TreeError> {
    if target.is_empty() || target.len() > TARGET_BYTES_MAX || target.contains(&0) {
        return Err(invalid("not the target of a symbolic link"));
    }
    Ok(())
}

fn kind_of(content: &Content) -> u8 {
    match content {
        Content::File { .. } => KIND_FILE,
        Content::Directory { .. } => KIND_DIRECTORY,
        Content::Symlink { .. } => KIND_SYMLINK,
        Content::Fifo => KIND_FIFO,
        Content::Socket => KIND_SOCKET,
        Content::CharDevice { .. } => KIND_CHAR_DEVICE,
        Content::BlockDevice { .. } => KIND_BLOCK_DEVICE,
    }
}

/// Appends the leaf record of `entry`.
pub(super) fn encode_entry(out: &mut Vec<u8>, entry: &Entry) -> Result<(), TreeError> {
    check_entry(entry)?;
    let Entry { name, attributes, link_group, content } = entry;
    let mut tag = kind_of(content);
    tag |= match link_group.map(|group| group.scope) {
        None => 0,
        Some(LinkScope::Above(_)) => FLAG_SCOPED_GROUP,
        Some(LinkScope::Version) => FLAG_VERSION_GROUP,
    };
    if !attributes.xattrs.is_empty() {
        tag |= FLAG_XATTRS;
    }
    if matches!(content, Content::File { blob: Some(ContentName::Sha256(_)), .. }) {
        tag |= FLAG_SHA256;
    }
    out.push(name_length(name.as_bytes())?);
    out.push(tag);
    out.extend_from_slice(&attributes.mode.to_le_bytes());
    out.extend_from_slice(&attributes.uid.to_le_bytes());
    out.extend_from_slice(&attributes.gid.to_le_bytes());
    out.extend_from_slice(&attributes.mtime.seconds.to_le_bytes());
    out.extend_from_slice(&attributes.mtime.nanoseconds.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    match content {
        Content::File { size, blob } => {
            out.extend_from_slice(&size.to_le_bytes());
            match blob {
                Some(ContentName::Blake3(hash)) => out.extend_from_slice(hash.as_bytes()),
                Some(ContentName::Sha256(digest)) => out.extend_from_slice(digest.as_bytes()),
                None => {}
            }
        }
        Content::Directory { tree, summary } => {
            out.extend_from_slice(tree.as_bytes());
            write_summary(out, summary);
            out.push(links_flag(summary.has_links));
        }
        Content::Symlink { target } => {
            let length = u16::try_from(target.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(target);
        }
        Content::Fifo | Content::Socket => {}
        Content::CharDevice { rdev } | Content::BlockDevice { rdev } => {
            out.extend_from_slice(&rdev.to_le_bytes());
        }
    }
    if let Some(group) = link_group {
        write_group(out, *group)?;
    }
    write_xattrs(out, &attributes.xattrs);
    Ok(())
}

fn name_length(name: &[u8]) -> Result<u8, TreeError> {
    u8::try_from(name.len()).map_err(|_| invalid("a name is too long"))
}

/// Decodes and validates one leaf record.
pub(super) fn decode_entry(record: &[u8]) -> Result<EntryRef<'_>, TreeError> {
    let mut reader = ByteReader::new(record);
    let name_length = reader.u8()?;
    let tag = reader.u8()?;
    let mode = read_mode(&mut reader)?;
    let uid = reader.u32()?;
    let gid = reader.u32()?;
    let mtime = read_time(&mut reader)?;
    let name = read_name(&mut reader, name_length)?;
    let content = decode_content(&mut reader, tag)?;
    let link_group = read_group(&mut reader, tag)?;
    if let Some(group) = link_group {
        check_link_group(group, matches!(content, ContentRef::Directory { .. }))?;
    }
    let xattrs = read_xattrs(&mut reader, tag & FLAG_XATTRS != 0)?;
    reader.end()?;
    Ok(EntryRef { name, mode, uid, gid, mtime, link_group, xattrs, content })
}

/// Whether a leaf record has a hardlink group with a scope of its own, which decides the version of
/// its page.
pub(super) fn has_scoped_group(record: &[u8]) -> bool {
    record.get(1).is_some_and(|tag| tag & FLAG_SCOPED_GROUP != 0)
}

fn write_group(out: &mut Vec<u8>, group: LinkGroup) -> Result<(), TreeError> {
    match group.scope {
        LinkScope::Above(levels) => {
            out.extend_from_slice(&group.id.to_le_bytes());
            out.extend_from_slice(&group.nlink.to_le_bytes());
            out.extend_from_slice(&levels.to_le_bytes());
        }
        LinkScope::Version => {
            out.extend_from_slice(&short_id(group)?.to_le_bytes());
            out.extend_from_slice(&group.nlink.to_le_bytes());
        }
    }
    Ok(())
}

fn read_group(reader: &mut ByteReader<'_>, tag: u8) -> Result<Option<LinkGroup>, TreeError> {
    Ok(match (tag & FLAG_SCOPED_GROUP != 0, tag & FLAG_VERSION_GROUP != 0) {
        (false, false) => None,
        (true, false) => {
            let (id, nlink) = (u128::from_le_bytes(reader.array()?), reader.u32()?);
            Some(LinkGroup { id, nlink, scope: LinkScope::Above(reader.u32()?) })
        }
        (false, true) => {
            let (id, nlink) = (reader.u64()?.into(), reader.u32()?);
            Some(LinkGroup { id, nlink, scope: LinkScope::Version })
        }
        (true, true) => return Err(invalid("a file is in two hardlink groups")),
    })
}

/// The id of a group whose scope is the version: there are 64 bits for it.
fn short_id(group: LinkGroup) -> Result<u64, TreeError> {
    u64::try_from(group.id).map_err(|_| invalid("the id of a hardlink group is too long"))
}

fn decode_content<'a>(reader: &mut ByteReader<'a>, tag: u8) -> Result<ContentRef<'a>, TreeError> {
    let (kind, is_declared) = (tag & KIND_MASK, tag & FLAG_SHA256 != 0);
    if is_declared && kind != KIND_FILE {
        return Err(invalid("reserved bits are set"));
    }
    Ok(match kind {
        KIND_FILE => {
            let size = reader.u64()?;
            check_file(size, size > 0)?;
            let blob = match (size > 0, is_declared) {
                (true, true) => Some(Sha256::from_bytes(reader.array()?).into()),
                (true, false) => Some(BlobHash::from_bytes(reader.array()?).into()),
                (false, true) => return Err(invalid("an empty file has a declared name")),
                (false, false) => None,
            };
            ContentRef::File { size, blob }
        }
        KIND_DIRECTORY => {
            let tree = reader.tree()?;
            let mut summary = read_totals(reader, false)?;
            summary.has_links = read_links_flag(reader.u8()?)?;
            ContentRef::Directory { tree, summary }
        }
        KIND_SYMLINK => {
            let length = usize::from(reader.u16()?);
            let target = reader.take(length)?;
            check_target(target)?;
            ContentRef::Symlink { target }
        }
        KIND_FIFO => ContentRef::Fifo,
        KIND_SOCKET => ContentRef::Socket,
        KIND_CHAR_DEVICE => ContentRef::CharDevice { rdev: reader.u32()? },
        KIND_BLOCK_DEVICE => ContentRef::BlockDevice { rdev: reader.u32()? },
        _ => return Err(invalid("unknown kind of entry")),
    })
}

// Index records

/// Appends the index record of `child`.
pub(super) fn encode_child(out: &mut Vec<u8>, child: &ChildRef<'_>) -> Result<(), TreeError> {
    out.push(name_length(child.first_name)?);
    out.push(links_flag(child.summary.has_links));
    out.extend_from_slice(child.first_name);
    out.extend_from_slice(child.page.as_bytes());
    out.extend_from_slice(&child.entries.to_le_bytes());
    write_summary(out, &child.summary);
    Ok(())
}

/// Decodes and validates one index record.
pub(super) fn decode_child(record: &[u8]) -> Result<ChildRef<'_>, TreeError> {
    let mut reader = ByteReader::new(record);
    let name_length = reader.u8()?;
    let has_links = read_links_flag(reader.u8()?)?;
    let first_name = read_name(&mut reader, name_length)?;
    let page = reader.tree()?;
    let entries = reader.u64()?;
    if entries == 0 {
        return Err(invalid("an index page names an empty page"));
    }
    let summary = read_totals(&mut reader, has_links)?;
    reader.end()?;
    Ok(ChildRef { first_name, page, entries, summary })
}
