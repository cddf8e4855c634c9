//! Debian archives: what is wanted of one, and the documents in which it declares its files.
//!
//! `Release` lists the indexes of a suite with their digests ([`release`]); an index lists packages or sources with theirs
//! ([`index`]). Both are an attacker's until a signature says otherwise, and their paths are even then (H26): they are
//! [`DeclaredPath`]s, and whatever is written in another form than the archive format has is refused. The format is that
//! of <https://wiki.debian.org/DebianRepository/Format>.

pub mod index;
pub mod release;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::manifest::{DeclaredPath, PathError};

/// The architecture of packages that run on all of them.
pub const ALL: &str = "all";

/// Names of one setting, at most: a typing error must not ask for a thousand indexes.
pub const NAMES_MAX: usize = 64;

/// What is wanted of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianSettings {
    /// Which suites.
    pub suites: Vec<Suite>,
    /// Which components of each; none for a flat suite.
    pub components: Vec<ArchiveName>,
    /// Packages of which architectures; those for all of them come as well.
    pub architectures: Vec<ArchiveName>,
    /// Descriptions of packages in which languages.
    pub languages: Vec<ArchiveName>,
    /// Source packages come as well.
    #[serde(rename = "with_sources", default, skip_serializing_if = "std::ops::Not::not")]
    pub sources: bool,
    /// The keys of which one must have signed each suite; without it no signature is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring_file: Option<PathBuf>,
    /// A suite whose `Valid-Until` is over is used nevertheless.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_expired: bool,
}

impl DebianSettings {
    /// Checks that the settings say enough to sync.
    ///
    /// # Errors
    /// What is missing, or too much.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.suites.is_empty() {
            return Err(SettingsError::Missing("--suite"));
        }
        let is_flat = self.suites.iter().all(Suite::is_flat);
        if self.components.is_empty() && !is_flat {
            return Err(SettingsError::Missing("--component"));
        }
        if self.architectures.is_empty() && !self.sources && !is_flat {
            return Err(SettingsError::Missing("--architecture or --sources"));
        }
        let lists = [self.components.len(), self.architectures.len(), self.languages.len()];
        if self.suites.len() > NAMES_MAX || lists.iter().any(|length| *length > NAMES_MAX) {
            return Err(SettingsError::TooMany);
        }
        Ok(())
    }
}

/// Why the settings of a remote do not fit its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nothing could be chosen without it.
    #[error("a remote of kind `debian` needs {0}")]
    Missing(&'static str),
    /// Nobody would look at them.
    #[error(
        "suites, components, architectures, languages and keyrings are for remotes of kind `debian`"
    )]
    NoArchive,
    /// A URL where a path is needed.
    #[error("a remote of the kind `{0}` is a path of this machine")]
    NoPath(&'static str),
    /// A path where a URL is needed.
    #[error("the URL of a remote of the kind `{0}` begins with http:// or https://")]
    NoServer(&'static str),
    /// Nothing of it would be used.
    #[error(
        "a remote of the kind `{0}` is read from this machine: a login, certificates, a rate, connections and timeouts \
         mean nothing to it"
    )]
    OnlyPlace(&'static str),
    /// Nobody would look at them.
    #[error("endpoints, regions and the form of addresses are for remotes of kind `bucket`")]
    NoBucket,
    /// It is only read.
    #[error("a bucket over http:// or https:// is only read, so --sign-key signs nothing there")]
    SignsNothing,
    /// A directory has none.
    #[error(
        "--endpoint, --region and --virtual-hosted mean nothing to a bucket that is not named as s3://BUCKET/PREFIX"
    )]
    NoEndpoint,
    /// S3 knows keys alone.
    #[error(
        "a bucket of S3 takes a key: its id with --user, the secret key with --password-file or --password-env"
    )]
    NoToken,
    /// S3 knows keys alone.
    #[error("a bucket of S3 takes a key and no client certificate")]
    NoCertificate,
    /// Signatures are required, and whose is not said.
    #[error("--require-signed needs --allowed-signers FILE: it says whose signatures count")]
    NoSigners,
    /// Too many names.
    #[error(
        "a list of suites, components, architectures or languages has at most {NAMES_MAX} names"
    )]
    TooMany,
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveNameError {
    /// It is no path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A character that no archive uses.
    #[error("such a name has letters, digits and `+-._~:@/` only")]
    Character,
}

