//! Between the protocol's values and the file system's: callers, times, flags, and replies as
//! callbacks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FopenFlags, INodeNo, OpenAccMode, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
};
use rustix::fs::OFlags;

use crate::fuse::errno::errno;
use crate::fuse::operation::{Operation, guard, run};
use crate::fuse::reply::{FOREVER, GENERATION, absent, file_attr, file_type};
use crate::model::id::Ino;
use crate::model::kind::FileKind;
use crate::model::time::Timestamp;
use crate::sys;
use crate::vfs::attr::Attr;
use crate::vfs::staging::{
    Caller, Done, Entry, Found, Keep, Listed, NAME_KEPT, OpenMode, Opened, RenameMode,
    SetXattrMode, StagingFs, Waiting,
};

/// `SEEK_DATA` and `SEEK_HOLE` of Linux.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Flags of `setxattr(2)`.
const XATTR_CREATE: i32 = 1;
const XATTR_REPLACE: i32 = 2;

/// The kernel's own limit of one write.
pub(super) const WRITE_BYTES_MAX: u32 = 1 << 20;

pub(super) fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() }
}

pub(super) fn ttl(keep: Keep) -> Duration {
    match keep {
        Keep::Forever => FOREVER,
        Keep::Briefly => NAME_KEPT,
        Keep::Never => Duration::ZERO,
    }
}

/// The attributes of an inode. Of a file they advise to write as much at a time as one request holds:
/// `cp` follows that, and around the page cache each of its writes is a request.
pub(super) fn staged_attr(attr: &Attr) -> FileAttr {
    let mut staged = file_attr(attr);
    if attr.kind == FileKind::File {
        staged.blksize = WRITE_BYTES_MAX;
    }
    staged
}

pub(super) fn send_entry(reply: ReplyEntry, entry: &Entry) {
    let attr = staged_attr(&entry.attr);
    reply.entry_with_ttls(&ttl(entry.keep_attr), &ttl(entry.keep_name), &attr, GENERATION);
}

/// Looks a name up and replies, at once or when what `thread` publishes is ready for it.
pub(super) fn lookup(
    fs: &Arc<StagingFs>,
    thread: u32,
    (parent, name): (Ino, &[u8]),
    reply: ReplyEntry,
) {
    if !fs.is_publishing(thread) {
        return answer_lookup(fs, parent, name, reply);
    }
    let (own, sought) = (Arc::clone(fs), name.to_owned());
    let answer: Waiting = Box::new(move |ready| match ready {
        Ok(()) => answer_lookup(&own, parent, &sought, reply),
        Err(error) => reply.error(errno(error)),
    });
    run("lookup", INodeNo(parent.0), |_| {
        if let Some(answer) = fs.park_lookup(thread, parent, name, answer) {
            answer(Ok(()));
        }
    });
}

fn answer_lookup(fs: &StagingFs, parent: Ino, name: &[u8], reply: ReplyEntry) {
    match guard("lookup", INodeNo(parent.0), || fs.lookup(parent, name)) {
        Ok(Found::Entry(entry)) => send_entry(reply, &entry),
        Ok(Found::Negative) => reply.entry(&FOREVER, &absent(), GENERATION),
        Err(errno) => reply.error(errno),
    }
}

/// Callbacks that answer the kernel.
impl Operation {
    pub(super) fn entry(self, reply: ReplyEntry) -> Done<Entry> {
        Box::new(move |result| match result {
            Ok(entry) => send_entry(reply, &entry),
            Err(error) => reply.error(self.errno(error)),
        })
    }

