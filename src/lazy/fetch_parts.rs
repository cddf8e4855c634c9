//! A large content of a bucket, fetched by parts: those first that somebody reads.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Lazy;
use super::bucket::{Asked, NotHere};
use super::fetch::{NotKept, failed, unless_full};
use super::flights::NextPart;
use super::parts::Parts;
use crate::bucket::groups::{GroupValues, TRAILER_BYTES_MAX};
use crate::bucket::index::Location;
use crate::bucket::pull::fetch_range;
use crate::bucket::transfer::{TransferError, Watch};
use crate::engine::absent::FetchedContent;
use crate::engine::fetcher::{Fetched, NO_ROOM, NotFetched};
use crate::model::fetch_policy::FetchPolicy;
use crate::sync::Turn;

impl Lazy {
    /// The parts of a content, where it can be fetched so. Otherwise all of it has to come before any of it can be verified: a
    /// content with a declared SHA-256, or one whose object has no values that give its name.
    pub(super) fn parts(
        &self,
        asked: &Asked<'_>,
        location: &Location,
        watch: &Watch<'_>,
        turn: &Turn<'_>,
    ) -> Result<Option<Arc<Parts>>, NotHere> {
        let size = location.content_bytes();
        let trailer_bytes = location.object_bytes.saturating_sub(size);
        // Who fetches beside a slow one has a file that no reader of parts would look into.
        let may_be = asked.content.sha256().is_none()
            && (1..=TRAILER_BYTES_MAX).contains(&trailer_bytes)
            && turn.has_name();
        if !may_be {
            return Ok(None);
        }
        let known = self.known_parts.lock().get_named(&asked.content);
        if known.is_some() {
            return Ok(known);
        }
        let (objects, blob) = (asked.objects, &asked.place.blob);
        let trailer = size..location.object_bytes;
        let values = match fetch_range(objects, watch, (blob, &location.key), trailer) {
            Ok(trailer) => GroupValues::parse(&trailer, blob, size),
            Err(error @ TransferError::Lies { .. }) => return self.without_parts(error),
            Err(error) => return Err(error.into()),
        };
        let values = match values {
            Ok(values) => values,
            Err(error) => return self.without_parts(format_args!("{}: {error}", location.key)),
        };
        let parts = Arc::new(Parts::new(values, turn.open().map_err(failed)?).map_err(failed)?);
        self.known_parts.lock().put(asked.content, Arc::clone(&parts));
        Ok(Some(parts))
    }

    fn without_parts(&self, why: impl std::fmt::Display) -> Result<Option<Arc<Parts>>, NotHere> {
        log::warn!("{why}; the content is fetched as a whole");
        Ok(None)
    }

    /// Fetches parts of a content until nobody waits for one, and keeps the content once all of it is here. `None` when it
    /// ended before that: those who waited have been told.
    pub(super) fn fetch_parts(
        &self,
        asked: &Asked<'_>,
        location: &Location,
        watch: &Watch<'_>,
        (turn, parts): (&Turn<'_>, &Parts),
    ) -> Option<Result<Fetched, NotHere>> {
        loop {
            let next = self.flights.lock().next_part(&asked.content, |part| parts.has(part));
            let (served, next) = next;
            served.into_iter().for_each(|then| then(Ok(Fetched::Part)));
            if parts.is_whole() {
                let kept = self.keep_parts(asked, location, turn, parts);
                if next != NextPart::Ended {
                    return Some(kept);
                }
                if let Err(error) = kept.map_err(NotFetched::from) {
                    log::warn!("{} is whole, and not kept: {error}", asked.content);
                }
                return None;
            }
            let wanted = match &next {
                NextPart::Part(part) => Some(part),
                NextPart::All => None,
                NextPart::Ended => return None,
            };
            // Looking may have found in the file of an earlier run what was wanted.
            if let Some(groups) = parts.next(wanted)
                && let Err(error) = self.fetch_groups(asked, location, watch, (turn, parts, groups))
            {
                return Some(Err(error));
            }
        }
    }

    fn fetch_groups(
        &self,
        asked: &Asked<'_>,
        location: &Location,
        watch: &Watch<'_>,
        (turn, parts, groups): (&Turn<'_>, &Parts, Range<usize>),
    ) -> Result<(), NotHere> {
        let span = parts.span(&groups);
        let length = span.end - span.start;
        if !self.make_room(asked.engine, length) {
            return Err(NotFetched(NO_ROOM.to_owned()).into());
        }
        let (objects, blob) = (asked.objects, &asked.place.blob);
        let began = Instant::now();
        let bytes = fetch_range(objects, watch, (blob, &location.key), span)?;
        parts.note_time(began.elapsed());
        turn.note(bytes.len());
        self.note_came(asked, bytes.len());
        let is_right = parts.put(&groups, &bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => NotFetched(NO_ROOM.to_owned()),
            _ => failed(error),
        })?;
        if asked.found.settings.policy == FetchPolicy::Streamed {
            self.note_cached(length);
        }
        if is_right {
            return Ok(());
        }
        let reason = "its bytes are not those of its name".to_owned();
        Err(TransferError::Lies { key: location.key, name: *blob, reason }.into())
    }

    /// Makes a content that is whole an ordinary one.
    fn keep_parts(
        &self,
        asked: &Asked<'_>,
        location: &Location,
        turn: &Turn<'_>,
        parts: &Parts,
    ) -> Result<Fetched, NotHere> {
        let (blob, length) = (asked.place.blob, location.content_bytes());
        let file = parts.file().try_clone().map_err(failed)?;
        let path = turn.path();
        let whole = FetchedContent::File(file, path.as_deref());
        let kept = unless_full(asked.engine.keep_fetched(asked.digest(), blob, length, whole));
        match kept {
            Ok(()) => {
                self.known_parts.lock().forget(&asked.content);
                turn.remove().map_err(failed)?;
                Ok(Fetched::Kept)
            }
            Err(NotKept::Full) => Err(NotFetched(NO_ROOM.to_owned()).into()),
            Err(NotKept::Other(reason)) => Err(reason.into()),
        }
    }
}
