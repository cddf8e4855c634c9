//! Kind `debian`: what an archive declares (H27).
//!
//! `Release` names the indexes with their digests, the indexes name the packages with theirs. So one chain leads from a
//! signature to every byte, and each link is checked before the next one is read. Only the indexes are fetched here, by
//! their digests where the archive offers that, so that a mirror which is being updated does no harm (H28); packages are
//! fetched by the stages, as all other files.

mod choose;
mod release;
mod signature;
mod unpack;

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use choose::{Index, Variant, choose};
use release::{Answer, CurrentSuite};
pub use signature::SignatureError;
use unpack::{next_line, unpack};

use super::document::{Before, Found, has_changed, number, within};
use super::gathered::{Gathered, Part};
use super::sort::Line;
use super::{Destination, Note, Origin, SyncError, Watch, check_stop};
use crate::model::debian::DebianSettings;
use crate::model::debian::index::{IndexError, IndexKind, IndexParser};
use crate::model::debian::release::{Listed, ReleaseError};
use crate::model::digest::Sha256Hasher;
use crate::model::manifest::{DeclaredFile, DeclaredPath, LINE_BYTES_MAX, PathError};
use crate::model::remote::RemoteUrl;
use crate::model::time::Timestamp;
use crate::net::{Fetch, NetError, NetErrorKind, TRIES_MAX, read_public};

/// The longest index, packed, in bytes.
const PACKED_BYTES_MAX: u64 = 1 << 30;

/// The longest one unpacked, in bytes, where `Release` does not say how long it is.
const UNPACKED_BYTES_MAX: u64 = 4 << 30;

/// Files that all indexes together declare, at most.
const FILES_MAX: u64 = 10_000_000;

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// Its signature.
    #[error("{0}: {1}")]
    Signature(String, SignatureError),
    /// Its form.
    #[error("{0}: {1}")]
    Release(String, ReleaseError),
    /// It is signed, and says that it is another one.
    #[error("{0} is that of another suite: {1}")]
    OtherSuite(String, String),
    /// `Valid-Until` is over.
    #[error("{0} is too old: it was valid until {when}", when = crate::model::time::rfc3339(*.1))]
    Expired(String, Timestamp),
    /// It was made before the one that was used last.
    #[error(
        "{url} is of {date}, older than the one of the last sync, which is of {last}",
        date = crate::model::time::rfc3339(*date),
        last = crate::model::time::rfc3339(*last)
    )]
    Older {
        /// Where it is.
        url: String,
        /// When it was made.
        date: Timestamp,
        /// When the one was made that was used last.
        last: Timestamp,
    },
    /// Something that is wanted is not there.
    #[error(transparent)]
    NoIndex(Box<NoIndex>),
    /// An index is not the one that is listed.
    #[error("{0} is not what Release lists: {1}")]
    Other(String, String),
    /// A line of an index.
    #[error("line {1} of {0}: {2}")]
    Index(String, u64, IndexError),
    /// A path of an index, seen from the archive.
    #[error("{0}: {1}")]
    Path(String, PathError),
    /// An index that cannot be unpacked.
    #[error("cannot unpack {0}: {1}")]
    Unpack(String, io::Error),
    /// More than there can be.
    #[error("it declares more than {FILES_MAX} files")]
    TooMany,
}

/// What is wanted and not there, beside what there is.
#[derive(Debug, thiserror::Error)]
#[error(
    "suite {suite} has {what}; it has the components `{components}` and the architectures `{architectures}`"
)]
pub struct NoIndex {
    suite: String,
    what: String,
    components: String,
    architectures: String,
}

impl From<DebianError> for SyncError {
    fn from(error: DebianError) -> Self {
        Self::Debian(Box::new(error))
    }
}

/// An archive that is being asked.
struct Archive<'a> {
    origin: &'a Origin<'a>,
    settings: &'a DebianSettings,
    /// Its directory: `dists` lies there.
    root: RemoteUrl,
    keys: Option<Vec<u8>>,
    /// Where indexes may be already.
    store: Option<&'a dyn Destination>,
    now: Timestamp,
    watch: Watch<'a>,
    before: Before<'a>,
}

/// Finds out what the archive declares, and hands it to `take`. `None` where all of it is as it was `before`.
pub(super) fn declare(
    origin: &Origin<'_>,
    settings: &DebianSettings,
    before: Before<'_>,
    store: Option<&dyn Destination>,
    into: File,
    watch: Watch<'_>,
    take: &mut dyn FnMut(Line) -> Result<(), SyncError>,
) -> Result<Option<Found>, SyncError> {
    let keys = match &settings.keyring_file {
        None => None,
        Some(path) => {
            let keys = signature::keys(&read_public(path)?);
            let place = || path.display().to_string();
            Some(keys.map_err(|error| DebianError::Signature(place(), error))?)
        }
    };
    let now = store.map_or_else(Timestamp::now, Destination::now);
    let root = origin.url.clone();
    let archive = Archive { origin, settings, root, keys, store, now, watch, before };
    let mut found = Found::default();
    let Some(suites) = archive.suites(&mut found.notes)? else {
        return Ok(None);
    };
    found.documents = suites.iter().map(|suite| suite.document.clone()).collect();
    found.mtime = suites.iter().filter_map(|suite| suite.release.date).max();
    let gathered = Gathered::new(into);
    let mut declaring = Declaring { archive: &archive, found, gathered, count: 0, take };
    suites.iter().try_for_each(|suite| declaring.suite(suite))?;
    let Declaring { found, gathered, .. } = declaring;
    Ok(Some(Found { gathered: Some(gathered), ..found }))
}