    pub(super) fn empty(self, reply: ReplyEmpty) -> Done<()> {
        Box::new(move |result| match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.errno(error)),
        })
    }

    pub(super) fn attr(self, reply: ReplyAttr) -> Done<(Attr, Keep)> {
        Box::new(move |result| match result {
            Ok((attr, keep)) => reply.attr(&ttl(keep), &staged_attr(&attr)),
            Err(error) => reply.error(self.errno(error)),
        })
    }

    pub(super) fn opened(self, reply: ReplyOpen) -> Done<Opened> {
        Box::new(move |result| match result {
            Ok(opened) => {
                reply.opened(FileHandle(opened.handle.0), open_flags(opened.around_cache));
            }
            Err(error) => reply.error(self.errno(error)),
        })
    }

    pub(super) fn created(self, reply: ReplyCreate) -> Done<(Entry, Opened)> {
        Box::new(move |result| match result {
            Ok((entry, opened)) => {
                let attr = staged_attr(&entry.attr);
                let handle = FileHandle(opened.handle.0);
                let flags = open_flags(opened.around_cache);
                // One time for name and attributes.
                let keep = ttl(entry.keep_name).min(ttl(entry.keep_attr));
                reply.created(&keep, &attr, GENERATION, handle, flags);
            }
            Err(error) => reply.error(self.errno(error)),
        })
    }

    /// Answers with the number of bytes written.
    pub(super) fn written(self, reply: ReplyWrite) -> Done<u64> {
        Box::new(move |result| match result {
            Ok(written) => reply.written(u32::try_from(written).unwrap_or(u32::MAX)),
            Err(error) => reply.error(self.errno(error)),
        })
    }
}

pub(super) fn time(time: TimeOrNow) -> Timestamp {
    match time {
        TimeOrNow::SpecificTime(time) => decode_time(time),
        TimeOrNow::Now => Timestamp::now(),
    }
}

/// Undoes what fuser 0.18 makes of a `timespec` before 1970: it subtracts the nanoseconds, which
/// count forward, instead of adding them. Replies are encoded correctly.
pub(super) fn decode_time(time: SystemTime) -> Timestamp {
    let Err(before) = time.duration_since(SystemTime::UNIX_EPOCH) else {
        return Timestamp::from_system_time(time);
    };
    let before = before.duration();
    Timestamp {
        seconds: i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds),
        nanoseconds: before.subsec_nanos(),
    }
}

/// Keeps pages from one open to the next: only this kernel changes a file.
///
/// Writes `around_cache` become requests as they are, without a copy in the page cache and without
/// a look for `security.capability` before them. The kernel drops the pages that it overlaps, so
/// readers and mappings see it. Only for a handle that gains by it and is the only writer: a page
/// that is changed through another handle's mapping is written back as a whole, and would overwrite
/// these bytes.
pub(super) fn open_flags(around_cache: bool) -> FopenFlags {
    let mut flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
    flags.set(FopenFlags::FOPEN_DIRECT_IO, around_cache);
    flags
}

/// Whether flags of the protocol, which are those of `open(2)`, contain this one.
pub(super) fn has(flags: i32, wanted: OFlags) -> bool {
    OFlags::from_bits_retain(flags.cast_unsigned()).contains(wanted)
}

/// What the flags of `open(2)` ask for, on a kernel that can send writes around its cache or not.
pub(super) fn open_mode(flags: OpenFlags, writes_around_cache: bool) -> OpenMode {
    OpenMode {
        writable: is_writable(flags),
        truncate: has(flags.0, OFlags::TRUNC),
        exclusive: has(flags.0, OFlags::EXCL),
        synchronous: is_synchronous(flags),
        may_skip_cache: writes_around_cache && gains_around_cache(flags),
    }
}

/// Whether flags, of an open file or of one write, ask for `O_DSYNC`, which `O_SYNC` contains.
pub(super) fn is_synchronous(flags: OpenFlags) -> bool {
    flags.0 & sys::O_DSYNC != 0
}

fn is_writable(flags: OpenFlags) -> bool {
    match flags.acc_mode() {
        OpenAccMode::O_RDONLY => false,
        OpenAccMode::O_WRONLY | OpenAccMode::O_RDWR => true,
    }
}

