//! The top of a version: the root directory's attributes and its tree.
//!
//! ```text
//!  0  4  magic "cROT"            16  8  mtime, seconds (signed)
//!  4  1  format version: 1       24  4  mtime, nanoseconds
//!  5  1  flags: 1 = has_links,   28 32  tree
//!               2 = xattrs       60  8  summary: files
//!  6  2  mode (0o7777 at most)   68  8  summary: bytes
//!  8  4  uid                     76  8  summary: directories
//! 12  4  gid                     84     xattrs as in a leaf record, when flagged
//! ```

use super::attributes::{read_mode, read_time, read_xattrs, write_xattrs};
use super::bytes::ByteReader;
use super::record::{links_flag, read_links_flag, read_totals, write_summary};
use super::{TreeError, invalid};
use crate::model::hash::TreeHash;
use crate::model::tree::{Attributes, Root};

const MAGIC: [u8; 4] = *b"cROT";
const FORMAT_VERSION: u8 = 1;
const FLAG_XATTRS: u8 = 2;

/// Hash of a version: BLAKE3 of [`encode_root`], so it covers the root directory's attributes and
/// its tree.
pub fn root_hash(root: &Root) -> TreeHash {
    TreeHash::of(&encode_root(root))
}

/// Encodes a root for the catalog (attributes, tree, summary). The attributes must pass
/// [`super::check_attributes`]; [`decode_root`] refuses what was made of others.
pub fn encode_root(root: &Root) -> Vec<u8> {
    let Root { attributes, tree, summary } = root;
    let mut flags = links_flag(summary.has_links);
    if !attributes.xattrs.is_empty() {
        flags |= FLAG_XATTRS;
    }
    let mut out = Vec::with_capacity(84);
    out.extend_from_slice(&MAGIC);
    out.push(FORMAT_VERSION);
    out.push(flags);
    out.extend_from_slice(&attributes.mode.to_le_bytes());
    out.extend_from_slice(&attributes.uid.to_le_bytes());
    out.extend_from_slice(&attributes.gid.to_le_bytes());
    out.extend_from_slice(&attributes.mtime.seconds.to_le_bytes());
    out.extend_from_slice(&attributes.mtime.nanoseconds.to_le_bytes());
    out.extend_from_slice(tree.as_bytes());
    write_summary(&mut out, summary);
    write_xattrs(&mut out, &attributes.xattrs);
    out
}

/// Decodes what [`encode_root`] made.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode_root(bytes: &[u8]) -> Result<Root, TreeError> {
    let mut reader = ByteReader::new(bytes);
    if reader.array::<4>()? != MAGIC {
        return Err(invalid("not the root of a version"));
    }
    let version = reader.u8()?;
    if version != FORMAT_VERSION {
        return Err(TreeError(format!(
            "root format {version} is unknown to this release, which knows {FORMAT_VERSION}"
        )));
    }
    let flags = reader.u8()?;
    let has_links = read_links_flag(flags & !FLAG_XATTRS)?;
    let mode = read_mode(&mut reader)?;
    let uid = reader.u32()?;
    let gid = reader.u32()?;
    let mtime = read_time(&mut reader)?;
    let tree = reader.tree()?;
    let summary = read_totals(&mut reader, has_links)?;
    let xattrs = read_xattrs(&mut reader, flags & FLAG_XATTRS != 0)?.to_xattrs();
    reader.end()?;
    Ok(Root { attributes: Attributes { mode, uid, gid, mtime, xattrs }, tree, summary })
}
