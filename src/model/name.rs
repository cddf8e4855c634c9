//! Names, validated at construction: what holds one needs no further check.

use std::fmt;
use std::str::FromStr;

use super::id::VersionNumber;

/// The longest name, in bytes (`NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;

/// Why a name was refused; the text says the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("a name must not be empty")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("a name has at most 255 bytes")]
    TooLong,
    /// `.` or `..`.
    #[error("`.` and `..` are not names")]
    Dots,
    /// `/` or NUL.
    #[error("a name must not contain `/` or NUL")]
    Separator,
    /// A control character in a repository, area or tag name.
    #[error("repository, area and tag names must not contain control characters")]
    Control,
    /// Not UTF-8, in a repository, area or tag name.
    #[error("repository, area and tag names are UTF-8")]
    NotUtf8,
    /// `@` outside the `NAME@BASE` form, or in a repository or tag name.
    #[error("`@` separates an area's name from its base and cannot be part of a name")]
    At,
    /// The base of `NAME@BASE` is neither a number nor `latest` nor a tag name.
    #[error("the base after `@` must be a version number, a tag or `latest`")]
    Base,
    /// `latest`, or a number where a tag name was expected.
    #[error("`latest` and plain numbers are reserved")]
    Reserved,
}

pub(super) fn check_bytes(bytes: &[u8]) -> Result<(), NameError> {
    match bytes {
        [] => Err(NameError::Empty),
        b"." | b".." => Err(NameError::Dots),
        _ if bytes.len() > NAME_BYTES_MAX => Err(NameError::TooLong),
        _ if bytes.iter().any(|b| matches!(b, b'/' | 0)) => Err(NameError::Separator),
        _ => Ok(()),
    }
}

fn check_text(bytes: &[u8]) -> Result<&str, NameError> {
    check_bytes(bytes)?;
    let text = std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(text)
}

/// A name in a directory: any bytes but `/` and NUL, 1 to 255 of them, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(Box<[u8]>);

impl EntryName {
    /// Validates and copies `bytes`.
    ///
    /// # Errors
    /// The rule that `bytes` breaks.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        check_bytes(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for EntryName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Validates and copies `bytes`.
            ///
            /// # Errors
            /// The rule that `bytes` breaks.
            pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
                let text = check_text(bytes)?;
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text)?;
                Ok(Self(text.to_owned()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text.as_bytes())
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text.as_bytes())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

fn refuse_at(text: &str) -> Result<(), NameError> {
    if text.contains('@') { Err(NameError::At) } else { Ok(()) }
}

fn refuse_reserved(text: &str) -> Result<(), NameError> {
    refuse_at(text)?;
    if text == LATEST || text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NameError::Reserved);
    }
    Ok(())
}

/// The tag that always names the newest version.
pub const LATEST: &str = "latest";

text_name! {
    /// A repository's name: a file name in UTF-8 without control characters or `@`.
    RepoName, refuse_at
}
text_name! {
    /// A remote's name: as a repository's, so that `REMOTE/SUBPATH` can be told apart.
    RemoteName, refuse_at
}
text_name! {
    /// A tag's name: as a repository's, and neither `latest` nor a number.
    TagName, refuse_reserved
}

/// A version as users name it: what an area starts from, what a command acts on.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum BaseName {
    /// `@7`
    Number(VersionNumber),
    /// `@latest`: the newest, or empty when there is none.
    Latest,
    /// `@v1.0`
    Tag(TagName),
}

impl FromStr for BaseName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == LATEST {
            return Ok(Self::Latest);
        }
        if let Some(number) = parse_number(text) {
            return Ok(Self::Number(number));
        }
        TagName::new(text.as_bytes()).map(Self::Tag).map_err(|_| NameError::Base)
    }
}

impl fmt::Display for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Latest => f.write_str(LATEST),
            Self::Tag(tag) => tag.fmt(f),
        }
    }
}

impl TryFrom<String> for BaseName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<BaseName> for String {
    fn from(name: BaseName) -> String {
        name.to_string()
    }
}

/// Parses a version number: decimal digits, no sign, no leading zero.
pub fn parse_number(text: &str) -> Option<VersionNumber> {
    let canonical = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    canonical.then(|| text.parse().ok().map(VersionNumber)).flatten()
}

/// The directory name of a staging area: `NAME` or `NAME@BASE`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct AreaName {
    full: String,
    label_bytes: usize,
}

impl AreaName {
    /// Validates and copies `bytes`.
    ///
    /// # Errors
    /// The rule that `bytes` breaks.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        let text = check_text(bytes)?;
        let label_bytes = match text.split_once('@') {
            None => text.len(),
            Some((label, base)) => {
                check_bytes(label.as_bytes())?;
                base.parse::<BaseName>()?;
                label.len()
            }
        };
        Ok(Self { full: text.to_owned(), label_bytes })
    }

    /// The whole directory name.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The part before `@`: what a commit names the version, where it is a valid tag name.
    pub fn label(&self) -> &str {
        &self.full[..self.label_bytes]
    }

    /// The base after `@`, if there is one.
    pub fn base(&self) -> Option<BaseName> {
        self.full.get(self.label_bytes + 1..).and_then(|base| base.parse().ok())
    }
}

impl fmt::Display for AreaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.full.fmt(f)
    }
}

impl FromStr for AreaName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text.as_bytes())
    }
}

impl TryFrom<String> for AreaName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text.as_bytes())
    }
}

impl From<AreaName> for String {
    fn from(name: AreaName) -> String {
        name.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_names_are_any_bytes_but_slash_and_nul() {
        let long = vec![b'a'; 256];
        let cases: [(&[u8], Result<(), NameError>); 8] = [
            (b"a", Ok(())),
            (b"\xff\n@", Ok(())),
            (b"", Err(NameError::Empty)),
            (b".", Err(NameError::Dots)),
            (b"..", Err(NameError::Dots)),
            (b"a/b", Err(NameError::Separator)),
            (b"a\0", Err(NameError::Separator)),
            (&long, Err(NameError::TooLong)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(EntryName::new(bytes).map(drop), expected, "{bytes:?}");
        }
    }

    #[test]
    fn area_names_split_at_the_base() {
        let plain = "b42".parse::<AreaName>().unwrap();
        assert_eq!((plain.label(), plain.base()), ("b42", None));
        let based = "b42@7".parse::<AreaName>().unwrap();
        assert_eq!(
            (based.label(), based.base()),
            ("b42", Some(BaseName::Number(VersionNumber(7))))
        );
        assert_eq!("x@latest".parse::<AreaName>().unwrap().base(), Some(BaseName::Latest));
        assert_eq!("@7".parse::<AreaName>(), Err(NameError::Empty));
        assert_eq!("x@".parse::<AreaName>(), Err(NameError::Base));
        assert_eq!("x@007".parse::<AreaName>(), Err(NameError::Base));
        assert_eq!("x@a@b".parse::<AreaName>(), Err(NameError::Base));
    }

    #[test]
    fn tags_refuse_reserved_names() {
        assert_eq!("latest".parse::<TagName>(), Err(NameError::Reserved));
        assert_eq!("12".parse::<TagName>(), Err(NameError::Reserved));
        assert_eq!("a\nb".parse::<TagName>(), Err(NameError::Control));
        assert!("v1.2".parse::<TagName>().is_ok());
    }
}
