//! Where stat caches lie: files named by device and inode of the imported directory, the least recently
//! written ones removed.
//!
//! Only a directory and a file that belong to the caller and that nobody else can write to are
//! believed: what a stat cache says is published, so root must not take it from a user (H24).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};

use super::super::stat::FileId;
use super::{RECORDS_MAX, Record, format};
use crate::store::caller_path;

/// Stat caches kept, one for each imported directory.
const CACHES_MAX: usize = 64;
/// The longest stat cache that is read, in bytes.
const CACHE_BYTES_MAX: u64 = 100 + 80 * RECORDS_MAX as u64;

fn name(top: FileId) -> String {
    let (major, minor) = top.device;
    format!("{major:x}-{minor:x}-{:x}", top.inode)
}

/// The records of the stat cache of `top`, where there is one that can be believed.
pub(super) fn read(directory: &Path, top: FileId) -> Option<Vec<Record>> {
    let directory = open_directory(directory).ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(openat(&directory, name(top), flags, Mode::empty()).ok()?);
    let found = file.metadata().ok()?;
    if !found.is_file() || !is_private(&found) || found.len() > CACHE_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).ok()?);
    file.read_to_end(&mut bytes).ok()?;
    format::decode(&bytes, top)
}

/// Writes the stat cache of `top`, in place of an older one.
pub(super) fn write(directory: &Path, top: FileId, records: &[Record]) -> io::Result<()> {
    // From here on only the descriptor is used: the owner of a directory on the path could make the
    // path lead elsewhere.
    let directory = private(caller_path::make_directories(directory, 0o700)?)?;
    let draft = format!("draft-{}", std::process::id());
    let written = write_draft(&directory, &draft, &format::encode(top, records))
        .and_then(|()| Ok(renameat(&directory, &draft, &directory, name(top))?));
    if let Err(error) = written {
        unlinkat(&directory, &draft, AtFlags::empty())?;
        return Err(error);
    }
    remove_old(&directory)
}

fn write_draft(directory: &File, draft: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = openat(directory, draft, flags | OFlags::CLOEXEC, mode)?;
    File::from(file).write_all(bytes)
}

/// Opens the directory if it is the caller's alone.
fn open_directory(directory: &Path) -> io::Result<File> {
    private(caller_path::open_directory(directory)?)
}

fn private(directory: OwnedFd) -> io::Result<File> {
    let opened = File::from(directory);
    if is_private(&opened.metadata()?) {
        return Ok(opened);
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can write to it"))
}

fn is_private(found: &fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
}

fn remove_old(directory: &File) -> io::Result<()> {
    let mut found_caches = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        let found = statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
            found_caches.push((found.st_mtime, found.st_mtime_nsec, name));
        }
    }
    found_caches.sort_unstable();
    let surplus = found_caches.len().saturating_sub(CACHES_MAX);
    for (_, _, name) in found_caches.into_iter().take(surplus) {
        unlinkat(directory, &name, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn top(inode: u64) -> FileId {
        FileId { device: (8, 1), inode }
    }

    #[test]
    fn a_memo_is_found_by_its_directory() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("below/imports");
        assert_eq!(read(&directory, top(1)), None);
        write(&directory, top(1), &[]).unwrap();
        assert_eq!(read(&directory, top(1)), Some(Vec::new()));
        assert_eq!(read(&directory, top(2)), None);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_others_can_write_to_is_not_believed() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("imports");
        write(&directory, top(1), &[]).unwrap();
        let cache = directory.join(name(top(1)));
        for path in [&cache, &directory] {
            let kept = fs::metadata(path).unwrap().permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(0o722)).unwrap();
            assert_eq!(read(&directory, top(1)), None, "{}", path.display());
            fs::set_permissions(path, kept).unwrap();
        }
        assert_eq!(read(&directory, top(1)), Some(Vec::new()));
        // A symbolic link to a stat cache is none.
        let aside = home.path().join("aside");
        fs::copy(&cache, &aside).unwrap();
        rustix::fs::unlink(&cache).unwrap();
        symlink(&aside, &cache).unwrap();
        assert_eq!(read(&directory, top(1)), None);
    }

    #[test]
    fn a_strangers_link_is_not_written_through() {
        let home = tempfile::tempdir().unwrap();
        let victim = home.path().join("victim");
        fs::create_dir(&victim).unwrap();
        for number in 0..=CACHES_MAX {
            fs::write(victim.join(number.to_string()), b"not a stat cache").unwrap();
        }
        let cache = home.path().join("cache");
        symlink(&victim, &cache).unwrap();
        std::os::unix::fs::lchown(&cache, Some(4321), Some(4321)).unwrap();
        for directory in [cache.clone(), cache.join("imports")] {
            write(&directory, top(1), &[]).unwrap_err();
            assert_eq!(read(&directory, top(1)), None);
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), CACHES_MAX + 1);
    }

    #[test]
    fn old_memos_go() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        for inode in 0..CACHES_MAX as u64 + 3 {
            write(directory.path(), top(inode), &[]).unwrap();
            let file = File::options().write(true).open(directory.path().join(name(top(inode))));
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(inode);
            file.unwrap().set_modified(time).unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), CACHES_MAX);
        let last = CACHES_MAX as u64 + 2;
        assert!(read(directory.path(), top(last)).is_some());
        assert_eq!(read(directory.path(), top(1)), None);
    }
}
