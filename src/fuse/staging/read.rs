//! READ, READDIR and READDIRPLUS: what fills a reply.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{INodeNo, ReplyData, ReplyDirectory, ReplyDirectoryPlus};

use super::convert::listed_attr;
use crate::engine::fetcher::{FetchOutcome, Fetched};
use crate::fuse::operation::{Operation, attempt, guard};
use crate::fuse::reply::{GENERATION, file_type};
use crate::vfs::error::FsError;
use crate::vfs::staging::{Handle, StagingFs};

thread_local! {
    /// Each worker's read buffer; it grows to the largest request.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Replies with at most `size` bytes of a file from `offset` on.
pub(super) fn read(
    fs: &Arc<StagingFs>,
    (number, handle): (INodeNo, Handle),
    offset: u64,
    size: u32,
    reply: ReplyData,
) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        match attempt("read", || fs.read(handle, offset, &mut buffer[..size])) {
            Ok(length) => reply.data(&buffer[..length]),
            Err(FsError::Absent(name)) => {
                let (fs, reader) = (Arc::clone(fs), Arc::clone(fs));
                let then = move |fetched: FetchOutcome| {
                    let mut buffer = vec![0; size];
                    let read = || {
                        // An area may have changed meanwhile, so only what is stored is read.
                        fetched.and_then(Fetched::kept).map_err(|_| FsError::Io)?;
                        fs.read(handle, offset, &mut buffer)
                    };
                    match guard("read", number, read) {
                        Ok(length) => reply.data(&buffer[..length]),
                        Err(errno) => reply.error(errno),
                    }
                };
                reader.fetch(name, Box::new(then));
            }
            Err(error) => reply.error(Operation::new("read", number).errno(error)),
        }
    });
}

/// Replies with the names of a directory from the position `offset` on, as many as fit.
pub(super) fn readdir(
    fs: &StagingFs,
    (number, handle): (INodeNo, Handle),
    offset: u64,
    mut reply: ReplyDirectory,
) {
    let listed = guard("readdir", number, || {
        fs.readdir(handle, offset, |listed, next| {
            let number = INodeNo(listed.ino.0);
            reply.add(number, next, file_type(listed.kind), OsStr::from_bytes(&listed.name))
        })
    });
    match listed {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

/// As [`readdir`], each name with its attributes.
pub(super) fn readdirplus(
    fs: &StagingFs,
    (number, handle): (INodeNo, Handle),
    offset: u64,
    mut reply: ReplyDirectoryPlus,
) {
    let listed = guard("readdirplus", number, || {
        fs.readdirplus(handle, offset, |listed, entry, next| {
            let (keep, attr) = listed_attr(listed, entry);
            let name = OsStr::from_bytes(&listed.name);
            reply.add(attr.ino, next, name, &keep, &attr, GENERATION)
        })
    });
    match listed {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}
