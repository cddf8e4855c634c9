//! Pieces of messages, used by every layer: counts with their noun, and text that somebody else wrote.

use std::fmt::Display;

/// `1 file`, `2 files`, `1 repository`, `2 repositories`: a number with its noun, in the singular for
/// one. Of several words the last is the noun.
pub(crate) fn count<N>(number: N, noun: &str) -> String
where
    N: Copy + Display + PartialEq + From<u8>,
{
    if number == N::from(1) {
        format!("{number} {noun}")
    } else {
        format!("{number} {}", plural(noun))
    }
}

/// `is` for one, `are` for all other numbers.
pub(crate) fn is_or_are<N: PartialEq + From<u8>>(number: N) -> &'static str {
    if number == N::from(1) { "is" } else { "are" }
}

fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if noun.ends_with(['s', 'x']) || noun.ends_with("ch") || noun.ends_with("sh") => {
            format!("{noun}es")
        }
        _ => format!("{noun}s"),
    }
}

/// Escapes control characters, so that what others wrote cannot drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control().then(|| c.escape_default());
            let plain = escape.is_none().then_some(c);
            plain.into_iter().chain(escape.into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_else_plural() {
        for (number, noun, text) in [
            (0, "file", "0 files"),
            (1, "file", "1 file"),
            (2, "file", "2 files"),
            (1, "repository", "1 repository"),
            (3, "directory", "3 directories"),
            (2, "directory page", "2 directory pages"),
            (2, "day", "2 days"),
            (2, "process", "2 processes"),
            (2, "hash", "2 hashes"),
        ] {
            assert_eq!(count(number, noun), text);
        }
        assert_eq!([is_or_are(0_u64), is_or_are(1), is_or_are(2)], ["are", "is", "are"]);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(printable("h\u{e9} `x`"), "h\u{e9} `x`");
    }
}
