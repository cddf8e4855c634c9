//! Heads of answers: the headers that all have, and those of refusals.

use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    LAST_MODIFIED, LOCATION, REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::conditional::Validators;

/// What a page of ours may do: show its own style and pictures. Nothing may frame it.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'none'; \
                           base-uri 'none'; frame-ancestors 'none'";

/// What a document from a repository may do, whoever wrote it: be looked at. It runs no script, and is a stranger
/// to our own pages.
const FILE_POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           font-src 'self' data:; media-src 'self'; base-uri 'none'; \
                           frame-ancestors 'none'; sandbox";

/// To be kept only with the question whether it is still so. That holds for numbers of versions as well: a repository
/// that was deleted and made again under its name begins with version 1, and a version or the right to read it can be
/// taken away. The question costs an answer without a body.
const ASK_AGAIN: &str = "no-cache";

/// Seconds after which a client that found all places taken may try again.
const RETRY_SECONDS: u32 = 5;

/// An answer with the headers that all have: whose bytes it has decides what it may do in a browser.
pub(super) fn response(status: StatusCode, policy: Policy, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, X_FRAME_OPTIONS, "DENY");
    set(&mut response, REFERRER_POLICY, "same-origin");
    let policy = match policy {
        Policy::Page => PAGE_POLICY,
        Policy::File => FILE_POLICY,
    };
    set(&mut response, CONTENT_SECURITY_POLICY, policy);
    response
}

/// Whose bytes an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Ours.
    Page,
    /// Those of a repository.
    File,
}

/// Sets a header to text of ours, or to text that was encoded for it.
pub(super) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(response.headers_mut().insert(name, value)),
        Err(error) => log::error!("a header that cannot be sent: {name}: {error}"),
    }
}

/// An answer of ours of one media type.
pub(super) fn ours(status: StatusCode, media_type: &str, body: impl Into<Body>) -> Response<Body> {
    let mut response = response(status, Policy::Page, body.into());
    set(&mut response, CONTENT_TYPE, media_type);
    set(&mut response, CACHE_CONTROL, ASK_AGAIN);
    set(&mut response, VARY, "Accept");
    response
}

/// Says by what a client recognises the answer, and that it has to ask again.
pub(super) fn validate(response: &mut Response<Body>, validators: &Validators) {
    set(response, ETAG, &validators.etag);
    if let Some(modified) = validators.modified {
        set(response, LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    }
    set(response, CACHE_CONTROL, ASK_AGAIN);
}

/// A refusal in a few words.
pub(super) fn refusal(status: StatusCode, words: &str) -> Response<Body> {
    let text = format!("{status}\n{words}\n");
    let mut response = ours(status, "text/plain; charset=utf-8", text.into_bytes());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        set(&mut response, ALLOW, "GET, HEAD");
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        set(&mut response, RETRY_AFTER, &RETRY_SECONDS.to_string());
    }
    response
}

/// The store failed; the log says why, the client does not learn it.
pub(super) fn failed() -> Response<Body> {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "The store cannot be read. Its log says why.")
}

/// Leads to another address, relative to the one that was asked for.
pub(super) fn moved(to: &str) -> Response<Body> {
    let mut response = refusal(StatusCode::MOVED_PERMANENTLY, to);
    set(&mut response, LOCATION, to);
    response
}
