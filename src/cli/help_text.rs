//! The texts of the commands' help, in paragraphs.
//!
//! In the source a paragraph has several lines, for who reads it there. A terminal has another width, so they become one, and
//! clap breaks that where the terminal ends.

use clap::Command;

/// Headings below which each line stands for itself.
const LISTS: [&str; 2] = ["EXAMPLES", "EXIT CODES"];

/// A command, and those below it, with texts in paragraphs.
pub(super) fn in_paragraphs(command: Command) -> Command {
    let text = command.get_after_long_help().map(|text| joined(&text.to_string()));
    let command = command.mut_subcommands(in_paragraphs);
    match text {
        Some(text) => command.after_long_help(text),
        None => command,
    }
}

/// Joins lines that belong together: of plain text up to the next empty line, and of what an answer in JSON looks like up
/// to the end of a clause.
fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut is_list, mut before) = (false, "");
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let goes_on = match indent {
            _ if line.is_empty() || before.is_empty() || is_heading(before) || is_list => false,
            0 => !before.starts_with(' '),
            _ => before.starts_with("  ") && !before.ends_with(['.', ':', ';']) && is_in_json(&out),
        };
        if !out.is_empty() {
            out.push(if goes_on { ' ' } else { '\n' });
        }
        out.push_str(if goes_on { line.trim_start() } else { line });
        if is_heading(line) {
            is_list = LISTS.iter().any(|list| line.starts_with(list));
        }
        before = line;
    }
    out
}

/// Whether a line stands above others: `EXIT CODES`, `JSON`.
fn is_heading(line: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    first.len() > 3 && first.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Whether the last heading so far is that of the answers in JSON.
fn is_in_json(text: &str) -> bool {
    text.lines().rev().find(|line| is_heading(line)).is_some_and(|line| line == "JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_answers_become_one_line_and_lists_stay() {
        let text = "\
First line of text,
and its end.

  kind   what it is
  other  what that is

Text again
goes on.

EXIT CODES
  0  all is well
  1  not so

JSON
  add: {a, b,
  c}, where c is long;
  remove: {d}

EXAMPLES
  cairn a
  cairn b";
        let expected = "\
First line of text, and its end.

  kind   what it is
  other  what that is

Text again goes on.

EXIT CODES
  0  all is well
  1  not so

JSON
  add: {a, b, c}, where c is long;
  remove: {d}

EXAMPLES
  cairn a
  cairn b";
        assert_eq!(joined(text), expected);
        assert_eq!(joined(expected), expected);
    }
}
