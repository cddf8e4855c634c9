//! The `Release` of a suite: fetched, its signature checked, and not too old.

use std::io;

use url::Url;

use super::signature::{self, SignatureError};
use super::{Archive, DebianError};
use crate::model::debian::Suite;
use crate::model::debian::release::{RELEASE_BYTES_MAX, Release};
use crate::model::digest::Sha256;
use crate::net::{Body, Fetch, Fetched, NetErrorKind, TRIES_MAX, Validators};
use crate::sync::document::Document;
use crate::sync::{Note, SyncError};

const IN_RELEASE: &str = "InRelease";
const RELEASE: &str = "Release";
const SIGNATURE: &str = "Release.gpg";

/// A suite as it is now.
pub(super) struct CurrentSuite<'a> {
    pub(super) suite: &'a Suite,
    pub(super) release: Release,
    /// The files that say so, with their names: what a version has of them.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    pub(super) document: Document,
}

/// A document in memory.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Body for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.0.clear();
        Ok(())
    }
}

/// What came of a suite so far.
pub(super) enum Answer {
    /// It is as it was.
    Unchanged,
    Came {
        name: &'static str,
        bytes: Vec<u8>,
        validators: Validators,
    },
}

impl Archive<'_> {
    fn url(&self, suite: &Suite, name: &str) -> Url {
        let directory = suite.directory();
        let path =
            if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
        self.root.file(path.as_bytes())
    }

    fn fetch_bytes(
        &self,
        url: Url,
        unless: Option<&Validators>,
    ) -> Result<Option<(Vec<u8>, Validators)>, SyncError> {
        let mut body = Bytes::default();
        let request = Fetch {
            url,
            size_bytes: None,
            max_bytes: RELEASE_BYTES_MAX,
            unless: unless.filter(|validators| !validators.is_empty()),
            needs_end: true,
            tries_max: TRIES_MAX,
            stop: self.watch.stop,
            watcher: self.watch.tally,
        };
        Ok(match self.origin.client.fetch(&request, &mut body)? {
            Fetched::Unchanged => None,
            Fetched::Whole { validators, .. } => Some((body.0, validators)),
        })
    }

    /// The same where the server may not have it.
    fn fetch_if_there(&self, url: Url) -> Result<Option<(Vec<u8>, Validators)>, SyncError> {
        match self.fetch_bytes(url, None) {
            Err(error) if is_absent(&error) => Ok(None),
            fetched => fetched,
        }
    }

    /// Asks for `InRelease`, or for `Release` where that is what there is.
    pub(super) fn ask(&self, suite: &Suite, seen: &[Document]) -> Result<Answer, SyncError> {
        let (signed, plain) = (self.url(suite, IN_RELEASE), self.url(suite, RELEASE));
        let of = |url: &Url| seen.iter().find(|document| document.url == url.as_str());
        let came = |name, fetched: Option<(Vec<u8>, Validators)>| match fetched {
            None => Answer::Unchanged,
            Some((bytes, validators)) => {
                let is_same = seen.iter().any(|document| document.sha256 == digest(&bytes));
                if is_same { Answer::Unchanged } else { Answer::Came { name, bytes, validators } }
            }
        };
        // The last time there was no other.
        if let Some(document) = of(&plain) {
            match self.fetch_bytes(plain.clone(), Some(&document.validators)) {
                // It has the other one now, perhaps.
                Err(error) if is_absent(&error) => {}
                fetched => return Ok(came(RELEASE, fetched?)),
            }
        }
        let unless = of(&signed).map(|document| &document.validators);
        match self.fetch_bytes(signed, unless) {
            Err(error) if is_absent(&error) => Ok(came(RELEASE, self.fetch_bytes(plain, None)?)),
            fetched => Ok(came(IN_RELEASE, fetched?)),
        }
    }

    /// What a suite is, by what came. Nothing of it is believed before its signature was checked.
    pub(super) fn read<'a>(
        &self,
        suite: &'a Suite,
        name: &'static str,
        bytes: Vec<u8>,
        validators: Validators,
        notes: &mut Vec<Note>,
    ) -> Result<CurrentSuite<'a>, SyncError> {
        let url = self.url(suite, name);
        let wrong = |error: SignatureError| DebianError::Signature(url.to_string(), error);
        let mut files = Vec::new();
        let (text, signed) = if name == IN_RELEASE {
            let signed = signature::split(&bytes).map_err(wrong)?;
            let (text, signature) = match signed {
                Some(signed) => (signed.text, Some(signed.signature)),
                None => (bytes.clone(), None),
            };
            files.extend(self.plain_files(suite, &text)?);
            (text, signature)
        } else {
            let signature = self.fetch_if_there(self.url(suite, SIGNATURE))?;
            let signature = signature.map(|(signature, _)| signature);
            files.extend(signature.clone().map(|signature| (SIGNATURE, signature)));
            (bytes.clone(), signature)
        };
        notes.push(match (&self.keys, signed) {
            (None, _) => Note::Warning(format!(
                "the signature of {url} was not checked, since the remote has no keyring"
            )),
            (Some(_), None) => return Err(wrong(SignatureError::Missing).into()),
            (Some(keys), Some(signature)) => {
                let key = signature::check(&text, &signature, keys).map_err(wrong)?;
                Note::Fact(format!("the signature of {url} is good: key {key}"))
            }
        });
        let document = Document {
            url: url.to_string(),
            validators,
            sha256: digest(&bytes),
            valid_until: None,
            date: None,
        };
        files.push((name, bytes));
        let release =
            Release::parse(&text).map_err(|error| DebianError::Release(url.to_string(), error))?;
        if self.keys.is_some() && !suite.is_flat() && !release.is_of(suite.as_str()) {
            let names = [&release.suite, &release.codename].into_iter().flatten().cloned();
            let names: Vec<_> = names.collect();
            return Err(DebianError::OtherSuite(url.to_string(), names.join(", ")).into());
        }
        let Release { valid_until, date, .. } = release;
        let document = Document { valid_until, date, ..document };
        self.check_age(&document)?;
        self.check_order(&document)?;
        Ok(CurrentSuite { suite, release, files, document })
    }

    /// Refuses a suite that is too old: a mirror that stands still would withhold all repairs.
    pub(super) fn check_age(&self, document: &Document) -> Result<(), SyncError> {
        match document.valid_until {
            Some(until) if until < self.now && !self.settings.allow_expired => {
                Err(DebianError::Expired(document.url.clone(), until).into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses a suite that is older than what was used last: whoever can answer in the archive's place could bring back what was
    /// repaired since, with a good signature (H27).
    fn check_order(&self, document: &Document) -> Result<(), SyncError> {
        let directory = |document: &Document| {
            document.url.rsplit_once('/').map(|(directory, _)| directory.to_owned())
        };
        let of_suite = |last: &&Document| directory(last) == directory(document);
        let last = self.before.documents.iter().filter(of_suite).filter_map(|last| last.date).max();
        match (document.date, last) {
            (Some(date), Some(last)) if date < last && !self.settings.allow_expired => {
                Err(DebianError::Older { url: document.url.clone(), date, last }.into())
            }
            _ => Ok(()),
        }
    }

    /// `Release` beside an `InRelease`, which programs ask for that do not know the other: only where it says the same, since
    /// it may be replaced a moment before or after.
    fn plain_files(
        &self,
        suite: &Suite,
        text: &[u8],
    ) -> Result<Vec<(&'static str, Vec<u8>)>, SyncError> {
        let Some((plain, _)) = self.fetch_if_there(self.url(suite, RELEASE))? else {
            return Ok(Vec::new());
        };
        let lines = |text: &[u8]| -> Vec<Vec<u8>> {
            let lines = text.trim_ascii_end().split(|byte| *byte == b'\n');
            lines.map(|line| line.trim_ascii_end().to_vec()).collect()
        };
        if lines(&plain) != lines(text) {
            log::info!(
                "{} is left out: it is another one than InRelease",
                self.url(suite, RELEASE)
            );
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        if let Some((signature, _)) = self.fetch_if_there(self.url(suite, SIGNATURE))? {
            let is_good = self.keys.as_ref().is_none_or(|keys| {
                let checked = signature::check(&plain, &signature, keys);
                checked.is_ok()
            });
            files.extend(is_good.then_some((SIGNATURE, signature)));
        }
        files.push((RELEASE, plain));
        Ok(files)
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::of(bytes).to_string()
}

/// Whether a server does not have a document. Stores of objects say "forbidden" where nobody may list them.
fn is_absent(error: &SyncError) -> bool {
    matches!(error, SyncError::Net(error)
        if matches!(error.kind(), NetErrorKind::NotFound | NetErrorKind::Refused))
}
