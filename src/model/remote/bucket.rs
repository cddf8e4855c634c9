//! What is said of a remote of the kind `bucket` beside its URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::place::UrlError;

/// A bucket of S3, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Place {
    /// The name of the bucket.
    pub bucket: String,
    /// What all keys begin with, without `/` at its ends; may be empty.
    pub prefix: String,
}

/// The address of a server that speaks S3: `http://` or `https://`, a host, perhaps a port and a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(Url);

impl Endpoint {
    /// Where a bucket is asked for there: by its name in the path, or in the host.
    pub fn of_bucket(&self, bucket: &str, virtual_hosted: bool) -> String {
        let mut url = self.0.clone();
        let host = url.host_str().map(|host| format!("{bucket}.{host}"));
        if let Some(host) = host.filter(|_| virtual_hosted) {
            // An address of numbers has no names below it, so the bucket stays in the path.
            if url.set_host(Some(&host)).is_err() {
                return self.0.as_str().trim_end_matches('/').to_owned();
            }
        }
        url.as_str().trim_end_matches('/').to_owned()
    }
}

impl FromStr for Endpoint {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(UrlError::Invalid)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlError::Endpoint);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Login);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::Query);
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.0.into()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What has to be known of a bucket besides its place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BucketSettings {
    /// The server; `None` for Amazon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The region; `None` for `us-east-1`, which other servers take for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The bucket's name is in the host, and not in the path.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub virtual_hosted: bool,
    /// Whether the store honours conditions (H44), as a probe found it; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creates_once: Option<bool>,
    /// The key that signs what is published, unless another one is named: a private key, or the public one of a key that an agent
    /// has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key_file: Option<PathBuf>,
    /// Whose signatures count: a file as `ssh-keygen` reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_signers_file: Option<PathBuf>,
    /// Events without a signature are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_signed: bool,
}

impl BucketSettings {
    /// Whether a server of S3 is told anything: a directory needs nothing of that.
    pub(super) fn is_of_server(&self) -> bool {
        self.endpoint.is_some() || self.region.is_some() || self.virtual_hosted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_names_a_bucket_in_its_path_or_its_host() {
        let endpoint: Endpoint = "https://s3.example.org:8443/".parse().unwrap();
        assert_eq!(endpoint.of_bucket("b", false), "https://s3.example.org:8443");
        assert_eq!(endpoint.of_bucket("b", true), "https://b.s3.example.org:8443");
        let plain: Endpoint = "http://127.0.0.1:9/x".parse().unwrap();
        assert_eq!(plain.of_bucket("b", false), "http://127.0.0.1:9/x");
        for bad in ["s3://x", "https://u:secret@h", "https://h/?secret", "h"] {
            let error = bad.parse::<Endpoint>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
