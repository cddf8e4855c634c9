//! Content that came while it was found out what is declared, and is declared itself: the indexes of an archive. It is kept in
//! one file without a name, so that nothing is fetched twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::model::debian::release::Listed;
use crate::model::digest::{Sha256, Sha256Hasher};
use crate::net::Body;

/// Contents by their digests.
#[derive(Debug)]
pub(super) struct Gathered {
    file: Arc<File>,
    length: u64,
    /// Where each begins, and how long it is.
    places: BTreeMap<Sha256, (u64, u64)>,
}

impl Gathered {
    /// Nothing yet, to be kept in that file, which is empty.
    pub(super) fn new(file: File) -> Self {
        Self { file: Arc::new(file), length: 0, places: BTreeMap::new() }
    }

    /// Keeps what is in memory.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> io::Result<Listed> {
        let mut incoming = self.incoming();
        incoming.write(bytes)?;
        let listed = incoming.listed();
        self.add(listed);
        Ok(listed)
    }

    /// Where the bytes of the next one go.
    pub(super) fn incoming(&mut self) -> Incoming<'_> {
        Incoming {
            file: &self.file,
            begin: self.length,
            length: 0,
            hasher: Sha256Hasher::default(),
        }
    }

    /// Keeps what came last. What came and is not kept is overwritten.
    pub(super) fn add(&mut self, listed: Listed) -> Part {
        let (begin, end) = (self.length, self.length + listed.size_bytes);
        self.places.insert(listed.sha256, (begin, listed.size_bytes));
        self.length = end;
        Part { file: Arc::clone(&self.file), at: begin, end }
    }

    /// A content, if it is here.
    pub(super) fn find(&self, sha256: &Sha256) -> Option<Part> {
        let (begin, length) = *self.places.get(sha256)?;
        Some(Part { file: Arc::clone(&self.file), at: begin, end: begin + length })
    }
}

/// A content on its way.
pub(super) struct Incoming<'a> {
    file: &'a File,
    begin: u64,
    length: u64,
    hasher: Sha256Hasher,
}

impl Incoming<'_> {
    /// What came.
    pub(super) fn listed(&self) -> Listed {
        Listed { size_bytes: self.length, sha256: self.hasher.clone().finish() }
    }
}

impl Body for Incoming<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.begin + self.length)?;
        self.hasher.update(data);
        self.length += data.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        (self.length, self.hasher) = (0, Sha256Hasher::default());
        Ok(())
    }
}

/// The bytes of a content, in order.
#[derive(Debug)]
pub(super) struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Part {
    /// A whole file of that length.
    pub(super) fn of(file: Arc<File>, length: u64) -> Self {
        Self { file, at: 0, end: length }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..left], self.at)?;
        if read == 0 && left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_found_by_their_digests_and_others_leave_nothing() {
        let mut gathered = Gathered::new(tempfile::tempfile().unwrap());
        let first = gathered.keep(b"first").unwrap();
        let mut refused = gathered.incoming();
        refused.write(b"much longer than what comes then").unwrap();
        let mut second = gathered.incoming();
        second.write(b"cut").unwrap();
        second.restart().unwrap();
        second.write(b"sec").unwrap();
        second.write(b"ond").unwrap();
        let second = second.listed();
        gathered.add(second);
        let empty = gathered.keep(b"").unwrap();
        for (listed, content) in [(first, "first"), (second, "second"), (empty, "")] {
            assert_eq!(listed.sha256, Sha256::of(content.as_bytes()));
            let mut found = String::new();
            gathered.find(&listed.sha256).unwrap().read_to_string(&mut found).unwrap();
            assert_eq!(found, content);
        }
        assert!(gathered.find(&Sha256::of(b"other")).is_none());
    }
}
