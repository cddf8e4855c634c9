//! Export of a version into a directory.
//!
//! The calling thread walks the tree, makes directories, links and special files, and opens blobs
//! in batches; workers create and fill regular files. The first name of a hardlink group is
//! created by the walk, so that later names can be linked at once. Attributes of directories are
//! set when everything is below them.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::io::Errno;

use super::copy::{Copier, CopyError, Sharing};
use super::error::ArchiveError;
use super::first_names::{FirstNames, LinkName};
use super::path::ArchivePath;
use super::stat::FileId;
use super::tree_walk::Origin;
use super::write::{Destination, Made, MadeDirectory, TargetName};
use super::{ExportSource, OPEN_BATCH};
use crate::model::content_name::ContentName;
use crate::model::name::EntryName;
use crate::model::tree::{Attributes, Content, Entry, Root};

/// Files between the walk and the workers; each is an open blob.
const FILES_IN_FLIGHT: usize = 128;
/// Writing threads.
const WORKERS_MAX: usize = 4;

/// How exported files relate to the store's blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkMode {
    /// Separate files, which may share blocks with the blobs if the file system can do that.
    #[default]
    Copy,
    /// Separate files that share all blocks with the blobs; the export fails where the file system
    /// cannot do that.
    Reflink,
    /// The blobs themselves, under further names. Attributes of single files are lost, and whoever
    /// can write to a file in spite of its mode, as root can, damages the store (H24).
    UnsafeHardlink,
}

/// What an export did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Exported {
    /// Entries that are not directories.
    #[serde(rename = "file_count")]
    pub files: u64,
    /// Directories, the top included.
    #[serde(rename = "directory_count")]
    pub directories: u64,
    /// Sizes of regular files, once per name.
    #[serde(rename = "size_bytes")]
    pub bytes: u64,
    /// Extended attributes that the caller or the destination could not take.
    #[serde(rename = "dropped_xattr_count")]
    pub xattrs_dropped: u64,
    /// Entries that the destination's format has no form for (sockets in a tar archive).
    #[serde(rename = "skipped_count")]
    pub skipped: u64,
}

impl Exported {
    /// Counts one entry.
    pub(super) fn count(&mut self, entry: &Entry) {
        match &entry.content {
            Content::Directory { .. } => self.directories += 1,
            Content::File { size, .. } => {
                self.files += 1;
                self.bytes += size;
            }
            _ => self.files += 1,
        }
    }
}

/// Exports a version into the directory `to`, which must be empty or not exist. One that does not
/// exist appears once it is complete. `progress` is called now and then.
///
/// # Errors
/// What failed first; what was written until then stays in a directory that was there before.
pub fn export_directory(
    source: &mut dyn ExportSource,
    to: &Path,
    mode: LinkMode,
    progress: &mut dyn FnMut(&Exported),
) -> Result<Exported, ArchiveError> {
    let stop = AtomicBool::new(false);
    export_directory_unless(source, to, mode, progress, &stop)
}

/// [`export_directory`] that ends early, as if it had failed, once `stop` is set: after the files that
/// are being written. It sets `stop` itself when it fails.
///
/// # Errors
/// As of [`export_directory`]; [`ArchiveError::Interrupted`].
pub fn export_directory_unless(
    source: &mut dyn ExportSource,
    to: &Path,
    mode: LinkMode,
    progress: &mut dyn FnMut(&Exported),
    stop: &AtomicBool,
) -> Result<Exported, ArchiveError> {
    export_directory_with(source, to, mode, progress, (&|_| {}, stop))
}

