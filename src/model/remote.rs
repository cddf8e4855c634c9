//! Remotes: where declared content comes from, and how to get in there.
//!
//! A password or token is never part of a remote: what is kept is where to read it (H32).

mod bucket;
mod edge;
mod place;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::debian::{DebianSettings, SettingsError};
use super::fetch_policy::FetchPolicy;

pub use bucket::{BucketSettings, Endpoint, S3Place};
pub use edge::EdgeSettings;
pub use place::{RemoteUrl, UrlError};

/// Connections to a remote at a time, unless its settings say otherwise.
pub const CONNECTIONS_DEFAULT: u32 = 8;

/// The most connections that settings may ask for.
pub const CONNECTIONS_MAX: u32 = 64;

/// How long a connection may take to be made, in milliseconds, unless a remote's settings say otherwise.
pub const CONNECT_TIMEOUT_MS_DEFAULT: u64 = 20_000;

/// How long a server may say nothing, before its answer or within it, in milliseconds; also the time over which its speed is
/// measured.
pub const IDLE_TIMEOUT_MS_DEFAULT: u64 = 60_000;

/// The fewest bytes per second, over the time of [`IDLE_TIMEOUT_MS_DEFAULT`], that a server may send one file with.
pub const LOWEST_RATE_DEFAULT: u64 = 1024;

/// What kind of thing a remote is, which says how its content is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteKind {
    /// A `PULP_MANIFEST`: paths with SHA-256 and size.
    Manifest,
    /// A checksum list, as `sha256sum` writes it: paths with SHA-256.
    Sums,
    /// A Debian archive: suites, whose indexes declare packages with SHA-256 and size.
    Debian,
    /// A directory on this machine. No list declares its files, so each sync walks it and reads those that changed.
    Directory,
    /// A tar archive on this machine. No list declares its members, so a sync reads it whole once it has changed.
    Archive,
    /// A bucket of an object store, or a directory that is used like one: repositories are pushed to it and pulled from it.
    Bucket,
}

impl RemoteKind {
    /// Whether sizes are declared: only then can files be shown whose bytes are not there (L2).
    pub fn declares_sizes(self) -> bool {
        match self {
            Self::Manifest | Self::Debian | Self::Bucket => true,
            Self::Sums | Self::Directory | Self::Archive => false,
        }
    }

    /// Whether it is a directory or an archive of this machine, which the daemon reads with its own rights. The others are asked over
    /// the network, or are buckets.
    pub fn is_local(self) -> bool {
        matches!(self, Self::Directory | Self::Archive)
    }

    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Manifest, Self::Sums, Self::Debian, Self::Directory, Self::Archive, Self::Bucket];

    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Sums => "sums",
            Self::Debian => "debian",
            Self::Directory => "directory",
            Self::Archive => "archive",
            Self::Bucket => "bucket",
        }
    }

    /// The name of the list that declares the content, where a URL ends with `/`; `None` where no list does.
    fn list(self) -> Option<&'static str> {
        match self {
            Self::Manifest => Some("PULP_MANIFEST"),
            Self::Sums => Some("SHA256SUMS"),
            Self::Debian | Self::Directory | Self::Archive | Self::Bucket => None,
        }
    }
}

impl fmt::Display for RemoteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A string that is no kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kinds of remotes are `manifest`, `sums`, `debian`, `directory`, `archive` and `bucket`"
)]
pub struct KindError;

impl FromStr for RemoteKind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(KindError)
    }
}

/// Where the daemon reads a password or token whenever it needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// The first line of a file that only its owner may read.
    File(PathBuf),
    /// A variable of the daemon's environment.
    Environment(String),
}

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// HTTP's basic authentication.
    Basic {
        /// The user.
        user: String,
        /// Where the password is.
        password: SecretSource,
    },
    /// A bearer token.
    Bearer {
        /// Where the token is.
        token: SecretSource,
    },
}

/// A certificate that the client shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// The certificate and those that lead to its authority, in PEM.
    pub certificate_file: PathBuf,
    /// Its private key, in PEM, in a file that only its owner may read.
    pub key_file: PathBuf,
}

