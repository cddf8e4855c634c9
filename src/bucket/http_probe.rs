//! What works with a bucket that is read over plain HTTP: asked of the server, without a write.
//!
//! What a log does not have yet must be told from what it has, and caches must not keep either for too long: an edge
//! learns of a new version only when both `head` and "there is no such event" have run out (H48).

use std::time::Duration;

use super::format::{self, FormatFileError};
use super::key::{Key, LogName, Seq};
use super::store::{ObjectStore, StoreError, StoreErrorKind};
use crate::model::remote::{RemoteSettings, RemoteTest};
use crate::model::text::count;
use crate::net::HttpObjects;

/// Asks a server for all that pulling and following need. What fails is part of the answer.
pub fn probe(settings: &RemoteSettings) -> RemoteTest {
    let mut test = RemoteTest::default();
    let asked =
        HttpObjects::open(settings).map_err(StoreError::from).map_err(FormatFileError::from);
    let poll = settings.edge.clone().unwrap_or_default().poll();
    match asked.and_then(|store| ask(&store, poll, &mut test)) {
        Ok(()) => test.usable = true,
        Err(error) => test.failure = Some(error.to_string()),
    }
    test
}

fn ask(store: &HttpObjects, poll: Duration, test: &mut RemoteTest) -> Result<(), FormatFileError> {
    format::read_id(store)?.ok_or(FormatFileError::Missing)?;
    // A server may show `log` to others than the rest, or not know what to do with `=`.
    ObjectStore::get(store, &LogName::Bucket.key(Seq::NONE.next()))?;
    let missing = LogName::Bucket.key(Seq::MAX);
    match ObjectStore::get(store, &missing) {
        Ok(None) => {}
        // Who may not list a bucket of S3 is answered so.
        Err(error) if error.kind() == StoreErrorKind::Refused => {}
        Ok(Some(_)) => {
            let message = format!(
                "{missing}: there is no such object, and the server sends one. It must answer 404 for what is not there"
            );
            return Err(StoreError::new(StoreErrorKind::Protocol, message).into());
        }
        Err(error) => return Err(error.into()),
    }
    let (format, head) = (Key::Format.to_string(), Key::Head.to_string());
    test.ranges = Some(store.sends_parts(&format).map_err(StoreError::from)?);
    let kept = |key: &str| store.kept_for(key).map_err(StoreError::from);
    test.notes.push("it is read over HTTP: nothing can be pushed to it or collected".to_owned());
    test.notes.extend(match kept(&head)? {
        None => Some(format!(
            "the server does not say how long caches may keep `head`, so one may keep it for long, and edges learn late of \
             new versions: have it send `Cache-Control: max-age={}` with that file",
            poll.as_secs()
        )),
        Some(time) => too_long("`head`", time, poll),
    });
    test.notes
        .extend(kept(&missing)?.and_then(|time| too_long("that an object is missing", time, poll)));
    Ok(())
}

fn too_long(what: &str, time: Duration, poll: Duration) -> Option<String> {
    let seconds = count(time.as_secs(), "second");
    (time > poll).then(|| {
        format!("caches may keep {what} for {seconds}: edges learn that late of new versions")
    })
}
