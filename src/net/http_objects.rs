//! The objects of a bucket that a plain HTTP server or a cache shows below a URL: to be read only, without lists.
//!
//! Such a server may be set up for web pages, and a cache may be in between. So an answer counts only if it says what it
//! is: a part that is not the one that was asked for, a body without an end, and a page in place of an object are
//! errors. A server that sends the whole object in place of a part is taken as long as that is not too much (H49).
//! Whether the bytes are the right ones the caller tells by their hash; if not, it may ask past the caches.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, EXPIRES,
    HeaderMap, HeaderName, HeaderValue, RANGE, TRANSFER_ENCODING,
};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::client::Client;
use super::error::{NetError, NetErrorKind, shown};
use super::fetch::refusal;
use super::objects::ObjectInfo;
use super::request_watch::RequestWatch;
use super::speed::Speed;
use super::validators::{Validators, seconds};
use crate::model::remote::{RemoteSettings, RemoteUrl};

/// How often a request is made again, and how long at most, before its failure is told.
const RETRIES_MAX: u32 = 4;
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);

/// The first wait between two tries; each is twice the one before.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// Of a server that sends whole objects in place of parts, parts that end before this are taken.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// Objects below a URL.
#[derive(Debug)]
pub struct HttpObjects {
    client: Arc<Client>,
    base: RemoteUrl,
    /// Caches are told not to answer by themselves.
    is_fresh: bool,
    watch: RequestWatch,
}

impl HttpObjects {
    /// Reads what the settings name, and connects to nobody.
    ///
    /// # Errors
    /// What of it cannot be read or used.
    pub fn open(settings: &RemoteSettings) -> Result<Self, NetError> {
        let client = Arc::new(Client::new(settings)?);
        let watch = RequestWatch::default();
        Ok(Self { client, base: settings.url.directory(), is_fresh: false, watch })
    }

    /// The same objects, asked of the server itself where caches can be told so; `None` if these are.
    pub fn past_caches(&self) -> Option<Self> {
        (!self.is_fresh).then(|| Self { is_fresh: true, ..self.watched(self.watch.clone()) })
    }

    /// The same objects; who has the watch may end what is asked of them.
    pub fn watched(&self, watch: RequestWatch) -> Self {
        let (client, base) = (Arc::clone(&self.client), self.base.clone());
        Self { client, base, is_fresh: self.is_fresh, watch }
    }

