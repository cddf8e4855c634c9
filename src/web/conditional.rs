//! Conditions and ranges of a request (RFC 9110, sections 8.8, 13 and 14), as pure functions.
//!
//! Only a tag says that a client has the right bytes, because it is made of their hash. A date cannot say that: the
//! next version may have an older file at the same path, or another one of the same second; a tag may be moved back; and
//! a repository may be deleted and made again. So `If-Modified-Since` never gives 304, and a date in `If-Range` never
//! gives a part. A client that knows dates alone is sent the bytes once more, never the wrong ones.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};

use crate::model::time::Timestamp;

/// The last second that a date in a header can name: the end of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

/// By what a client recognises what it has already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// A strong entity tag, with its quotes.
    pub(super) etag: String,
    /// When it was modified, where a header can say that.
    pub(super) modified: Option<SystemTime>,
}

/// What conditions make of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is answered.
    Go,
    /// The client has it (304).
    NotModified,
    /// It is not what the client expects (412).
    Failed,
}

/// The part of a file that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// From the first byte to before the second; not empty.
    Range(u64, u64),
    /// Nothing that it has (416).
    Outside,
}

impl Validators {
    /// Of something with this tag and time.
    pub(super) fn new(etag: String, modified: Timestamp) -> Self {
        Self { etag, modified: date(modified) }
    }

    /// Evaluates the conditions of a GET or HEAD, in the order of RFC 9110, section 13.2.2.
    pub(super) fn check(&self, headers: &HeaderMap) -> Outcome {
        if let Some(expected) = header(headers, &IF_MATCH) {
            if !lists(expected, &self.etag, false) {
                return Outcome::Failed;
            }
        } else if let Some(since) = time(headers, &IF_UNMODIFIED_SINCE)
            && self.modified.is_some_and(|modified| modified > since)
        {
            return Outcome::Failed;
        }
        match header(headers, &IF_NONE_MATCH) {
            Some(tags) if lists(tags, &self.etag, true) => Outcome::NotModified,
            Some(_) | None => Outcome::Go,
        }
    }

    /// The part of `size` bytes that is asked for. Several ranges are answered with the whole, as are ranges of
    /// something else than this (`If-Range`) and what is no range.
    pub(super) fn part(&self, headers: &HeaderMap, size: u64) -> Part {
        let Some(range) = header(headers, &RANGE) else { return Part::Whole };
        if headers.contains_key(IF_RANGE) && !self.is_if_range(headers) {
            return Part::Whole;
        }
        parse_range(range, size).unwrap_or(Part::Whole)
    }

    fn is_if_range(&self, headers: &HeaderMap) -> bool {
        // Neither a date nor a weak tag ever fits.
        header(headers, &IF_RANGE).is_some_and(|text| text == self.etag)
    }
}

/// A time in whole seconds, if a header can say it.
fn date(time: Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(time.seconds).ok().filter(|seconds| *seconds <= SECONDS_MAX)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn time(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(header(headers, name)?).ok()
}

/// Whether a list of tags has this one. Our tags have no comma in them.
fn lists(tags: &str, etag: &str, weakly: bool) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = if weakly { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
        tag == "*" || tag == etag
    })
}

fn parse_range(text: &str, size: u64) -> Option<Part> {
    let (unit, ranges) = text.split_once('=')?;
    let (first, last) = ranges.trim().split_once('-')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !unit.trim().eq_ignore_ascii_case("bytes") || !is_number(first) || !is_number(last) {
        return None;
    }
    // A number that is too large for us is larger than any file.
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let (from, to) = match (first, last) {
        ("", "") => return None,
        ("", last) => (size.saturating_sub(number(last)), size),
        (first, "") => (number(first), size),
        (first, last) if number(first) > number(last) => return None,
        (first, last) => (number(first), number(last).saturating_add(1).min(size)),
    };
    Some(if from < to { Part::Range(from, to) } else { Part::Outside })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::IF_MODIFIED_SINCE;

    const DATE: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const LATER: &str = "Sun, 09 Sep 2001 01:46:41 GMT";
    const EARLIER: &str = "Sun, 09 Sep 2001 01:46:39 GMT";

    fn validators() -> Validators {
        Validators::new("\"a\"".to_owned(), Timestamp::new(1_000_000_000, 5).unwrap())
    }

    fn headers(all: &[(HeaderName, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn conditions_follow_rfc_9110_w2() {
        for (given, outcome) in [
            (vec![], Outcome::Go),
            (vec![(IF_NONE_MATCH, "\"a\"")], Outcome::NotModified),
            (vec![(IF_NONE_MATCH, "\"b\", W/\"a\"")], Outcome::NotModified),
            (vec![(IF_NONE_MATCH, "*")], Outcome::NotModified),
            (vec![(IF_NONE_MATCH, "\"b\"")], Outcome::Go),
            (vec![(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, DATE)], Outcome::Go),
            (vec![(IF_MODIFIED_SINCE, DATE)], Outcome::Go),
            (vec![(IF_MODIFIED_SINCE, LATER)], Outcome::Go),
            (vec![(IF_MODIFIED_SINCE, EARLIER)], Outcome::Go),
            (vec![(IF_MODIFIED_SINCE, "yesterday")], Outcome::Go),
            (vec![(IF_MATCH, "\"a\"")], Outcome::Go),
            (vec![(IF_MATCH, "W/\"a\"")], Outcome::Failed),
            (vec![(IF_MATCH, "\"b\"")], Outcome::Failed),
            (vec![(IF_UNMODIFIED_SINCE, EARLIER)], Outcome::Failed),
            (vec![(IF_UNMODIFIED_SINCE, DATE)], Outcome::Go),
        ] {
            assert_eq!(validators().check(&headers(&given)), outcome, "{given:?}");
        }
    }

    #[test]
    fn ranges_follow_rfc_9110_w2() {
        let part = |range: &str| validators().part(&headers(&[(RANGE, range)]), 10);
        for (range, expected) in [
            ("bytes=0-0", Part::Range(0, 1)),
            ("bytes=2-", Part::Range(2, 10)),
            ("bytes=-3", Part::Range(7, 10)),
            ("bytes=-30", Part::Range(0, 10)),
            ("bytes=5-99999999999999999999999", Part::Range(5, 10)),
            ("BYTES = 0-4", Part::Range(0, 5)),
            ("bytes=10-", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=99999999999999999999999-", Part::Outside),
            ("bytes=4-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=0-1", Part::Whole),
        ] {
            assert_eq!(part(range), expected, "{range}");
        }
        assert_eq!(validators().part(&headers(&[(RANGE, "bytes=0-")]), 0), Part::Outside);
    }

    #[test]
    fn a_range_of_something_else_is_the_whole() {
        let part = |condition: &str| {
            validators().part(&headers(&[(RANGE, "bytes=1-2"), (IF_RANGE, condition)]), 10)
        };
        for (condition, expected) in [
            ("\"a\"", Part::Range(1, 3)),
            (DATE, Part::Whole),
            ("\"b\"", Part::Whole),
            ("W/\"a\"", Part::Whole),
            (LATER, Part::Whole),
            ("nonsense", Part::Whole),
        ] {
            assert_eq!(part(condition), expected, "{condition}");
        }
    }

    #[test]
    fn times_that_no_header_can_say_are_left_out() {
        for seconds in [-1, i64::MIN, 253_402_300_800, i64::MAX] {
            assert_eq!(date(Timestamp::new(seconds, 0).unwrap()), None, "{seconds}");
        }
    }
}
