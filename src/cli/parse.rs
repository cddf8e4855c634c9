//! Arguments that name things: `REPO/VERSION`, `REPO/AREA`, `REPO/TAG`, durations.
//!
//! Each is a type whose `FromStr` says the rule that was broken; clap prints it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::archive::ArchivePath;
use crate::model::id::{JobId, VersionNumber};
use crate::model::manifest::DeclaredPath;
use crate::model::name::{
    AreaName, BaseName, NameError, RemoteName, RepoName, TagName, parse_number,
};
use crate::model::raw::RawPath;
use crate::model::remote::{RemoteUrl, UrlError};
use crate::model::sync::RemovalLimit;

/// Why an argument was refused; the text says the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No `/`.
    #[error("expected {expected}: a repository, `/`, and {part} (for example {example})")]
    Shape {
        /// The form as the usage shows it.
        expected: &'static str,
        /// What comes after the slash.
        part: &'static str,
        /// One that is right.
        example: &'static str,
    },
    /// Not a path of a remote.
    #[error("{0}")]
    Path(String),
    /// Neither a count nor a percentage.
    #[error("expected a number of files, or a percentage from 0% to 100%")]
    RemovalLimit,
    /// One of the names is not valid.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A range that runs backwards.
    #[error("the range {0}-{1} runs backwards")]
    Backwards(VersionNumber, VersionNumber),
    /// Not a duration.
    #[error("expected a number of seconds, or a number with s, m, h or d (for example 10m)")]
    Duration,
    /// A duration longer than [`DURATION_MAX`].
    #[error("longer than {} days, which is the most", DURATION_MAX.as_secs() / 86_400)]
    DurationTooLong,
    /// Not a size.
    #[error("expected a number of bytes, or a number with K, M, G or T (for example 10G)")]
    Size,
    /// A size beyond 64 bits.
    #[error("larger than {} bytes, which is the most", u64::MAX)]
    SizeTooLarge,
    /// A number that no version has.
    #[error(
        "version numbers are whole numbers from 1 on, without leading zeros, at most {}",
        u64::MAX
    )]
    VersionNumber,
    /// A path where a version was expected.
    #[error("expected REPO/VERSION, without a path in it (for example {example})")]
    PathInVersion {
        /// What was given, without the path.
        example: String,
    },
    /// Not a count.
    #[error("expected a whole number (for example 20)")]
    Count,
}

/// The longest duration that is accepted, a thousand years. A longer one is a typing error, and
/// added to a date it could leave the calendar.
pub const DURATION_MAX: Duration = Duration::from_secs(365_000 * 86_400);

fn split(
    text: &str,
    expected: &'static str,
    part: &'static str,
    example: &'static str,
) -> Result<(RepoName, String), ParseError> {
    let (repository, rest) =
        text.split_once('/').ok_or(ParseError::Shape { expected, part, example })?;
    Ok((repository.parse()?, rest.to_owned()))
}

/// `REPO/VERSION`, where the version is a number, a tag or `latest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryVersion {
    /// The repository.
    pub repository: RepoName,
    /// The version.
    pub version: BaseName,
}

impl FromStr for RepositoryVersion {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let part = "a version number, a tag or `latest`";
        let (repository, version) = split(text, "REPO/VERSION", part, "web/7")?;
        refuse_path(&repository, &version)?;
        Ok(Self { repository, version: parse_version(&version)? })
    }
}

/// `web/7/index` names a file: where a version is wanted, the message says so.
fn refuse_path(repository: &RepoName, version: &str) -> Result<(), ParseError> {
    match version.split_once('/') {
        Some((version, _)) if parse_version(version).is_ok() => {
            Err(ParseError::PathInVersion { example: format!("{repository}/{version}") })
        }
        _ => Ok(()),
    }
}

/// Parses a count.
///
/// # Errors
/// It is no whole number.
pub fn parse_count(text: &str) -> Result<u64, ParseError> {
    text.parse().map_err(|_| ParseError::Count)
}

/// Parses the number of a job.
///
/// # Errors
/// It is no whole number.
pub fn parse_job(text: &str) -> Result<JobId, ParseError> {
    parse_count(text).map(JobId)
}

