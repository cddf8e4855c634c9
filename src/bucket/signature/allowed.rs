//! Who may sign: a list as `ssh-keygen` reads it (ALLOWED SIGNERS in ssh-keygen(1)).
//!
//! ```text
//! alice@example.org ssh-ed25519 AAAA…
//! ci namespaces="cairn",valid-before="20300101Z" ssh-ed25519 AAAA…
//! ```
//!
//! Certificates (`cert-authority`) are not known here, and times have to end in `Z`, so that they mean the same on all machines.
//! A line that is not understood is an error: left out, it might be the one that limits a key.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::PublicKey;

use super::{NAMESPACE, SignatureError, fingerprint};
use crate::model::time::Timestamp;

/// Why a list of signers cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowedSignersError {
    /// A line is not understood.
    #[error("line {line}: {rule}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        rule: String,
    },
    /// It is no text.
    #[error("it is no text")]
    NoText,
    /// Nobody may sign.
    #[error("it names no key")]
    Empty,
}

/// One key, and what it may sign.
#[derive(Debug, Clone)]
struct Line {
    principals: String,
    key: PublicKey,
    /// Its namespaces, if there is such a limit.
    namespaces: Option<String>,
    /// In seconds of 1970: not before, and not at or after.
    valid_after: Option<i64>,
    valid_before: Option<i64>,
}

/// Who may sign.
#[derive(Debug, Clone)]
pub struct AllowedSigners {
    lines: Vec<Line>,
}

impl AllowedSigners {
    /// Reads a list.
    ///
    /// # Errors
    /// The first line that is not understood; a list of nobody.
    pub fn parse(bytes: &[u8]) -> Result<Self, AllowedSignersError> {
        let text = std::str::from_utf8(bytes).map_err(|_| AllowedSignersError::NoText)?;
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |rule| AllowedSignersError::Line { line: number, rule };
            lines.push(parse_line(line).map_err(wrong)?);
        }
        if lines.is_empty() { Err(AllowedSignersError::Empty) } else { Ok(Self { lines }) }
    }

    /// Whether a key may sign an event of that time.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn check(&self, key: &PublicKey, time: Timestamp) -> Result<(), SignatureError> {
        let mut refused = SignatureError::UnknownKey(fingerprint(key));
        for line in self.lines.iter().filter(|line| line.key.key_data() == key.key_data()) {
            match line.limit(time) {
                None => return Ok(()),
                Some(rule) => {
                    let principals = line.principals.clone();
                    refused = SignatureError::NotValid { key: fingerprint(key), principals, rule };
                }
            }
        }
        Err(refused)
    }
}

impl Line {
    /// What the line says against a signature of that time.
    fn limit(&self, time: Timestamp) -> Option<&'static str> {
        let is_ours = |name: &str| name.trim() == NAMESPACE;
        if self.namespaces.as_ref().is_some_and(|names| !names.split(',').any(is_ours)) {
            return Some("allowed for other purposes than the namespace `cairn`");
        }
        if self.valid_after.is_some_and(|after| time.seconds < after) {
            return Some("not valid yet at the time of the event");
        }
        let is_over = self.valid_before.is_some_and(|before| time.seconds >= before);
        is_over.then_some("not valid any more at the time of the event")
    }
}

fn parse_line(line: &str) -> Result<Line, String> {
    let (principals, rest) =
        line.split_once([' ', '\t']).ok_or("a line is: who, perhaps options, a key")?;
    let rest = rest.trim_start();
    let mut parsed = match PublicKey::from_openssh(rest) {
        Ok(key) => Line::new(key),
        Err(_) => {
            let (options, key) = split_options(rest).ok_or("there is no key")?;
            let key = PublicKey::from_openssh(key)
                .map_err(|error| format!("the key cannot be read: {error}"))?;
            let mut line = Line::new(key);
            options.into_iter().try_for_each(|option| line.apply(option))?;
            line
        }
    };
    parsed.principals = principals.to_owned();
    Ok(parsed)
}

impl Line {
    fn new(key: PublicKey) -> Self {
        let principals = String::new();
        Self { principals, key, namespaces: None, valid_after: None, valid_before: None }
    }

    fn apply(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, value.trim_matches('"')),
            None => (option, ""),
        };
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => self.namespaces = Some(value.to_owned()),
            "valid-after" => self.valid_after = Some(parse_time(value)?),
            "valid-before" => self.valid_before = Some(parse_time(value)?),
            "cert-authority" => {
                return Err("certificates are not known here: name the keys themselves".to_owned());
            }
            _ => return Err(format!("there is no option `{name}`")),
        }
        Ok(())
    }
}

/// Options, which commas separate, and what comes after the first space outside quotes.
fn split_options(text: &str) -> Option<(Vec<&str>, &str)> {
    let (mut options, mut start, mut is_quoted) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                options.push(&text[start..at]);
                start = at + 1;
            }
            ' ' | '\t' if !is_quoted => {
                options.push(&text[start..at]);
                return Some((options, text[at..].trim_start()));
            }
            _ => {}
        }
    }
    None
}

/// `YYYYMMDDZ`, `YYYYMMDDHHMMZ` or `YYYYMMDDHHMMSSZ`.
fn parse_time(text: &str) -> Result<i64, String> {
    let wrong = || {
        format!("`{text}` is no time as YYYYMMDDZ or YYYYMMDDHHMM[SS]Z, which ends in Z for UTC")
    };
    let digits = text.strip_suffix(['Z', 'z']).ok_or_else(wrong)?;
    if !matches!(digits.len(), 8 | 12 | 14) {
        return Err(wrong());
    }
    let whole = format!("{digits:0<14}");
    let time = DateTime::strptime("%Y%m%d%H%M%S", &whole).map_err(|_| wrong())?;
    let zoned = time.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    Ok(zoned.timestamp().as_second())
}
