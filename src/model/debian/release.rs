//! `Release`: what a suite is, and the indexes that it has, each with its length and SHA-256.
//!
//! One paragraph of fields. A line that begins with a space or tab goes on with the field above. Fields that mean nothing
//! here are left out, but every line has to be one of a field: a page of an error is none.

use std::collections::{BTreeMap, BTreeSet};

use super::super::digest::Sha256;
use super::super::manifest::{DeclaredPath, LineError, digest, size};
use super::super::time::Timestamp;

/// The longest `Release`, in bytes. Debian's own has some 150 KB.
pub const RELEASE_BYTES_MAX: u64 = 16 << 20;

/// Length and digest of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// In bytes.
    pub size_bytes: u64,
    /// Of its content.
    pub sha256: Sha256,
}

/// A suite, as its `Release` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// `Suite`.
    pub suite: Option<String>,
    /// `Codename`.
    pub codename: Option<String>,
    /// `Date`: when it was made.
    pub date: Option<Timestamp>,
    /// `Valid-Until`: from when on it is too old to be believed.
    pub valid_until: Option<Timestamp>,
    /// `Components`.
    pub components: Vec<String>,
    /// `Architectures`.
    pub architectures: Vec<String>,
    /// `Acquire-By-Hash`: indexes can be had by their digests as well.
    pub by_hash: bool,
    /// The packages of all architectures are in the indexes of each one.
    pub repeats_all: bool,
    /// Its indexes by their paths, seen from the directory of the suite.
    pub files: BTreeMap<DeclaredPath, Listed>,
}

/// Why a `Release` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// A line of `SHA256`.
    #[error("line {0}: {1}")]
    Line(u64, LineError),
    /// No field.
    #[error("line {0}: expected `Field: value`")]
    Field(u64),
    /// The same field again.
    #[error("line {0}: this field is there twice")]
    Twice(u64),
    /// Two entries for one path.
    #[error("line {0}: this path is there twice, with another size or digest")]
    Disagrees(u64),
    /// A date.
    #[error("line {0}: the date cannot be read")]
    Date(u64),
    /// A second paragraph.
    #[error("line {0}: something comes after its end")]
    Rest(u64),
    /// No digests that could be trusted.
    #[error("it lists no file with a SHA-256")]
    Nothing,
}

impl Release {
    /// Parses the whole of it.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn parse(text: &[u8]) -> Result<Self, ReleaseError> {
        let mut release = Self::default();
        let mut seen = BTreeSet::new();
        let mut field = String::new();
        let mut has_ended = false;
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                has_ended = !seen.is_empty();
                continue;
            }
            if has_ended {
                return Err(ReleaseError::Rest(number));
            }
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                if field == "sha256" {
                    release.add(number, line.trim_ascii())?;
                } else if field.is_empty() {
                    return Err(ReleaseError::Field(number));
                }
                continue;
            }
            let (name, value) = split_field(line).ok_or(ReleaseError::Field(number))?;
            field = name;
            if !seen.insert(field.clone()) {
                return Err(ReleaseError::Twice(number));
            }
            release.set(number, &field, &value)?;
        }
        if release.files.is_empty() { Err(ReleaseError::Nothing) } else { Ok(release) }
    }

    fn set(&mut self, number: u64, field: &str, value: &str) -> Result<(), ReleaseError> {
        let date = || parse_date(value).map(Some).ok_or(ReleaseError::Date(number));
        let words = || value.split_ascii_whitespace().map(str::to_owned).collect();
        match field {
            "suite" => self.suite = Some(value.to_owned()),
            "codename" => self.codename = Some(value.to_owned()),
            "date" => self.date = date()?,
            "valid-until" => self.valid_until = date()?,
            "components" => self.components = words(),
            "architectures" => self.architectures = words(),
            "acquire-by-hash" => self.by_hash = value == "yes",
            "no-support-for-architecture-all" => {
                self.repeats_all = value.split_ascii_whitespace().any(|word| word == "Packages");
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a line ` DIGEST SIZE PATH`.
    fn add(&mut self, number: u64, line: &[u8]) -> Result<(), ReleaseError> {
        let wrong = |error| ReleaseError::Line(number, error);
        let parts: Vec<_> = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|part| !part.is_empty())
            .collect();
        let [sha256, length, path] = parts[..] else {
            return Err(wrong(LineError::Form("`DIGEST SIZE PATH`")));
        };
        let path = DeclaredPath::new(path).map_err(|error| wrong(error.into()))?;
        let listed = Listed {
            size_bytes: size(length).map_err(wrong)?,
            sha256: digest(sha256).map_err(|error| wrong(error.into()))?,
        };
        match self.files.insert(path, listed) {
            Some(other) if other != listed => Err(ReleaseError::Disagrees(number)),
            _ => Ok(()),
        }
    }

    /// Whether it is that of the suite of this name, as far as it says what it is. A signature is as good for another suite
    /// of the same archive.
    pub fn is_of(&self, suite: &str) -> bool {
        let suite = suite.strip_suffix("/updates").unwrap_or(suite);
        let names: Vec<_> = [&self.suite, &self.codename].into_iter().flatten().collect();
        let is_it = |name: &&String| name.strip_suffix("/updates").unwrap_or(name) == suite;
        names.is_empty() || names.iter().any(is_it)
    }
}

/// A field in small letters, and its value without the spaces around it.
pub(super) fn split_field(line: &[u8]) -> Option<(String, String)> {
    let at = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..at], &line[at + 1..]);
    let is_name = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
    if name.is_empty() || !name.iter().all(is_name) {
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
    Some((text(name).to_ascii_lowercase(), text(value)))
}