fn check_name(text: &str) -> Result<(), ArchiveNameError> {
    DeclaredPath::new(text.as_bytes())?;
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._~:@/".contains(&byte);
    if text.bytes().all(is_fine) { Ok(()) } else { Err(ArchiveNameError::Character) }
}

/// The name of a component, an architecture or a language: letters, digits and a few other characters, perhaps in several
/// parts with `/` between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArchiveName(String);

impl ArchiveName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArchiveName {
    type Err = ArchiveNameError;

    fn from_str(text: &str) -> Result<Self, ArchiveNameError> {
        check_name(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// The name of a suite: `bookworm`, `bookworm/updates`; or, with a `/` at the end, the directory of a flat archive, which has
/// no components (`./`, `stable/`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Suite(String);

impl Suite {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether its packages lie in no components.
    pub fn is_flat(&self) -> bool {
        self.0.ends_with('/')
    }

    /// The directory of its `Release`, below the archive; empty for the archive's own.
    pub fn directory(&self) -> String {
        match self.0.strip_suffix('/') {
            Some(".") => String::new(),
            Some(flat) => flat.to_owned(),
            None => format!("dists/{}", self.0),
        }
    }
}

impl FromStr for Suite {
    type Err = ArchiveNameError;

    fn from_str(text: &str) -> Result<Self, ArchiveNameError> {
        match text.strip_suffix('/') {
            Some("." | "") => return Ok(Self("./".to_owned())),
            Some(flat) => check_name(flat.strip_prefix("./").unwrap_or(flat)),
            None => check_name(text),
        }?;
        let text = text.strip_prefix("./").unwrap_or(text);
        Ok(Self(text.to_owned()))
    }
}

macro_rules! text_form {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = ArchiveNameError;

            fn try_from(text: String) -> Result<Self, ArchiveNameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_form!(ArchiveName);
text_form!(Suite);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_directories() {
        for (text, directory, is_flat) in [
            ("bookworm", "dists/bookworm", false),
            ("bookworm/updates", "dists/bookworm/updates", false),
            ("./", "", true),
            ("/", "", true),
            ("stable/", "stable", true),
            ("./a/b/", "a/b", true),
        ] {
            let suite: Suite = text.parse().unwrap();
            assert_eq!(
                (suite.directory().as_str(), suite.is_flat()),
                (directory, is_flat),
                "{text}"
            );
        }
    }

    #[test]
    fn h26_names_that_lead_elsewhere_are_refused() {
        for bad in [
            "", "..", "../a", "a/../b", "a//b", "/etc", "a b", "a\nb", "a\u{1b}", "%2e%2e", "a?b",
            "\u{e4}",
        ] {
            assert!(bad.parse::<ArchiveName>().is_err(), "{bad:?}");
            assert!(bad.parse::<Suite>().is_err(), "{bad:?}");
            assert!(bad.is_empty() || format!("{bad}/").parse::<Suite>().is_err(), "{bad:?}/");
        }
        for good in
            ["main", "non-free-firmware", "updates/main", "amd64", "pt_BR", "sr@latin", "~x"]
        {
            assert_eq!(good.parse::<ArchiveName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn settings_say_what_is_missing() {
        let name = |text: &str| text.parse::<ArchiveName>().unwrap();
        let whole = DebianSettings {
            suites: vec!["stable".parse().unwrap()],
            components: vec![name("main")],
            architectures: vec![name("amd64")],
            languages: Vec::new(),
            sources: false,
            keyring_file: None,
            allow_expired: false,
        };
        assert_eq!(whole.check(), Ok(()));
        let without = |change: fn(&mut DebianSettings)| {
            let mut settings = whole.clone();
            change(&mut settings);
            settings.check().map_err(|error| error.to_string())
        };
        assert!(without(|settings| settings.suites.clear()).unwrap_err().contains("--suite"));
        assert!(
            without(|settings| settings.components.clear()).unwrap_err().contains("--component")
        );
        assert!(without(|settings| settings.architectures.clear()).unwrap_err().contains("--arch"));
        let sources = |settings: &mut DebianSettings| {
            settings.architectures.clear();
            settings.sources = true;
        };
        assert_eq!(without(sources), Ok(()));
        let flat = |settings: &mut DebianSettings| {
            settings.suites = vec!["./".parse().unwrap()];
            settings.components.clear();
            settings.architectures.clear();
        };
        assert_eq!(without(flat), Ok(()));
        let many = |settings: &mut DebianSettings| {
            settings.languages = vec!["en".parse().unwrap(); NAMES_MAX + 1];
        };
        assert!(without(many).unwrap_err().contains("at most"));
    }
}
