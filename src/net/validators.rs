//! By what a server tells whether a document changed.

use reqwest::Response;
use reqwest::header::{DATE, ETAG, LAST_MODIFIED};
use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// What a server says by which it tells whether a document changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// It was changed within the second or two before the answer, and may have been again since.
    #[serde(default)]
    pub just_modified: bool,
}

impl Validators {
    pub(super) fn of(response: &Response) -> Self {
        let text = |name| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let last_modified = text(LAST_MODIFIED);
        let (modified, now) =
            (last_modified.as_deref().and_then(seconds), text(DATE).as_deref().and_then(seconds));
        // Without a date of the server nobody knows.
        let just_modified = modified.zip(now).is_some_and(|(modified, now)| now - modified < 2);
        Self { etag: text(ETAG), last_modified, just_modified }
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// The time of `Last-Modified`, to the second.
    pub fn modified(&self) -> Option<Timestamp> {
        Timestamp::new(seconds(self.last_modified.as_deref()?)?, 0)
    }

    /// Whether the document may have changed since although its ETag is the same: some servers make it of the time of the
    /// change in seconds and the length, both in hexadecimal.
    pub(super) fn is_vague(&self) -> bool {
        let modified = self.last_modified.as_deref().and_then(seconds);
        let tells_seconds = |etag: &str| {
            let etag = etag.trim_start_matches("W/").trim_matches('"');
            let first = etag.split_once('-').map(|(first, _)| i64::from_str_radix(first, 16));
            first.is_some_and(|first| first.ok() == modified)
        };
        self.just_modified && self.etag.as_deref().is_some_and(tells_seconds)
    }

    /// For `If-Range`, which wants one that stands for the very bytes.
    pub(super) fn strong(&self) -> Option<&str> {
        let etag = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        etag.or(self.last_modified.as_deref())
    }
}

/// A date of HTTP, in seconds since 1970.
pub(super) fn seconds(date: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(date).ok().map(|time| time.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_validators_do_not_stand_for_bytes() {
        let of = |etag: Option<&str>, date: Option<&str>| Validators {
            etag: etag.map(str::to_owned),
            last_modified: date.map(str::to_owned),
            just_modified: false,
        };
        assert_eq!(of(Some("\"a\""), Some("d")).strong(), Some("\"a\""));
        assert_eq!(of(Some("W/\"a\""), Some("d")).strong(), Some("d"));
        assert_eq!(of(Some("W/\"a\""), None).strong(), None);
        assert!(of(None, None).is_empty());
        let date = of(None, Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date.modified(), Timestamp::new(784_111_777, 0));
        assert_eq!(of(None, Some("yesterday")).modified(), None);
    }

    #[test]
    fn an_etag_that_tells_seconds_is_as_vague_as_a_date() {
        let vague = |etag: &str, just_modified| {
            let last_modified = Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned());
            Validators { etag: Some(etag.to_owned()), last_modified, just_modified }.is_vague()
        };
        let seconds = format!("\"{:x}-2a\"", 784_111_777);
        assert!(vague(&seconds, true) && vague(&format!("W/{seconds}"), true));
        assert!(!vague(&seconds, false), "it was not changed within that second any more");
        assert!(!vague("\"5d8c72a5edda8d6a-2a\"", true) && !vague("\"abc\"", true));
    }
}
