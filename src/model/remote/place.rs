//! Where a remote is.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{RemoteKind, S3Place};

/// The scheme of URLs that name files of this machine.
const FILE: &str = "file";

/// The scheme of URLs that name a bucket of S3.
const S3: &str = "s3";

/// Why a URL was refused. Never repeats it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No URL.
    #[error("this is no URL: {0}")]
    Invalid(url::ParseError),
    /// Another scheme.
    #[error(
        "the URL of a remote begins with http:// or https://, that of a bucket with s3://, or it is a path of this machine \
         (file:///…)"
    )]
    Scheme,
    /// An endpoint of another scheme.
    #[error("an endpoint begins with http:// or https://")]
    Endpoint,
    /// `s3:` without a bucket, or with a prefix that names no place.
    #[error("the URL of a bucket names it and a prefix in it, as in s3://BUCKET/PREFIX")]
    Bucket,
    /// `file:` and another machine, or no path.
    #[error("a file: URL names an absolute path of this machine, as in file:///srv/tree")]
    Path,
    /// `user:password@`.
    #[error(
        "a URL must not hold a user or password, which would show in lists and logs: use --user and \
         --password-file"
    )]
    Login,
    /// `?query`, under which no file lies.
    #[error("the URL of a remote has no `?` or `#` part: what it declares lies beside it")]
    Query,
}

/// Where a remote is. On a server it is an HTTP or HTTPS URL, without user, password, query and fragment: of the document
/// that declares the content, or of the directory in which that lies (then it ends with `/`). On this machine it is a
/// path, as a `file:` URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RemoteUrl(Url);

impl RemoteUrl {
    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL of an absolute path.
    ///
    /// # Errors
    /// [`UrlError::Path`].
    pub fn from_path(path: &Path) -> Result<Self, UrlError> {
        let url = Url::from_file_path(path).map_err(|()| UrlError::Path)?;
        // Reading the text again would resolve `..`, without a look at symbolic links.
        let is_plain = path.components().all(|part| part != Component::ParentDir);
        if is_plain { Self::check_path(url) } else { Err(UrlError::Path) }
    }

    fn check_path(url: Url) -> Result<Self, UrlError> {
        let is_path = url
            .to_file_path()
            .is_ok_and(|path| path.is_absolute() && !path.as_os_str().as_bytes().contains(&0));
        if is_path { Ok(Self(url)) } else { Err(UrlError::Path) }
    }

    /// The path, where it is one of this machine.
    pub fn local_path(&self) -> Option<PathBuf> {
        if self.0.scheme() == FILE { self.0.to_file_path().ok() } else { None }
    }

    /// Whether it is on a server that is asked by HTTP, perhaps over TLS.
    pub fn is_http(&self) -> bool {
        matches!(self.0.scheme(), "http" | "https")
    }

    /// Bucket and prefix, where it is one of S3.
    pub fn s3_place(&self) -> Option<S3Place> {
        if self.0.scheme() != S3 {
            return None;
        }
        let bucket = self.0.host_str()?.to_owned();
        Some(S3Place { bucket, prefix: self.0.path().trim_matches('/').to_owned() })
    }

    /// Names of buckets are those of hosts, and a prefix has names that need no escape.
    fn check_bucket(url: Url) -> Result<Self, UrlError> {
        let is_plain = |part: &str| {
            let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !part.is_empty() && part.bytes().all(is_fine)
        };
        let path = url.path().trim_matches('/');
        let has_place = url.host_str().is_some_and(is_plain) && url.port().is_none();
        let is_prefix = path.is_empty() || path.split('/').all(is_plain);
        if has_place && is_prefix { Ok(Self(url)) } else { Err(UrlError::Bucket) }
    }

    /// The URL of the list of a remote of that kind; the remote's own where its content is not declared by a list.
    pub fn document(&self, kind: RemoteKind) -> Url {
        let mut url = self.0.clone();
        if let Some(list) = kind.list().filter(|_| url.path().ends_with('/')) {
            url.set_path(&format!("{}{list}", url.path()));
        }
        url
    }

