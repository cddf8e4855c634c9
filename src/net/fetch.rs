//! Fetching one document: whole or not at all, whatever the server and the way there do (V12, H29).
//!
//! A body that was cut goes on where it ended (Range with If-Range); what is there already from an earlier run does as
//! well. The caller checks digests: a server may answer a Range with bytes of another file.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::client::Client;
use super::error::{NetError, NetErrorKind, shown};
use super::speed::Speed;
use super::validators::{Validators, seconds};
use crate::model::text::count;
use crate::model::time::Timestamp;

/// Tries without a further byte before it is given up.
pub const TRIES_MAX: u32 = 5;

/// The first wait between two tries; each is twice the one before.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The longest wait that a server may ask for (`Retry-After`); one that asks for more is given up.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// How much longer than asked for a pause may take before a clock is blamed.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// How often a fetch that waits looks whether it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(200);

/// Where the bytes of a document go, in order.
pub trait Body {
    /// How many are there already.
    fn length(&self) -> u64;

    /// Takes the next ones.
    ///
    /// # Errors
    /// When they cannot be kept, which ends the fetch.
    fn write(&mut self, data: &[u8]) -> io::Result<()>;

    /// Forgets all that is there: the document begins anew.
    ///
    /// # Errors
    /// When that cannot be done, which ends the fetch.
    fn restart(&mut self) -> io::Result<()>;
}

/// What to fetch.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// Where.
    pub url: Url,
    /// How long it is said to be, in bytes.
    pub size_bytes: Option<u64>,
    /// The most bytes that are taken.
    pub max_bytes: u64,
    /// Nothing is fetched if the document still has these.
    pub unless: Option<&'a Validators>,
    /// The server must say where the document ends: without that, a cut one cannot be told from a whole one. Not
    /// needed where size or digest is known.
    pub needs_end: bool,
    /// Tries without a further byte before it is given up, as a rule [`TRIES_MAX`].
    pub tries_max: u32,
    /// Set by whoever wants it to stop.
    pub stop: &'a AtomicBool,
    /// Hears of the waits between two tries.
    pub watcher: &'a dyn Watcher,
}

/// Hears what a fetch waits for, so that a user sees why nothing comes.
pub trait Watcher: Sync + fmt::Debug {
    /// A try failed for this reason, and another one begins after `wait`; `tries` were made in a row.
    fn waits(&self, reason: &NetError, tries: u32, wait: Duration);

    /// The wait is over.
    fn goes_on(&self);
}

/// Nobody hears of it.
impl Watcher for () {
    fn waits(&self, _reason: &NetError, _tries: u32, _wait: Duration) {}
    fn goes_on(&self) {}
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The document is the one that the caller knows.
    Unchanged,
    /// All of it is in the body.
    Whole {
        /// What to ask with the next time.
        validators: Validators,
        /// `Content-Type`, for a message when it turns out to be something else.
        content_type: Option<String>,
    },
}

impl Client {
    /// Fetches a document, again and from where it broke off as long as that leads on. Blocks.
    ///
    /// # Errors
    /// The last failure.
    pub fn fetch(&self, fetch: &Fetch<'_>, body: &mut dyn Body) -> Result<Fetched, NetError> {
        let runtime = super::runtime()?;
        let mut tries = 0;
        let mut reached = body.length();
        let mut speed = Speed::new(self.lowest_bytes_per_second, self.silence_max);
        // What is there from an earlier run is of no known state of the document: its digest tells.
        let mut state = Validators::default();
        loop {
            let error = match runtime.block_on(self.attempt(fetch, body, &mut state, &mut speed)) {
                Ok(fetched) => return Ok(fetched),
                Err(error) => error,
            };
            if fetch.stop.load(Ordering::Relaxed) {
                return Err(NetError::stopped());
            }
            // A server that begins anew each time brings bytes, and leads nowhere.
            if body.length() > reached && speed.led_on() {
                (reached, tries) = (body.length(), 0);
            }
            tries += 1;
            let wait = error.retry_after.unwrap_or_else(|| backoff(tries));
            if !error.is_temporary() || tries >= fetch.tries_max || wait > RETRY_AFTER_MAX {
                return Err(error);
            }
            log::debug!("try {tries}: {error}; again in {} ms", wait.as_millis());
            fetch.watcher.waits(&error, tries, wait);
            let waited = runtime.block_on(rest(fetch.stop, wait));
            fetch.watcher.goes_on();
            waited?;
        }
    }

