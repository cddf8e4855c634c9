//! Lists of repositories, of versions and of directories, for programs: as JSON, and as the plainest HTML, whose links
//! lead to files (`wget -r` follows them).

use std::io::{self, Write};
use std::sync::Arc;

use hyper::header::HeaderValue;
use serde::Serialize;

use super::address::encode;
use super::look::{self, Place, is_visible};
use crate::control::utc::{Created, rfc3339};
use crate::engine::Engine;
use crate::engine::registry::Repository;
use crate::model::hash::TreeHash;
use crate::model::name::EntryName;
use crate::model::raw::{RawBytes, RawPath};
use crate::model::tree::{Content, Entry};
use crate::model::tree_format;

/// The form in which a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Page,
    /// For programs that follow links.
    Links,
    /// For programs.
    Json,
}

impl Form {
    /// Chooses by `Accept`: a page only for those who name HTML, JSON for those who like it better.
    pub(super) fn accepted(accept: Option<&HeaderValue>) -> Self {
        let Some(accept) = accept.and_then(|accept| accept.to_str().ok()) else {
            return Self::Links;
        };
        let mut best = (0.0, Self::Links);
        for kind in accept.split(',') {
            let mut parts = kind.split(';').map(str::trim);
            let form = match parts.next().unwrap_or_default() {
                "text/html" | "application/xhtml+xml" => Self::Page,
                "application/json" => Self::Json,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(1.0, |text| text.parse().unwrap_or(0.0));
            if quality > best.0 {
                best = (quality, form);
            }
        }
        best.1
    }

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Page | Self::Links => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

/// What is listed.
pub(super) enum Listing {
    /// All repositories.
    Home,
    /// The versions of a repository.
    Repository(Arc<Repository>),
    /// A directory.
    Directory {
        /// Its version.
        place: Place,
        /// Its path.
        path: Vec<EntryName>,
        /// Its tree.
        tree: TreeHash,
    },
}

/// A repository in JSON.
#[derive(Serialize)]
struct RepositoryItem<'a> {
    repository: &'a str,
    #[serde(flatten)]
    created: Created,
    version_count: usize,
    tag_count: usize,
    latest: Option<u64>,
}

/// A version in JSON.
#[derive(Serialize)]
struct VersionItem<'a> {
    number: u64,
    #[serde(flatten)]
    created: Created,
    name: Option<&'a str>,
    tags: Vec<&'a str>,
    author: &'a str,
    message: &'a str,
    base: Option<u64>,
    released: bool,
    locked: bool,
}

/// An entry of a directory in JSON.
#[derive(Serialize)]
struct EntryItem {
    /// In the version.
    path: RawPath,
    kind: &'static str,
    mode: String,
    mtime: String,
    mtime_seconds: i64,
    size_bytes: Option<u64>,
    /// BLAKE3 of the content; of content that a remote declared there is its SHA-256 instead.
    hash: Option<String>,
    sha256: Option<String>,
    target: Option<RawBytes>,
}

impl EntryItem {
    fn of(directory: &[u8], entry: &Entry) -> Self {
        let file = look::RegularFile::of(entry.clone());
        let name = file.as_ref().map(look::RegularFile::name);
        let target = match &entry.content {
            Content::Symlink { target } => Some(RawBytes::from(&**target)),
            _ => None,
        };
        let mut path = directory.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(entry.name.as_bytes());
        let mtime = entry.attributes.mtime;
        Self {
            path: RawPath::from(path),
            kind: kind(&entry.content),
            mode: format!("{:04o}", entry.attributes.mode),
            mtime: rfc3339(mtime),
            mtime_seconds: mtime.seconds,
            size_bytes: file.as_ref().map(|file| file.size),
            hash: name.filter(|name| name.sha256().is_none()).map(|name| name.to_string()),
            sha256: name.and_then(|name| name.sha256().map(ToString::to_string)),
            target,
        }
    }
}

/// The word for what an entry is.
pub(super) fn kind(content: &Content) -> &'static str {
    match content {
        Content::File { .. } => "file",
        Content::Directory { .. } => "directory",
        Content::Symlink { .. } => "symlink",
        Content::Fifo => "fifo",
        Content::Socket => "socket",
        Content::CharDevice { .. } => "character device",
        Content::BlockDevice { .. } => "block device",
    }
}

impl Listing {
    /// Writes the list in a form. What goes wrong on the way ends it.
    pub(super) fn write(self, engine: &Engine, form: Form, out: &mut dyn Write) -> io::Result<()> {
        match form {
            Form::Json => self.write_json(engine, out),
            Form::Page | Form::Links => self.write_links(engine, out),
        }
    }

