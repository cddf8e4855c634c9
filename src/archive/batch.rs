//! Collects prepared entries, asks the store what it has, and sends the rest.
//!
//! Each batch costs one question (which contents are known?) and one delivery. Its size is bounded
//! in entries, bytes and open files, whatever the source holds. Content that the store knows is
//! sent by hash alone; equal content within a batch travels once.

use std::collections::{HashMap, HashSet};
use std::fs::File;

use super::error::{ArchiveError, Problem, Problems};
use super::known_subtrees::{self, Asking, Subtree};
use super::observer::{ImportTotals, Observer};
use super::path::ArchivePath;
use super::payload::Bytes;
use super::read::{Prepared, PreparedContent, ReadFile};
use super::stat::Stat;
use super::{Batch, EntrySink, large};
use crate::model::hash::BlobHash;
use crate::model::import::{FileSource, ImportContent, ImportEntry, RawAttributes, WantedTree};

/// Entries in a batch.
const ENTRIES_MAX: usize = 2048;
/// Bytes of small contents in a batch.
const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of paths, targets and extended attributes in a batch.
const METADATA_BYTES_MAX: usize = 512 * 1024;
/// Open files in a batch.
const FILES_MAX: usize = 32;
/// Bytes of large contents after which a batch is delivered.
const LARGE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What a batch holds, as far as it is bounded.
#[derive(Debug, Default)]
struct Load {
    entries: usize,
    payload_bytes: usize,
    metadata_bytes: usize,
    /// Large contents, and their sizes together.
    large: HashSet<BlobHash>,
    large_bytes: u64,
}

impl Load {
    /// Whether one more entry fits in.
    fn fits(&self, prepared: &Prepared) -> bool {
        let full = self.entries >= ENTRIES_MAX
            || self.payload_bytes + payload_bytes(prepared) > PAYLOAD_BYTES_MAX
            || self.metadata_bytes + metadata_bytes(prepared) > METADATA_BYTES_MAX
            || self.large.len() >= FILES_MAX
            || self.large_bytes >= LARGE_BYTES_MAX;
        // A large content is sent once: a second file with the same content waits for the next
        // batch, when the store has it.
        let again = match &prepared.content {
            PreparedContent::Large { hash, .. } => self.large.contains(hash),
            _ => false,
        };
        self.entries == 0 || !(full || again)
    }

    fn add(&mut self, prepared: &Prepared) {
        self.entries += 1;
        self.payload_bytes += payload_bytes(prepared);
        self.metadata_bytes += metadata_bytes(prepared);
        if let PreparedContent::Large { hash, size, .. } = &prepared.content {
            self.large.insert(*hash);
            self.large_bytes += size;
        }
    }
}

/// The sending end of an import.
pub(super) struct Batcher<'a> {
    sink: &'a mut dyn EntrySink,
    observer: &'a mut dyn Observer,
    read_file: Option<&'a ReadFile<'a>>,
    asking: Asking,
    pending: Vec<Prepared>,
    load: Load,
    totals: ImportTotals,
    /// Why nothing is to be published.
    problems: Problems,
    /// What cannot be read is left out, and no reason to publish nothing.
    keep_going: bool,
    /// What was left out.
    left_out: HashSet<Box<[u8]>>,
}

impl<'a> Batcher<'a> {
    pub(super) fn new(sink: &'a mut dyn EntrySink, observer: &'a mut dyn Observer) -> Self {
        Self {
            sink,
            observer,
            read_file: None,
            asking: Asking::Never,
            pending: Vec::new(),
            load: Load::default(),
            totals: ImportTotals::default(),
            problems: Problems::default(),
            keep_going: false,
            left_out: HashSet::new(),
        }
    }

    /// Reads with `read_file` what was not read, where the store turns out to lack it.
    pub(super) fn reading(self, read_file: &'a ReadFile<'a>) -> Self {
        Self { read_file: Some(read_file), ..self }
    }

    /// Asks for directories before it asks for what is in them. The entries must come as a walk
    /// yields them.
    pub(super) fn asking_for_subtrees(self, asks: bool) -> Self {
        Self { asking: if asks { Asking::START } else { Asking::Never }, ..self }
    }

    /// Leaves out what cannot be read, if `keep_going`.
    pub(super) fn keeping_going(self, keep_going: bool) -> Self {
        Self { keep_going, ..self }
    }

    /// Notes an entry that could not be read. The import is going to fail, unless it keeps going, but goes
    /// on to find the other ones.
    pub(super) fn note(&mut self, problem: Problem) {
        self.observer.unreadable(&problem);
        self.left_out.insert(problem.path.as_bytes().into());
        if !self.keep_going {
            self.problems.push(problem);
        }
    }

    /// Takes one more entry; delivers a batch when it is full.
    pub(super) fn push(&mut self, prepared: Prepared) -> Result<(), ArchiveError> {
        if !self.load.fits(&prepared) {
            self.deliver(false)?;
        }
        self.load.add(&prepared);
        self.pending.push(prepared);
        Ok(())
    }