impl Archive<'_> {
    /// All suites, or `None` if none of them has changed: that is one request each.
    fn suites(&self, notes: &mut Vec<Note>) -> Result<Option<Vec<CurrentSuite<'_>>>, SyncError> {
        let seen = self.before.seen();
        let wanted = &self.settings.suites;
        let answers: Result<Vec<_>, _> = wanted.iter().map(|suite| self.ask(suite, seen)).collect();
        let answers = answers?;
        let is_unchanged = |answer: &Answer| matches!(answer, Answer::Unchanged);
        if answers.iter().all(is_unchanged) {
            seen.iter().try_for_each(|document| self.check_age(document))?;
            return Ok(None);
        }
        let read = wanted.iter().zip(answers).map(|(suite, answer)| {
            // Of a suite that has not changed, what it has is needed all the same.
            let answer = if is_unchanged(&answer) { self.ask(suite, &[])? } else { answer };
            match answer {
                Answer::Came { name, bytes, validators } => {
                    self.read(suite, name, bytes, validators, notes)
                }
                Answer::Unchanged => Err(SyncError::Changed(self.root.to_string())),
            }
        });
        read.collect::<Result<Vec<_>, _>>().map(Some)
    }
}

/// What is known so far of what an archive declares.
struct Declaring<'a, 'b> {
    archive: &'a Archive<'a>,
    found: Found,
    gathered: Gathered,
    count: u64,
    take: &'b mut dyn FnMut(Line) -> Result<(), SyncError>,
}

impl Declaring<'_, '_> {
    fn suite(&mut self, suite: &CurrentSuite<'_>) -> Result<(), SyncError> {
        let directory = suite.suite.directory();
        self.found.places.push(suite.document.url.clone());
        for (name, bytes) in &suite.files {
            let listed =
                self.gathered.keep(bytes).map_err(SyncError::io("keep what was fetched"))?;
            self.push(below(&directory, name.as_bytes())?, listed, 0)?;
        }
        let (indexes, lacking) = choose(self.archive.settings, suite.suite, &suite.release)?;
        let lacks = |language| format!("suite {} has no descriptions in `{language}`", suite.suite);
        self.found.notes.extend(lacking.into_iter().map(|language| Note::Fact(lacks(language))));
        indexes.iter().try_for_each(|index| self.index(suite, &directory, index))
    }

    fn push(&mut self, path: DeclaredPath, listed: Listed, line: u64) -> Result<(), SyncError> {
        let Listed { size_bytes, sha256 } = listed;
        self.push_file(DeclaredFile { path, sha256, size_bytes: Some(size_bytes) }, line)
    }

    fn push_file(&mut self, file: DeclaredFile, line: u64) -> Result<(), SyncError> {
        check_stop(self.archive.watch.stop)?;
        self.count += 1;
        if self.count > FILES_MAX {
            return Err(DebianError::TooMany.into());
        }
        let number = number(self.found.places.len() - 1, line);
        match within(self.archive.origin.subpath, file) {
            Some(file) => (self.take)(Line { file, number }),
            None => Ok(()),
        }
    }

