//! From a request to its answer: what is named, whether it may be seen, in which form it is wanted.
//!
//! The store is asked on threads that may block, never on those of the network.

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::address::{Inside, Target, View, with_slash};
use super::archive::{self, Subtree};
use super::body::{Beginning, Body, written};
use super::conditional::{Outcome, Validators};
use super::listing::{Form, Listing};
use super::look::{self, Found, Place};
use super::manifest;
use super::response::{failed, moved, not_found, ours, refusal, validate};
use super::{file, style};
use crate::engine::Engine;
use crate::store::error::StoreError;

/// Threads that write long answers for clients: archives, manifests, large listings.
const STREAMS_MAX: usize = 16;

/// What the web face shows.
pub(super) struct Site {
    engine: Arc<Engine>,
    streams: Arc<Semaphore>,
}

/// What a request asks for, without its connection.
pub(super) struct Question {
    /// The path and its meaning.
    pub(super) target: Target,
    /// The form that the query wants.
    pub(super) view: View,
    /// The form that the client accepts.
    pub(super) form: Form,
    /// Conditions and ranges.
    pub(super) headers: HeaderMap,
    /// Only the head is wanted.
    pub(super) is_head: bool,
}

/// How the rest of an answer is made.
pub(super) enum Prepared {
    /// It is there.
    Answer(Response<Body>),
    /// Its body is written by a thread.
    Written(Response<Body>, Work),
}

/// What writes a body.
pub(super) type Work = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

