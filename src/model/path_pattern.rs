//! Patterns of paths within a version, as shells write them.
//!
//! One without a slash is compared with the last name of a path, wherever that is; one with a slash with
//! the whole path. `*` and `?` (one byte) do not match a slash, `**` as a whole name matches any number of
//! directories, none among them. A slash at the end asks for directories.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4096;

/// What starts a part of a pattern that is not taken as it is written.
const SPECIAL: [char; 5] = ['*', '?', '[', '{', '\\'];

/// A pattern of paths.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    text: String,
    matcher: GlobMatcher,
    /// Compared with the last name only.
    of_name: bool,
    of_directories: bool,
    /// The first names of each path that matches.
    first_names: Vec<String>,
    /// How many names such a path has at most; `None` where there is no limit.
    names_max: Option<usize>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing is left to compare with.
    #[error("the pattern is empty")]
    Empty,
    /// It is longer than 4096 bytes.
    #[error("the pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// Its syntax is wrong.
    #[error("{0}")]
    Syntax(String),
}

impl PathPattern {
    /// Whether a path matches: names joined by slashes, without one at either end.
    pub fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.of_directories && !is_directory {
            return false;
        }
        let compared = match self.of_name {
            true => path.rsplit(|byte| *byte == b'/').next().unwrap_or(path),
            false => path,
        };
        self.matcher.is_match(Path::new(OsStr::from_bytes(compared)))
    }

    /// Whether a path below this directory can match. Where nothing can, nobody needs to look.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        let mut names = 0;
        for name in directory.split(|byte| *byte == b'/') {
            if self.first_names.get(names).is_some_and(|first| first.as_bytes() != name) {
                return false;
            }
            names += 1;
        }
        self.names_max.is_none_or(|max| names < max)
    }

    /// Whether it asks for directories alone.
    pub fn is_of_directories(&self) -> bool {
        self.of_directories
    }
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let of_directories = text.ends_with('/');
        let glob = text.trim_end_matches('/');
        // Paths within a version have no slash in front.
        let of_name = !glob.contains('/');
        let glob = glob.trim_start_matches('/');
        if glob.is_empty() {
            return Err(PatternError::Empty);
        }
        let built = GlobBuilder::new(glob).literal_separator(true).build();
        let built = built.map_err(|error| PatternError::Syntax(error.kind().to_string()))?;
        let names: Vec<&str> = if of_name { Vec::new() } else { glob.split('/').collect() };
        let literal = names.iter().take_while(|name| !name.contains(SPECIAL));
        // Braces can hold slashes, so the names cannot be counted then.
        let is_bounded = !of_name && !glob.contains("**") && !glob.contains(['{', '\\']);
        Ok(Self {
            matcher: built.compile_matcher(),
            of_name,
            of_directories,
            first_names: literal.map(|name| (*name).to_owned()).collect(),
            names_max: is_bounded.then_some(names.len()),
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for PathPattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.text
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PathPattern {}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    #[test]
    fn o4_patterns_match_names_or_whole_paths() {
        for (text, path, is_directory, matches) in [
            ("*.so", "usr/lib/x.so", false, true),
            ("*.so", "x.so", false, true),
            ("*.so", "x.so/y", false, false),
            ("usr/*.so", "usr/x.so", false, true),
            ("usr/*.so", "usr/lib/x.so", false, false),
            ("/x.so", "x.so", false, true),
            ("/x.so", "lib/x.so", false, false),
            ("usr/**/x.so", "usr/x.so", false, true),
            ("usr/**/x.so", "usr/a/b/x.so", false, true),
            ("usr/**", "usr/a/b", false, true),
            ("**", "a/b", false, true),
            ("lib/", "usr/lib", true, true),
            ("lib/", "usr/lib", false, false),
            ("{bin,sbin/x}/y", "sbin/x/y", false, true),
            ("[ab]?", "bx", false, true),
            ("[ab]??", "a\u{e9}", false, true),
            ("A*", "a", false, false),
        ] {
            let found = pattern(text).matches(path.as_bytes(), is_directory);
            assert_eq!(found, matches, "{text} {path}");
        }
        assert!(pattern("*.\u{e9}").matches("x.\u{e9}".as_bytes(), false));
        assert!(pattern("a*").matches(b"a\xff", false), "a name that is no text");
    }

    #[test]
    fn o4_directories_where_nothing_can_match_are_known() {
        for (text, directory, may) in [
            ("*.so", "usr/lib", true),
            ("usr/lib/*.so", "usr", true),
            ("usr/lib/*.so", "usr/lib", true),
            ("usr/lib/*.so", "usr/lib/x", false),
            ("usr/lib/*.so", "bin", false),
            ("usr/**/*.so", "usr/a/b/c", true),
            ("usr/**/*.so", "bin", false),
            ("usr/{a,b/c}/d", "usr/b/c", true),
            ("/x", "a", false),
        ] {
            assert_eq!(
                pattern(text).may_match_below(directory.as_bytes()),
                may,
                "{text} {directory}"
            );
        }
    }

    #[test]
    fn o4_what_is_no_pattern_is_refused() {
        for (text, error) in [("", "empty"), ("/", "empty"), ("[a", "unclosed"), ("{a", "unclosed")]
        {
            let refused = text.parse::<PathPattern>().unwrap_err().to_string();
            assert!(refused.contains(error), "{text}: {refused}");
        }
        assert_eq!("a".repeat(5000).parse::<PathPattern>(), Err(PatternError::TooLong));
        let json = serde_json::to_string(&pattern("a/*/")).unwrap();
        assert_eq!(serde_json::from_str::<PathPattern>(&json).unwrap(), pattern("a/*/"));
        assert!(serde_json::from_str::<PathPattern>("\"[\"").is_err());
    }
}
