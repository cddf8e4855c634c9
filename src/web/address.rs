//! Addresses: what the path and query of a request name, and how paths are written in links.
//!
//! ```text
//! /                       all repositories
//! /metrics, /healthz, /readyz    without a slash: with one they are repositories of these names
//! /@/style.css            the stylesheet; no repository has an `@` in its name
//! /REPO/                  one repository
//! /REPO/VERSION/PATH      a file or, with a slash at the end, a directory; VERSION is a number, a tag or `latest`
//! ```
//!
//! Names are bytes: every byte that is not plain is percent-encoded, and a request may name any (H56).

use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, EntryName, RepoName, parse_number};

/// The longest path of a version that is looked up, in components.
const COMPONENTS_MAX: usize = 2048;

/// What a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The list of repositories.
    Home,
    /// The stylesheet of the pages.
    Style,
    /// What is counted.
    Metrics,
    /// Whether the process answers.
    Health,
    /// Whether the store takes changes.
    Readiness,
    /// A directory without its slash: the address with the slash, relative to what was asked for.
    Slash(String),
    /// A repository.
    Repository(RepoName),
    /// Something in a version.
    Inside(Inside),
}

/// A place in a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inside {
    /// The repository.
    pub(super) repository: RepoName,
    /// The version, as the address calls it.
    pub(super) version: BaseName,
    /// The path in it; empty for its root.
    pub(super) path: Vec<EntryName>,
    /// Whether the address ends with a slash, as that of a directory does.
    pub(super) slash: bool,
}

/// What the query asks to see of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum View {
    /// The thing itself.
    Plain,
    /// A directory as a tar archive.
    Tar(Compression),
    /// A page about a file, in place of its bytes.
    Page,
    /// What differs from another version.
    Diff(BaseName),
    /// What a version shares with others.
    Sharing,
    /// What is large in a directory.
    Sizes,
    /// A list from the entry after this name on, which is encoded.
    After(String),
    /// A list of the versions before this one.
    Before(VersionNumber),
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all.
    None,
    /// As one frame of zstd.
    Zstd,
}

impl Target {
    /// Parses the path of a request, as it was sent. `None` for what names nothing.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        if path.is_empty() {
            return Some(Self::Home);
        }
        if path == "@/style.css" {
            return Some(Self::Style);
        }
        match path {
            "metrics" => return Some(Self::Metrics),
            "healthz" => return Some(Self::Health),
            "readyz" => return Some(Self::Readiness),
            _ => {}
        }
        let (inner, slash) = path.strip_suffix('/').map_or((path, false), |inner| (inner, true));
        let raw: Vec<&str> = inner.split('/').collect();
        if raw.len() > COMPONENTS_MAX {
            return None;
        }
        let names: Vec<Vec<u8>> = raw.iter().map(|part| decode(part)).collect::<Option<_>>()?;
        let repository = RepoName::new(names.first()?).ok()?;
        let with_slash = || names.last().map(|name| Self::Slash(below(name)));
        let Some(version) = names.get(1) else {
            return if slash { Some(Self::Repository(repository)) } else { with_slash() };
        };
        let version = std::str::from_utf8(version).ok()?.parse().ok()?;
        if names.len() == 2 && !slash {
            return with_slash();
        }
        let path = names[2..].iter().map(|name| EntryName::new(name)).collect::<Result<_, _>>();
        Some(Self::Inside(Inside { repository, version, path: path.ok()?, slash }))
    }
}

impl View {
    /// Parses a query; what is unknown is ignored, as servers of files do.
    pub(super) fn parse(query: Option<&str>) -> Self {
        let first = query.and_then(|query| query.split('&').next()).unwrap_or_default();
        let (name, value) = first.split_once('=').unwrap_or((first, ""));
        let text = || String::from_utf8(decode(value)?).ok();
        let view = match name {
            "tar" => Some(Self::Tar(Compression::None)),
            "tar.zst" => Some(Self::Tar(Compression::Zstd)),
            "view" => Some(Self::Page),
            "sharing" => Some(Self::Sharing),
            "sizes" => Some(Self::Sizes),
            "diff" => text().and_then(|text| text.parse().ok()).map(Self::Diff),
            "after" => Some(Self::After(value.to_owned())),
            "before" => text().and_then(|text| parse_number(&text)).map(Self::Before),
            _ => None,
        };
        view.unwrap_or(Self::Plain)
    }
}

