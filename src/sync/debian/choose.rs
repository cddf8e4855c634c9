//! Which of the indexes that a `Release` lists are wanted, and in which of their forms.

use super::DebianError;
use super::unpack::Compression;
use crate::model::debian::index::IndexKind;
use crate::model::debian::release::{Listed, Release};
use crate::model::debian::{ALL, DebianSettings, Suite};
use crate::model::manifest::DeclaredPath;

/// A form of an index that is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variant {
    /// Seen from the directory of the suite.
    pub(super) path: DeclaredPath,
    pub(super) listed: Listed,
    pub(super) compression: Compression,
}

/// An index that is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Index {
    /// What it declares; `None` where it only has to be there (descriptions of packages).
    pub(super) kind: Option<IndexKind>,
    /// Its forms, of which one will do; the best comes first.
    pub(super) variants: Vec<Variant>,
    /// How long it is when it is unpacked, where that is listed.
    pub(super) unpacked_bytes: Option<u64>,
}

/// The forms of an index of that name, the best first: what `apt` takes first, as far as we can read it.
fn find(release: &Release, name: &str, kind: Option<IndexKind>) -> Option<Index> {
    let listed = |compression: Compression| {
        let path = DeclaredPath::new(format!("{name}{}", compression.suffix()).as_bytes()).ok()?;
        let listed = *release.files.get(&path)?;
        Some(Variant { path, listed, compression })
    };
    let is_fine = |form: &Compression| kind.is_none() || form.is_readable();
    let variants: Vec<_> =
        Compression::ALL.into_iter().filter(is_fine).filter_map(listed).collect();
    let unpacked_bytes = listed(Compression::None).map(|plain| plain.listed.size_bytes);
    (!variants.is_empty()).then_some(Index { kind, variants, unpacked_bytes })
}

/// All indexes that are wanted of a suite, and the languages that it does not have.
///
/// # Errors
/// When there is none where one must be.
pub(super) fn choose(
    settings: &DebianSettings,
    suite: &Suite,
    release: &Release,
) -> Result<(Vec<Index>, Vec<String>), DebianError> {
    let missing = |what: String| {
        DebianError::NoIndex(Box::new(super::NoIndex {
            suite: suite.to_string(),
            what,
            components: release.components.join(" "),
            architectures: release.architectures.join(" "),
        }))
    };
    let mut indexes = Vec::new();
    if suite.is_flat() {
        for (kind, is_wanted) in
            [(IndexKind::Packages, true), (IndexKind::Sources, settings.sources)]
        {
            let found = find(release, kind.document(), Some(kind)).filter(|_| is_wanted);
            match (found, is_wanted) {
                (Some(index), _) => indexes.push(index),
                (None, true) => return Err(missing(format!("no {}", kind.document()))),
                (None, false) => {}
            }
        }
        return Ok((indexes, Vec::new()));
    }
    let mut lacking: Vec<String> = settings.languages.iter().map(ToString::to_string).collect();
    for component in &settings.components {
        for architecture in &settings.architectures {
            let name = format!("{component}/binary-{architecture}/Packages");
            let found = find(release, &name, Some(IndexKind::Packages));
            indexes.push(found.ok_or_else(|| {
                missing(format!("no packages of component {component} for {architecture}"))
            })?);
        }
        // What is listed here may be nowhere else.
        let names_all = settings.architectures.iter().any(|name| name.as_str() == ALL);
        if !names_all && !settings.architectures.is_empty() && !release.repeats_all {
            let name = format!("{component}/binary-{ALL}/Packages");
            indexes.extend(find(release, &name, Some(IndexKind::Packages)));
        }
        if settings.sources {
            let name = format!("{component}/source/Sources");
            let found = find(release, &name, Some(IndexKind::Sources));
            indexes.push(
                found.ok_or_else(|| missing(format!("no sources of component {component}")))?,
            );
        }
        for language in &settings.languages {
            let name = format!("{component}/i18n/Translation-{language}");
            if let Some(index) = find(release, &name, None) {
                lacking.retain(|lacking| lacking != language.as_str());
                indexes.push(index);
            }
        }
    }
    Ok((indexes, lacking))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Sha256;

    fn release(paths: &[&str]) -> Release {
        let listed = |path: &&str| {
            let listed = Listed { size_bytes: 1, sha256: Sha256::of(path.as_bytes()) };
            (DeclaredPath::new(path.as_bytes()).unwrap(), listed)
        };
        Release {
            components: vec!["main".to_owned(), "contrib".to_owned()],
            architectures: vec!["amd64".to_owned()],
            files: paths.iter().map(listed).collect(),
            ..Release::default()
        }
    }

    fn settings(sources: bool) -> DebianSettings {
        DebianSettings {
            suites: vec!["stable".parse().unwrap()],
            components: vec!["main".parse().unwrap()],
            architectures: vec!["amd64".parse().unwrap()],
            languages: vec!["en".parse().unwrap(), "de".parse().unwrap()],
            sources,
            keyring_file: None,
            allow_expired: false,
        }
    }

    /// The forms of all indexes that are chosen, and the languages that are lacking.
    fn chosen(
        release: &Release,
        suite: &str,
        sources: bool,
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let (indexes, lacking) = choose(&settings(sources), &suite.parse().unwrap(), release)
            .map_err(|error| error.to_string())?;
        let paths = indexes.iter().map(|index| {
            let paths: Vec<_> = index.variants.iter().map(|form| form.path.to_string()).collect();
            paths.join(" ")
        });
        Ok((paths.collect(), lacking))
    }

    const MAIN: [&str; 6] = [
        "main/binary-amd64/Packages",
        "main/binary-amd64/Packages.gz",
        "main/binary-amd64/Packages.bz2",
        "main/binary-amd64/Packages.xz",
        "main/binary-all/Packages.gz",
        "main/i18n/Translation-en.bz2",
    ];

    #[test]
    fn what_is_wanted_is_chosen_in_its_best_form() {
        let mut release = release(&MAIN);
        let packages = "main/binary-amd64/Packages.xz main/binary-amd64/Packages.gz main/binary-amd64/Packages";
        let (indexes, lacking) = chosen(&release, "stable", false).unwrap();
        assert_eq!(
            indexes,
            [packages, "main/binary-all/Packages.gz", "main/i18n/Translation-en.bz2"]
                .map(str::to_owned)
                .to_vec()
                .into_iter()
                .collect::<Vec<_>>()
        );
        assert_eq!(lacking, ["de"]);
        release.repeats_all = true;
        let (indexes, _) = chosen(&release, "stable", false).unwrap();
        assert_eq!(indexes.len(), 2, "packages of all architectures are in the other index");
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let error = chosen(&release(&MAIN[2..3]), "stable", false).unwrap_err();
        for part in ["no packages of component main for amd64", "main contrib", "amd64"] {
            assert!(error.contains(part), "{error}");
        }
        let error = chosen(&release(&MAIN), "stable", true).unwrap_err();
        assert!(error.contains("no sources of component main"), "{error}");
        let error = chosen(&release(&MAIN), "./", false).unwrap_err();
        assert!(error.contains("no Packages"), "{error}");
        let (indexes, _) = chosen(&release(&["Packages.gz", "Sources"]), "./", true).unwrap();
        assert_eq!(indexes, ["Packages.gz", "Sources"]);
    }
}
