//! The operations of a history, and what each does to a directory tree.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags,
};

use crate::path_choice::PathChoice;
use support::content;

/// One step of a history.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Write {
        path: PathChoice,
        seed: u64,
        length: usize,
    },
    CreateNew {
        path: PathChoice,
    },
    WriteAt {
        path: PathChoice,
        offset: u64,
        seed: u64,
        length: usize,
    },
    Append {
        path: PathChoice,
        seed: u64,
        length: usize,
    },
    Truncate {
        path: PathChoice,
        length: u64,
    },
    Punch {
        path: PathChoice,
        offset: u64,
        length: u64,
    },
    Copy {
        from: PathChoice,
        to: PathChoice,
    },
    Rename {
        from: PathChoice,
        to: PathChoice,
        flags: Replace,
    },
    Link {
        from: PathChoice,
        to: PathChoice,
    },
    Symlink {
        target: PathChoice,
        path: PathChoice,
    },
    Unlink {
        path: PathChoice,
    },
    MakeDirectory {
        path: PathChoice,
    },
    RemoveDirectory {
        path: PathChoice,
    },
    RemoveAll {
        path: PathChoice,
    },
    Mode {
        path: PathChoice,
        mode: u32,
    },
    Owner {
        path: PathChoice,
        uid: u32,
        gid: u32,
    },
    Times {
        path: PathChoice,
        seconds: i64,
        nanoseconds: i64,
    },
    SetXattr {
        path: PathChoice,
        name: String,
        value: Vec<u8>,
    },
    RemoveXattr {
        path: PathChoice,
        name: String,
    },
    Fifo {
        path: PathChoice,
    },
    /// Opens a file and keeps it open, whatever happens to its name.
    Hold {
        path: PathChoice,
    },
    WriteHeld {
        offset: u64,
        seed: u64,
        length: usize,
    },
    TruncateHeld {
        length: u64,
    },
    CloseHeld,
    /// cairn only: publishes the area and goes on in a new one that starts from it.
    Commit,
    /// cairn only: stops the daemon and starts it again.
    Restart,
}

/// What a rename does about an existing destination.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Replace {
    Yes,
    No,
    Exchange,
}