/// Whether a handle should write around the page cache. One that cannot read should, since it does
/// not need the cache. One that appends should too, even if it can read, for the sake of those who
/// read beside it.
///
/// While a write through the cache makes a file longer, the kernel takes no size from us
/// (`FUSE_I_SIZE_UNSTABLE`), but hands it on to whoever calls `stat`. Until the writer has run again to
/// note its new size, a reader is told of bytes, and then meets the end of the file before them, or
/// SIGBUS in a mapping. Around the cache the kernel takes the size at once.
fn gains_around_cache(flags: OpenFlags) -> bool {
    flags.acc_mode() == OpenAccMode::O_WRONLY || has(flags.0, OFlags::APPEND)
}

/// Where a search for data or a hole starts. The kernel hands over what the caller gave. For a
/// position before the start, a local filesystem answers that there is neither.
pub(super) fn seek_start(position: i64) -> Result<u64, Errno> {
    u64::try_from(position).map_err(|_| Errno::ENXIO)
}

/// Whether `lseek` looks for a hole, or for data; the kernel handles all else itself.
pub(super) fn seeks_hole(whence: i32) -> Result<bool, Errno> {
    match whence {
        SEEK_DATA => Ok(false),
        SEEK_HOLE => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

/// A listed name with what a lookup of it gave. For `.` and `..` the kernel takes the number only
/// and counts no look-up.
pub(super) fn listed_attr(listed: &Listed, entry: Option<&Entry>) -> (Duration, FileAttr) {
    match entry {
        Some(entry) => {
            let keep = ttl(entry.keep_name).min(ttl(entry.keep_attr));
            (keep, staged_attr(&entry.attr))
        }
        None => {
            let mut attr = absent();
            attr.kind = file_type(listed.kind);
            attr.ino = INodeNo(listed.ino.0);
            (Duration::ZERO, attr)
        }
    }
}

/// What happens to the target of a rename.
pub(super) fn rename_mode(flags: RenameFlags) -> Result<RenameMode, Errno> {
    if flags.is_empty() {
        Ok(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(RenameMode::Exchange)
    } else {
        Err(Errno::EINVAL)
    }
}

/// Which states of an attribute `setxattr` accepts.
pub(super) fn xattr_mode(flags: i32) -> Result<SetXattrMode, Errno> {
    match flags {
        0 => Ok(SetXattrMode::Any),
        XATTR_CREATE => Ok(SetXattrMode::Create),
        XATTR_REPLACE => Ok(SetXattrMode::Replace),
        _ => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_cannot_read_or_appends_may_miss_the_cache() {
        let skips = |flags: OFlags, can| {
            let flags = OpenFlags(flags.bits().cast_signed());
            open_mode(flags, can).may_skip_cache
        };
        assert!(skips(OFlags::WRONLY, true) && skips(OFlags::WRONLY | OFlags::APPEND, true));
        assert!(skips(OFlags::RDWR | OFlags::APPEND, true));
        assert!(!skips(OFlags::RDWR, true) && !skips(OFlags::RDONLY, true));
        assert!(!skips(OFlags::WRONLY, false) && !skips(OFlags::RDWR | OFlags::APPEND, false));
    }

    #[test]
    fn either_flag_of_synchronous_writes_is_seen() {
        let flags = |flags: OFlags| OpenFlags(flags.bits().cast_signed());
        assert!(is_synchronous(flags(OFlags::WRONLY | OFlags::SYNC)));
        assert!(is_synchronous(OpenFlags(sys::O_DSYNC)));
        assert!(!is_synchronous(flags(OFlags::WRONLY | OFlags::APPEND | OFlags::DIRECT)));
    }

    #[test]
    fn times_before_1970_are_what_the_kernel_sent() {
        // The kernel's (-2 s, 750 ms), as fuser hands it over.
        let handed = SystemTime::UNIX_EPOCH - Duration::new(2, 750_000_000);
        assert_eq!(decode_time(handed), Timestamp { seconds: -2, nanoseconds: 750_000_000 });
        let later = SystemTime::UNIX_EPOCH + Duration::new(2, 750_000_000);
        assert_eq!(decode_time(later), Timestamp { seconds: 2, nanoseconds: 750_000_000 });
    }
}