/// Parses `REMOTE` or `REMOTE/SUBPATH`.
///
/// # Errors
/// The rule that a part breaks.
pub fn parse_remote_path(text: &str) -> Result<(RemoteName, RawPath), ParseError> {
    let (name, path) = text.split_once('/').unwrap_or((text, ""));
    let path = path.trim_end_matches('/');
    if !path.is_empty() {
        DeclaredPath::new(path.as_bytes()).map_err(|error| ParseError::Path(error.to_string()))?;
    }
    Ok((name.parse()?, RawPath::from(path.as_bytes())))
}

/// Parses how many files a mirror may remove: `100` or `20%`.
///
/// # Errors
/// It is neither a count nor a percentage up to 100.
pub fn parse_removal_limit(text: &str) -> Result<RemovalLimit, ParseError> {
    let limit = match text.strip_suffix('%') {
        Some(percent) => {
            percent.parse().ok().filter(|percent| *percent <= 100).map(RemovalLimit::Percent)
        }
        None => text.parse().ok().map(RemovalLimit::Files),
    };
    limit.ok_or(ParseError::RemovalLimit)
}

/// Parses a version on its own: a number, a tag or `latest`.
///
/// # Errors
/// The rule that it breaks.
pub fn parse_version(text: &str) -> Result<BaseName, ParseError> {
    text.parse::<BaseName>().or_else(|error| {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseError::VersionNumber);
        }
        // The rule for tags says more than that this is no base.
        TagName::new(text.as_bytes())?;
        Err(error.into())
    })
}

/// `REPO/AREA`, where the area is a label or a full name with its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryArea {
    /// The repository.
    pub repository: RepoName,
    /// The area.
    pub area: AreaName,
}

impl FromStr for RepositoryArea {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (repository, area) = split(text, "REPO/AREA", "the name of a staging area", "web/b42")?;
        Ok(Self { repository, area: area.parse()? })
    }
}

/// `REPO` or `REPO/TAG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryTag {
    /// The repository.
    pub repository: RepoName,
    /// The tag, when one is named.
    pub tag: Option<TagName>,
}

impl FromStr for RepositoryTag {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(match text.split_once('/') {
            None => Self { repository: text.parse()?, tag: None },
            Some((repository, tag)) => {
                Self { repository: repository.parse()?, tag: Some(tag.parse()?) }
            }
        })
    }
}

/// What to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteTarget {
    /// `REPO`: the repository itself.
    Repository(RepoName),
    /// `REPO/VERSION`: one version.
    Version(RepoName, BaseName),
    /// `REPO/3-5`: the versions with these numbers that exist, ends included.
    Range(RepoName, VersionNumber, VersionNumber),
}

impl FromStr for DeleteTarget {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let Some((repository, version)) = text.split_once('/') else {
            return Ok(Self::Repository(text.parse()?));
        };
        let repository: RepoName = repository.parse()?;
        refuse_path(&repository, version)?;
        let range = version
            .split_once('-')
            .and_then(|(first, last)| Some((parse_number(first)?, parse_number(last)?)));
        match range {
            Some((first, last)) if first > last => Err(ParseError::Backwards(first, last)),
            Some((first, last)) => Ok(Self::Range(repository, first, last)),
            None => Ok(Self::Version(repository, parse_version(version)?)),
        }
    }
}

/// `REPO/VERSION` or `REPO/3-5`: as [`DeleteTarget`], but never a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionTarget(pub DeleteTarget);

impl FromStr for VersionTarget {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.parse()? {
            DeleteTarget::Repository(_) => Err(ParseError::Shape {
                expected: "REPO/VERSION",
                part: "a version number, a range, a tag or `latest`",
                example: "web/7 or web/3-5",
            }),
            target => Ok(Self(target)),
        }
    }
}

/// `REPO` or `REPO/VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTarget {
    /// The repository.
    pub repository: RepoName,
    /// The version, when one is named.
    pub version: Option<BaseName>,
}

impl FromStr for UsageTarget {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(match text.split_once('/') {
            None => Self { repository: text.parse()?, version: None },
            Some((repository, version)) => {
                let repository = repository.parse()?;
                refuse_path(&repository, version)?;
                Self { repository, version: Some(parse_version(version)?) }
            }
        })
    }
}