/// [`export_directory`] with a hook between the making of a name and whatever else is done to it.
pub(super) fn export_directory_with(
    source: &mut dyn ExportSource,
    to: &Path,
    mode: LinkMode,
    progress: &mut dyn FnMut(&Exported),
    (made, stop): (Made<'_>, &AtomicBool),
) -> Result<Exported, ArchiveError> {
    let origin = Origin::new(source);
    let root = origin.root()?;
    let destination = Destination::create(to, made)?;
    let exported = fill(&origin, &root, &destination, (mode, stop), progress)
        .and_then(|exported| destination.publish().map(|()| exported));
    match &exported {
        Ok(exported) => progress(exported),
        Err(_) => destination.give_up(),
    }
    exported
}

pub(super) fn fill(
    origin: &Origin<'_>,
    root: &Root,
    destination: &Destination<'_>,
    (mode, stop): (LinkMode, &AtomicBool),
    progress: &mut dyn FnMut(&Exported),
) -> Result<Exported, ArchiveError> {
    let sharing = match mode {
        LinkMode::Reflink => Sharing::Required,
        LinkMode::Copy | LinkMode::UnsafeHardlink => Sharing::WherePossible,
    };
    let copier = Copier::new(sharing);
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
    let (queue, jobs) = bounded::<Job>(FILES_IN_FLIGHT);
    let top = ArchivePath::root();
    let id = FileId::of(destination.top()).map_err(destination.failed("examine", &top))?;
    let top = MadeDirectory { path: top, attributes: root.attributes.clone(), id };
    let mut plan = Plan {
        destination,
        queue,
        pending: Vec::new(),
        first_names: FirstNames::new(root.tree),
        first_files: HashMap::new(),
        open: vec![destination.top()],
        directories: vec![top],
        mode,
        exported: Exported { directories: 1, ..Exported::default() },
    };
    let mut exported = thread::scope(|scope| {
        let worker = Worker { destination, copier: &copier, mode, stop };
        let handles: Vec<_> = (0..workers)
            .map(|_| {
                let jobs = jobs.clone();
                scope.spawn(move || worker.run(&jobs))
            })
            .collect();
        drop(jobs);
        let planned = plan.run(origin, root, stop, progress);
        let (exported, directories) = plan.close();
        let mut result = planned;
        for handle in handles {
            let written = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = written.and(result);
        }
        result?;
        if stop.load(Ordering::Relaxed) {
            return Err(ArchiveError::Interrupted);
        }
        destination.complete(&directories)?;
        Ok::<_, ArchiveError>(exported)
    })?;
    exported.xattrs_dropped = destination.xattrs_dropped();
    Ok(exported)
}

/// A regular file to be written.
struct Job {
    path: ArchivePath,
    place: TargetName,
    attributes: Attributes,
    size: u64,
    /// The content, unless the file is empty.
    blob: Option<File>,
    /// The file itself, where the walk has made it.
    made: Option<File>,
}

/// The walk's side of an export.
struct Plan<'a> {
    destination: &'a Destination<'a>,
    queue: Sender<Job>,
    /// Files whose blobs are not open yet.
    pending: Vec<(Job, Option<ContentName>)>,
    first_names: FirstNames,
    /// The file of each hardlink group, by the group's first name.
    first_files: HashMap<ArchivePath, FileId>,
    /// The directories on the way to the current entry, the top first.
    open: Vec<Arc<OwnedFd>>,
    /// All directories made, in order, for their attributes at the end.
    directories: Vec<MadeDirectory>,
    mode: LinkMode,
    exported: Exported,
}

