//! What a remote declares: a list of files, each with a path and a digest.
//!
//! A manifest is an attacker's until it is checked (H26): paths that lead elsewhere, that are there twice, or that want
//! a file to be a directory as well make the whole of it invalid, with the line. Lines are parsed here one at a time;
//! whoever sorts them asks [`check_neighbours`].

mod pulp;
mod sums;

use std::fmt;

use super::digest::{ParseDigestError, Sha256};
use super::name::{EntryName, NameError};
use super::text::printable;
use super::tree::FILE_BYTES_MAX;

/// The longest path of an entry, in bytes (`PATH_MAX` less the byte that ends it).
pub const PATH_BYTES_MAX: usize = 4095;

/// The longest line of a manifest, in bytes: every character of the longest path may be escaped.
pub const LINE_BYTES_MAX: usize = 2 * PATH_BYTES_MAX + 128;

/// One file that a remote declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredFile {
    /// Where.
    pub path: DeclaredPath,
    /// What.
    pub sha256: Sha256,
    /// How long, in bytes, where the manifest says it.
    pub size_bytes: Option<u64>,
}

impl DeclaredFile {
    /// The name that its content gets in a version. With its size, a file can be shown before its bytes are there,
    /// so it is named by what was declared, whether these are fetched or not (L2). Empty files have no name.
    pub fn content_name(&self) -> Option<Sha256> {
        self.size_bytes.filter(|size| *size > 0).map(|_| self.sha256)
    }
}

/// A path that leads nowhere but below the root: names joined by `/`, without control characters.
///
/// Paths are ordered by their names, not by their bytes, so that what is below a directory comes right after it:
/// `a`, `a/b`, `a.c`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeclaredPath(Box<[u8]>);

impl DeclaredPath {
    /// Validates and copies `bytes`; a leading `./`, as `sha256sum` and `find` write it, is left out.
    ///
    /// # Errors
    /// The rule that `bytes` breaks.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        let bytes = bytes.strip_prefix(b"./").unwrap_or(bytes);
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if bytes.starts_with(b"/") {
            return Err(PathError::Absolute);
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err(PathError::Control);
        }
        bytes.split(|byte| *byte == b'/').try_for_each(|name| EntryName::new(name).map(drop))?;
        Ok(Self(bytes.into()))
    }

    /// The bytes, without a leading or trailing `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// This path as seen from a directory; `None` when it is not below that.
    pub fn below(&self, directory: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(&*directory.0)?.strip_prefix(b"/")?;
        Some(Self(rest.into()))
    }

    /// Whether this path is below that of a directory, whose names may be any.
    pub fn is_below(&self, directory: &[u8]) -> bool {
        self.0.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
    }
}

/// The order of [`DeclaredPath`], for paths of any names.
pub fn compare_paths(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    let is_separator = |byte: &u8| *byte == b'/';
    one.split(is_separator).cmp(other.split(is_separator))
}

impl PartialOrd for DeclaredPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DeclaredPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl fmt::Display for DeclaredPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&String::from_utf8_lossy(&self.0)))
    }
}

impl fmt::Debug for DeclaredPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It begins with `/`.
    #[error("the path is absolute")]
    Absolute,
    /// It has more than [`PATH_BYTES_MAX`] bytes.
    #[error("the path has more than {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// A control character.
    #[error("the path has a control character")]
    Control,
    /// One of its names is none.
    #[error("the path cannot be used: {0}")]
    Name(#[from] NameError),
}

/// Why a line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not of the form that the kind of manifest has.
    #[error("expected {0}")]
    Form(&'static str),
    /// The path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The digest.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
    /// The size is no number, or more than a file can have.
    #[error("the size is no number of bytes that a file can have")]
    Size,
    /// More than [`LINE_BYTES_MAX`] bytes.
    #[error("the line has more than {LINE_BYTES_MAX} bytes")]
    TooLong,
}