    /// Gets an index in the best form that is to be had, declares it, and what it declares.
    fn index(
        &mut self,
        suite: &CurrentSuite<'_>,
        directory: &str,
        index: &Index,
    ) -> Result<(), SyncError> {
        let mut absent = None;
        for variant in &index.variants {
            let path = below(directory, variant.path.as_bytes())?;
            let hashed = suite.release.by_hash.then(|| by_hash(&path, variant)).transpose()?;
            match self.variant(&path, hashed.as_ref(), variant) {
                Ok(packed) => {
                    let url = self.archive.root.file(path.as_bytes()).to_string();
                    for path in [Some(path), hashed].into_iter().flatten() {
                        self.push(path, variant.listed, 0)?;
                    }
                    return match index.kind {
                        Some(kind) => self.lines(kind, &url, packed, variant, index.unpacked_bytes),
                        None => Ok(()),
                    };
                }
                // Listed are also forms that a server leaves out.
                Err(SyncError::Net(error)) if error.kind() == NetErrorKind::NotFound => {
                    absent.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let error = absent.map_or_else(String::new, |error| error.to_string());
        Err(self.disagreement(DebianError::Other(suite.document.url.clone(), error)))
    }

    /// Gets one form of an index: out of the store, or from the archive.
    fn variant(
        &mut self,
        path: &DeclaredPath,
        hashed: Option<&DeclaredPath>,
        variant: &Variant,
    ) -> Result<Part, SyncError> {
        let listed = variant.listed;
        if let Some(store) = self.archive.store
            && let Some(known) = store.content(&listed.sha256)?
            && has(&known, listed).map_err(SyncError::io("read an index"))?
        {
            return Ok(Part::of(known, listed.size_bytes));
        }
        if let Some(part) = self.gathered.find(&listed.sha256) {
            return Ok(part);
        }
        let mut first_error = None;
        for path in [hashed, Some(path)].into_iter().flatten() {
            let url = self.archive.root.file(path.as_bytes());
            let request = Fetch {
                url: url.clone(),
                size_bytes: Some(listed.size_bytes),
                max_bytes: PACKED_BYTES_MAX,
                unless: None,
                needs_end: false,
                tries_max: TRIES_MAX,
                stop: self.archive.watch.stop,
                watcher: self.archive.watch.tally,
            };
            let mut incoming = self.gathered.incoming();
            let error: NetError = match self.archive.origin.client.fetch(&request, &mut incoming) {
                Ok(_) if incoming.listed() == listed => {
                    return Ok(self.gathered.add(listed));
                }
                Ok(_) => {
                    let what = "it has another SHA-256".to_owned();
                    return Err(self.disagreement(DebianError::Other(url.to_string(), what)));
                }
                Err(error) => error,
            };
            match error.kind() {
                NetErrorKind::NotFound => drop(first_error.get_or_insert(error)),
                NetErrorKind::Protocol => {
                    let other = DebianError::Other(url.to_string(), error.to_string());
                    return Err(self.disagreement(other));
                }
                _ => return Err(error.into()),
            }
        }
        Err(first_error.map_or(SyncError::Ended, SyncError::Net))
    }

    /// An index is not what was listed: the archive is wrong, or it changed since (H28).
    fn disagreement(&self, error: DebianError) -> SyncError {
        let changed = has_changed(self.archive.origin, &self.found.documents, self.archive.watch);
        match changed {
            Ok(Some(url)) => SyncError::Changed(url),
            Ok(None) => error.into(),
            Err(error) => error,
        }
    }

    /// Declares what an index declares.
    fn lines(
        &mut self,
        kind: IndexKind,
        url: &str,
        packed: Part,
        variant: &Variant,
        unpacked_bytes: Option<u64>,
    ) -> Result<(), SyncError> {
        self.found.places.push(url.to_owned());
        let broken = |error| DebianError::Unpack(url.to_owned(), error);
        let most = unpacked_bytes.unwrap_or(UNPACKED_BYTES_MAX);
        let mut reader = unpack(packed, variant.compression, most).map_err(broken)?;
        let mut parser = IndexParser::new(kind);
        let (mut line, mut files) = (Vec::new(), Vec::new());
        for number in 1.. {
            check_stop(self.archive.watch.stop)?;
            let is_there = next_line(&mut reader, LINE_BYTES_MAX, &mut line).map_err(broken)?;
            let mut take = |file| files.push(file);
            let taken =
                if is_there { parser.line(&line, &mut take) } else { parser.end(&mut take) };
            taken.map_err(|error| DebianError::Index(url.to_owned(), number, error))?;
            files.drain(..).try_for_each(|file| self.push_file(file, number))?;
            if !is_there {
                break;
            }
        }
        Ok(())
    }
}

/// A path as seen from the archive.
fn below(directory: &str, path: &[u8]) -> Result<DeclaredPath, SyncError> {
    let path = match directory {
        "" => DeclaredPath::new(path),
        directory => DeclaredPath::new(&[directory.as_bytes(), b"/", path].concat()),
    };
    path.map_err(|error| DebianError::Path(directory.to_owned(), error).into())
}

/// Where an index lies under its digest.
fn by_hash(path: &DeclaredPath, variant: &Variant) -> Result<DeclaredPath, SyncError> {
    let path = path.as_bytes();
    let directory = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
    let name = format!("by-hash/SHA256/{}", variant.listed.sha256);
    below(&String::from_utf8_lossy(directory), name.as_bytes())
}

/// Whether a file has the content that is listed.
fn has(file: &Arc<File>, listed: Listed) -> io::Result<bool> {
    if file.metadata()?.len() != listed.size_bytes {
        return Ok(false);
    }
    let mut reader = Part::of(Arc::clone(file), listed.size_bytes);
    let (mut hasher, mut chunk) = (Sha256Hasher::default(), vec![0; 256 << 10]);
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(hasher.finish() == listed.sha256),
            read => hasher.update(&chunk[..read]),
        }
    }
}
