//! Import of a directory: walk, read and deliver, at the same time and in bounded memory.
//!
//! One thread walks and cuts the walk into chunks, workers read and hash them in any order, the
//! calling thread takes the results in the order of the walk and delivers them. The chunks in
//! flight bound memory, open files and open directories.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::batch::Batcher;
use super::error::{ArchiveError, Problem};
use super::observer::{ImportTotals, Observer};
use super::path::ArchivePath;
use super::payload::Buffers;
use super::read::{FileReader, Prepared};
use super::stat_cache::{Record, StatCache, StatCacheOptions};
use super::walk::{EntryHandle, Refused, Walked, Walker};
use super::{EntrySink, INLINE_FILE_BYTES_MAX, ImportSink, Published};
use crate::model::kind::FileKind;

/// Chunks between the walk and the delivery.
const CHUNKS_IN_FLIGHT: usize = 6;
/// Entries in a chunk.
const CHUNK_ENTRIES_MAX: usize = 256;
/// Bytes of small files in a chunk.
const CHUNK_BYTES_MAX: u64 = 1024 * 1024;
/// Large files in a chunk; each is an open file until it is delivered.
const CHUNK_LARGE_MAX: usize = 4;
/// Directories in a chunk; each is open until its chunk is read.
const CHUNK_DIRECTORIES_MAX: usize = 16;
/// Hashing threads; more would only wait for the disk.
const WORKERS_MAX: usize = 8;

/// What an import of a directory or an archive did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// What was read and sent.
    pub totals: ImportTotals,
    /// What was published.
    pub published: Published,
}

/// Choices of a directory import.
#[derive(Debug, Clone, Default)]
pub struct DirectoryImport {
    /// Directories that the walk refuses wherever it meets them: those of the store itself.
    pub refused: Vec<Refused>,
    /// The stat cache, by which files that did not change since an earlier import are not read.
    pub stat_cache: Option<StatCacheOptions>,
}

type Outcome = Result<Prepared, Problem>;

/// Some entries of the walk, to be read by one worker.
struct Chunk {
    entries: Vec<Result<Walked, Problem>>,
    reply: Sender<Vec<Outcome>>,
}

/// Imports the directory `top` into `sink` and publishes it. On any failure the import is
/// aborted, and nothing is published.
///
/// # Errors
/// What failed; for unreadable files the list of them.
pub fn import_directory(
    top: &Path,
    options: DirectoryImport,
    sink: &mut dyn ImportSink,
    observer: &mut dyn Observer,
) -> Result<Imported, ArchiveError> {
    import_directory_with(top, options, sink, observer, &|_| {})
}

/// [`import_directory`] with a hook between reading a file and checking that it held still.
pub(super) fn import_directory_with(
    top: &Path,
    options: DirectoryImport,
    sink: &mut dyn ImportSink,
    observer: &mut dyn Observer,
    between: &(dyn Fn(&ArchivePath) + Sync),
) -> Result<Imported, ArchiveError> {
    let DirectoryImport { refused, stat_cache } = options;
    let mut noted = None;
    let imported = publish(sink, |sink| {
        let walker = Walker::new(top, refused)?;
        let stop = AtomicBool::new(false);
        let reading = Reading { stat_cache, keep_going: false, stop: &stop, between };
        let (totals, remembered) = read_directory(walker, reading, sink, observer)?;
        noted = remembered;
        Ok(totals)
    })?;
    if let Some(noted) = noted {
        noted.save();
    }
    Ok(imported)
}

/// How a directory is read.
pub(super) struct Reading<'a> {
    pub(super) stat_cache: Option<StatCacheOptions>,
    /// What cannot be read is told to the observer and left out; otherwise it is an error in the end.
    pub(super) keep_going: bool,
    /// Has the reading end, with an error.
    pub(super) stop: &'a AtomicBool,
    /// Called between reading a file and checking that it held still.
    pub(super) between: &'a (dyn Fn(&ArchivePath) + Sync),
}

/// What is to be remembered of the files that were read.
#[derive(Debug)]
pub(crate) struct Noted {
    stat_cache: StatCache,
    records: Vec<Record>,
}

impl Noted {
    /// Keeps it for the next time.
    pub(crate) fn save(self) {
        self.stat_cache.save(self.records);
    }
}

/// Puts what a walk finds.
pub(super) fn read_directory(
    walker: Walker,
    reading: Reading<'_>,
    sink: &mut dyn EntrySink,
    observer: &mut dyn Observer,
) -> Result<(ImportTotals, Option<Noted>), ArchiveError> {
    let Reading { stat_cache: options, keep_going, stop, between } = reading;
    let top = walker.top().ok_or(ArchiveError::Protocol("a walk without its top"))?;
    let stat_cache = options.as_ref().and_then(|options| StatCache::load(options, &top));
    let reader = FileReader { stat_cache: stat_cache.as_ref(), stop, between };
    let buffers = Buffers::default();
    let read_file = |path, only| reader.read_file(&top, path, only, &mut buffers.take());
    let asks = !options.is_some_and(|options| options.read_all);
    let batcher = Batcher::new(sink, observer)
        .reading(&read_file)
        .asking_for_subtrees(asks)
        .keeping_going(keep_going);
    let (totals, records) = deliver_walk(walker, batcher, reader, &buffers)?;
    Ok((totals, stat_cache.map(|stat_cache| Noted { stat_cache, records })))
}