    /// The bytes of an object, `bytes_max` at most; `None` when there is none.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn get(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, NetError> {
        let url = self.url(key);
        self.patiently(async || {
            let Some(mut response) = self.ask(Method::GET, &url, &HeaderMap::new()).await? else {
                return Ok(None);
            };
            if response.status() != StatusCode::OK {
                return Err(NetError::protocol(&url, "a part comes where all was asked for"));
            }
            let total = length(&url, &response)?;
            let too_long = || {
                let message = format!("it has more than the {bytes_max} bytes that were expected");
                NetError::protocol(&url, message)
            };
            if total.is_some_and(|total| total > bytes_max) {
                return Err(too_long());
            }
            let (bytes, came) =
                self.body(&url, &mut response, 0..bytes_max.saturating_add(1)).await?;
            if came > bytes_max { Err(too_long()) } else { Ok(Some(bytes)) }
        })
    }

    /// As much of the range as the object has; `None` when there is no object.
    ///
    /// # Errors
    /// Why it cannot be had, also when it begins beyond the end.
    pub fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, NetError> {
        let url = self.url(key);
        let mut headers = HeaderMap::new();
        let text = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let text = HeaderValue::try_from(text).map_err(|_| beyond(&url))?;
        headers.insert(RANGE, text);
        self.patiently(async || {
            let Some(mut response) = self.ask(Method::GET, &url, &headers).await? else {
                return Ok(None);
            };
            let bytes = match response.status() {
                StatusCode::PARTIAL_CONTENT => self.part(&url, &mut response, &range).await?,
                _ => self.part_of_whole(&url, &mut response, range.clone()).await?,
            };
            Ok(Some(bytes))
        })
    }

    /// Length and time of an object; `None` when there is none. Without a time it is as old as can be.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub fn head(&self, key: &str) -> Result<Option<ObjectInfo>, NetError> {
        let url = self.url(key);
        self.patiently(async || {
            let Some(response) = self.ask(Method::HEAD, &url, &HeaderMap::new()).await? else {
                return Ok(None);
            };
            let size_bytes = text(&response, CONTENT_LENGTH).and_then(|text| text.parse().ok());
            let size_bytes = size_bytes.ok_or_else(|| {
                NetError::protocol(&url, "the server does not say how long it is")
            })?;
            let modified = Validators::of(&response).modified();
            let modified = modified.and_then(|time| u64::try_from(time.seconds).ok());
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified.unwrap_or(0));
            Ok(Some(ObjectInfo { key: key.to_owned(), size_bytes, modified }))
        })
    }

    /// Whether a part is sent where a part is asked for, of an object of two bytes and more.
    ///
    /// # Errors
    /// There is no answer, or no such object.
    pub fn sends_parts(&self, key: &str) -> Result<bool, NetError> {
        let url = self.url(key);
        let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=1-1"))]);
        self.patiently(async || {
            let response = self.ask(Method::GET, &url, &headers).await?;
            let response = response.ok_or_else(|| NetError::protocol(&url, "it is not there"))?;
            Ok(response.status() == StatusCode::PARTIAL_CONTENT)
        })
    }

    /// How long caches may keep the answer for that key, or that there is no such object; `None` when the server leaves
    /// that to them.
    ///
    /// # Errors
    /// There is no answer.
    pub fn kept_for(&self, key: &str) -> Result<Option<Duration>, NetError> {
        let url = self.url(key);
        self.patiently(async || {
            let headers = HeaderMap::new();
            let send = self.client.send(Method::HEAD, &url, &headers);
            let response = self.in_time(&url, send).await??;
            Ok(may_be_kept(&response))
        })
    }

    fn url(&self, key: &str) -> Url {
        self.base.file(key.as_bytes())
    }

    /// Tries again what may be different in a moment.
    fn patiently<T>(&self, attempt: impl AsyncFn() -> Result<T, NetError>) -> Result<T, NetError> {
        let runtime = super::runtime()?;
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let error = match runtime.block_on(self.watch.run(attempt()))? {
                Err(error) if error.is_temporary() => error,
                result => return result,
            };
            let wait = error.retry_after.unwrap_or(RETRY_FIRST * 2_u32.saturating_pow(tries));
            tries += 1;
            if tries > RETRIES_MAX || began.elapsed() + wait > RETRY_TIME_MAX {
                return Err(error);
            }
            log::debug!("try {tries}: {error}; again in {} ms", wait.as_millis());
            // A timer can be made in the runtime only.
            runtime.block_on(self.watch.run(async { tokio::time::sleep(wait).await }))?;
        }
    }

    /// Asks for an object; `None` when there is none.
    async fn ask(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Option<Response>, NetError> {
        let mut headers = headers.clone();
        if self.is_fresh {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        let response = self.in_time(url, self.client.send(method, url, &headers)).await??;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(beyond(url)),
            _ => return Err(refusal(url, &response)),
        }
        let page = text(&response, CONTENT_TYPE).filter(|kind| kind.starts_with("text/html"));
        if page.is_some() {
            let message = "a web page (text/html) comes in place of an object: the server must answer 404 for what is \
                           not there, and ask for no login by a page";
            return Err(NetError::protocol(url, message));
        }
        match text(&response, CONTENT_ENCODING) {
            None | Some("identity") => Ok(Some(response)),
            Some(encoding) => {
                let message = format!("it comes encoded ({encoding}), which was not asked for");
                Err(NetError::protocol(url, message))
            }
        }
    }

    /// The body of an answer that says to be a part.
    async fn part(
        &self,
        url: &Url,
        response: &mut Response,
        wanted: &Range<u64>,
    ) -> Result<Vec<u8>, NetError> {
        let said = text(response, CONTENT_RANGE).and_then(|text| answered(text, wanted));
        let said = said.ok_or_else(|| {
            let message = format!(
                "bytes {} to {} were asked for, and what comes is {}",
                wanted.start,
                wanted.end.saturating_sub(1),
                text(response, CONTENT_RANGE).unwrap_or("a part that does not say which one it is")
            );
            NetError::protocol(url, message)
        })?;
        let (bytes, came) = self.body(url, response, 0..said.saturating_add(1)).await?;
        match came {
            came if came == said => Ok(bytes),
            came if came < said => Err(cut(url, came)),
            _ => Err(NetError::protocol(url, "more bytes come than the part has")),
        }
    }

    /// A part of an answer that has the whole object.
    async fn part_of_whole(
        &self,
        url: &Url,
        response: &mut Response,
        wanted: Range<u64>,
    ) -> Result<Vec<u8>, NetError> {
        let total = length(url, response)?;
        if total.is_some_and(|total| total <= wanted.start) {
            return Err(beyond(url));
        }
        if total.map_or(wanted.end, |total| total.min(wanted.end)) > WHOLE_BYTES_MAX {
            let message = "the server sends all of a large object where a part was asked for (Range), and so would do \
                           for each part: have it, or the cache before it, answer ranges";
            return Err(NetError::protocol(url, message));
        }
        let (bytes, came) = self.body(url, response, wanted.clone()).await?;
        match total {
            Some(total) if came < total.min(wanted.end) => Err(cut(url, came)),
            _ if came <= wanted.start => Err(beyond(url)),
            _ => Ok(bytes),
        }
    }

    /// What a body has of a range, and how many bytes came up to the end of the range or of the body.
    async fn body(
        &self,
        url: &Url,
        response: &mut Response,
        range: Range<u64>,
    ) -> Result<(Vec<u8>, u64), NetError> {
        let mut speed = Speed::new(self.client.lowest_bytes_per_second, self.client.silence_max);
        let (mut bytes, mut at) = (Vec::new(), 0_u64);
        while at < range.end {
            let begin = Instant::now();
            let piece = self.in_time(url, response.chunk()).await?;
            let Some(piece) = piece.map_err(|error| NetError::of(url, error))? else { break };
            if !speed.add(piece.len(), begin.elapsed()) {
                let message = format!("{}: it comes too slowly", shown(url));
                return Err(NetError::new(NetErrorKind::Temporary, message));
            }
            let place = |end: u64| {
                usize::try_from(end.saturating_sub(at))
                    .map_or(piece.len(), |to| to.min(piece.len()))
            };
            bytes.extend_from_slice(&piece[place(range.start)..place(range.end)]);
            at += piece.len() as u64;
            self.watch.heard(piece.len());
        }
        Ok((bytes, at))
    }

    /// Waits for the server, but not for ever.
    async fn in_time<F: Future>(&self, url: &Url, answer: F) -> Result<F::Output, NetError> {
        let silence = self.client.silence_max;
        tokio::time::timeout(silence, answer).await.map_err(|_| {
            let message = format!("{}: no answer for {} s", shown(url), silence.as_secs());
            NetError::new(NetErrorKind::Temporary, message)
        })
    }
}