    fn write_json(self, engine: &Engine, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Home => {
                let all = look::repositories(engine);
                let items: Vec<_> =
                    all.iter().map(|repository| repository_item(repository)).collect();
                out.write_all(b"{\"repositories\":")?;
                serde_json::to_writer(&mut *out, &items)?;
            }
            Self::Repository(repository) => {
                out.write_all(b"{\"repository\":")?;
                serde_json::to_writer(&mut *out, &repository_item(&repository))?;
                out.write_all(b",\"versions\":[")?;
                let mut comma: &[u8] = b"";
                for version in repository.versions.values() {
                    let tags =
                        repository.tags.of(version.number).iter().map(|t| t.as_str()).collect();
                    out.write_all(std::mem::replace(&mut comma, b","))?;
                    let item = VersionItem {
                        number: version.number.0,
                        created: version.created.into(),
                        name: version.name.as_ref().map(|name| name.as_str()),
                        tags,
                        author: &version.author,
                        message: &version.message,
                        base: version.base.map(|base| base.0),
                        released: version.released,
                        locked: version.locked,
                    };
                    serde_json::to_writer(&mut *out, &item)?;
                }
                out.write_all(b"]")?;
            }
            Self::Directory { place, path, tree } => {
                let path: Vec<&[u8]> = path.iter().map(EntryName::as_bytes).collect();
                out.write_all(b"{\"repository\":")?;
                serde_json::to_writer(&mut *out, place.repository.name.as_str())?;
                let path = path.join(&b'/');
                write!(out, ",\"number\":{},\"path\":", place.version.number)?;
                serde_json::to_writer(&mut *out, &RawPath::from(&*path))?;
                out.write_all(b",\"entries\":[")?;
                let mut comma: &[u8] = b"";
                for entry in entries(engine, &tree) {
                    out.write_all(std::mem::replace(&mut comma, b","))?;
                    serde_json::to_writer(&mut *out, &EntryItem::of(&path, &entry?))?;
                }
                out.write_all(b"]")?;
            }
        }
        out.write_all(b"}\n")
    }

    fn write_links(self, engine: &Engine, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Home => {
                begin(out, "Repositories")?;
                for repository in look::repositories(engine) {
                    link(out, repository.name.as_str().as_bytes(), "/", None)?;
                }
            }
            Self::Repository(repository) => {
                begin(out, repository.name.as_str())?;
                if repository.latest().is_some() {
                    link(out, b"latest", "/", None)?;
                }
                for tag in repository.tags.keys() {
                    link(out, tag.as_str().as_bytes(), "/", None)?;
                }
                for number in repository.versions.keys() {
                    link(out, number.to_string().as_bytes(), "/", None)?;
                }
            }
            Self::Directory { place, path, tree } => {
                let shown: Vec<_> = path.iter().map(ToString::to_string).collect();
                let (repository, number) = (&place.repository.name, place.version.number);
                begin(out, &format!("{repository}/{number}/{}", shown.join("/")))?;
                for entry in entries(engine, &tree) {
                    let entry = entry?;
                    let name = entry.name.as_bytes();
                    match &entry.content {
                        Content::Directory { .. } => link(out, name, "/", None)?,
                        Content::File { .. } => link(out, name, "", None)?,
                        // Links to directories are no links here: who follows all would walk in circles.
                        Content::Symlink { target } => {
                            let mut path = path.clone();
                            path.push(entry.name.clone());
                            match look::find(engine, &place, &path).map_err(io::Error::other)? {
                                Some(look::Found::File(_)) => link(out, name, "", Some(target))?,
                                _ => writeln!(out, "<li>{} → {}", text(name), text(target))?,
                            }
                        }
                        _ => writeln!(out, "<li>{}", text(name))?,
                    }
                }
            }
        }
        out.write_all(b"</ul>\n")
    }
}

/// The entries of a directory that may be seen.
pub(super) fn entries<'e>(
    engine: &'e Engine,
    tree: &TreeHash,
) -> impl Iterator<Item = io::Result<Entry>> + use<'e> {
    let all = tree_format::entries(&*engine.trees, tree, 0);
    all.filter(|entry| entry.as_ref().map_or(true, is_visible)).map(|e| e.map_err(io::Error::other))
}

fn repository_item(repository: &Repository) -> RepositoryItem<'_> {
    RepositoryItem {
        repository: repository.name.as_str(),
        created: repository.created.into(),
        tag_count: repository.tags.size(),
        version_count: repository.versions.size(),
        latest: repository.latest().map(|version| version.number.0),
    }
}

fn begin(out: &mut dyn Write, title: &str) -> io::Result<()> {
    let title = text(title.as_bytes());
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
         <h1>{title}</h1>\n<ul>\n"
    )
}

/// A link to a name, which begins with `./` so that no name can look like another address.
fn link(out: &mut dyn Write, name: &[u8], end: &str, target: Option<&[u8]>) -> io::Result<()> {
    let (address, shown) = (encode(name), text(name));
    write!(out, "<li><a href=\"./{address}{end}\">{shown}{end}</a>")?;
    match target {
        Some(target) => writeln!(out, " → {}", text(target)),
        None => writeln!(out),
    }
}

/// Bytes of a stranger as text in HTML (H56).
fn text(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_for_those_who_name_html() {
        let form = |accept: &str| Form::accepted(Some(&accept.parse().unwrap()));
        assert_eq!(Form::accepted(None), Form::Links);
        for (accept, expected) in [
            ("*/*", Form::Links),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Page),
            ("application/json", Form::Json),
            ("application/json, text/html", Form::Json),
            ("text/html;q=0.5, application/json", Form::Json),
            ("text/html, application/json;q=0", Form::Page),
            ("application/json;q=nonsense", Form::Links),
            ("image/png", Form::Links),
        ] {
            assert_eq!(form(accept), expected, "{accept}");
        }
    }

    #[test]
    fn text_of_strangers_is_only_text_h56() {
        assert_eq!(
            text(b"<a href='x'>&\"\n\xff"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}\u{fffd}"
        );
    }
}