/// Runs `fill`, then publishes what it put; aborts when either fails.
pub(super) fn publish(
    sink: &mut dyn ImportSink,
    fill: impl FnOnce(&mut dyn EntrySink) -> Result<ImportTotals, ArchiveError>,
) -> Result<Imported, ArchiveError> {
    let filled = fill(sink);
    let result = filled.and_then(|totals| {
        let published = sink.finish()?;
        Ok(Imported { totals, published })
    });
    if result.is_err()
        && let Err(error) = sink.abort()
    {
        // The first error is reported. One of the abort does not matter: the store drops the import
        // with the connection.
        log::debug!("the import could not be aborted: {error}");
    }
    result
}

fn deliver_walk(
    walker: Walker,
    mut batcher: Batcher<'_>,
    reader: FileReader<'_>,
    buffers: &Buffers,
) -> Result<(ImportTotals, Vec<Record>), ArchiveError> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
    let (in_order, results) = bounded::<Receiver<Vec<Outcome>>>(CHUNKS_IN_FLIGHT);
    let (chunks, work) = bounded::<Chunk>(CHUNKS_IN_FLIGHT);
    thread::scope(|scope| {
        scope.spawn(move || walk_chunks(walker, &in_order, &chunks));
        for _ in 0..workers {
            let work = work.clone();
            scope.spawn(move || read_chunks(&work, reader, buffers));
        }
        drop(work);
        // Owned by this closure: an early return closes the channel and so stops the walk.
        let results = results;
        let mut records = Vec::new();
        for result in &results {
            // A reply is missing only if its worker panicked. Then the scope panics as well.
            let Ok(outcomes) = result.recv() else { break };
            for outcome in outcomes {
                match outcome {
                    Ok(prepared) => {
                        records.extend(prepared.record);
                        batcher.push(prepared)?;
                    }
                    Err(problem) => batcher.note(problem),
                }
            }
        }
        Ok((batcher.complete()?, records))
    })
}

/// Cuts the walk into chunks until it ends or nobody wants the results.
fn walk_chunks(walker: Walker, in_order: &Sender<Receiver<Vec<Outcome>>>, work: &Sender<Chunk>) {
    let mut cut = Cut::default();
    for found in walker {
        cut.add(found);
        if cut.is_full() && !cut.send(in_order, work) {
            return;
        }
    }
    cut.send(in_order, work);
}

fn read_chunks(work: &Receiver<Chunk>, reader: FileReader<'_>, buffers: &Buffers) {
    for Chunk { entries, reply } in work {
        let mut buffer = buffers.take();
        let read = |found: Result<Walked, Problem>| {
            found.and_then(|walked| reader.read(walked, &mut buffer))
        };
        let outcomes = entries.into_iter().map(read).collect();
        drop(buffer);
        // Nobody listens when the delivery has failed; the walk is about to stop then.
        if reply.send(outcomes).is_err() {
            return;
        }
    }
}

/// A chunk being filled.
#[derive(Default)]
struct Cut {
    entries: Vec<Result<Walked, Problem>>,
    bytes: u64,
    large: usize,
    directories: usize,
}

impl Cut {
    fn add(&mut self, found: Result<Walked, Problem>) {
        if let Ok(walked) = &found {
            match &walked.handle {
                EntryHandle::Directory(_) => self.directories += 1,
                EntryHandle::Name { .. } if walked.stat.kind == FileKind::File => {
                    if walked.stat.size > INLINE_FILE_BYTES_MAX {
                        self.large += 1;
                    } else {
                        self.bytes += walked.stat.size;
                    }
                }
                EntryHandle::Name { .. } | EntryHandle::Hardlink(_) => {}
            }
        }
        self.entries.push(found);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= CHUNK_ENTRIES_MAX
            || self.bytes >= CHUNK_BYTES_MAX
            || self.large >= CHUNK_LARGE_MAX
            || self.directories >= CHUNK_DIRECTORIES_MAX
    }

    /// Hands the chunk to the workers, after its place in the order. False if nobody takes it any
    /// more.
    fn send(&mut self, in_order: &Sender<Receiver<Vec<Outcome>>>, work: &Sender<Chunk>) -> bool {
        let entries = std::mem::take(self).entries;
        let (reply, result) = bounded(1);
        in_order.send(result).is_ok() && work.send(Chunk { entries, reply }).is_ok()
    }
}