fn text(response: &Response, name: HeaderName) -> Option<&str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

fn beyond(url: &Url) -> NetError {
    NetError::protocol(url, "the part that was asked for begins where the object has ended")
}

fn cut(url: &Url, came: u64) -> NetError {
    NetError::new(NetErrorKind::Temporary, format!("{}: cut off after {came} bytes", shown(url)))
}

/// The length of a whole body, if it is known before its end.
fn length(url: &Url, response: &Response) -> Result<Option<u64>, NetError> {
    let total = response.content_length();
    if total.is_none() && !response.headers().contains_key(TRANSFER_ENCODING) {
        let message = "the server does not say where it ends (neither Content-Length nor chunks): a cut one would look whole";
        return Err(NetError::protocol(url, message));
    }
    Ok(total)
}

/// How many bytes an answer of that `Content-Range` has: `bytes FROM-TO/TOTAL`, where the total may be `*` (RFC 9110,
/// 14.4). `None` unless it is all that the object has of the wanted range.
fn answered(text: &str, wanted: &Range<u64>) -> Option<u64> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = range.split_once('-')?;
    let (from, end): (u64, u64) = (from.parse().ok()?, to.parse::<u64>().ok()?.checked_add(1)?);
    let reaches_end = match total {
        "*" => true,
        total => end == wanted.end.min(total.parse().ok()?),
    };
    let fits = from == wanted.start && from < end && end <= wanted.end && reaches_end;
    fits.then(|| end - from)
}

/// What an answer lets caches do (RFC 9111, 5.2.2 and 5.3).
fn may_be_kept(response: &Response) -> Option<Duration> {
    let directives = response.headers().get_all(CACHE_CONTROL).iter();
    let directives =
        directives.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let directives = directives.to_ascii_lowercase();
    let all = || directives.split(',').map(str::trim);
    let of =
        |name: &str| all().find_map(|one| one.strip_prefix(name)?.trim_matches('"').parse().ok());
    if all().any(|one| matches!(one, "no-store" | "no-cache" | "private")) {
        return Some(Duration::ZERO);
    }
    if let Some(kept) = of("s-maxage=").or_else(|| of("max-age=")) {
        return Some(Duration::from_secs(kept));
    }
    let (until, now) = (text(response, EXPIRES)?, text(response, DATE).and_then(seconds)?);
    // A date that is none has passed.
    let kept = seconds(until).and_then(|until| u64::try_from(until - now).ok());
    Some(Duration::from_secs(kept.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h49_a_part_counts_only_if_it_is_the_one_that_was_asked_for() {
        let wanted = 5..10;
        for (text, length) in [
            ("bytes 5-9/10", Some(5)),
            ("bytes 5-9/99", Some(5)),
            ("bytes 5-7/8", Some(3)),
            ("bytes 5-9/*", Some(5)),
            ("bytes 5-7/*", Some(3)),
            ("bytes 5-7/99", None),
            ("bytes 0-4/10", None),
            ("bytes 5-10/99", None),
            ("bytes 6-9/10", None),
            ("bytes 5-18446744073709551615/*", None),
            ("bytes 5-4/10", None),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("", None),
        ] {
            assert_eq!(answered(text, &wanted), length, "{text}");
        }
    }
}