    /// Delivers what is left and says what was done.
    ///
    /// # Errors
    /// Also when entries were noted as unreadable: the caller must not publish then.
    pub(super) fn complete(mut self) -> Result<ImportTotals, ArchiveError> {
        self.deliver(true)?;
        if self.problems.is_empty() {
            Ok(self.totals)
        } else {
            Err(ArchiveError::Unreadable(self.problems))
        }
    }

    fn deliver(&mut self, is_last: bool) -> Result<(), ArchiveError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if !self.problems.is_empty() {
            // Nothing will be published, and what follows may be a further name of a file that
            // could not be read.
            self.pending.clear();
            self.load = Load::default();
            return Ok(());
        }
        self.take_known_subtrees(is_last)?;
        let known = self.ask()?;
        let mut building = Building::new(known);
        self.load = Load::default();
        for prepared in std::mem::take(&mut self.pending) {
            let fetched = match (self.fetch(prepared, &building.known), self.read_file) {
                (Ok(prepared), Some(read_file)) => {
                    large::take(prepared, &building.known, self.sink, read_file)?
                }
                (fetched, _) => fetched,
            };
            let prepared = match fetched {
                Ok(prepared) => prepared,
                Err(problem) => {
                    self.note(problem);
                    continue;
                }
            };
            // A content that was read only now was not counted when the batch was cut.
            if !building.load.fits(&prepared) {
                let next = Building::new(std::mem::take(&mut building.known));
                self.put(std::mem::replace(&mut building, next))?;
            }
            self.count(&prepared);
            building.add(prepared, &mut self.totals)?;
        }
        self.put(building)?;
        self.observer.progress(&self.totals);
        Ok(())
    }

    /// Puts directories that the store has as trees, in place of what is in them.
    fn take_known_subtrees(&mut self, is_last: bool) -> Result<(), ArchiveError> {
        if !self.asking.is_due() {
            return Ok(());
        }
        let found = known_subtrees::find(&self.pending, is_last);
        if found.is_empty() {
            return Ok(());
        }
        let wanted = |subtree: &Subtree| WantedTree {
            path: self.pending[subtree.range.start].path.to_raw(),
            tree: subtree.tree,
        };
        let answers = self.sink.known_trees(&found.iter().map(wanted).collect::<Vec<_>>())?;
        if answers.len() != found.len() {
            return Err(other_question());
        }
        self.asking.note(answers.contains(&true));
        let known =
            found.into_iter().zip(answers).filter_map(|(subtree, known)| known.then_some(subtree));
        let (named, below) = known_subtrees::name(std::mem::take(&mut self.pending), known);
        self.pending = named;
        for prepared in below {
            self.count(&prepared);
            self.totals.add_known(&prepared);
        }
        Ok(())
    }

    /// Reads the content of a file that was not read, if the store lacks it. A further name of a file that was
    /// left out cannot be had either.
    fn fetch(
        &self,
        prepared: Prepared,
        known: &HashMap<BlobHash, bool>,
    ) -> Result<Prepared, Problem> {
        match (&prepared.content, self.read_file) {
            (PreparedContent::Remembered { hash, size }, Some(read_file))
                if *size > 0 && known.get(hash) != Some(&true) =>
            {
                read_file(prepared.path, None)
            }
            (PreparedContent::Other(ImportContent::Hardlink { to }), _)
                if self.left_out.contains(to.as_bytes()) =>
            {
                let first = super::path::printable(to.as_bytes());
                let reason = format!("it is another name of `{first}`, which could not be read");
                Err(Problem { path: prepared.path, reason })
            }
            _ => Ok(prepared),
        }
    }

    fn ask(&mut self) -> Result<HashMap<BlobHash, bool>, ArchiveError> {
        let mut hashes: Vec<BlobHash> = self.pending.iter().filter_map(content_hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let answers = self.sink.known(&hashes)?;
        if answers.len() != hashes.len() {
            return Err(other_question());
        }
        Ok(hashes.into_iter().zip(answers).collect())
    }

    fn put(&mut self, building: Building) -> Result<(), ArchiveError> {
        if !building.batch.entries.is_empty() {
            self.sink.put(building.batch)?;
        }
        // The store has copied the large files. They must not have changed meanwhile.
        for (path, file, before) in building.watched {
            let after = Stat::of(&file).map_err(ArchiveError::io("stat", display_path(&path)))?;
            if before.content_changed(&after) {
                let reason = "it changed while it was copied; try again when nobody writes to it";
                let problem = Problem { path, reason: reason.to_owned() };
                self.observer.unreadable(&problem);
                // The store has taken it, so it cannot be left out any more.
                self.problems.push(problem);
            }
        }
        Ok(())
    }

    fn count(&mut self, prepared: &Prepared) {
        match &prepared.content {
            PreparedContent::Other(ImportContent::Directory | ImportContent::Tree { .. }) => {
                self.totals.directories += 1;
            }
            _ => self.totals.files += 1,
        }
        if prepared.acl {
            self.totals.acls_dropped += 1;
        }
        if prepared.reread {
            self.totals.reread_files += 1;
            self.observer.reread(&prepared.path);
        }
    }
}