impl Plan<'_> {
    fn run(
        &mut self,
        origin: &Origin<'_>,
        root: &Root,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(&Exported),
    ) -> Result<(), ArchiveError> {
        for found in origin.walk(root)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (path, entry) = found?;
            self.open.truncate(path.depth());
            self.exported.count(&entry);
            let name = self.first_names.next(origin, &path, &entry)?;
            self.add(path, entry, name)?;
            if self.pending.len() >= OPEN_BATCH {
                self.flush(origin)?;
                progress(&self.exported);
            }
        }
        self.flush(origin)
    }

    /// Ends the queue, so that the workers end.
    fn close(self) -> (Exported, Vec<MadeDirectory>) {
        (self.exported, self.directories)
    }

    fn add(&mut self, path: ArchivePath, entry: Entry, name: LinkName) -> Result<(), ArchiveError> {
        let destination = self.destination;
        let parent = match self.open.last() {
            Some(parent) => Arc::clone(parent),
            None => destination.top(),
        };
        let place = TargetName { parent, name: c_name(&entry.name) };
        let Entry { attributes, content, .. } = entry;
        if let Content::Directory { .. } = content {
            let made = destination.make_directory(&place);
            let made = made.map_err(destination.failed("make the directory", &path))?;
            let id = FileId::of(&made).map_err(destination.failed("examine", &path))?;
            self.open.push(made);
            self.directories.push(MadeDirectory { path, attributes, id });
            return Ok(());
        }
        // The names of a blob are hardlinks of each other already, whatever groups the version has.
        let blob_links = self.mode == LinkMode::UnsafeHardlink
            && matches!(content, Content::File { blob: Some(_), .. });
        let name = if blob_links { LinkName::Alone } else { name };
        if let LinkName::Later(first) = &name {
            let Some(id) = self.first_files.get(first) else {
                return Err(destination.failed("link", &path)(Errno::NOENT));
            };
            let linked = destination.make_link(&place, first, *id);
            return linked.map_err(destination.failed("link", &path));
        }
        let Content::File { size, blob } = content else {
            let made = destination.make_special(&place, &content, &attributes);
            let id = made.map_err(destination.failed("make", &path))?;
            if name == LinkName::First {
                self.first_files.insert(path, id);
            }
            return Ok(());
        };
        let made = match name {
            LinkName::First | LinkName::Later(_) => {
                let made = destination.make_file(&place);
                let made = made.map_err(destination.failed("create", &path))?;
                let id = FileId::of(&made).map_err(destination.failed("examine", &path))?;
                self.first_files.insert(path.clone(), id);
                Some(made)
            }
            LinkName::Alone => None,
        };
        let job = Job { path, place, attributes, size, blob: None, made };
        self.pending.push((job, blob));
        Ok(())
    }

    /// Opens the blobs of the files collected and hands these to the workers.
    fn flush(&mut self, origin: &Origin<'_>) -> Result<(), ArchiveError> {
        let names: Vec<ContentName> = self.pending.iter().filter_map(|(_, blob)| *blob).collect();
        let mut blobs = origin.open(&names)?.into_iter();
        for (mut job, blob) in self.pending.drain(..) {
            if blob.is_some() {
                job.blob = blobs.next();
            }
            if self.queue.send(job).is_err() {
                // All workers have stopped; they report why.
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The writing side of an export.
#[derive(Clone, Copy)]
struct Worker<'a> {
    destination: &'a Destination<'a>,
    copier: &'a Copier,
    mode: LinkMode,
    stop: &'a AtomicBool,
}

impl Worker<'_> {
    /// Writes files until there are none left or one fails.
    fn run(self, jobs: &Receiver<Job>) -> Result<(), ArchiveError> {
        for job in jobs {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if let Err(error) = self.write(job) {
                self.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    fn write(self, job: Job) -> Result<(), ArchiveError> {
        let Job { path, place, attributes, size, blob, made } = job;
        let destination = self.destination;
        if self.mode == LinkMode::UnsafeHardlink
            && let Some(blob) = &blob
        {
            match destination.make_blob_link(&place, blob) {
                Ok(()) => return Ok(()),
                // The inode can have no more names (EMLINK): a copy is as good.
                Err(Errno::MLINK) => {}
                Err(error) => return Err(refuse_blob_link(path, error)),
            }
        }
        let file = match made {
            Some(file) => file,
            None => destination.make_file(&place).map_err(destination.failed("create", &path))?,
        };
        if let Some(blob) = &blob {
            self.copier.copy(blob, &file, size).map_err(|error| match error {
                CopyError::WrongSize { .. } | CopyError::CannotShare(_) => {
                    ArchiveError::NotExported { path: path.clone(), reason: error.to_string() }
                }
                CopyError::System(error) => destination.failed("write", &path)(error),
                CopyError::Io(error) => destination.failed("write", &path)(error),
            })?;
        }
        destination
            .set_attributes(file.as_fd(), &attributes)
            .map_err(destination.failed("set attributes of", &path))
    }
}

fn refuse_blob_link(path: ArchivePath, error: Errno) -> ArchiveError {
    let why = match error {
        Errno::XDEV => "the destination is not on the store's file system".to_owned(),
        Errno::PERM => "only root or the store's owner may make them".to_owned(),
        other => std::io::Error::from(other).to_string(),
    };
    let reason = format!("hardlinks to the store cannot be made: {why}; use --link copy");
    ArchiveError::NotExported { path, reason }
}

/// A validated name as the kernel takes it.
pub(super) fn c_name(name: &EntryName) -> CString {
    // Names have no NUL; an empty one would make the call fail.
    CString::new(name.as_bytes()).unwrap_or_default()
}
