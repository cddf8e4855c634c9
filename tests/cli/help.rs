//! The help of every verb, compared with what was last looked at. `UPDATE_GOLDEN=1` accepts it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cairn::cli::error::{EXIT_PIPE, EXIT_REMOTE_CHANGED, Finding};
use cairn::control::protocol::ErrorKind;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden").join(format!("{name}.txt"))
}

/// Compares one help text with its golden file; returns what is wrong.
fn check(name: &str, help: &str) -> Option<String> {
    let path = golden(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, help).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    (expected != help).then(|| format!("{name}: differs from {}", path.display()))
}

#[test]
fn every_verb_has_help_with_an_example() {
    let mut command = cairn::cli::command().term_width(100);
    command.build();
    let mut wrong: Vec<String> = Vec::new();
    wrong.extend(check("cairn", &command.render_long_help().to_string()));
    for verb in command.get_subcommands_mut() {
        let name = verb.get_name().to_owned();
        if name == "help" {
            continue;
        }
        let help = verb.render_long_help().to_string();
        wrong.extend(check(&name, &help));
        let example = help.split("EXAMPLES\n").nth(1).unwrap_or_default();
        if !example.contains(&format!("cairn {name}")) {
            wrong.push(format!("{name}: no example of it under EXAMPLES"));
        }
        if !help.contains("--json") {
            wrong.push(format!("{name}: --json is not mentioned"));
        }
        if verb.get_about().is_none() {
            wrong.push(format!("{name}: no line that says what it does"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\nUPDATE_GOLDEN=1 accepts the new help");
}

/// The exit codes that a help text lists.
fn listed(help: &str) -> BTreeSet<u8> {
    let part = help.split("EXIT CODES\n").nth(1).unwrap_or_default();
    let lines = part.split("\n\n").next().unwrap_or_default().lines();
    lines.filter_map(|line| line.trim_start().split("  ").next()?.parse().ok()).collect()
}

#[test]
fn the_help_lists_the_exit_codes_that_there_are() {
    let mut command = cairn::cli::command();
    let help = listed(&command.render_long_help().to_string());
    let kinds = ErrorKind::ALL.iter().map(|kind| kind.exit_code());
    let findings = Finding::ALL.iter().map(|finding| finding.exit_code());
    let all: Vec<u8> =
        [0, EXIT_REMOTE_CHANGED, EXIT_PIPE].into_iter().chain(kinds).chain(findings).collect();
    let distinct: BTreeSet<u8> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "no two say the same: {all:?}");
    assert_eq!(help, distinct);
    let mut found = BTreeSet::new();
    for verb in command.get_subcommands_mut() {
        let listed = listed(&verb.render_long_help().to_string());
        assert!(listed.is_subset(&help), "{}: {listed:?}", verb.get_name());
        found.extend(listed);
    }
    for finding in Finding::ALL {
        assert!(found.contains(&finding.exit_code()), "{finding:?} is in the help of its command");
    }
}

#[test]
fn examples_parse() {
    use clap::Parser;
    let mut command = cairn::cli::command();
    command.build();
    for verb in command.get_subcommands_mut() {
        let name = verb.get_name().to_owned();
        if name == "help" {
            continue;
        }
        let help = verb.render_long_help().to_string();
        let examples = help.split("EXAMPLES\n").nth(1).unwrap_or_default();
        for line in examples.lines().filter(|line| line.starts_with("  ")) {
            let start = line.find("cairn ").unwrap_or_default();
            let end = line[start..].find(['|', '>', ')']).map_or(line.len(), |end| start + end);
            let words = line[start..end].replace('\'', "");
            let words = words.split(' ').filter(|word| !word.is_empty());
            // A message of several words is one argument only to a shell.
            let words: Vec<&str> = words.take_while(|word| *word != "-m").collect();
            if let Err(error) = cairn::cli::Cli::try_parse_from(&words) {
                panic!("{line}: {error}");
            }
        }
    }
}
