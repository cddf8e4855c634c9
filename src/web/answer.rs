//! From a request to its answer: what is named, whether it may be seen, in which form it is wanted.
//!
//! The store is asked on threads that may block, never on those of the network.

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinError;

use super::address::{Inside, Target, View, with_slash};
use super::archive::{self, Subtree};
use super::body::{Beginning, Body, Output, written};
use super::conditional::{Outcome, Validators};
use super::digests::Digests;
use super::listing::{Form, Listing};
use super::look::{self, Directory, Found, Place};
use super::manifest;
use super::pages::{self, Page};
use super::response::{failed, moved, ours, refusal, validate};
use super::streams::{StreamPlace, Streams};
use super::totals::Totals;
use super::{file, metrics, style};
use crate::engine::Engine;
use crate::engine::fetcher::Fetched;
use crate::model::name::BaseName;
use crate::store::error::StoreError;

/// What is said of content that no remote gives now.
const NOT_FETCHED: &str = "The content of this file is not here yet, and cannot be fetched now. The log of the store says why.";

/// What is said of what is not there and of what may not be read (H55).
const NOTHING: &str = "There is nothing here that you may read.";

/// Pages that are made at a time: some look at much of the store.
const PAGES_MAX: usize = 4;

/// How often a content is fetched for one answer.
const FETCH_TRIES: u32 = 3;

/// What the web face shows.
pub(super) struct Site {
    engine: Arc<Engine>,
    totals: Totals,
    streams: Arc<Streams>,
    digests: Arc<Digests>,
    pages: Semaphore,
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
    /// The query as it was sent.
    query: Option<String>,
    /// Where the page is that answers.
    page: Page,
}

impl Question {
    /// Whether a page of ours is wanted.
    fn wants_page(&self) -> bool {
        let is_list = self.form == Form::Page
            && matches!(self.target, Target::Home | Target::Repository(_) | Target::Inside(_));
        let is_file = matches!(&self.target, Target::Inside(inside) if !inside.slash);
        match self.view {
            View::Plain => is_list && !is_file,
            View::Tar(_) => false,
            _ => true,
        }
    }

    /// The same for what is not there and for what may not be read (H55).
    fn nothing(&self) -> Prepared {
        Prepared::Answer(self.refusal(StatusCode::NOT_FOUND, "Nothing here", NOTHING))
    }

    /// Leads to the address of a directory, with the same query.
    fn with_slash(&self, inside: &Inside) -> Prepared {
        let query = self.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        Prepared::Answer(moved(&format!("{}{query}", with_slash(&inside.path))))
    }

    /// A refusal in the form that is wanted.
    fn refusal(&self, status: StatusCode, title: &str, words: &str) -> Response<Body> {
        match self.form {
            Form::Page => self.page.refusal(status, title, words),
            Form::Links | Form::Json => refusal(status, words),
        }
    }
}

/// How the rest of an answer is made.
pub(super) enum Prepared {
    /// It is there.
    Answer(Response<Body>),
    /// Its body is written by a thread.
    Written(Response<Body>, Work),
    /// The same, where that is much work from the beginning on: nothing is done before there is a place.
    Long(Response<Body>, Work),
}

/// What writes a body.
pub(super) type Work = Box<dyn FnOnce(&mut dyn Output) -> io::Result<()> + Send>;

