//! The path of an entry inside an archive, a directory or a version, validated at construction.
//!
//! An [`ArchivePath`] is relative, has no `.`, `..` or empty component and no NUL, so joining it
//! to a directory can never lead out of it (symbolic links are the walker's and the writer's
//! business). It is pure: it knows no file system and no archive format.

use std::fmt;

use crate::model::name::{EntryName, NAME_BYTES_MAX};
use crate::model::raw::RawPath;
use crate::model::text;

/// The longest path, in bytes (`PATH_MAX` without its NUL).
pub const PATH_BYTES_MAX: usize = 4095;

/// Why a path was refused; the text says the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No bytes at all.
    #[error("the path is empty")]
    Empty,
    /// It starts with `/`.
    #[error("the path is absolute; only relative paths are taken")]
    Absolute,
    /// It has a `..` component.
    #[error("the path has a `..` component")]
    Parent,
    /// It contains NUL.
    #[error("the path contains a NUL byte")]
    Nul,
    /// A component has more than 255 bytes.
    #[error("a component of the path has more than 255 bytes")]
    NameTooLong,
    /// It has more than [`PATH_BYTES_MAX`] bytes.
    #[error("the path has more than 4095 bytes")]
    TooLong,
}

/// A relative path of any bytes, without `.`, `..` or empty components. The empty path names the
/// top directory itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchivePath(Box<[u8]>);

impl ArchivePath {
    /// The top directory.
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Validates `bytes` as an archive or a user wrote them. `.` components, doubled and trailing
    /// slashes are dropped, so `./a//b/` is `a/b` and `./` is the top.
    ///
    /// # Errors
    /// The rule that `bytes` breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.starts_with(b"/") {
            return Err(PathError::Absolute);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        let mut path = Vec::with_capacity(bytes.len());
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(PathError::Parent),
                long if long.len() > NAME_BYTES_MAX => return Err(PathError::NameTooLong),
                name => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                }
            }
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(Self(path.into_boxed_slice()))
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// [`PathError::TooLong`].
    pub fn join(&self, name: &EntryName) -> Result<Self, PathError> {
        let name = name.as_bytes();
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if path.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(Self(path.into_boxed_slice()))
    }

    /// This path as seen from a directory; `None` when it is neither that nor below it.
    pub fn below(&self, directory: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(&*directory.0)?;
        match rest {
            [] => Some(Self::root()),
            _ if directory.is_root() => Some(self.clone()),
            [b'/', below @ ..] => Some(Self(below.into())),
            _ => None,
        }
    }

    /// Whether this is the top directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as bytes, components separated by single slashes; empty for the top.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Number of components; 0 for the top.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// The components; none for the top.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The directory that holds this path and the name in it; both empty for the top.
    pub fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        }
    }

    /// The path as the control protocol carries it.
    pub fn to_raw(&self) -> RawPath {
        RawPath(self.0.clone())
    }

    /// The directories above this path, nearest first, ending with the top. None for the top.
    pub fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = (!self.is_root()).then_some(&*self.0);
        std::iter::from_fn(move || {
            let path = rest?;
            let parent = match path.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => &path[..slash],
                None => &path[..0],
            };
            rest = (!parent.is_empty()).then_some(parent);
            Some(parent)
        })
    }
}

impl fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        printable(&self.0).fmt(f)
    }
}

impl fmt::Debug for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// `bytes` for a message: control characters escaped, so that a hostile name cannot write to the
/// terminal, and what is not UTF-8 replaced.
pub fn printable(bytes: &[u8]) -> String {
    text::printable(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_paths_are_refused() {
        let long = vec![b'a'; 256];
        let deep = [b"abc/".as_slice(); 1100].concat();
        let cases: [(&[u8], PathError); 11] = [
            (b"", PathError::Empty),
            (b"/", PathError::Absolute),
            (b"/etc/passwd", PathError::Absolute),
            (b"//a", PathError::Absolute),
            (b"..", PathError::Parent),
            (b"a/../../b", PathError::Parent),
            (b"a/..", PathError::Parent),
            (b"./../a", PathError::Parent),
            (b"a\0b", PathError::Nul),
            (&long, PathError::NameTooLong),
            (&deep, PathError::TooLong),
        ];
        for (bytes, expected) in cases {
            assert_eq!(ArchivePath::parse(bytes), Err(expected), "{}", printable(bytes));
        }
    }

    #[test]
    fn harmless_spellings_become_one_path() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"a/b", b"a/b"),
            (b"./a/b", b"a/b"),
            (b"././a//b/", b"a/b"),
            (b"a/./b/.", b"a/b"),
            (b".", b""),
            (b"./", b""),
            (b"...", b"..."),
            (b"\xff\n/..b", b"\xff\n/..b"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(ArchivePath::parse(bytes).unwrap().as_bytes(), expected);
        }
    }

    #[test]
    fn ancestors_end_at_the_top() {
        let of = |path: &[u8]| -> Vec<Vec<u8>> {
            let path = ArchivePath::parse(path).unwrap();
            path.ancestors().map(<[u8]>::to_vec).collect()
        };
        assert_eq!(of(b"a/b/c"), [b"a/b".to_vec(), b"a".to_vec(), vec![]]);
        assert_eq!(of(b"a"), [Vec::<u8>::new()]);
        assert!(of(b".").is_empty());
    }

    #[test]
    fn messages_cannot_drive_a_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