    async fn attempt(
        &self,
        fetch: &Fetch<'_>,
        body: &mut dyn Body,
        state: &mut Validators,
        speed: &mut Speed,
    ) -> Result<Fetched, NetError> {
        speed.begin();
        let url = &fetch.url;
        let there = body.length();
        let headers = headers(fetch, there, state).ok_or_else(|| {
            NetError::protocol(
                url,
                "the server's ETag or date has characters that no header can hold",
            )
        })?;
        let send = pin!(self.send(Method::GET, url, &headers));
        let mut response =
            until(fetch.stop, send, self.silence_max).await?.ok_or_else(|| self.silent(url))??;
        if response.status() == StatusCode::NOT_MODIFIED && fetch.unless.is_some() && there == 0 {
            return Ok(Fetched::Unchanged);
        }
        let restart = |body: &mut dyn Body| {
            body.restart().map_err(|error| NetError::local("begin a file anew", &error))
        };
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && there > 0 {
            restart(body)?;
            let message = format!("{url}: the document is shorter than what is there of it");
            return Err(NetError::new(NetErrorKind::Temporary, message));
        }
        let total = match whole_length(url, &response, there)? {
            Length::Restart { total } => {
                if there > 0 {
                    restart(body)?;
                }
                total
            }
            Length::GoesOn { total } => total,
        };
        check(fetch, &response, total)?;
        *state = Validators::of(&response);
        let most = total.or(fetch.size_bytes).unwrap_or(fetch.max_bytes);
        while let Some(data) = self.piece(fetch, &mut response, speed).await? {
            if body.length() + data.len() as u64 > most {
                return Err(NetError::protocol(url, format!("more than {most} bytes come")));
            }
            body.write(&data).map_err(|error| NetError::local("write what was fetched", &error))?;
        }
        let end = total.or(fetch.size_bytes);
        if end.is_some_and(|end| end != body.length()) {
            let message = format!("{url}: cut off after {} bytes", body.length());
            return Err(NetError::new(NetErrorKind::Temporary, message));
        }
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Fetched::Whole {
            validators: state.clone(),
            content_type: content_type.map(str::to_owned),
        })
    }

    /// The next bytes, at the pace that is allowed.
    async fn piece(
        &self,
        fetch: &Fetch<'_>,
        response: &mut Response,
        speed: &mut Speed,
    ) -> Result<Option<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<>>, NetError> {
        let (begin, chunk) = (Instant::now(), pin!(response.chunk()));
        let chunk = until(fetch.stop, chunk, self.silence_max).await?;
        let chunk = chunk.ok_or_else(|| self.silent(&fetch.url))?;
        let chunk = chunk.map_err(|error| NetError::of(&fetch.url, error))?;
        if let Some(data) = &chunk {
            if !speed.add(data.len(), begin.elapsed()) {
                return Err(self.slow(&fetch.url));
            }
            rest(fetch.stop, self.pace.take(data.len(), Instant::now())).await?;
        }
        Ok(chunk)
    }

    fn silent(&self, url: &Url) -> NetError {
        let message = format!("{}: no answer for {}", shown(url), seconds_of(self.silence_max));
        NetError::new(NetErrorKind::Temporary, message)
    }

    fn slow(&self, url: &Url) -> NetError {
        let (lowest, time) = (self.lowest_bytes_per_second, seconds_of(self.silence_max));
        let message = format!("{}: fewer than {lowest} bytes per second for {time}", shown(url));
        NetError::new(NetErrorKind::Temporary, message)
    }
}

fn seconds_of(time: Duration) -> String {
    count(time.as_millis().div_ceil(1000), "second")
}

/// Waits for `future`, `most` at the longest (`None` then), and not if it is to stop.
pub(super) async fn until<F: Future>(
    stop: &AtomicBool,
    mut future: std::pin::Pin<&mut F>,
    most: Duration,
) -> Result<Option<F::Output>, NetError> {
    let start = Instant::now();
    while start.elapsed() < most {
        if stop.load(Ordering::Relaxed) {
            return Err(NetError::stopped());
        }
        if let Ok(output) = tokio::time::timeout(STOP_INTERVAL, future.as_mut()).await {
            return Ok(Some(output));
        }
    }
    Ok(None)
}

/// Waits that long, unless it is to stop.
async fn rest(stop: &AtomicBool, wait: Duration) -> Result<(), NetError> {
    if wait.is_zero() {
        return Ok(());
    }
    let waited = until(stop, pin!(tokio::time::sleep(wait)), wait + CLOCK_SLACK).await?;
    waited.ok_or_else(|| NetError::new(NetErrorKind::Local, "a clock stands still"))
}

fn backoff(tries: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(BACKOFF_MAX)
}