impl Site {
    /// Shows a store.
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            totals: Totals::new(),
            streams: Streams::new(),
            digests: Arc::new(Digests::new()),
            pages: Semaphore::new(PAGES_MAX),
        }
    }

    /// Answers one request.
    pub(super) async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        if !is_head && request.method() != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "Nothing can be changed here.");
        }
        let form = Form::accepted(request.headers().get(ACCEPT));
        let page = Page::at(request.uri().path());
        let Some(target) = Target::parse(request.uri().path()) else {
            return match form {
                Form::Page => page.refusal(StatusCode::NOT_FOUND, "Nothing here", NOTHING),
                Form::Links | Form::Json => refusal(StatusCode::NOT_FOUND, NOTHING),
            };
        };
        let query = request.uri().query().map(str::to_owned);
        let view = View::parse(query.as_deref());
        let (head, _) = request.into_parts();
        let question = Question { target, view, form, headers: head.headers, is_head, query, page };
        // It is never closed, so there is always a place in the end.
        let _place = match question.wants_page() {
            true => self.pages.acquire().await.ok(),
            false => None,
        };
        match self.prepared(Arc::new(question)).await {
            Ok(Ok(Prepared::Answer(response))) => response,
            Ok(Ok(Prepared::Written(response, _) | Prepared::Long(response, _))) if is_head => {
                response
            }
            Ok(Ok(Prepared::Written(response, work))) => self.write(response, None, work).await,
            Ok(Ok(Prepared::Long(response, work))) => match self.streams.place().await {
                Some(place) => self.write(response, Some(place), work).await,
                None => busy(),
            },
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

    /// Prepares an answer. Content that the store lacks is fetched, and no thread waits for it. One file needs one content,
    /// which a small cache may have let go again before it is opened.
    async fn prepared(
        self: &Arc<Self>,
        question: Arc<Question>,
    ) -> Result<Result<Prepared, StoreError>, JoinError> {
        let prepare = || {
            let (site, question) = (Arc::clone(self), Arc::clone(&question));
            tokio::task::spawn_blocking(move || site.prepare(&question))
        };
        for _ in 0..FETCH_TRIES {
            let name = match prepare().await {
                Ok(Err(StoreError::AbsentContent(name))) => name,
                prepared => return prepared,
            };
            let (then, fetched) = oneshot::channel();
            // Who went away meanwhile does not need the answer.
            self.engine.fetch(name, Box::new(move |fetched| drop(then.send(fetched))));
            // A file is sent from the store, so what could not be kept is not sent.
            if !matches!(fetched.await, Ok(Ok(Fetched::Kept))) {
                break;
            }
        }
        match prepare().await {
            Ok(Err(StoreError::AbsentContent(_))) => {
                Ok(Ok(Prepared::Answer(refusal(StatusCode::BAD_GATEWAY, NOT_FETCHED))))
            }
            prepared => prepared,
        }
    }

    async fn write(
        &self,
        mut response: Response<Body>,
        place: Option<StreamPlace>,
        work: Work,
    ) -> Response<Body> {
        *response.body_mut() = match written(&self.streams, place, work).await {
            Ok(Beginning::Whole(bytes)) => bytes.into(),
            Ok(Beginning::Written(body)) => Body::Written(body),
            Ok(Beginning::Busy) => return busy(),
            Err(error) => {
                log::error!("a request could not be answered: {error}");
                return match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                    Some(unreadable) => {
                        let (status, text) = manifest::Unreadable::refusal(unreadable);
                        refusal(status, &text)
                    }
                    None => failed(),
                };
            }
        };
        response
    }

    /// Looks at the store; on a thread that may block.
    fn prepare(&self, question: &Question) -> Result<Prepared, StoreError> {
        match &question.target {
            Target::Style => Ok(Prepared::Answer(style::answer(question))),
            Target::Metrics => Ok(Prepared::Answer(metrics::answer(&self.engine))),
            Target::Health => Ok(Prepared::Answer(metrics::health())),
            Target::Readiness => Ok(Prepared::Answer(metrics::readiness(&self.engine))),
            Target::Slash(to) => Ok(Prepared::Answer(moved(to))),
            Target::Home if question.form == Form::Page => {
                pages::home(&self.engine, &self.totals, &question.page).map(Prepared::Answer)
            }
            Target::Home => Ok(self.listing(question, Listing::Home)),
            Target::Repository(name) => match look::repository(&self.engine, name) {
                None => Ok(question.nothing()),
                Some(found) if question.form == Form::Page => {
                    let before = match &question.view {
                        View::Before(number) => Some(*number),
                        _ => None,
                    };
                    pages::repository(&self.engine, &self.totals, &question.page, &found, before)
                        .map(Prepared::Answer)
                }
                Some(found) => Ok(self.listing(question, Listing::Repository(found))),
            },
            Target::Inside(inside) => self.inside(question, inside),
        }
    }

    fn inside(&self, question: &Question, inside: &Inside) -> Result<Prepared, StoreError> {
        let Some(place) = look::version(&self.engine, inside) else {
            return Ok(question.nothing());
        };
        if let View::Diff(other) = &question.view {
            return self.diff(question, inside, &place, other);
        }
        let found = look::find(&self.engine, &place, &inside.path)?;
        match found {
            Some(Found::File(_)) if inside.slash => Ok(question.nothing()),
            Some(Found::File(found)) if question.view == View::Page => {
                let page = &question.page;
                let made = pages::file(&self.engine, page, &place, &inside.path, &found)?;
                Ok(made.map_or_else(|| question.nothing(), Prepared::Answer))
            }
            Some(Found::File(found)) => {
                let name = inside.path.last();
                let answer = file::answer(&self.engine, question, &place, name, found)?;
                Ok(answer.map_or_else(|| question.nothing(), Prepared::Answer))
            }
            Some(Found::Directory(_)) if !inside.slash => Ok(question.with_slash(inside)),
            Some(Found::Directory(found)) => self.directory(question, inside, place, found),
            None if !inside.slash && manifest::is_named(&inside.path) => {
                let may_list = look::find(&self.engine, &place, &[])?.is_some();
                Ok(if may_list { self.manifest(question, place) } else { question.nothing() })
            }
            None => Ok(question.nothing()),
        }
    }

    fn directory(
        &self,
        question: &Question,
        inside: &Inside,
        place: Place,
        found: Directory,
    ) -> Result<Prepared, StoreError> {
        let (engine, totals, page) = (&self.engine, &self.totals, &question.page);
        let at = (&*inside.path, &found);
        match &question.view {
            View::Tar(compression) => {
                let subtree = Subtree::new(&place, inside, found);
                Ok(self.archive(question, &place, subtree, *compression))
            }
            View::Sizes => pages::sizes(engine, totals, page, &place, at).map(Prepared::Answer),
            View::Sharing => pages::sharing(engine, page, &place).map(Prepared::Answer),
            view if question.form == Form::Page => {
                let after = match view {
                    View::After(name) => Some(&**name),
                    _ => None,
                };
                pages::directory(engine, totals, page, &place, at, after).map(Prepared::Answer)
            }
            _ => {
                let path = inside.path.clone();
                Ok(self.listing(question, Listing::Directory { place, path, tree: found.tree }))
            }
        }
    }

    fn diff(
        &self,
        question: &Question,
        inside: &Inside,
        after: &Place,
        other: &BaseName,
    ) -> Result<Prepared, StoreError> {
        let before =
            look::version(&self.engine, &Inside { version: other.clone(), ..inside.clone() });
        let Some(before) = before else { return Ok(question.nothing()) };
        let sides = pages::Sides { before: &before, after, path: &inside.path };
        let found = |place: &Place| look::find(&self.engine, place, &inside.path);
        let (before, after) = (found(sides.before)?, found(sides.after)?);
        match after.as_ref().or(before.as_ref()) {
            Some(Found::Directory(_)) if !inside.slash => return Ok(question.with_slash(inside)),
            Some(Found::File(_)) if inside.slash => return Ok(question.nothing()),
            Some(_) => {}
            None => return Ok(question.nothing()),
        }
        pages::diff(&self.engine, &question.page, &sides, (before, after)).map(Prepared::Answer)
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
        unless_known(question, &validators, |response| {
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
        unless_known(question, &validators, |response| {
            super::response::set(response, CONTENT_TYPE, "text/plain; charset=utf-8");
            let (engine, digests) = (Arc::clone(&self.engine), Arc::clone(&self.digests));
            Box::new(move |out| manifest::write(&engine, &digests, &place, out))
        })
    }
}

fn busy() -> Response<Body> {
    let words = "Too many clients are being sent much. Try again soon.";
    refusal(StatusCode::SERVICE_UNAVAILABLE, words)
}

/// Something that is made of a version, and is not made for who has it.
fn unless_known(
    question: &Question,
    validators: &Validators,
    work: impl FnOnce(&mut Response<Body>) -> Work,
) -> Prepared {
    let status = match validators.check(&question.headers) {
        Outcome::Go => StatusCode::OK,
        Outcome::NotModified => StatusCode::NOT_MODIFIED,
        Outcome::Failed => StatusCode::PRECONDITION_FAILED,
    };
    let mut response = ours(status, "text/plain; charset=utf-8", Body::empty());
    validate(&mut response, validators);
    if status != StatusCode::OK {
        return Prepared::Answer(response);
    }
    let work = work(&mut response);
    Prepared::Long(response, work)
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