/// All that is said about a remote but its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteSettings {
    /// What it is.
    pub kind: RemoteKind,
    /// Where it is.
    pub url: RemoteUrl,
    /// What is wanted of a Debian archive; `None` for all other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian: Option<DebianSettings>,
    /// What has to be known of a bucket; `None` for all other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketSettings>,
    /// The store is an edge of this bucket; `None` for all other kinds, and for a bucket that versions are pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeSettings>,
    /// How to get in; `None` where everybody may. User and password are key id and secret key of a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Authorities to believe besides those of the machine, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What the client shows of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// The most that all fetches together may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_second: Option<u64>,
    /// Connections at a time, 1 to [`CONNECTIONS_MAX`]; `None` for [`CONNECTIONS_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// How long a connection may take to be made; `None` for [`CONNECT_TIMEOUT_MS_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<u64>,
    /// How long the server may say nothing; `None` for [`IDLE_TIMEOUT_MS_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// The fewest bytes per second of a file, 0 for none; `None` for [`LOWEST_RATE_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest_bytes_per_second: Option<u64>,
    /// When its content is fetched.
    #[serde(default, skip_serializing_if = "FetchPolicy::is_default")]
    pub policy: FetchPolicy,
}

impl RemoteSettings {
    /// Settings that say nothing but kind and place.
    pub fn new(kind: RemoteKind, url: RemoteUrl) -> Self {
        Self {
            kind,
            url,
            debian: None,
            bucket: None,
            edge: None,
            login: None,
            ca_file: None,
            client_certificate: None,
            rate_bytes_per_second: None,
            connections: None,
            policy: FetchPolicy::default(),
            connect_timeout_ms: None,
            idle_timeout_ms: None,
            lowest_bytes_per_second: None,
        }
    }

    /// How long a connection may take to be made.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.unwrap_or(CONNECT_TIMEOUT_MS_DEFAULT))
    }

    /// How long the server may say nothing.
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.unwrap_or(IDLE_TIMEOUT_MS_DEFAULT))
    }

    /// The fewest bytes per second of a file; 0 for none. What our own limit of the rate keeps back is not held against the
    /// server.
    pub fn lowest_bytes_per_second(&self) -> u64 {
        let lowest = self.lowest_bytes_per_second.unwrap_or(LOWEST_RATE_DEFAULT);
        let allowed = self.rate_bytes_per_second.filter(|rate| *rate > 0);
        let share = allowed.map(|rate| rate / u64::from(self.connections()) / 2);
        share.map_or(lowest, |share| lowest.min(share))
    }

    /// Checks that the settings fit the kind.
    ///
    /// # Errors
    /// What is missing, or means nothing to a remote of that kind.
    pub fn check(&self) -> Result<(), SettingsError> {
        let kind = self.kind.as_str();
        if self.kind == RemoteKind::Bucket {
            return self.check_bucket();
        }
        if self.bucket.is_some() || self.edge.is_some() {
            return Err(SettingsError::NoBucket);
        }
        if self.url.s3_place().is_some() {
            return Err(if self.kind.is_local() {
                SettingsError::NoPath(kind)
            } else {
                SettingsError::NoServer(kind)
            });
        }
        match (self.kind.is_local(), self.url.local_path().is_some()) {
            (true, false) => return Err(SettingsError::NoPath(kind)),
            (false, true) => return Err(SettingsError::NoServer(kind)),
            (true, true) if !self.says_only_where() => return Err(SettingsError::OnlyPlace(kind)),
            (true, true) | (false, false) => {}
        }
        match (self.kind, &self.debian) {
            (RemoteKind::Debian, Some(debian)) => debian.check(),
            (RemoteKind::Debian, None) => Err(SettingsError::Missing("--suite")),
            (_, Some(_)) => Err(SettingsError::NoArchive),
            (_, None) => Ok(()),
        }
    }

    fn check_bucket(&self) -> Result<(), SettingsError> {
        if self.debian.is_some() {
            return Err(SettingsError::NoArchive);
        }
        if self
            .bucket
            .as_ref()
            .is_some_and(|bucket| bucket.require_signed && bucket.allowed_signers_file.is_none())
        {
            return Err(SettingsError::NoSigners);
        }
        if self.url.s3_place().is_some() {
            return match (&self.login, &self.client_certificate) {
                (Some(Login::Bearer { .. }), _) => Err(SettingsError::NoToken),
                (_, Some(_)) => Err(SettingsError::NoCertificate),
                _ => Ok(()),
            };
        }
        let bucket = self.bucket.as_ref();
        if bucket.is_some_and(BucketSettings::is_of_server) {
            return Err(SettingsError::NoEndpoint);
        }
        if self.is_read_only() {
            let signs = bucket.is_some_and(|bucket| bucket.signing_key_file.is_some());
            return if signs { Err(SettingsError::SignsNothing) } else { Ok(()) };
        }
        match self.says_only_where() {
            true => Ok(()),
            false => Err(SettingsError::OnlyPlace("bucket, in a directory,")),
        }
    }

    /// Whether it is a bucket that a server shows by plain HTTP: it can be read, and has no lists.
    pub fn is_read_only(&self) -> bool {
        self.kind == RemoteKind::Bucket && self.url.is_http()
    }

    /// Whether nothing but kind, place and policy is set.
    fn says_only_where(&self) -> bool {
        let plain = Self { policy: self.policy, ..Self::new(self.kind, self.url.clone()) };
        let (debian, bucket, edge) = (self.debian.clone(), self.bucket.clone(), self.edge.clone());
        *self == Self { debian, bucket, edge, ..plain }
    }

    /// The URL beside which its files lie.
    pub fn files(&self) -> RemoteUrl {
        match self.kind {
            RemoteKind::Debian => self.url.directory(),
            RemoteKind::Manifest
            | RemoteKind::Sums
            | RemoteKind::Directory
            | RemoteKind::Archive
            | RemoteKind::Bucket => self.url.clone(),
        }
    }

    /// How many connections may be open at a time.
    pub fn connections(&self) -> u32 {
        self.connections.unwrap_or(CONNECTIONS_DEFAULT).clamp(1, CONNECTIONS_MAX)
    }
}

