//! The style that a compiler does not check: layers, confined dependencies, file lengths, module
//! documentation, forgotten test files, dependencies. Each rule names its reason where it fails.
//!
//! Must not need a mount, a network or a build: it reads the sources, and what cargo knows of them.

mod circles;
mod dependencies;
mod numbers;
mod rules;
mod source;

use source::Source;

fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn layers_depend_downwards_only() {
    assert_none(
        "a module uses only the layers below its own (the order is in tests/tidy/rules.rs)",
        &rules::layer_offences(&Source::below("src")),
    );
}

#[test]
fn no_modules_of_a_room_use_each_other() {
    assert_none(
        "modules of a room depend on each other in one direction only",
        &circles::circle_offences(&Source::below("src")),
    );
}

#[test]
fn crates_stay_in_their_room() {
    assert_none(
        "these crates and keywords are confined to the files that wrap them",
        &rules::confinement_offences(&Source::below("src")),
    );
}

#[test]
fn files_are_short() {
    let mut sources = Source::below("src");
    sources.extend(Source::below("tests"));
    assert_none(
        "a file of more than 500 lines hides a concept that wants its own",
        &rules::length_offences(&sources),
    );
}

#[test]
fn modules_say_their_purpose() {
    let mut sources = Source::below("src");
    sources.extend(Source::below("tests"));
    assert_none(
        "each module starts with a //! that says what it is for",
        &rules::documentation_offences(&sources),
    );
}

#[test]
fn cited_numbers_are_defined() {
    let mut sources = Source::below("src");
    sources.extend(Source::below("tests"));
    sources.retain(|source| !source.path.ends_with("tidy/numbers.rs"));
    assert_none(
        "who reads a number (G3, H11) finds it in docs/requirements.md or docs/hazards.md",
        &numbers::undefined(&sources),
    );
}

#[test]
fn no_test_is_forgotten() {
    assert_none(
        "a file that no `mod` names is never compiled",
        &rules::unreferenced(&Source::below("tests"))
            .into_iter()
            .chain(rules::unreferenced(&Source::below("src")))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn words_that_hide_work_are_absent() {
    let mut sources = Source::below("src");
    sources.extend(Source::below("tests"));
    assert_none(
        "postponed work names its issue, tests are not skipped, and nothing sleeps",
        &rules::word_offences(&sources),
    );
}

#[test]
fn names_of_files_name_a_concept() {
    assert_none(
        "a file is called after what it is about",
        &rules::name_offences(&Source::below("src")),
    );
}

#[test]
fn scripts_stop_at_the_first_error() {
    assert_none(
        "a script is executable, and starts with `set -euo pipefail` after its comment",
        &rules::script_offences(),
    );
}

#[test]
fn dependencies_may_be_linked() {
    assert_none(
        "a dependency has a licence that deny.toml allows, and comes from crates.io",
        &dependencies::licence_offences(),
    );
}

#[test]
fn dependencies_are_used() {
    assert_none("nothing uses these dependencies", &dependencies::unused());
}
