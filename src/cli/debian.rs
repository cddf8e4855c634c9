//! What is wanted of a Debian archive: options of `cairn remote add` and `cairn remote set`.

use std::path::PathBuf;

use super::error::CliError;
use super::parse::absolute;
use crate::model::debian::{ArchiveName, DebianSettings, Suite};
use crate::model::remote::{RemoteKind, RemoteSettings};

/// Descriptions of packages come in this language where nothing else is said: Debian's indexes hold their first lines only.
const LANGUAGE_DEFAULT: &str = "en";

/// What is wanted. Each list replaces the one that there was.
#[derive(Debug, clap::Args)]
pub(super) struct ArchiveChoice {
    /// Of kind `debian`: suites, several with `,` between them
    #[arg(long, value_name = "SUITE", value_delimiter = ',')]
    suite: Vec<Suite>,
    /// Of kind `debian`: components of each suite
    #[arg(long, value_name = "COMPONENT", value_delimiter = ',')]
    component: Vec<ArchiveName>,
    /// Of kind `debian`: architectures; packages for all of them come as well
    #[arg(long, value_name = "ARCHITECTURE", value_delimiter = ',')]
    architecture: Vec<ArchiveName>,
    /// Of kind `debian`: languages of descriptions [default: en]
    #[arg(long, value_name = "LANGUAGE", value_delimiter = ',')]
    language: Vec<ArchiveName>,
    /// Of kind `debian`: source packages as well
    #[arg(long)]
    sources: bool,
    /// Of kind `debian`: public keys of which one must have signed each suite (.gpg or .asc)
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Of kind `debian`: use suites whose Valid-Until is over, or that are older than at the last sync
    #[arg(long)]
    allow_expired: bool,
}

/// What goes.
#[derive(Debug, clap::Args)]
pub(super) struct ArchiveCleared {
    /// Leave out source packages
    #[arg(long, conflicts_with = "sources")]
    no_sources: bool,
    /// Check no signature
    #[arg(long, conflicts_with = "keyring")]
    no_keyring: bool,
    /// Refuse suites whose Valid-Until is over, or that are older than at the last sync
    #[arg(long, conflicts_with = "allow_expired")]
    no_allow_expired: bool,
}

impl ArchiveChoice {
    fn is_empty(&self) -> bool {
        let lists = [&self.component, &self.architecture, &self.language];
        let has_names = !self.suite.is_empty() || lists.iter().any(|list| !list.is_empty());
        !(has_names || self.sources || self.allow_expired || self.keyring.is_some())
    }

    /// Puts what is wanted into settings; whoever keeps them checks whether it is enough.
    pub(super) fn apply(self, settings: &mut RemoteSettings) -> Result<(), CliError> {
        if settings.kind != RemoteKind::Debian && self.is_empty() {
            settings.debian = None;
            return Ok(());
        }
        let languages = LANGUAGE_DEFAULT.parse().into_iter().collect();
        let archive = settings.debian.get_or_insert_with(|| DebianSettings {
            suites: Vec::new(),
            components: Vec::new(),
            architectures: Vec::new(),
            languages,
            sources: false,
            keyring_file: None,
            allow_expired: false,
        });
        let Self { suite, component, architecture, language, sources, keyring, allow_expired } =
            self;
        if !suite.is_empty() {
            archive.suites = suite;
        }
        for (list, wanted) in [
            (&mut archive.components, component),
            (&mut archive.architectures, architecture),
            (&mut archive.languages, language),
        ] {
            if !wanted.is_empty() {
                *list = wanted;
            }
        }
        archive.sources |= sources;
        archive.allow_expired |= allow_expired;
        if let Some(path) = &keyring {
            archive.keyring_file = Some(absolute(path)?);
        }
        Ok(())
    }
}

impl ArchiveCleared {
    pub(super) fn apply(&self, settings: &mut RemoteSettings) {
        let Some(archive) = &mut settings.debian else { return };
        archive.sources &= !self.no_sources;
        archive.allow_expired &= !self.no_allow_expired;
        if self.no_keyring {
            archive.keyring_file = None;
        }
    }
}

/// Lines that say what is wanted.
pub(super) fn details(archive: &DebianSettings) -> Vec<String> {
    let list = |names: &[ArchiveName]| {
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let suites: Vec<_> = archive.suites.iter().map(ToString::to_string).collect();
    let mut lines = vec![format!("suites {}", suites.join(", "))];
    for (what, names) in [
        ("components", &archive.components),
        ("architectures", &archive.architectures),
        ("descriptions in", &archive.languages),
    ] {
        if !names.is_empty() {
            lines.push(format!("{what} {}", list(names)));
        }
    }
    if archive.sources {
        lines.push("source packages".to_owned());
    }
    lines.push(match &archive.keyring_file {
        Some(path) => format!("signed by a key of {}", path.display()),
        None => "signatures are not checked".to_owned(),
    });
    if archive.allow_expired {
        lines.push("also when it has expired".to_owned());
    }
    lines
}