/// How a manifest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestForm {
    /// `PULP_MANIFEST`: `path,sha256,size`, one per line.
    Pulp,
    /// A checksum list, as `sha256sum` writes and reads it.
    Sums,
}

impl ManifestForm {
    /// Parses one line without the newline that ends it. `None` for a line that declares nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn line(self, line: &[u8]) -> Result<Option<DeclaredFile>, LineError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        match self {
            Self::Pulp => pulp::line(line),
            Self::Sums => sums::line(line),
        }
    }
}

/// Two entries that cannot both be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverlapError {
    /// The same path twice.
    #[error("{0} is there twice")]
    Twice(DeclaredPath),
    /// A file, and something below it.
    #[error("{0} is a file, and {1} is below it")]
    Below(DeclaredPath, DeclaredPath),
}

/// Checks an entry against the one before it, in the order of [`DeclaredPath`]. Entries that are all checked so have no
/// path twice and no file where a directory must be.
///
/// # Errors
/// How the two exclude each other.
pub fn check_neighbours(first: &DeclaredPath, second: &DeclaredPath) -> Result<(), OverlapError> {
    if first == second {
        return Err(OverlapError::Twice(first.clone()));
    }
    if second.is_below(&first.0) {
        return Err(OverlapError::Below(first.clone(), second.clone()));
    }
    Ok(())
}

pub(super) fn size(text: &[u8]) -> Result<u64, LineError> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    let size: Option<u64> = text.and_then(|text| text.parse().ok());
    size.filter(|size| *size <= FILE_BYTES_MAX).ok_or(LineError::Size)
}

pub(super) fn digest(text: &[u8]) -> Result<Sha256, ParseDigestError> {
    String::from_utf8_lossy(text).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DeclaredPath {
        DeclaredPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn h26_paths_that_lead_elsewhere_are_refused() {
        let long = "a/".repeat(2047) + "ab";
        assert_eq!(long.len(), 4096);
        let longest = &long[..4095];
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/..",
            "a/../b",
            ".",
            "a/./b",
            "a//b",
            "a/",
            "./",
            ".//a",
            "a\nb",
            "a\0b",
            "a\u{7f}",
            "\u{1b}[2J",
            &long,
        ] {
            assert!(DeclaredPath::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for good in ["a", "./a", "a/b", "...", "a/.b", "\u{fc}/\u{4e2d}", " a ", longest] {
            assert!(DeclaredPath::new(good.as_bytes()).is_ok(), "{good:?}");
        }
        assert_eq!(DeclaredPath::new(b"a/\xff").unwrap().as_bytes(), b"a/\xff");
        let name = "x".repeat(256);
        assert_eq!(DeclaredPath::new(name.as_bytes()), Err(PathError::Name(NameError::TooLong)));
    }

    #[test]
    fn h26_neighbours_in_order_show_every_overlap() {
        let mut paths = ["a.c", "a/b", "a", "b/c", "b/c/d/e", "c", "c"].map(path).to_vec();
        paths.sort();
        let text: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["a", "a/b", "a.c", "b/c", "b/c/d/e", "c", "c"]);
        let wrong: Vec<_> = paths
            .windows(2)
            .filter_map(|pair| check_neighbours(&pair[0], &pair[1]).err())
            .map(|error| error.to_string())
            .collect();
        assert_eq!(
            wrong,
            [
                "a is a file, and a/b is below it",
                "b/c is a file, and b/c/d/e is below it",
                "c is there twice",
            ]
        );
    }

    #[test]
    fn sizes_are_numbers_that_a_file_can_have() {
        assert_eq!(size(b"0"), Ok(0));
        assert_eq!(size(FILE_BYTES_MAX.to_string().as_bytes()), Ok(FILE_BYTES_MAX));
        for bad in
            ["", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616", "99999999999999999999"]
        {
            assert_eq!(size(bad.as_bytes()), Err(LineError::Size), "{bad:?}");
        }
    }
}