/// Decodes a component; `None` if its escapes are no escapes.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

/// Writes a name so that it is one component of an address, whatever its bytes are.
pub(super) fn encode(name: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            byte => write!(text, "%{byte:02X}").expect("a string takes all that is written"),
        }
    }
    text
}

/// The last component of the address of a path without its slash, with it.
pub(super) fn with_slash(path: &[EntryName]) -> String {
    path.last().map_or_else(|| "./".to_owned(), |name| below(name.as_bytes()))
}

/// A directory beside what was asked for, as a relative address. Because of the `./` and the encoding no name can be
/// read as a host or as a scheme, which would lead a browser to somebody else's site (W4).
fn below(name: &[u8]) -> String {
    format!("./{}/", encode(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(address: &str) -> Option<(String, Vec<Vec<u8>>, bool)> {
        match Target::parse(address)? {
            Target::Inside(Inside { version, path, slash, .. }) => {
                let path = path.iter().map(|name| name.as_bytes().to_vec()).collect();
                Some((version.to_string(), path, slash))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_are_bytes_h56() {
        let found = inside("/r/7/a%20b/%ff%0A/%3Cscript%3E").unwrap();
        assert_eq!(found.1, [&b"a b"[..], b"\xff\n", b"<script>"].map(<[u8]>::to_vec));
        assert!(!found.2);
        for name in [&b"a b"[..], b"\xff\n", b"<script>", b"%2F", b"a?b#c&d", "é".as_bytes()] {
            let address = format!("/r/latest/{}/", encode(name));
            assert_eq!(inside(&address).unwrap(), ("latest".to_owned(), vec![name.to_vec()], true));
        }
    }

    #[test]
    fn what_leads_elsewhere_names_nothing_w4() {
        for bad in [
            "",
            "r/7/",
            "//",
            "/r//7/",
            "/r/7//a",
            "/r/7/../8/a",
            "/r/7/%2e%2e/a",
            "/r/7/a%2Fb",
            "/r/7/a%00",
            "/r/7/%",
            "/r/7/%4",
            "/r/7/%zz",
            "/r/07/a",
            "/r/a@b/x",
            "/a@b/7/",
            "/%ff/7/",
            "/./7/x",
            "/../7/x",
        ] {
            assert_eq!(Target::parse(bad), None, "{bad}");
        }
        assert_eq!(Target::parse(&format!("/r/7{}", "/a".repeat(COMPONENTS_MAX))), None);
    }

    #[test]
    fn no_name_leads_to_another_site_w4() {
        for (address, to) in [
            ("/\\\\evil.example", "./%5C%5Cevil.example/"),
            ("/%5c%5cevil.example", "./%5C%5Cevil.example/"),
            ("/https:evil.example", "./https%3Aevil.example/"),
            ("/javascript:alert(1)", "./javascript%3Aalert%281%29/"),
            ("/r/https:evil.example", "./https%3Aevil.example/"),
        ] {
            match Target::parse(address) {
                None => {}
                Some(target) => assert_eq!(target, Target::Slash(to.to_owned()), "{address}"),
            }
        }
        let path = [EntryName::new(b"https:evil").unwrap()];
        assert_eq!(with_slash(&path), "./https%3Aevil/");
    }

    #[test]
    fn directories_have_a_slash() {
        assert_eq!(Target::parse("/"), Some(Target::Home));
        assert_eq!(Target::parse("/r%20s"), Some(Target::Slash("./r%20s/".to_owned())));
        assert_eq!(Target::parse("/r/v1"), Some(Target::Slash("./v1/".to_owned())));
        assert!(matches!(Target::parse("/r/"), Some(Target::Repository(_))));
        assert_eq!(inside("/r/v1/"), Some(("v1".to_owned(), vec![], true)));
        assert_eq!(Target::parse("/@/style.css"), Some(Target::Style));
        assert_eq!(Target::parse("/metrics"), Some(Target::Metrics));
        assert!(matches!(Target::parse("/metrics/"), Some(Target::Repository(_))));
    }
}