/// A date as `date -R` and `date -u` write it, to the second.
fn parse_date(text: &str) -> Option<Timestamp> {
    // The format says UTC, which the standard for dates of mail knows by another name only.
    let text = match text.strip_suffix("UTC").or_else(|| text.strip_suffix('Z')) {
        Some(rest) => format!("{rest}+0000"),
        None => text.to_owned(),
    };
    let time = jiff::fmt::rfc2822::parse(&text).ok()?;
    Timestamp::new(time.timestamp().as_second(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rest: &str) -> String {
        format!(
            "Origin: Debian\nSuite: stable\nCodename: bookworm\nDate: Sat, 11 Jan 2025 10:00:07 UTC\n\
             Valid-Until: Sat, 18 Jan 2025 10:00:07 UTC\nAcquire-By-Hash: yes\n\
             Architectures: all amd64\nComponents: main contrib\nDescription: x\n{rest}"
        )
    }

    fn sums(lines: &[(&str, &str, &str)]) -> String {
        let lines = lines.iter().map(|(digest, size, path)| format!(" {digest} {size} {path}\n"));
        text(&format!("SHA256:\n{}", lines.collect::<String>()))
    }

    #[test]
    fn a_release_says_what_it_is_and_has() {
        let sha256 = Sha256::of(b"x");
        let digest = sha256.to_string();
        let whole = format!(
            "MD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 other\nSHA256:\n {digest}        1 main/binary-amd64/Packages\n {digest} 1 a\n"
        );
        let found = Release::parse(text(&whole).as_bytes()).unwrap();
        let expected = Release {
            suite: Some("stable".to_owned()),
            codename: Some("bookworm".to_owned()),
            date: Timestamp::new(1_736_589_607, 0),
            valid_until: Timestamp::new(1_737_194_407, 0),
            components: vec!["main".to_owned(), "contrib".to_owned()],
            architectures: vec!["all".to_owned(), "amd64".to_owned()],
            by_hash: true,
            repeats_all: false,
            files: ["a", "main/binary-amd64/Packages"]
                .map(|path| {
                    let listed = Listed { size_bytes: 1, sha256 };
                    (DeclaredPath::new(path.as_bytes()).unwrap(), listed)
                })
                .into(),
        };
        assert_eq!(found, expected);
        for (suite, is_it) in
            [("stable", true), ("bookworm", true), ("bookworm/updates", true), ("trixie", false)]
        {
            assert_eq!(found.is_of(suite), is_it, "{suite}");
        }
        assert!(Release::default().is_of("any"), "it does not say");
        let repeats =
            format!("No-Support-for-Architecture-all: Packages\nSHA256:\n {digest} 1 a\n");
        assert!(Release::parse(text(&repeats).as_bytes()).unwrap().repeats_all);
    }

    #[test]
    fn dates_of_both_forms_are_read() {
        let expected = Timestamp::new(1_736_589_607, 0);
        for text in [
            "Sat, 11 Jan 2025 10:00:07 UTC",
            "Sat, 11 Jan 2025 10:00:07 +0000",
            "Sat, 11 Jan 2025 12:00:07 +0200",
            "Sat, 11 Jan 2025 10:00:07 GMT",
            "Sat, 11 Jan 2025 10:00:07 Z",
        ] {
            assert_eq!(parse_date(text), expected, "{text}");
        }
        for bad in ["", "UTC", "yesterday", "2025-01-11"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn h26_what_is_no_release_is_refused_with_its_line() {
        let digest = Sha256::of(b"x").to_string();
        let (digest, other) = (digest.as_str(), Sha256::of(b"y").to_string());
        for (bad, what) in [
            ("<html>\n<body>".to_owned(), "line 1"),
            (" a\n".to_owned(), "line 1"),
            (text(""), "no file with a SHA-256"),
            (text("Suite: other\n"), "line 10: this field"),
            (text("Date : x\n"), "line 10"),
            (sums(&[(digest, "1", "../a")]), "line 11"),
            (sums(&[(digest, "1", "/etc/passwd")]), "absolute"),
            (sums(&[(digest, "1", "a\u{1b}[2J")]), "control"),
            (sums(&[(digest, "-1", "a")]), "size"),
            (sums(&[("abc", "1", "a")]), "SHA-256"),
            (sums(&[(digest, "1", "a b")]), "DIGEST SIZE PATH"),
            (sums(&[(digest, "1", "a"), (&other, "1", "a")]), "line 12: this path"),
            (format!("{}\nSuite: x\n", sums(&[(digest, "1", "a")])), "line 13: something"),
            (text("").replace("11 Jan", "99 Jan"), "line 4"),
        ] {
            let error = Release::parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(what), "{bad}: {error}");
        }
        let whole = sums(&[(digest, "1", "a")]);
        for line in
            [": x", "Date : x", "A field: x", "#Origin: x", "\u{e9}: x", "no field", "a\u{7f}: x"]
        {
            let error = Release::parse(format!("{line}\n{whole}").as_bytes()).unwrap_err();
            assert_eq!(error, ReleaseError::Field(1), "{line}");
        }
        let unusual = format!("X-!~$: x\nEmpty:\n{whole}");
        assert!(Release::parse(unusual.as_bytes()).is_ok(), "other signs may be in a name");
        let twice = sums(&[(digest, "1", "a"), (digest, "1", "a")]);
        assert!(Release::parse(twice.as_bytes()).is_ok(), "it says the same twice");
    }
}