/// What works with a remote, and what does not. A check that was not made is null: another one failed before, or there
/// was nothing to make it with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RemoteTest {
    /// The document that declares the content came, and what it declares can be read.
    pub usable: bool,
    /// Why it is not usable.
    pub failure: Option<String>,
    /// How many files it declares.
    #[serde(rename = "declared_file_count")]
    pub declared: Option<u64>,
    /// Sizes are declared, not only digests.
    pub has_sizes: Option<bool>,
    /// It says "not modified": an unchanged document costs one short answer.
    pub conditional: Option<bool>,
    /// Parts of a file can be had: a download that broke off goes on.
    pub ranges: Option<bool>,
    /// Of a bucket: of several who create one object at once, one does, and what is there is not overwritten.
    #[serde(default)]
    pub creates_once: Option<bool>,
    /// Of a bucket: what was written shows in a list at once.
    #[serde(default)]
    pub lists_at_once: Option<bool>,
    /// What else is to be known about it.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RemoteUrl {
        text.parse().unwrap()
    }

    #[test]
    fn l2_what_is_read_from_this_machine_has_a_path_and_nothing_of_the_network() {
        for kind in [RemoteKind::Directory, RemoteKind::Archive] {
            assert!(!kind.declares_sizes());
            let settings = RemoteSettings::new(kind, url("file:///srv/x"));
            assert_eq!(settings.check(), Ok(()));
            let limited = RemoteSettings { connections: Some(2), ..settings.clone() };
            assert_eq!(limited.check(), Err(SettingsError::OnlyPlace(kind.as_str())));
            assert!(RemoteSettings::new(kind, url("https://h/")).check().is_err());
            let text = serde_json::to_string(&settings).unwrap();
            assert_eq!(text, format!(r#"{{"kind":"{kind}","url":"file:///srv/x"}}"#));
        }
        let manifest = RemoteSettings::new(RemoteKind::Manifest, url("file:///srv/x"));
        assert!(manifest.check().unwrap_err().to_string().contains("http://"));
    }

    #[test]
    fn d1_a_bucket_is_one_of_s3_or_a_directory() {
        let check = |settings: &RemoteSettings| settings.check().map_err(|error| error.to_string());
        let told = BucketSettings {
            endpoint: Some("https://s3.example.org".parse().unwrap()),
            ..BucketSettings::default()
        };
        let mut settings = RemoteSettings::new(RemoteKind::Bucket, url("s3://releases/cairn"));
        settings.bucket = Some(told);
        assert_eq!(check(&settings), Ok(()));
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<RemoteSettings>(&text).unwrap(), settings);
        settings.url = url("file:///srv/bucket");
        assert!(check(&settings).unwrap_err().contains("--endpoint"));
        settings.bucket = None;
        assert_eq!(check(&settings), Ok(()));
        assert!(!settings.is_read_only());
        settings.connections = Some(2);
        assert!(check(&settings).unwrap_err().contains("directory"));
        for kind in [RemoteKind::Sums, RemoteKind::Directory] {
            assert!(check(&RemoteSettings::new(kind, url("s3://a"))).is_err());
        }
        settings = RemoteSettings::new(RemoteKind::Sums, url("https://h/"));
        settings.bucket = Some(BucketSettings::default());
        assert!(check(&settings).unwrap_err().contains("bucket"));
    }

    #[test]
    fn d2_a_bucket_over_http_is_read_only_and_takes_what_http_takes() {
        let check = |settings: &RemoteSettings| settings.check().map_err(|error| error.to_string());
        let mut settings = RemoteSettings::new(RemoteKind::Bucket, url("https://h/releases"));
        settings.login = Some(Login::Bearer { token: SecretSource::Environment("T".to_owned()) });
        settings.connections = Some(2);
        assert!(settings.is_read_only());
        assert_eq!(check(&settings), Ok(()));
        let endpoint = Some("https://s3.example.org".parse().unwrap());
        settings.bucket = Some(BucketSettings { endpoint, ..BucketSettings::default() });
        assert!(check(&settings).unwrap_err().contains("--endpoint"));
        let signing_key_file = Some("/key".into());
        settings.bucket = Some(BucketSettings { signing_key_file, ..BucketSettings::default() });
        assert!(check(&settings).unwrap_err().contains("signs nothing"));
        settings.bucket = None;
        settings.url = url("s3://releases/cairn");
        assert!(!settings.is_read_only());
        assert!(check(&settings).unwrap_err().contains("--user"), "a token is nothing to S3");
        settings.kind = RemoteKind::Sums;
        settings.url = url("https://h/");
        assert!(!settings.is_read_only());
    }

    #[test]
    fn settings_have_one_text_form() {
        let mut settings = RemoteSettings::new(RemoteKind::Sums, url("https://h/a/"));
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(text, r#"{"kind":"sums","url":"https://h/a/"}"#);
        settings.login = Some(Login::Basic {
            user: "me".to_owned(),
            password: SecretSource::File("/etc/secret".into()),
        });
        settings.rate_bytes_per_second = Some(1);
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<RemoteSettings>(&text).unwrap(), settings);
    }

    #[test]
    fn our_own_limit_is_not_held_against_a_server() {
        let mut settings = RemoteSettings::new(RemoteKind::Sums, url("https://h/"));
        assert_eq!(settings.lowest_bytes_per_second(), LOWEST_RATE_DEFAULT);
        settings.rate_bytes_per_second = Some(1600);
        assert_eq!(settings.lowest_bytes_per_second(), 100);
        settings.lowest_bytes_per_second = Some(0);
        assert_eq!(settings.lowest_bytes_per_second(), 0);
    }

    #[test]
    fn settings_fit_their_kind() {
        let mut settings = RemoteSettings::new(RemoteKind::Debian, url("https://h/debian"));
        assert!(settings.check().is_err());
        settings.debian = Some(DebianSettings {
            suites: vec!["./".parse().unwrap()],
            components: Vec::new(),
            architectures: Vec::new(),
            languages: Vec::new(),
            sources: false,
            keyring_file: None,
            allow_expired: false,
        });
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(settings.url.directory(), url("https://h/debian/"));
        assert_eq!(url("https://h/debian/").directory(), url("https://h/debian/"));
        settings.kind = RemoteKind::Sums;
        assert!(settings.check().is_err());
    }

    #[test]
    fn connections_have_bounds() {
        let mut settings = RemoteSettings::new(RemoteKind::Sums, url("https://h/"));
        assert_eq!(settings.connections(), CONNECTIONS_DEFAULT);
        settings.connections = Some(0);
        assert_eq!(settings.connections(), 1);
        settings.connections = Some(u32::MAX);
        assert_eq!(settings.connections(), CONNECTIONS_MAX);
    }
}
