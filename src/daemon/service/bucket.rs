//! Remotes of the kind `bucket`: how the daemon gets at one, and what works with it.

use std::io;
use std::path::Path;

use super::StoreService;
use crate::bucket::key::Nonce;
use crate::bucket::probe::{Probe, probe};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::model::remote::{BucketSettings, RemoteSettings, RemoteTest};
use crate::net::Objects;
use crate::store::caller_path::open_outside;

impl StoreService {
    /// The store of a bucket.
    ///
    /// # Errors
    /// What of it cannot be used; a directory that leads through a mount of this daemon.
    pub(super) fn open_bucket(&self, settings: &RemoteSettings) -> Result<Objects, ControlError> {
        let failed =
            |error: &dyn std::fmt::Display| ControlError::new(ErrorKind::Failed, error.to_string());
        if let Some(path) = settings.url.local_path() {
            self.check_outside(&path)
                .map_err(|error| failed(&format!("cannot use {}: {error}", path.display())))?;
        }
        Objects::open(settings).map_err(|error| failed(&error))
    }

    /// Refuses a directory in a mount of this daemon, which would wait for itself (R8).
    fn check_outside(&self, path: &Path) -> io::Result<()> {
        let boundary = self.boundary().map_err(|error| io::Error::other(error.to_string()))?;
        // What is not there is made below what is.
        for path in path.ancestors() {
            match open_outside(path, &boundary.avoided) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened.map(drop),
            }
        }
        Ok(())
    }

    /// Asks a bucket for all that pushing and pulling need. What fails is part of the answer.
    pub(super) fn test_bucket(&self, settings: &RemoteSettings) -> RemoteTest {
        let found = self
            .open_bucket(settings)
            .map_err(|error| error.to_string())
            .and_then(|store| probe(&store, &mut Nonce::random).map_err(|error| error.to_string()));
        let mut test = RemoteTest::default();
        match found {
            Err(failure) => test.failure = Some(failure),
            Ok(Probe { creates_once, ranges, lists_at_once }) => {
                test.usable = true;
                test.ranges = Some(ranges);
                test.creates_once = Some(creates_once);
                test.lists_at_once = Some(lists_at_once);
                if settings.url.s3_place().is_some() {
                    test.notes.push(LIFECYCLE.to_owned());
                }
            }
        }
        test
    }

    /// Asks a bucket before its settings are kept, and notes what was found (H44).
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn probe_bucket(&self, settings: &mut RemoteSettings) -> Result<(), ControlError> {
        let test = self.test_bucket(settings);
        if let Some(failure) = test.failure {
            return Err(ControlError::new(ErrorKind::Failed, failure)
                .with_hint("a bucket is tried before it is kept: see to its server and key, then do this again"));
        }
        let bucket = settings.bucket.get_or_insert_default();
        *bucket = BucketSettings { creates_once: test.creates_once, ..bucket.clone() };
        Ok(())
    }
}

/// What a probe cannot see, since the library does not ask for it.
const LIFECYCLE: &str = "let the server remove unfinished multipart uploads after some days, and no object by its age: \
                         only `cairn remote gc` knows what is needed";
