//! The rules themselves: each returns its offences, one line each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::source::{Source, root};

/// The layers, lowest first; those in one row do not know each other.
const LAYERS: &[&[&str]] = &[
    &["sys"],
    &["model"],
    &["metrics"],
    &["store", "net"],
    &["engine", "sync", "bucket"],
    &["vfs", "control", "lazy"],
    &["archive", "backup", "fuse"],
    &["web"],
    &["daemon"],
    &["cli"],
];

/// What may appear only in certain files, with the reason.
struct Confined {
    /// Words of which one starts the use of the thing.
    words: &'static [&'static str],
    /// Prefixes of the paths where it may appear.
    places: &'static [&'static str],
    reason: &'static str,
}

const CONFINED: &[Confined] = &[
    Confined {
        words: &["fuser::", "use fuser"],
        places: &["src/fuse/"],
        reason: "the logic must run without a kernel",
    },
    Confined {
        words: &["rusqlite::", "use rusqlite"],
        places: &["src/store/catalog/"],
        reason: "the catalog's rows are values elsewhere",
    },
    Confined { words: &["libc::", "use libc"], places: &["src/sys/"], reason: "one room to audit" },
    Confined {
        words: &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"],
        places: &["src/sys/"],
        reason: "one room to audit",
    },
    Confined {
        words: &["tokio::", "use tokio", "async fn", "async move"],
        places: &["src/net/", "src/web/"],
        reason: "the rest is threads that block; two rooms have a runtime",
    },
    Confined {
        words: &[
            "reqwest::",
            "use reqwest",
            "rustls::",
            "use rustls",
            "object_store::",
            "use object_store",
            "futures_util::",
            "use futures_util",
        ],
        places: &["src/net/"],
        reason: "one room fetches",
    },
    Confined {
        words: &["ssh_key::", "use ssh_key"],
        places: &["src/bucket/signature/"],
        reason: "events alone are signed",
    },
    Confined {
        words: &[
            "hyper::",
            "use hyper",
            "maud::",
            "use maud",
            "prometheus_client::",
            "use prometheus_client",
        ],
        places: &["src/web/"],
        reason: "one room is asked over HTTP and writes pages",
    },
    Confined {
        words: &["anyhow::", "use anyhow"],
        places: &[],
        reason: "each layer has one error enum; anyhow is for tests",
    },
];

const LINES_MAX: usize = 500;

/// Packages of their own below the tests: what they compile is said in their Cargo.toml.
const OTHER_PACKAGE: &str = "tests/fuzz/libfuzzer";

/// The only file of the tests that may pause: it polls conditions.
const WAITING: &str = "tests/support/src/wait.rs";

/// Uses of a layer that is not below the user's own.
pub(crate) fn layer_offences(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        let layer = source.layer().unwrap_or_default();
        if matches!(layer, "lib" | "main") {
            continue;
        }
        let Some(own) = rank(layer) else {
            offences.push(format!("{}: {layer} is no layer", source.path.display()));
            continue;
        };
        for (line, code) in source.code() {
            for used in uses(code) {
                let allowed = used == layer || rank(used).is_some_and(|other| other < own);
                if !allowed {
                    offences.push(format!("{}: {layer} uses {used}", source.at(line)));
                }
            }
        }
    }
    offences
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&layer))
}

/// The layers that follow `crate::` in a line.
fn uses(code: &str) -> impl Iterator<Item = &str> {
    code.split("crate::").skip(1).flat_map(|rest| {
        let names = rest.strip_prefix('{').map_or(rest, |list| list);
        let end = if names.len() < rest.len() { names.find('}') } else { names.find(is_no_word) };
        let names = &names[..end.unwrap_or(names.len())];
        names.split(',').filter_map(|name| name.trim().split(is_no_word).next())
    })
}

fn is_no_word(character: char) -> bool {
    !character.is_alphanumeric() && character != '_'
}

/// Confined words in other files.
pub(crate) fn confinement_offences(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        for rule in CONFINED {
            if rule.places.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            for (line, code) in source.code() {
                if rule.words.iter().any(|word| starts_word(code, word)) {
                    let at = source.at(line);
                    offences.push(format!("{at}: `{}`: {}", code.trim(), rule.reason));
                }
            }
        }
    }
    offences
}

/// Whether `word` occurs in `code` where a word may start: `rustix_libc::` is not `libc::`.
fn starts_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(|c: char| !is_no_word(c)))
}

/// Files that are too long.
pub(crate) fn length_offences(sources: &[Source]) -> Vec<String> {
    let lengths = sources.iter().map(|source| (source, source.text.lines().count()));
    lengths
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path.display()))
        .collect()
}

