//! One declared content from one place: what an earlier try left is gone on with, and nothing is handed over that has
//! another digest than the declared one.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use url::Url;

use super::partial::Turn;
use crate::metrics::COUNTERS;
use crate::model::digest::{Sha256, Sha256Hasher};
use crate::model::hash::BlobHash;
use crate::model::tree::FILE_BYTES_MAX;
use crate::net::{Body, Client, Fetch, Fetched, NetError, NetErrorKind, Watcher};
use crate::store::error::StoreError;

/// Content of at most this many bytes stays in memory until the store takes it, as a rule; longer content goes through a file.
pub const SMALL_BYTES: usize = 256 << 10;

/// Bytes read at a time of what an earlier try left.
const CHUNK_BYTES: usize = 1 << 20;

/// A content that is to be had.
pub struct Wanted<'a> {
    /// Asks for it.
    pub client: &'a Client,
    /// Where.
    pub url: Url,
    /// What it is.
    pub sha256: Sha256,
    /// How long it is, in bytes, where that is declared.
    pub size_bytes: Option<u64>,
    /// Content of at most so many bytes stays in memory.
    pub memory_bytes_max: usize,
    /// Tries without a further byte before it is given up.
    pub tries_max: u32,
    /// Set by whoever wants it to stop.
    pub stop: &'a AtomicBool,
    /// Hears of the waits between two tries.
    pub watcher: &'a dyn Watcher,
    /// Hears how many bytes came.
    pub came: &'a dyn Fn(u64),
}

impl std::fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted").field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

/// Content that is what was declared.
#[derive(Debug)]
pub struct Download {
    /// Its bytes.
    pub bytes: Bytes,
    /// How many.
    pub length: u64,
    /// Their hash.
    pub blob: BlobHash,
}

/// Where the bytes of a content are.
#[derive(Debug)]
pub enum Bytes {
    /// Here.
    Memory(Vec<u8>),
    /// In a file, whose position is anywhere.
    File(File),
}

/// Why a content was not had.
#[derive(Debug, thiserror::Error)]
pub enum NotHad {
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
    /// The disk or a setting is at fault: no matter of this one content.
    #[error(transparent)]
    Local(NetError),
    /// What came could not be kept.
    #[error("cannot keep what was fetched: {0}")]
    Io(#[from] io::Error),
    /// What came could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network, or the remote.
    #[error(transparent)]
    Net(NetError),
    /// It was something else.
    #[error("the content has another SHA-256 than the declared one{0}")]
    Other(&'static str),
}

impl Wanted<'_> {
    /// Fetches it, unless `part` has it already, which came in some other way.
    ///
    /// # Errors
    /// Why it was not had.
    pub fn download(
        &self,
        turn: &Turn<'_>,
        part: Option<&mut dyn Read>,
    ) -> Result<Download, NotHad> {
        let mut taken = Taken::begin(self, turn)?;
        if self.stop.load(Ordering::Relaxed) {
            return Err(NotHad::Stopped);
        }
        if let Some(part) = part {
            taken.replace(part)?;
        }
        let mut is_new = taken.length == 0;
        loop {
            // What an earlier try left may be all of it: to ask for the rest would be an error to the server.
            let is_whole = !is_new && taken.sha256.clone().finish() == self.sha256;
            let is_too_long = self.size_bytes.is_some_and(|size| size <= taken.length);
            let fetched = match is_whole || (is_too_long && !is_new) {
                true => None,
                false => Some(self.fetch(&mut taken, turn)?),
            };
            if taken.sha256.clone().finish() == self.sha256 {
                return Ok(taken.end());
            }
            taken.restart()?;
            if is_new {
                turn.remove()?;
                return Err(NotHad::Other(hint(fetched)));
            }
            // What an earlier try left was not the beginning of this: once more, from the start.
            is_new = true;
        }
    }

    fn fetch(&self, taken: &mut Taken<'_>, turn: &Turn<'_>) -> Result<Fetched, NotHad> {
        let request = Fetch {
            url: self.url.clone(),
            size_bytes: self.size_bytes,
            max_bytes: FILE_BYTES_MAX,
            unless: None,
            needs_end: false,
            tries_max: self.tries_max,
            stop: self.stop,
            watcher: self.watcher,
        };
        self.client.fetch(&request, taken).map_err(|error| match error.kind() {
            NetErrorKind::Stopped => NotHad::Stopped,
            NetErrorKind::Local => {
                // A disk that is full needs the space more than the next try needs these bytes.
                if let Err(error) = turn.remove() {
                    log::warn!("{error}");
                }
                NotHad::Local(error)
            }
            _ => NotHad::Net(error),
        })
    }
}

fn hint(fetched: Option<Fetched>) -> &'static str {
    match fetched {
        Some(Fetched::Whole { content_type: Some(kind), .. }) if kind.starts_with("text/html") => {
            "; a web page came, which may tell of an error"
        }
        _ => "",
    }
}

/// What came so far: in memory while it is small, then in a file that a later try can go on with.
struct Taken<'a> {
    turn: &'a Turn<'a>,
    came: &'a dyn Fn(u64),
    memory: Vec<u8>,
    memory_bytes_max: usize,
    file: Option<File>,
    length: u64,
    sha256: Sha256Hasher,
    blob: blake3::Hasher,
}

impl<'a> Taken<'a> {
    /// With what an earlier try left, if it left anything.
    fn begin(wanted: &'a Wanted<'_>, turn: &'a Turn<'a>) -> io::Result<Self> {
        let mut taken = Self {
            turn,
            came: wanted.came,
            memory: Vec::new(),
            memory_bytes_max: wanted.memory_bytes_max,
            file: None,
            length: 0,
            sha256: Sha256Hasher::default(),
            blob: blake3::Hasher::new(),
        };
        if turn.is_there() {
            let mut file = turn.open()?;
            let mut chunk = vec![0; CHUNK_BYTES];
            // Whoever is to stop finds that out before it asks for the rest.
            while !wanted.stop.load(Ordering::Relaxed) {
                let read = file.read(&mut chunk)?;
                if read == 0 {
                    break;
                }
                taken.hash(&chunk[..read]);
            }
            taken.file = Some(file);
        }
        Ok(taken)
    }

    /// Takes all of a content that came in some other way.
    fn replace(&mut self, part: &mut dyn Read) -> io::Result<()> {
        self.restart()?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match part.read(&mut chunk)? {
                0 => return Ok(()),
                read => self.write(&chunk[..read])?,
            }
        }
    }

    fn hash(&mut self, data: &[u8]) {
        self.sha256.update(data);
        self.blob.update(data);
        self.length += data.len() as u64;
    }

    fn end(self) -> Download {
        let bytes = match self.file {
            Some(file) => Bytes::File(file),
            None => Bytes::Memory(self.memory),
        };
        Download { bytes, length: self.length, blob: self.blob.finalize().into() }
    }
}

impl Body for Taken<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + data.len() > self.memory_bytes_max {
            let mut file = self.turn.open()?;
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(data)?,
            None => self.memory.extend_from_slice(data),
        }
        self.hash(data);
        self.turn.note(data.len());
        (self.came)(data.len() as u64);
        COUNTERS.fetched_bytes.add(data.len() as u64);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
        }
        self.memory.clear();
        (self.length, self.sha256, self.blob) = (0, Sha256Hasher::default(), blake3::Hasher::new());
        Ok(())
    }
}
