//! Numbers of promises and hazards (G3, H11): each that a comment cites is defined in `docs/`.

use std::collections::BTreeSet;
use std::fs;

use crate::source::{Source, root};

/// The pages that define the numbers.
const PAGES: &[&str] = &["docs/requirements.md", "docs/hazards.md"];

/// Other pages that cite them.
const CITING: &[&str] = &["README.md", "src/ARCHITECTURE.md"];

/// Citations of a number that no page defines.
pub(crate) fn undefined(sources: &[Source]) -> Vec<String> {
    let read = |page: &str| fs::read_to_string(root().join(page)).expect("a page of the package");
    let defined: BTreeSet<String> = PAGES.iter().flat_map(|page| defined_by(&read(page))).collect();
    let mut offences = Vec::new();
    let mut look = |at: &str, text: &str| {
        for (index, line) in text.lines().enumerate() {
            let unknown = cited_by(line).filter(|number| !defined.contains(*number));
            offences.extend(unknown.map(|number| format!("{at}:{}: {number}", index + 1)));
        }
    };
    for page in PAGES.iter().chain(CITING) {
        look(page, &read(page));
    }
    for source in sources {
        let comments: Vec<&str> = source
            .text
            .lines()
            .map(|line| line.find("//").map_or("", |start| &line[start..]))
            .collect();
        look(&source.path.display().to_string(), &comments.join("\n"));
    }
    offences
}

/// A definition is a list item or a row of a table that starts with the number.
fn defined_by(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("- **").or_else(|| line.strip_prefix("| ")))
        .filter_map(|rest| cited_by(rest).next().filter(|number| rest.starts_with(number)))
        .map(str::to_owned)
        .collect()
}

/// The words of a line that have the form of such a number.
fn cited_by(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| word.starts_with(['G', 'H', 'N', 'R']))
        .filter(|word| matches!(word.len(), 2 | 3) && word[1..].bytes().all(|b| b.is_ascii_digit()))
}

#[test]
fn citations_and_definitions_are_told_apart() {
    let page = "- **G1** Collecting (G2).\n| N4 | `mkdir` | N5 |\nH3 is cited\n";
    assert_eq!(defined_by(page), BTreeSet::from(["G1".to_owned(), "N4".to_owned()]));
    let cited: Vec<&str> = cited_by("kept (H1, G16), not RH1 nor H100 nor N1x").collect();
    assert_eq!(cited, ["H1", "G16"]);
}