/// Files without a leading `//!`.
pub(crate) fn documentation_offences(sources: &[Source]) -> Vec<String> {
    let documented = |source: &&Source| {
        source.text.starts_with("//!") || source.text.starts_with("#![doc = include_str!")
    };
    let missing = sources.iter().filter(|source| !documented(source));
    missing.map(|source| source.path.display().to_string()).collect()
}

/// Files that no module of their directory or the one above declares.
pub(crate) fn unreferenced(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        let (Some(stem), Some(parent)) = (source.path.file_stem(), source.path.parent()) else {
            continue;
        };
        let stem = stem.to_string_lossy();
        let depth = source.path.components().count();
        let is_root = match depth {
            2 => true, // src/lib.rs, src/main.rs, tests/NAME.rs
            3 => source.path.starts_with("tests") && stem == "main",
            4 => source.path.ends_with("src/lib.rs"), // a crate of the tests
            _ => false,
        };
        if is_root || source.path.starts_with(OTHER_PACKAGE) {
            continue;
        }
        let (directory, module) = if stem == "mod" {
            let name = parent.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (parent.parent().unwrap_or(parent), name)
        } else {
            (parent, stem.into_owned())
        };
        let declaration = format!("mod {module};");
        let declares = |other: &Source| {
            let beside = other.path.parent() == Some(directory);
            // `src/vfs.rs` declares the files of `src/vfs/`.
            let above = other.path.with_extension("") == directory;
            (beside || above) && other.text.lines().any(|line| line.trim().ends_with(&declaration))
        };
        if !sources.iter().any(declares) {
            offences.push(source.path.display().to_string());
        }
    }
    offences
}

/// Words that hide unfinished work.
pub(crate) fn word_offences(sources: &[Source]) -> Vec<String> {
    // Put together here, so that this file does not find itself.
    let banned = [["FIX", "ME"].concat(), ["XX", "X"].concat(), ["HA", "CK"].concat()];
    let postponed = ["TO", "DO"].concat();
    let skipped = ["#[ig", "nore"].concat();
    let pause = ["thread::", "sleep"].concat();
    let mut offences = Vec::new();
    for source in sources {
        let is_test = source.path.starts_with("tests");
        let may_pause = source.path == Path::new(WAITING) || !is_test;
        for (index, line) in source.text.lines().enumerate() {
            let at = source.at(index + 1);
            if let Some(word) = banned.iter().find(|word| starts_word(line, word)) {
                offences.push(format!("{at}: {word}"));
            }
            if line.contains(&postponed) && !line.contains(&format!("{postponed}(#")) {
                offences.push(format!("{at}: {postponed} without `(#ISSUE)`"));
            }
            if line.contains(&skipped) {
                offences.push(format!("{at}: a skipped test"));
            }
            if line.contains(&pause) && !may_pause {
                offences.push(format!("{at}: a sleep; wait for a condition"));
            }
        }
    }
    offences
}

/// File names that say nothing.
pub(crate) fn name_offences(sources: &[Source]) -> Vec<String> {
    const VAGUE: &[&str] = &["utils", "util", "helpers", "manager", "misc", "common", "types"];
    let vague = |source: &&Source| {
        let mut words = source.path.iter().filter_map(|part| part.to_str());
        words.any(|word| VAGUE.contains(&word.strip_suffix(".rs").unwrap_or(word)))
    };
    sources.iter().filter(vague).map(|source| source.path.display().to_string()).collect()
}

/// Scripts that go on after an error, or cannot be run.
pub(crate) fn script_offences() -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(root().join("scripts"))
        .expect("scripts/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    paths.push(root().join(".ci/run"));
    paths.sort();
    let mut offences = Vec::new();
    for path in paths {
        let name = path.strip_prefix(root()).expect("below the package").display().to_string();
        let text = fs::read_to_string(&path).expect("a script");
        if text.starts_with("#!/usr/bin/env python3") {
            continue;
        }
        let first = text.lines().find(|line| !line.starts_with('#') && !line.is_empty());
        if !text.starts_with("#!") || first != Some("set -euo pipefail") {
            offences.push(format!("{name}: no `set -euo pipefail`"));
        }
        let mode = fs::metadata(&path).expect("stat").permissions().mode();
        if mode & 0o111 == 0 {
            offences.push(format!("{name}: not executable"));
        }
    }
    offences
}

#[test]
fn uses_finds_paths_and_lists() {
    let found = |code| uses(code).collect::<Vec<_>>();
    assert_eq!(found("use crate::model::id::Ino;"), ["model"]);
    assert_eq!(found("use crate::{model::id, store};"), ["model", "store"]);
    assert_eq!(found("let x: crate::vfs::Attr = crate::fuse::decode();"), ["vfs", "fuse"]);
    assert_eq!(found("pub(crate) fn f() {}"), [""; 0]);
}
