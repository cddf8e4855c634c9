//! What the package depends on: licences that deny.toml allows, one registry, and nothing unused.
//! cargo-deny and cargo-machete know more and run where they are installed (scripts/check).

use std::fs;
use std::process::Command;

use crate::source::{Source, root};

/// Packages whose licence is not among those of deny.toml, or that come from elsewhere.
pub(crate) fn licence_offences() -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    // Other platforms' packages may never have been downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    cargo.args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    cargo.args(["--filter-platform", &platform]).current_dir(root());
    let output = cargo.output().expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let allowed = allowed();
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 50 && allowed.len() > 3, "the check looks at nothing");
    let mut offences = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or("none");
        if !permits(licence, &allowed) {
            offences.push(format!("{name}: {licence}"));
        }
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        if package["source"].as_str().is_some_and(|source| source != registry) {
            offences.push(format!("{name}: comes from {}", package["source"]));
        }
    }
    offences
}

fn allowed() -> Vec<String> {
    let text = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let list = text.split_once("allow = [").expect("a list of licences").1;
    let list = list.split_once(']').expect("its end").0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether one of the alternatives is allowed whole. `A/B` is how `A OR B` was once written.
fn permits(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    // AND binds stronger, unless there are parentheses: each part of these has to permit it.
    if let Some((group, rest)) = expression.strip_prefix('(').and_then(|e| e.split_once(')')) {
        let rest = rest.strip_prefix(" AND ");
        return permits(group, allowed) && rest.is_none_or(|rest| permits(rest, allowed));
    }
    let one = |licence: &str| allowed.iter().any(|allowed| allowed == licence.trim());
    expression.split(" OR ").any(|alternative| alternative.split(" AND ").all(one))
}

/// Dependencies that no line of code names.
pub(crate) fn unused() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let used = |directories: &[&str], name: &str| {
        let (path, import) = (format!("{name}::"), format!("use {name}"));
        let mut sources = directories.iter().flat_map(|directory| Source::below(directory));
        sources.any(|source| {
            source.code().any(|(_, line)| line.contains(&path) || line.contains(&import))
        })
    };
    let listed = |section: &str| -> Vec<String> {
        let lines = manifest.lines().skip_while(|line| *line != section).skip(1);
        let lines = lines.take_while(|line| !line.starts_with('['));
        let names = lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
        names.filter(|name| !name.starts_with('#')).map(str::to_owned).collect()
    };
    let normal = listed("[dependencies]");
    assert!(normal.len() > 10, "the check looks at nothing");
    let normal = normal.into_iter().map(|name| (name, &["src"][..]));
    let tests = listed("[dev-dependencies]").into_iter().map(|name| (name, &["src", "tests"][..]));
    normal
        .chain(tests)
        .filter(|(name, places)| !used(places, &name.replace('-', "_")))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn licences_are_alternatives_of_sums() {
    let allowed: Vec<String> = ["MIT", "ISC", "Zlib"].map(str::to_owned).to_vec();
    for good in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/ISC", "MIT AND ISC", "(GPL-3.0 OR MIT) AND ISC"]
    {
        assert!(permits(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "none", "(GPL-3.0 OR MIT) AND GPL-2.0"] {
        assert!(!permits(bad, &allowed), "{bad}");
    }
}
