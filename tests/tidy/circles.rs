//! Circles of a room: its modules that use each other, directly or by others.
//!
//! A module is a file or a folder directly in the room, say `src/engine`; `src/engine/mod.rs` is one as
//! well, called `mod`, and owns each name that is no module. An arrow is a pair of modules of which the
//! first names something of the second in its code: behind `crate::engine::` or `super::`, in `mod.rs`
//! behind the module's name. What is inside a folder, in comments, or in a `mod tests` at the end does
//! not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// Rooms whose modules depend on each other in one direction only.
const ROOMS: &[&str] = &["control", "engine"];

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// What of these rooms is in circles.
pub(crate) fn circle_offences(sources: &[Source]) -> Vec<String> {
    let offences = ROOMS.iter().flat_map(|room| {
        let arrows = arrows(room, sources);
        assert!(arrows.len() > 5, "the check of {room} looks at nothing");
        let inside = circle(&arrows);
        inside.into_iter().map(move |(from, to)| format!("{room}: {from} uses {to}"))
    });
    offences.collect()
}

/// The arrows from which a way leads back to where they begin.
fn circle(arrows: &Arrows) -> Vec<(String, String)> {
    let reaches = |from: &String, goal: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            if at == goal {
                return true;
            }
            if seen.insert(at) {
                open.extend(arrows.get(at).into_iter().flatten());
            }
        }
        false
    };
    let all = arrows.iter().flat_map(|(from, used)| used.iter().map(move |to| (from, to)));
    let inside = all.filter(|(from, to)| reaches(to, from));
    inside.map(|(from, to)| (from.clone(), to.clone())).collect()
}

fn arrows(room: &str, sources: &[Source]) -> Arrows {
    let place = |source: &Source| -> Option<Vec<String>> {
        let path = source.path.strip_prefix("src").ok()?.strip_prefix(room).ok()?;
        let path = path.with_extension("");
        let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
        Some(parts.filter(|part| part != "mod").collect())
    };
    let files = sources.iter().filter_map(|source| Some((place(source)?, source)));
    let files: Vec<(Vec<String>, &Source)> = files.collect();
    let modules: BTreeSet<&String> = files.iter().filter_map(|(place, _)| place.first()).collect();
    let mut arrows = Arrows::new();
    for (place, source) in &files {
        let own = place.first().map_or("mod", String::as_str);
        for used in uses(room, &code(source), place.len()) {
            let is_item = !modules.contains(&used);
            // In mod.rs any name may stand before `::`; those that are no modules are others' names.
            if is_item && place.is_empty() {
                continue;
            }
            let used = if is_item { "mod".to_owned() } else { used };
            if used != own {
                arrows.entry(own.to_owned()).or_default().insert(used);
            }
        }
    }
    arrows
}

/// The code without comments and without the tests at its end.
fn code(source: &Source) -> String {
    let lines = source.code().map(|(_, line)| line);
    lines.take_while(|line| *line != "mod tests {").collect::<Vec<_>>().join("\n")
}

/// First names of the paths into the room, as seen from a module of that depth.
fn uses(room: &str, code: &str, depth: usize) -> Vec<String> {
    let up = "super::".repeat(depth);
    let mut found = Vec::new();
    for prefix in [format!("crate::{room}::").as_str(), if depth == 0 { "" } else { &up }] {
        if prefix.is_empty() {
            found.extend(code.match_indices("::").filter_map(|(at, _)| {
                let before = code[..at].rsplit(is_no_word).next()?;
                let is_first = !code[..at - before.len()].ends_with("::");
                (is_first && !before.is_empty()).then(|| before.to_owned())
            }));
            continue;
        }
        for (at, _) in code.match_indices(prefix) {
            let before = &code[..at];
            if before.ends_with("::") || before.ends_with(|c: char| !is_no_word(c)) {
                continue;
            }
            found.extend(first_names(&code[at + prefix.len()..]));
        }
    }
    found
}

/// The first name of a path, or of each path of a list.
fn first_names(rest: &str) -> Vec<String> {
    let word = |text: &str| text.trim().split(is_no_word).next().unwrap_or_default().to_owned();
    let Some(list) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut start, mut names) = (0_u32, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            ',' if depth == 0 => {
                names.push(word(&list[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.push(word(&list[start..at]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn is_no_word(character: char) -> bool {
    !character.is_alphanumeric() && character != '_'
}

#[test]
fn arrows_are_found_in_paths_and_lists() {
    assert_eq!(uses("engine", "use super::gc::Run;", 1), ["gc"]);
    assert_eq!(uses("engine", "use super::{a::{B, C}, d};", 1), ["a", "d"]);
    assert_eq!(uses("engine", "use super::gc::Run; use super::super::seal;", 2), ["seal"]);
    assert_eq!(uses("engine", "crate::engine::gc::f(xsuper::y())", 1), ["gc"]);
    assert_eq!(uses("engine", "use gc::Run; crate::model::id()", 0), ["gc", "crate"]);
}

#[test]
fn a_circle_is_what_leads_back() {
    let list = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e")];
    let mut arrows = Arrows::new();
    for (from, to) in list {
        arrows.entry(from.to_owned()).or_default().insert(to.to_owned());
    }
    let found = circle(&arrows);
    let found: Vec<_> = found.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    assert_eq!(found, list[..3]);
}
