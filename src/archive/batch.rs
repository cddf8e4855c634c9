//! Collects prepared entries, asks the store what it has, and sends the rest.
//!
//! Each batch costs one question (which contents are known?) and one delivery. Its size is bounded
//! in entries, bytes and open files, whatever the source holds. Content that the store knows is
//! sent by hash alone; equal content within a batch travels once.

use std::collections::{HashMap, HashSet};
use std::fs::File;

use super::error::{ArchiveError, Problem, Problems};
use super::known_subtrees::{self, Asking, Subtree};
use super::path::ArchivePath;
use super::payload::Bytes;
use super::read::{Prepared, PreparedContent};
use super::stat::Stat;
use super::{Batch, ImportSink};
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

/// What an import has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ImportTotals {
    /// Entries that are not directories.
    #[serde(rename = "file_count")]
    pub files: u64,
    /// Directories, the top included.
    #[serde(rename = "directory_count")]
    pub directories: u64,
    /// Sizes of regular files; one with several names counts once.
    #[serde(rename = "size_bytes")]
    pub bytes: u64,
    /// Sizes of the contents that were sent, because the store lacked them.
    pub new_bytes: u64,
    /// Regular files whose content the store had.
    #[serde(rename = "reused_file_count")]
    pub reused_files: u64,
    /// Regular files that were not read, since they have not changed since an earlier import.
    #[serde(rename = "unread_file_count")]
    pub unread_files: u64,
    /// Files that changed while they were read, and were read again.
    #[serde(rename = "reread_file_count")]
    pub reread_files: u64,
    /// Entries with POSIX ACLs, which are not kept.
    #[serde(rename = "dropped_acl_count")]
    pub acls_dropped: u64,
}

impl ImportTotals {
    /// Counts a file whose content the store has.
    fn add_known(&mut self, prepared: &Prepared) {
        let size = match &prepared.content {
            PreparedContent::Small { bytes, .. } => length(bytes.len()),
            PreparedContent::Large { size, .. } => *size,
            PreparedContent::Remembered { size, .. } => {
                self.unread_files += 1;
                *size
            }
            PreparedContent::Other(_) => return,
        };
        self.bytes += size;
        self.reused_files += u64::from(size > 0);
    }
}

/// Told about an import as it goes on.
pub trait Observer {
    /// A batch has been delivered.
    fn progress(&mut self, totals: &ImportTotals);
    /// A file changed while it was read; it was read again.
    fn reread(&mut self, path: &ArchivePath);
}

/// An observer that does not look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&mut self, _totals: &ImportTotals) {}
    fn reread(&mut self, _path: &ArchivePath) {}
}

/// Reads a regular file by its path.
pub(super) type ReadFile<'a> = dyn Fn(ArchivePath) -> Result<Prepared, Problem> + 'a;

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
    sink: &'a mut dyn ImportSink,
    observer: &'a mut dyn Observer,
    read_file: Option<&'a ReadFile<'a>>,
    asking: Asking,
    pending: Vec<Prepared>,
    load: Load,
    totals: ImportTotals,
    problems: Problems,
}

impl<'a> Batcher<'a> {
    pub(super) fn new(sink: &'a mut dyn ImportSink, observer: &'a mut dyn Observer) -> Self {
        Self {
            sink,
            observer,
            read_file: None,
            asking: Asking::Never,
            pending: Vec::new(),
            load: Load::default(),
            totals: ImportTotals::default(),
            problems: Problems::default(),
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

    /// Notes an entry that could not be read. The import is going to fail, but goes on to find
    /// the other ones.
    pub(super) fn note(&mut self, problem: Problem) {
        self.problems.push(problem);
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
            let prepared = match self.fetch(prepared, &building.known) {
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

    /// Reads the content of a file that was not read, if the store lacks it.
    fn fetch(
        &self,
        prepared: Prepared,
        known: &HashMap<BlobHash, bool>,
    ) -> Result<Prepared, Problem> {
        match (&prepared.content, self.read_file) {
            (PreparedContent::Remembered { hash, size }, Some(read_file))
                if *size > 0 && known.get(hash) != Some(&true) =>
            {
                read_file(prepared.path)
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
                let reason = "it changed while it was copied; import it when nobody writes to it";
                self.problems.push(Problem { path, reason: reason.to_owned() });
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
        PreparedContent::Other(_) => None,
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