fn headers(fetch: &Fetch<'_>, there: u64, state: &Validators) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: Option<&str>| {
        let value = value.map(HeaderValue::from_str).transpose().ok()?;
        if let Some(value) = value {
            headers.insert(name, value);
        }
        Some(())
    };
    if there > 0 {
        set(RANGE, Some(&format!("bytes={there}-")))?;
        set(IF_RANGE, state.strong())?;
    } else if let Some(unless) = fetch.unless {
        set(IF_NONE_MATCH, unless.etag.as_deref().filter(|_| !unless.is_vague()))?;
        let since = unless.last_modified.as_deref().filter(|_| !unless.just_modified);
        set(IF_MODIFIED_SINCE, since)?;
    }
    Some(headers)
}

/// What an answer brings.
enum Length {
    /// The whole document.
    Restart { total: Option<u64> },
    /// What follows on what is there.
    GoesOn { total: Option<u64> },
}

fn whole_length(url: &Url, response: &Response, there: u64) -> Result<Length, NetError> {
    let status = response.status();
    match status {
        StatusCode::OK => Ok(Length::Restart { total: response.content_length() }),
        StatusCode::PARTIAL_CONTENT if there > 0 => {
            let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let (from, total) = range.and_then(parse_range).ok_or_else(|| {
                NetError::protocol(url, "a part comes that does not say which one it is")
            })?;
            if from != there {
                let message = format!("asked for bytes from {there} on, those from {from} on come");
                return Err(NetError::protocol(url, message));
            }
            Ok(Length::GoesOn { total })
        }
        _ => Err(refusal(url, response)),
    }
}

/// `bytes FROM-TO/TOTAL`, where the total may be `*` (RFC 9110, 14.4).
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = range.split_once('-')?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    // The end of the document, or nothing that could be taken for all that is missing.
    let reaches_end = total.is_none_or(|total: u64| to.checked_add(1) == Some(total));
    (from <= to && reaches_end).then_some((from, total))
}

/// An answer that is no document.
pub(super) fn refusal(url: &Url, response: &Response) -> NetError {
    let status = response.status();
    let kind = match status.as_u16() {
        401 | 403 | 407 | 451 => NetErrorKind::Refused,
        404 | 410 => NetErrorKind::NotFound,
        408 | 425 | 429 | 500 | 502 | 503 | 504 => NetErrorKind::Temporary,
        _ => NetErrorKind::Protocol,
    };
    let mut error = NetError::new(kind, format!("{url}: the server answers {status}"));
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let now = text(DATE).and_then(seconds).unwrap_or_else(|| Timestamp::now().seconds);
    error.retry_after = text(RETRY_AFTER).and_then(|text| retry_after(text, now));
    error
}

/// How long a server asks to be left alone: a number of seconds, or a date, which counts from the server's own `now`
/// (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: i64) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse() {
        Ok(wait) => wait,
        Err(_) => u64::try_from(seconds(text)?.saturating_sub(now)).unwrap_or(0),
    };
    Some(Duration::from_secs(wait))
}

/// Whether an answer can be what was asked for.
fn check(fetch: &Fetch<'_>, response: &Response, total: Option<u64>) -> Result<(), NetError> {
    let url = &fetch.url;
    if let Some(encoding) =
        response.headers().get(CONTENT_ENCODING).filter(|value| *value != "identity")
    {
        let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
        return Err(NetError::protocol(
            url,
            format!("it comes encoded ({encoding}), which was not asked for"),
        ));
    }
    if let (Some(total), Some(size)) = (total, fetch.size_bytes)
        && total != size
    {
        return Err(NetError::protocol(
            url,
            format!("it has {total} bytes, not the {size} that are declared"),
        ));
    }
    if total.is_some_and(|total| total > fetch.max_bytes) {
        return Err(NetError::protocol(url, format!("it has more than {} bytes", fetch.max_bytes)));
    }
    let says_end = total.is_some() || response.headers().contains_key(TRANSFER_ENCODING);
    if fetch.needs_end && !says_end {
        return Err(NetError::protocol(
            url,
            "the server does not say where it ends (neither Content-Length nor chunks): a cut one would look whole",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h29_only_ranges_to_the_end_are_taken() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        for bad in [
            "",
            "bytes",
            "bytes 5-8/10",
            "bytes 9-5/10",
            "bytes */10",
            "items 5-9/10",
            "bytes 5-9/x",
        ] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn v12_a_server_asks_for_a_pause_in_seconds_or_until_a_date() {
        let now = 784_111_777;
        let wait = |text| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(wait(" 7 "), Some(7));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "it is over");
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        assert_eq!(backoff(1), BACKOFF_FIRST);
        assert_eq!(backoff(3), BACKOFF_FIRST * 4);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }
}
