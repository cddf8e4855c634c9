//! The stylesheet of the pages, part of the program.

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::{Response, StatusCode};

use super::answer::Question;
use super::body::Body;
use super::conditional::{Outcome, Validators};
use super::response::{Policy, response, set, validate};
use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;

/// All of it.
const STYLE: &str = include_str!("style.css");

/// Seconds for which browsers keep it without asking.
const KEPT_SECONDS: u32 = 3600;

/// Answers with the stylesheet.
pub(super) fn answer(question: &Question) -> Response<Body> {
    // It has no time that means anything; the tag says it all.
    let validators = Validators::new(
        format!("\"{}\"", BlobHash::of(STYLE.as_bytes())),
        Timestamp { seconds: -1, nanoseconds: 0 },
    );
    let (status, body) = match validators.check(&question.headers) {
        Outcome::Go => (StatusCode::OK, Body::from(STYLE.as_bytes().to_vec())),
        Outcome::NotModified => (StatusCode::NOT_MODIFIED, Body::empty()),
        Outcome::Failed => (StatusCode::PRECONDITION_FAILED, Body::empty()),
    };
    let mut response = response(status, Policy::Page, body);
    validate(&mut response, &validators);
    if status == StatusCode::OK || status == StatusCode::NOT_MODIFIED {
        set(&mut response, CACHE_CONTROL, &format!("public, max-age={KEPT_SECONDS}"));
    }
    set(&mut response, CONTENT_TYPE, "text/css; charset=utf-8");
    response
}
