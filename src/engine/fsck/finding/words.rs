//! What a check found, in one sentence each.

use std::fmt;

use super::{Finding, Leftover};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::quota::Usage;
use crate::model::text::{count, is_or_are};
use crate::store::catalog::{BadRow, Totals};

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { table, problem } => write!(f, "table {table}: {problem}"),
            Self::Row(BadRow { table, key, problem }) => {
                write!(f, "table {table}: row {key}: {problem}")
            }
            Self::Blob { hash, size, damage, .. } => {
                write!(f, "blob {hash} of {}: {damage}", count(*size, "byte"))
            }
            Self::BlobSound(hash) => write!(f, "blob {hash} is marked damaged and is not"),
            Self::Tree { hash, damage, .. } => write!(f, "tree {hash}: {damage}"),
            Self::BlobCount { hash, recorded, counted } => {
                write!(f, "blob {hash} has {}", references(*counted, *recorded))
            }
            Self::NameCount { sha256, recorded, counted } => {
                write!(f, "content sha256:{sha256} has {}", references(*counted, *recorded))
            }
            Self::NameBlob { sha256, recorded, found } => name_blob(f, sha256, *recorded, *found),
            Self::Absent { name, refs } => absent(f, name, *refs),
            Self::TreeCount { hash, recorded, counted } => {
                write!(f, "tree {hash} has {}", references(*counted, *recorded))
            }
            Self::BlobMode { hash, mode } => {
                write!(f, "blob {hash} can be written to: the mode of its file is {mode:04o}")
            }
            Self::BlobLinks { hash, names, .. } => {
                let names = other_names(*names);
                write!(f, "blob {hash} has {names} outside the store, by which it can be changed")
            }
            Self::Charge { version, recorded, counted, .. } => {
                charge(f, version, recorded, counted)
            }
            Self::Totals { recorded: None, .. } => f.write_str("the sums over the store are lost"),
            Self::Totals { recorded: Some(recorded), counted } => {
                write!(f, "there are {}, and noted are {}", sums(counted), sums(recorded))
            }
            Self::Root { version } => write!(f, "version {version} has another hash than its root"),
            Self::Links { version, paths, more } => links(f, version, paths, *more),
            Self::Tag { repository, tag, number, .. } => {
                write!(f, "tag {repository}/{tag} points at version {number}, which does not exist")
            }
            Self::NextNumber { repository, next, newest, .. } => {
                write!(f, "{repository}: the next number is {next}, and version {newest} exists")
            }
            Self::NoRepository { repo, what } => {
                write!(f, "{what} is of repository {repo}, which does not exist")
            }
            Self::Private { area, file, .. } => {
                write!(f, "private file {area}/{file} is missing", file = file.0)
            }
            Self::LostNode { node, place, .. } => {
                write!(f, "node {node} of {place} has no row: what it was is lost")
            }
            Self::UnnamedNode { node, place, what, .. } => {
                write!(f, "node {node} of {place} is in no directory; it is {what}")
            }
            Self::LostNames { place, recorded, counted, .. } => {
                write!(f, "{place} has {}, and {recorded} were written", count(*counted, "name"))
            }
            Self::NodeSize { file, path } => {
                let (size, recorded) = (count(file.size, "byte"), file.recorded);
                write!(f, "{path} has {size}, and {recorded} {} recorded", is_or_are(recorded))
            }
            Self::IdLimit { recorded, highest } => {
                write!(f, "ids would be given out from {recorded} on, and {highest} is in use")
            }
            Self::Leftover(leftover) => write!(f, "leftover: {leftover}"),
        }
    }
}

fn links(f: &mut fmt::Formatter<'_>, version: &str, paths: &[Vec<u8>], more: u64) -> fmt::Result {
    let paths: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
    write!(
        f,
        "version {version}: these share the id of a hardlink group and are not one file: {}",
        paths.join(", ")
    )?;
    if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
}

fn charge(
    f: &mut fmt::Formatter<'_>,
    version: &str,
    recorded: &Usage,
    counted: &Usage,
) -> fmt::Result {
    let (recorded, counted) = (used(recorded), used(counted));
    write!(f, "version {version} adds {counted} to what its repository uses; recorded: {recorded}")
}

fn name_blob(
    f: &mut fmt::Formatter<'_>,
    sha256: &Sha256,
    recorded: Option<BlobHash>,
    found: Option<BlobHash>,
) -> fmt::Result {
    let said = |blob: Option<BlobHash>| blob.map_or("none".to_owned(), |blob| blob.to_string());
    write!(
        f,
        "content sha256:{sha256} is recorded as blob {}, and blob {} has it",
        said(recorded),
        said(found)
    )
}

fn absent(f: &mut fmt::Formatter<'_>, name: &ContentName, refs: i64) -> fmt::Result {
    let files = count(refs, "file");
    write!(f, "content {name} of {files} is not in the store, and no remote is known to have it")
}

fn other_names(names: u64) -> String {
    match names {
        1 => "another name".to_owned(),
        _ => format!("{names} names"),
    }
}

fn references(counted: i64, recorded: i64) -> String {
    let (counted, are) = (count(counted, "reference"), is_or_are(recorded));
    format!("{counted}, {recorded} {are} recorded")
}

fn used(usage: &Usage) -> String {
    format!("{} in {}", count(usage.bytes, "byte"), count(usage.files, "file"))
}

fn sums(totals: &Totals) -> String {
    let Totals { blobs, bytes, damaged, trees } = totals;
    let (blobs, bytes) = (count(*blobs, "blob"), count(*bytes, "byte"));
    format!("{blobs} ({damaged} damaged) of {bytes} and {}", count(*trees, "tree"))
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(hash) => write!(f, "file of blob {hash}, which has no row"),
            Self::Incoming(path) | Self::Stranger(path) => write!(f, "{}", path.display()),
            Self::Private(area, file) => write!(f, "private file {area}/{}", file.0),
            Self::AreaDirectory(area) => {
                write!(f, "directory of area {area}, which does not exist")
            }
            Self::Area(area) => write!(f, "area {area}, half made"),
            Self::AreaRows(area) => write!(f, "rows of area {area}, which does not exist"),
            Self::Page(page) => write!(f, "page {page}, which belongs to no tree"),
        }
    }
}
