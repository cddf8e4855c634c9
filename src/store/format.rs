//! The format file: what makes a directory a store, and of which format.
//!
//! ```text
//! cairn store
//! format 1
//! uuid 0b6f3c1e-…
//! ```
//!
//! Lines that a later release of the same format adds are ignored.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::durable;
use super::error::{Result, StoreError};
use super::layout::Layout;

/// The format that this release writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// A format file is shorter than this; more is not read.
const FORMAT_BYTES_MAX: u64 = 4096;

/// First line of a format file.
const MAGIC: &str = "cairn store";

/// The text of a new store's file.
fn text(uuid: &str) -> String {
    format!("{MAGIC}\nformat {FORMAT}\nuuid {uuid}\n")
}

/// Makes the directory a store. It is on disk when this returns.
///
/// # Errors
/// The disk's.
pub(crate) fn write(layout: &Layout, uuid: &str) -> Result<()> {
    durable::replace(&layout.format(), text(uuid).as_bytes())
}

/// Checks that there is a store of a format that this release reads.
pub(super) fn check(layout: &Layout) -> Result<()> {
    uuid(layout).map(drop)
}

/// The uuid of the store there, which a backup shares; checks that it has a format that this
/// release reads.
///
/// # Errors
/// There is none, or it is of a newer format.
pub(crate) fn uuid(layout: &Layout) -> Result<String> {
    let path = layout.format();
    let not_a_store = || StoreError::NotAStore { path: layout.root().to_owned() };
    let file = match File::open(&path) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Err(not_a_store());
        }
        file => file.map_err(StoreError::io("open", &path))?,
    };
    let mut bytes = Vec::new();
    file.take(FORMAT_BYTES_MAX).read_to_end(&mut bytes).map_err(StoreError::io("read", &path))?;
    let (found, uuid) = parse(&bytes).ok_or_else(not_a_store)?;
    if found > FORMAT {
        return Err(StoreError::NewerFormat { found, supported: FORMAT });
    }
    Ok(uuid)
}

/// The format and the uuid. A newer format may write the uuid otherwise, so it has none here.
fn parse(bytes: &[u8]) -> Option<(u32, String)> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()? != MAGIC {
        return None;
    }
    let format = lines.next()?.strip_prefix("format ")?.parse().ok()?;
    let uuid = lines.next().and_then(|line| line.strip_prefix("uuid ")).unwrap_or_default();
    (format > 0).then(|| (format, uuid.to_owned()))
}

/// Checks that the store is this user's, and that nobody else can get into it (R7).
///
/// # Errors
/// It is not.
pub(crate) fn check_private(layout: &Layout) -> Result<()> {
    let path = layout.root();
    let found = fs::metadata(path).map_err(StoreError::io("look at", path))?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own {
        return Err(StoreError::ForeignOwner { path: path.to_owned(), uid: found.uid(), own });
    }
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::OpenPermissions { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_read_from_its_text() {
        assert_eq!(text("u"), "cairn store\nformat 1\nuuid u\n");
        assert_eq!(parse(text("u").as_bytes()), Some((1, "u".to_owned())));
        assert_eq!(parse(b"cairn store\nformat 2\n"), Some((2, String::new())));
        let wrong: [&[u8]; 6] = [
            b"",
            b"cairn store\n",
            b"cairn store\nformat x\n",
            b"cairn store\nformat 0\n",
            b"other\nformat 1\n",
            b"\xff\nformat 1\n",
        ];
        for bytes in wrong {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }
}
