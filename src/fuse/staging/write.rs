//! WRITE: at once, or later if the file needs a place among the private files.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use fuser::ReplyWrite;

use crate::fuse::operation::Operation;
use crate::vfs::error::FsError;
use crate::vfs::staging::{Caller, Handle, StagingFs, Turn, Written, wait_end};

/// What the kernel asks for, besides the bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub(super) caller: Caller,
    pub(super) handle: Handle,
    pub(super) offset: u64,
    pub(super) kill_privileges: bool,
    /// `O_SYNC`, `O_DSYNC` or `RWF_DSYNC`. The kernel adds the flag for each of these, and on a
    /// mount with `sync`.
    pub(super) synchronous: bool,
}

impl Write {
    /// Writes `data` and replies.
    pub(super) fn run(self, fs: &Arc<StagingFs>, op: Operation, data: &[u8], reply: ReplyWrite) {
        self.run_until(None, fs, op, Cow::Borrowed(data), reply);
    }

    /// `due` is when the wait for a place ends, if the write waits already.
    fn run_until(
        self,
        due: Option<Instant>,
        fs: &Arc<StagingFs>,
        op: Operation,
        data: Cow<'_, [u8]>,
        reply: ReplyWrite,
    ) {
        match fs.write(self.caller, self.handle, self.offset, &data, self.kill_privileges) {
            Ok(Written::Done(prolonged)) => {
                self.answer(fs, op, data.len(), reply);
                if let Some(written) = prolonged {
                    fs.hash_ahead(self.handle, written, self.offset, &data);
                }
            }
            Ok(Written::Crowded(content)) => {
                let due = due.unwrap_or_else(wait_end);
                let (own, data) = (Arc::clone(fs), data.into_owned());
                let bytes = data.len() as u64;
                let change = Box::new(move |turn| match turn {
                    Turn::Again => self.run_until(Some(due), &own, op, Cow::Owned(data), reply),
                    Turn::Late => reply.error(op.errno(FsError::TooManyOpenFiles)),
                });
                fs.wait_for_place(content, due, bytes, change);
            }
            Err(error) => reply.error(op.errno(error)),
        }
    }

    fn answer(self, fs: &Arc<StagingFs>, op: Operation, length: usize, reply: ReplyWrite) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if !self.synchronous || !fs.syncs_writes(self.handle) {
            return reply.written(length);
        }
        let done = op.written(reply);
        let synced = move |synced: Result<(), FsError>| done(synced.map(|()| u64::from(length)));
        fs.fsync(self.handle, Box::new(synced));
    }
}