/// A batch being put together.
struct Building {
    batch: Batch,
    load: Load,
    known: HashMap<BlobHash, bool>,
    /// Small contents carried by this batch, and where.
    sent: HashMap<BlobHash, FileSource>,
    /// Attached files that others can change.
    watched: Vec<(ArchivePath, File, Stat)>,
}

impl Building {
    fn new(known: HashMap<BlobHash, bool>) -> Self {
        Self {
            batch: Batch::default(),
            load: Load::default(),
            known,
            sent: HashMap::new(),
            watched: Vec::new(),
        }
    }

    fn add(&mut self, prepared: Prepared, totals: &mut ImportTotals) -> Result<(), ArchiveError> {
        self.load.add(&prepared);
        let Prepared { path, attributes, content, .. } = prepared;
        let content = match content {
            PreparedContent::Other(content) => content,
            PreparedContent::Small { hash, bytes } => {
                let size = length(bytes.len());
                totals.bytes += size;
                let source = self.small_source(hash, bytes, totals);
                ImportContent::File { size_bytes: size, source, declared: None }
            }
            PreparedContent::Remembered { hash, size } => {
                totals.bytes += size;
                totals.unread_files += 1;
                let source = if size == 0 {
                    FileSource::Empty
                } else {
                    totals.reused_files += 1;
                    FileSource::Known(hash)
                };
                ImportContent::File { size_bytes: size, source, declared: None }
            }
            PreparedContent::Taken { hash, size } => {
                totals.bytes += size;
                totals.new_bytes += size;
                let source = FileSource::Known(hash);
                ImportContent::File { size_bytes: size, source, declared: None }
            }
            PreparedContent::Large { hash, size, file, stable } => {
                totals.bytes += size;
                let source = if self.known.get(&hash) == Some(&true) {
                    totals.reused_files += 1;
                    FileSource::Known(hash)
                } else {
                    totals.new_bytes += size;
                    if let Some(before) = stable {
                        let watch = file
                            .try_clone()
                            .map_err(ArchiveError::io("duplicate", display_path(&path)))?;
                        self.watched.push((path.clone(), watch, before));
                    }
                    let index = position(self.batch.files.len());
                    self.batch.files.push(file);
                    FileSource::Attached { index }
                };
                ImportContent::File { size_bytes: size, source, declared: None }
            }
        };
        self.batch.entries.push(ImportEntry {
            path: path.to_raw(),
            attributes: RawAttributes::from(&attributes),
            content,
        });
        Ok(())
    }

    fn small_source(
        &mut self,
        hash: BlobHash,
        bytes: Bytes,
        totals: &mut ImportTotals,
    ) -> FileSource {
        if bytes.is_empty() {
            return FileSource::Empty;
        }
        if self.known.get(&hash) == Some(&true) {
            totals.reused_files += 1;
            return FileSource::Known(hash);
        }
        if let Some(source) = self.sent.get(&hash) {
            return *source;
        }
        totals.new_bytes += length(bytes.len());
        let source = FileSource::Inline {
            offset: position(self.batch.payload.len()),
            len: position(bytes.len()),
        };
        self.batch.payload.push(bytes);
        self.sent.insert(hash, source);
        source
    }
}

fn other_question() -> ArchiveError {
    ArchiveError::Format("the store answered another question".to_owned())
}

fn content_hash(prepared: &Prepared) -> Option<BlobHash> {
    match &prepared.content {
        PreparedContent::Small { hash, bytes } => (!bytes.is_empty()).then_some(*hash),
        PreparedContent::Large { hash, .. } => Some(*hash),
        PreparedContent::Remembered { hash, size } => (*size > 0).then_some(*hash),
        PreparedContent::Taken { .. } | PreparedContent::Other(_) => None,
    }
}

fn payload_bytes(prepared: &Prepared) -> usize {
    match &prepared.content {
        PreparedContent::Small { bytes, .. } => bytes.len(),
        _ => 0,
    }
}

fn metadata_bytes(prepared: &Prepared) -> usize {
    let xattrs: usize =
        prepared.attributes.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    let target = match &prepared.content {
        PreparedContent::Other(ImportContent::Symlink { target }) => target.as_bytes().len(),
        PreparedContent::Other(ImportContent::Hardlink { to }) => to.as_bytes().len(),
        _ => 0,
    };
    prepared.path.as_bytes().len() + xattrs + target
}

/// A position within a batch, which is far smaller than 4 GiB.
fn position(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A length as versions count it.
fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn display_path(path: &ArchivePath) -> std::path::PathBuf {
    path.to_string().into()
}