    /// The same URL with a `/` at its end: files lie below what it names, not beside it.
    pub fn directory(&self) -> Self {
        let mut url = self.0.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Self(url)
    }

    /// The URL of a file beside the document, by its path: names of any bytes, joined by `/`.
    pub fn file(&self, path: &[u8]) -> Url {
        let mut url = self.0.clone();
        let directory = url.path().rfind('/').map_or("/", |end| &url.path()[..=end]).to_owned();
        url.set_path(&format!("{directory}{}", escape(path)));
        url
    }
}

/// Escapes all but the characters that mean nothing in a URL (RFC 3986, "unreserved") and `/`.
fn escape(path: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
    path.iter()
        .map(
            |byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}

impl FromStr for RemoteUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(UrlError::Invalid)?;
        if !matches!(url.scheme(), "http" | "https" | FILE | S3) {
            return Err(UrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Login);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::Query);
        }
        match url.scheme() {
            FILE => Self::check_path(url),
            S3 => Self::check_bucket(url),
            _ => Ok(Self(url)),
        }
    }
}

impl TryFrom<String> for RemoteUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl From<RemoteUrl> for String {
    fn from(url: RemoteUrl) -> String {
        url.0.into()
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RemoteUrl {
        text.parse().unwrap()
    }

    #[test]
    fn files_lie_beside_the_document() {
        for (text, document, file) in [
            ("http://h/a/", "http://h/a/SHA256SUMS", "http://h/a/x/y"),
            ("http://h/a/LIST", "http://h/a/LIST", "http://h/a/x/y"),
            ("https://h", "https://h/SHA256SUMS", "https://h/x/y"),
            ("https://h:1/a%20b/c", "https://h:1/a%20b/c", "https://h:1/a%20b/x/y"),
        ] {
            assert_eq!(url(text).document(RemoteKind::Sums).as_str(), document);
            assert_eq!(url(text).file(b"x/y").as_str(), file);
        }
        let odd = url("http://h/").file("a b%?#\u{e4}".as_bytes());
        assert_eq!(odd.as_str(), "http://h/a%20b%25%3F%23%C3%A4");
        assert_eq!(url("http://h/").file(b"\xff").as_str(), "http://h/%FF");
    }

    #[test]
    fn h32_urls_with_a_password_are_refused_and_not_repeated() {
        for bad in [
            "https://user:secret@h/",
            "https://secret@h/",
            "ftp://h/",
            "file://secret/etc/",
            "file:///a%00b",
            "file:///a?secret",
            "h",
            "http://h/?a",
            "http://h/#a",
            "http://secret:x@[/",
        ] {
            let error = bad.parse::<RemoteUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_bucket_has_a_name_and_a_prefix() {
        let place = |text| url(text).s3_place().map(|place| (place.bucket, place.prefix));
        let found = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(place("s3://a.b-c"), found("a.b-c", ""));
        assert_eq!(place("s3://a/"), found("a", ""));
        assert_eq!(place("s3://a/x/y_1/"), found("a", "x/y_1"));
        assert_eq!(place("https://a/x"), None);
        for bad in ["s3:///x", "s3://", "s3://a/x//y", "s3://a/x y", "s3://a:1/", "s3://a b/"] {
            assert!(bad.parse::<RemoteUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_a_url_and_comes_back_as_it_was() {
        use std::ffi::OsStr;
        for path in ["/srv/tree", "/srv/a b%20?#", "/", "/\u{e4}"] {
            let url = RemoteUrl::from_path(Path::new(path)).unwrap();
            assert_eq!(url.local_path().unwrap(), Path::new(path));
            assert_eq!(url.as_str().parse::<RemoteUrl>().unwrap(), url);
        }
        let odd = Path::new(OsStr::from_bytes(b"/\xff"));
        assert_eq!(RemoteUrl::from_path(odd).unwrap().local_path().unwrap(), odd);
        for bad in ["a", "", "/a/../b"] {
            assert_eq!(RemoteUrl::from_path(Path::new(bad)), Err(UrlError::Path), "{bad}");
        }
        assert_eq!(url("file://localhost/a").local_path().unwrap(), Path::new("/a"));
        assert_eq!(url("https://h/a").local_path(), None);
    }
}
