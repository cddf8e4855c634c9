//! What works with a remote: asked of it, not guessed.

use std::io;
use std::sync::atomic::AtomicBool;

use super::declare;
use super::document::{Before, is_unchanged};
use super::sort::Line;
use super::{Document, Note, Origin, SyncError, Tally, Watch};
use crate::model::manifest::DeclaredFile;
use crate::model::remote::{RemoteSettings, RemoteTest};
use crate::model::tree::FILE_BYTES_MAX;
use crate::net::{Body, Client, Fetch, Fetched, TRIES_MAX, Validators};

/// Files of which a part is asked for, until one comes.
const TRIED_MAX: usize = 4;

/// Asks a remote for all that a sync needs. What fails is part of the answer.
pub fn probe(settings: &RemoteSettings) -> RemoteTest {
    let mut reply = RemoteTest::default();
    if let Err(error) = ask(settings, &mut reply) {
        reply.failure = Some(error.to_string());
    }
    reply
}

fn ask(settings: &RemoteSettings, reply: &mut RemoteTest) -> Result<(), SyncError> {
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let watch = Watch { stop: &stop, tally: &tally, failed: &|_| {} };
    let client = Client::new(settings)?;
    let origin = Origin::new(&client, settings, None);
    let mut some: Vec<DeclaredFile> = Vec::new();
    let mut declared = 0;
    let mut has_sizes = true;
    let into = tempfile::tempfile().map_err(SyncError::io("make a temporary file"))?;
    let found =
        declare::look(&origin, Before::NONE, None, into, watch, &mut |Line { file, .. }| {
            declared += 1;
            has_sizes &= file.size_bytes.is_some();
            // Only of a file of two bytes and more there is a part to ask for; without sizes one has to try.
            if some.len() < TRIED_MAX && file.size_bytes.is_none_or(|size| size > 1) {
                some.push(file);
            }
            Ok(())
        })?;
    let found = found.unwrap_or_default();
    reply.notes = found.notes.into_iter().map(text).collect();
    reply.declared = Some(declared);
    reply.has_sizes = (declared > 0).then_some(has_sizes);
    let mut conditional = true;
    for document in found.documents {
        // What matters is the server, not when this document was changed.
        let validators = Validators { just_modified: false, ..document.validators };
        let has_any = !validators.is_empty();
        let document = Document { validators, ..document };
        conditional &= has_any && is_unchanged(&origin, &document, watch)?;
    }
    reply.conditional = Some(conditional);
    for file in some {
        if reply.ranges != Some(true) {
            reply.ranges = Some(sends_parts(&origin, &file, &stop)?);
        }
    }
    reply.usable = true;
    Ok(())
}

fn text(note: Note) -> String {
    match note {
        Note::Warning(text) | Note::Fact(text) => text,
    }
}

/// Whether the remote sends what follows the first byte of a file, where that is asked for.
fn sends_parts(
    origin: &Origin<'_>,
    file: &DeclaredFile,
    stop: &AtomicBool,
) -> Result<bool, SyncError> {
    let mut part = Part { restarted: false, length: 1 };
    let request = Fetch {
        url: origin.url.file(file.path.as_bytes()),
        size_bytes: file.size_bytes,
        max_bytes: FILE_BYTES_MAX,
        unless: None,
        needs_end: false,
        tries_max: TRIES_MAX,
        stop,
        watcher: &(),
    };
    match origin.client.fetch(&request, &mut part) {
        Ok(Fetched::Whole { .. } | Fetched::Unchanged) => Ok(!part.restarted),
        // It has seen enough.
        Err(_) if part.restarted || part.length > 1 => Ok(!part.restarted),
        Err(error) => Err(error.into()),
    }
}

/// A body that says that its first byte is there, and takes one piece more.
struct Part {
    restarted: bool,
    length: u64,
}

impl Body for Part {
    fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.length += data.len() as u64;
        Err(io::Error::other("enough"))
    }

    fn restart(&mut self) -> io::Result<()> {
        self.restarted = true;
        Err(io::Error::other("enough"))
    }
}