impl Site {
    /// Shows a store.
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, streams: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    /// Answers one request.
    pub(super) async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        if !is_head && request.method() != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "Nothing can be changed here.");
        }
        let Some(target) = Target::parse(request.uri().path()) else { return not_found() };
        let view = View::parse(request.uri().query());
        let (head, _) = request.into_parts();
        let form = Form::accepted(head.headers.get(ACCEPT));
        let question = Question { target, view, form, headers: head.headers, is_head };
        let site = Arc::clone(self);
        let prepared = tokio::task::spawn_blocking(move || site.prepare(&question)).await;
        match prepared {
            Ok(Ok(Prepared::Answer(response))) => response,
            Ok(Ok(Prepared::Written(response, work))) => {
                if is_head {
                    response
                } else {
                    self.write(response, work).await
                }
            }
            Ok(Err(error)) => {
                log::error!("a request could not be answered: {error}");
                failed()
            }
            Err(panicked) => {
                log::error!("a request could not be answered: {panicked}");
                failed()
            }
        }
    }

    async fn write(&self, mut response: Response<Body>, work: Work) -> Response<Body> {
        *response.body_mut() = match written(&self.streams, work).await {
            Ok(Beginning::Whole(bytes)) => bytes.into(),
            Ok(Beginning::Written(body)) => Body::Written(body),
            Ok(Beginning::Busy) => {
                let words = "Too many clients are being sent much. Try again soon.";
                return refusal(StatusCode::SERVICE_UNAVAILABLE, words);
            }
            Err(error) => {
                log::error!("a request could not be answered: {error}");
                return failed();
            }
        };
        response
    }

    /// Looks at the store; on a thread that may block.
    fn prepare(&self, question: &Question) -> Result<Prepared, StoreError> {
        match &question.target {
            Target::Style => Ok(Prepared::Answer(style::answer(question))),
            Target::Slash(to) => Ok(Prepared::Answer(moved(to))),
            Target::Home => Ok(self.listing(question, Listing::Home)),
            Target::Repository(name) => Ok(match look::repository(&self.engine, name) {
                Some(repository) => self.listing(question, Listing::Repository(repository)),
                None => Prepared::Answer(not_found()),
            }),
            Target::Inside(inside) => self.inside(question, inside),
        }
    }

    fn inside(&self, question: &Question, inside: &Inside) -> Result<Prepared, StoreError> {
        let none = Ok(Prepared::Answer(not_found()));
        let Some(place) = look::version(&self.engine, inside) else { return none };
        let found = look::find(&self.engine, &place, &inside.path)?;
        match found {
            Some(Found::File(_)) if inside.slash => none,
            Some(Found::File(found)) => {
                let name = inside.path.last();
                file::answer(&self.engine, question, &place, name, found).map(Prepared::Answer)
            }
            Some(Found::Directory(_)) if !inside.slash => {
                Ok(Prepared::Answer(moved(&with_slash(&inside.path))))
            }
            Some(Found::Directory(found)) => Ok(match question.view {
                View::Plain => {
                    let path = inside.path.clone();
                    self.listing(question, Listing::Directory { place, path, tree: found.tree })
                }
                View::Tar(compression) => {
                    let subtree = Subtree::new(&place, inside, found);
                    self.archive(question, &place, subtree, compression)
                }
            }),
            None if !inside.slash && manifest::is_named(&inside.path) => {
                let may_list = look::find(&self.engine, &place, &[])?.is_some();
                if may_list { Ok(self.manifest(question, place)) } else { none }
            }
            None => none,
        }
    }

    fn listing(&self, question: &Question, listing: Listing) -> Prepared {
        let (form, engine) = (question.form, Arc::clone(&self.engine));
        let response = ours(StatusCode::OK, form.media_type(), Body::empty());
        Prepared::Written(response, Box::new(move |out| listing.write(&engine, form, out)))
    }

    fn archive(
        &self,
        question: &Question,
        place: &Place,
        subtree: Subtree,
        compression: super::address::Compression,
    ) -> Prepared {
        let validators = of_version(place, subtree.file_name(compression).as_bytes());
        self.of_version(question, place, &validators, |response| {
            super::response::set(response, CONTENT_TYPE, archive::media_type(compression));
            let name = subtree.file_name(compression);
            let disposition = format!("attachment; filename*=UTF-8''{name}");
            super::response::set(response, CONTENT_DISPOSITION, &disposition);
            let engine = Arc::clone(&self.engine);
            Box::new(move |out| archive::write(&engine, &subtree, compression, out))
        })
    }

    fn manifest(&self, question: &Question, place: Place) -> Prepared {
        let validators = of_version(&place, b"PULP_MANIFEST");
        self.of_version(question, &place.clone(), &validators, |response| {
            super::response::set(response, CONTENT_TYPE, "text/plain; charset=utf-8");
            let engine = Arc::clone(&self.engine);
            Box::new(move |out| manifest::write(&engine, &place, out))
        })
    }

    /// Something that is made of a version, which therefore never changes.
    fn of_version(
        &self,
        question: &Question,
        place: &Place,
        validators: &Validators,
        work: impl FnOnce(&mut Response<Body>) -> Work,
    ) -> Prepared {
        let status = match validators.check(&question.headers) {
            Outcome::Go => StatusCode::OK,
            Outcome::NotModified => StatusCode::NOT_MODIFIED,
            Outcome::Failed => StatusCode::PRECONDITION_FAILED,
        };
        let mut response = ours(status, "text/plain; charset=utf-8", Body::empty());
        validate(&mut response, validators, place.is_fixed);
        if status != StatusCode::OK {
            return Prepared::Answer(response);
        }
        let work = work(&mut response);
        Prepared::Written(response, work)
    }
}

/// By what something that is made of a version is recognised: by which version it is, and by nothing that depends
/// on what strangers may not see (H55).
fn of_version(place: &Place, what: &[u8]) -> Validators {
    let (repository, version) = (&place.repository, &place.version);
    let mut hasher = blake3::Hasher::new();
    hasher.update(repository.name.as_str().as_bytes()).update(&[0]).update(what).update(&[0]);
    for time in [repository.created, version.created] {
        hasher.update(&time.seconds.to_le_bytes()).update(&time.nanoseconds.to_le_bytes());
    }
    hasher.update(&version.number.0.to_le_bytes());
    let etag = format!("\"v{}\"", &hasher.finalize().to_hex()[..32]);
    Validators::new(etag, version.created)
}