impl Operation {
    /// Any operation, the frequent ones of real programs more often.
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let (old, new) = (PathChoice::existing, PathChoice::free);
        prop_oneof![
            14 => (new(), any::<u64>(), length())
                .prop_map(|(path, seed, length)| Self::Write { path, seed, length }),
            2 => new().prop_map(|path| Self::CreateNew { path }),
            6 => (old(), offset(), any::<u64>(), length()).prop_map(
                |(path, offset, seed, length)| Self::WriteAt { path, offset, seed, length }
            ),
            3 => (old(), any::<u64>(), length())
                .prop_map(|(path, seed, length)| Self::Append { path, seed, length }),
            4 => (old(), offset()).prop_map(|(path, length)| Self::Truncate { path, length }),
            1 => (old(), offset(), 1_u64..20_000)
                .prop_map(|(path, offset, length)| Self::Punch { path, offset, length }),
            5 => (old(), new()).prop_map(|(from, to)| Self::Copy { from, to }),
            12 => (old(), new(), replace())
                .prop_map(|(from, to, flags)| Self::Rename { from, to, flags }),
            4 => (old(), old(), replace())
                .prop_map(|(from, to, flags)| Self::Rename { from, to, flags }),
            6 => (old(), new()).prop_map(|(from, to)| Self::Link { from, to }),
            3 => (old(), new()).prop_map(|(target, path)| Self::Symlink { target, path }),
            5 => old().prop_map(|path| Self::Unlink { path }),
            12 => new().prop_map(|path| Self::MakeDirectory { path }),
            3 => old().prop_map(|path| Self::RemoveDirectory { path }),
            1 => old().prop_map(|path| Self::RemoveAll { path }),
            4 => (old(), 0_u32..0o10000).prop_map(|(path, mode)| Self::Mode { path, mode }),
            2 => (old(), 0_u32..5, 0_u32..5)
                .prop_map(|(path, uid, gid)| Self::Owner { path, uid, gid }),
            4 => (old(), 1_i64..1_000_000_000, 0_i64..1_000_000_000).prop_map(
                |(path, seconds, nanoseconds)| Self::Times { path, seconds, nanoseconds }
            ),
            4 => (old(), xattr_name(), proptest::collection::vec(any::<u8>(), 0..100))
                .prop_map(|(path, name, value)| Self::SetXattr { path, name, value }),
            2 => (old(), xattr_name())
                .prop_map(|(path, name)| Self::RemoveXattr { path, name }),
            1 => new().prop_map(|path| Self::Fifo { path }),
            4 => old().prop_map(|path| Self::Hold { path }),
            4 => (offset(), any::<u64>(), length()).prop_map(
                |(offset, seed, length)| Self::WriteHeld { offset, seed, length }
            ),
            1 => offset().prop_map(|length| Self::TruncateHeld { length }),
            1 => Just(Self::CloseHeld),
            4 => Just(Self::Commit),
            1 => Just(Self::Restart),
        ]
    }

    /// Operations on hardlinks and on the directories that hold them, with many commits.
    pub(crate) fn of_links() -> impl Strategy<Value = Self> {
        let (old, new) = (PathChoice::existing, PathChoice::free);
        prop_oneof![
            5 => (new(), any::<u64>(), 1_usize..300)
                .prop_map(|(path, seed, length)| Self::Write { path, seed, length }),
            4 => (old(), any::<u64>(), 1_usize..300)
                .prop_map(|(path, seed, length)| Self::Append { path, seed, length }),
            10 => (old(), new()).prop_map(|(from, to)| Self::Link { from, to }),
            12 => (old(), new(), replace())
                .prop_map(|(from, to, flags)| Self::Rename { from, to, flags }),
            4 => (old(), old())
                .prop_map(|(from, to)| Self::Rename { from, to, flags: Replace::Exchange }),
            8 => new().prop_map(|path| Self::MakeDirectory { path }),
            3 => old().prop_map(|path| Self::Unlink { path }),
            1 => old().prop_map(|path| Self::RemoveAll { path }),
            2 => (old(), 0_u32..0o1000).prop_map(|(path, mode)| Self::Mode { path, mode }),
            7 => Just(Self::Commit),
            2 => Just(Self::Restart),
        ]
    }

    /// Fixes the paths among what exists now.
    pub(crate) fn resolve(&mut self, all: &[PathBuf], directories: &[PathBuf]) {
        match self {
            Self::Copy { from, to } | Self::Rename { from, to, .. } | Self::Link { from, to } => {
                from.resolve(all, directories);
                to.resolve(all, directories);
            }
            Self::Symlink { target, path } => {
                target.resolve(all, directories);
                path.resolve(all, directories);
            }
            Self::Write { path, .. }
            | Self::CreateNew { path }
            | Self::WriteAt { path, .. }
            | Self::Append { path, .. }
            | Self::Truncate { path, .. }
            | Self::Punch { path, .. }
            | Self::Unlink { path }
            | Self::MakeDirectory { path }
            | Self::RemoveDirectory { path }
            | Self::RemoveAll { path }
            | Self::Mode { path, .. }
            | Self::Owner { path, .. }
            | Self::Times { path, .. }
            | Self::SetXattr { path, .. }
            | Self::RemoveXattr { path, .. }
            | Self::Fifo { path }
            | Self::Hold { path } => path.resolve(all, directories),
            Self::WriteHeld { .. }
            | Self::TruncateHeld { .. }
            | Self::CloseHeld
            | Self::Commit
            | Self::Restart => {}
        }
    }

    /// Applies the operation to the tree at `root`, whose open file is `held`.
    pub(crate) fn apply(&self, root: &Path, held: &mut Option<File>) -> io::Result<()> {
        match self {
            Self::Write { path, seed, length } => {
                let mut options = File::options();
                options.write(true).create(true).truncate(true);
                let file = open(&mut options, &root.join(path))?;
                file.write_all_at(&content::bytes(*seed, *length), 0)
            }
            Self::CreateNew { path } => {
                open(File::options().write(true).create_new(true), &root.join(path)).map(drop)
            }
            Self::WriteAt { path, offset, seed, length } => {
                let file = open(File::options().write(true), &root.join(path))?;
                file.write_all_at(&content::bytes(*seed, *length), *offset)
            }
            Self::Append { path, seed, length } => {
                let mut file = open(File::options().append(true), &root.join(path))?;
                io::Write::write_all(&mut file, &content::bytes(*seed, *length))
            }
            Self::Truncate { path, length } => {
                open(File::options().write(true), &root.join(path))?.set_len(*length)
            }
            Self::Punch { path, offset, length } => {
                let file = open(File::options().write(true), &root.join(path))?;
                let flags =
                    rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
                Ok(rustix::fs::fallocate(&file, flags, *offset, *length)?)
            }
            Self::Copy { from, to } => copy(&root.join(from), &root.join(to)),
            Self::Rename { from, to, flags } => rename(&root.join(from), &root.join(to), *flags),
            Self::Link { from, to } => fs::hard_link(root.join(from), root.join(to)),
            Self::Symlink { target, path } => symlink(target.as_ref(), root.join(path)),
            Self::Unlink { path } => fs::remove_file(root.join(path)),
            Self::MakeDirectory { path } => fs::create_dir(root.join(path)),
            Self::RemoveDirectory { path } => fs::remove_dir(root.join(path)),
            Self::RemoveAll { path } => fs::remove_dir_all(root.join(path)),
            Self::Hold { path } => {
                let mut options = File::options();
                *held = None;
                let file = open(options.read(true).write(true), &root.join(path))?;
                // Not a fifo: the kernel sets its time at a write, but not on FUSE.
                *held = file.metadata()?.is_file().then_some(file);
                Ok(())
            }
            Self::WriteHeld { offset, seed, length } => match held {
                Some(file) => file.write_all_at(&content::bytes(*seed, *length), *offset),
                None => Ok(()),
            },
            Self::TruncateHeld { length } => held.as_ref().map_or(Ok(()), |f| f.set_len(*length)),
            Self::CloseHeld => {
                *held = None;
                Ok(())
            }
            Self::Commit | Self::Restart => Ok(()),
            _ => self.apply_attributes(root),
        }
    }

    /// The operations that change what `stat` and xattrs show.
    fn apply_attributes(&self, root: &Path) -> io::Result<()> {
        match self {
            Self::Mode { path, mode } => {
                let permissions = std::os::unix::fs::PermissionsExt::from_mode(*mode);
                fs::set_permissions(root.join(path), permissions)
            }
            Self::Owner { path, uid, gid } => {
                std::os::unix::fs::lchown(root.join(path), Some(*uid), Some(*gid))
            }
            Self::Times { path, seconds, nanoseconds } => {
                let times = Timestamps {
                    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                    last_modification: Timespec { tv_sec: *seconds, tv_nsec: *nanoseconds },
                };
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                Ok(rustix::fs::utimensat(CWD, root.join(path), &times, flags)?)
            }
            Self::SetXattr { path, name, value } => {
                let flags = XattrFlags::empty();
                Ok(rustix::fs::lsetxattr(root.join(path), name, value, flags)?)
            }
            Self::RemoveXattr { path, name } => {
                Ok(rustix::fs::lremovexattr(root.join(path), name)?)
            }
            Self::Fifo { path } => {
                let mode = Mode::from(0o640);
                Ok(rustix::fs::mknodat(CWD, root.join(path), FileType::Fifo, mode, 0)?)
            }
            other => unreachable!("{other:?} is applied elsewhere"),
        }
    }
}