/// Parses a size: bytes, or a number with `K`, `M`, `G` or `T`, which are powers of 1024; `KiB`
/// and `KB` mean the same as `K`.
///
/// # Errors
/// It is neither, or does not fit 64 bits.
pub fn parse_size(text: &str) -> Result<u64, ParseError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_suffix("iB").or_else(|| unit.strip_suffix('B')).unwrap_or(unit);
    let shift = match unit {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(ParseError::Size),
    };
    if number.is_empty() {
        return Err(ParseError::Size);
    }
    let number: u64 = number.parse().map_err(|_| ParseError::SizeTooLarge)?;
    number.checked_mul(1 << shift).ok_or(ParseError::SizeTooLarge)
}

/// Parses a duration: seconds, or a number with `s`, `m`, `h` or `d`.
///
/// # Errors
/// It is neither, or longer than [`DURATION_MAX`].
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    let (number, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::Duration);
    }
    let number: u64 = number.parse().map_err(|_| ParseError::DurationTooLong)?;
    let duration = number.checked_mul(factor).map(Duration::from_secs);
    duration.filter(|duration| *duration <= DURATION_MAX).ok_or(ParseError::DurationTooLong)
}

/// Why a place of a remote was refused. Never repeats a URL: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The URL, or that of the path.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The path.
    #[error("cannot tell which path this is: {0}")]
    Path(#[from] io::Error),
}

/// Parses where a remote is: a URL, or a path of this machine.
///
/// # Errors
/// The rule that a URL breaks; a directory on a path with `..` is not there.
pub fn parse_place(text: OsString) -> Result<RemoteUrl, PlaceError> {
    match text.to_str() {
        Some(url) if url.contains("://") || url.starts_with("file:") => Ok(url.parse()?),
        _ => Ok(RemoteUrl::from_path(&without_parents(&absolute(Path::new(&text))?)?)?),
    }
}

/// A path without `..`: what such a component leads to depends on symbolic links before it.
fn without_parents(path: &Path) -> io::Result<PathBuf> {
    let parts: Vec<Component<'_>> = path.components().collect();
    let Some(last) = parts.iter().rposition(|part| *part == Component::ParentDir) else {
        return Ok(path.to_owned());
    };
    let (before, after) = parts.split_at(last + 1);
    let mut resolved = before.iter().collect::<PathBuf>().canonicalize()?;
    resolved.extend(after);
    Ok(resolved)
}

/// A path as it is from everywhere: the daemon has another working directory.
///
/// # Errors
/// When there is no working directory, or the path is empty.
pub(super) fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

/// Parses a path inside a version: `usr/bin`, `./usr//bin/` and what is no text as well.
pub fn parse_path() -> impl TypedValueParser<Value = RawPath> {
    OsStringValueParser::new().try_map(|text: OsString| {
        match ArchivePath::parse(&text.into_vec()) {
            Ok(path) => Ok(path.to_raw()),
            Err(error) => Err(ParseError::Path(error.to_string())),
        }
    })
}

/// `REPO/VERSION/PATH`, where the path may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionPath {
    /// The repository.
    pub repository: RepoName,
    /// The version.
    pub version: BaseName,
    /// The path; the root where it was left out.
    pub path: ArchivePath,
}

impl VersionPath {
    /// Parses one, whose path need be no text.
    ///
    /// # Errors
    /// The rule that a part breaks.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let mut parts = text.splitn(3, |byte| *byte == b'/').map(String::from_utf8_lossy);
        let (Some(repository), Some(version)) = (parts.next(), parts.next()) else {
            return Err(ParseError::Shape {
                expected: "REPO/VERSION/PATH",
                part: "a version with a path in it",
                example: "web/7/etc/hosts",
            });
        };
        let (repository, version) = (repository.parse()?, parse_version(&version)?);
        // As it was given: what is no text would have been changed.
        let path = text.splitn(3, |byte| *byte == b'/').nth(2).unwrap_or_default();
        let path = match path.is_empty() {
            true => ArchivePath::root(),
            false => {
                ArchivePath::parse(path).map_err(|error| ParseError::Path(error.to_string()))?
            }
        };
        Ok(Self { repository, version, path })
    }

    /// [`VersionPath::parse`] for clap.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().try_map(|text: OsString| Self::parse(&text.into_vec()))
    }
}

/// Parses permission bits in octal: `755`, `0750`.
///
/// # Errors
/// Not octal, or beyond `7777`.
pub fn parse_mode(text: &str) -> Result<u16, String> {
    let octal = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u16::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o7777 => Ok(mode),
        _ => Err("expected permission bits in octal, at most 7777 (for example 750)".to_owned()),
    }
}