/// Opens without waiting for the other end of a fifo.
fn open(options: &mut fs::OpenOptions, path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag");
    options.custom_flags(flags).open(path)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let source = open(File::options().read(true), from)?;
    if !source.metadata()?.is_file() {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::INVAL.raw_os_error()));
    }
    let target = open(File::options().write(true).create_new(true), to)?;
    while rustix::fs::copy_file_range(&source, None, &target, None, 1 << 20)? > 0 {}
    Ok(())
}

fn rename(from: &Path, to: &Path, replace: Replace) -> io::Result<()> {
    let flags = match replace {
        Replace::Yes => RenameFlags::empty(),
        Replace::No => RenameFlags::NOREPLACE,
        Replace::Exchange => RenameFlags::EXCHANGE,
    };
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, flags)?)
}

/// Lengths around the sizes where a page and an in-memory buffer end.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => Just(0_usize),
        10 => 1_usize..300,
        6 => 4_000_usize..9_000,
        2 => Just(4096_usize),
        1 => 1_000_000_usize..1_200_000,
    ]
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0_u64),
        6 => 0_u64..10_000,
        1 => 1_000_000_u64..1_500_000,
    ]
}

fn replace() -> impl Strategy<Value = Replace> {
    prop_oneof![6 => Just(Replace::Yes), 1 => Just(Replace::No), 2 => Just(Replace::Exchange)]
}

fn xattr_name() -> impl Strategy<Value = String> {
    prop_oneof![Just("user.one".to_owned()), Just("user.two".to_owned())]
}
