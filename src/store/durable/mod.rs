//! Durable steps: the only place that syncs, links, renames, unlinks, or makes directories.
//!
//! Each call is one *step*. Crash tests number the steps and stop the process before or after the
//! Nth, or make it fail, so a step that bypasses this module is a step that no test ever saw (a
//! lint forbids it). See [`fault`] for how to ask for a fault.
//!
//! Nothing here decides what a failure means: a failed sync is reported once and faithfully, and
//! the engine stops accepting changes (a retried sync can lie).

#![allow(clippy::disallowed_methods, reason = "this module is what the lint sends others to")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::error::{Result, StoreError};
use crate::sys;

pub mod fault;
pub use fault::testing;

/// Runs `step` between the fault points of a step called `action`.
pub(super) fn around<T>(
    action: &'static str,
    path: &Path,
    step: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let point = fault::before(action).map_err(StoreError::io(action, path))?;
    let value = step()?;
    point.after();
    Ok(value)
}

fn run<T>(action: &'static str, path: &Path, step: impl FnOnce() -> io::Result<T>) -> Result<T> {
    around(action, path, || step().map_err(StoreError::io(action, path)))
}

/// Is a step that does nothing: a fault point for what happens elsewhere.
///
/// # Errors
/// The injected one.
pub fn step(action: &'static str) -> Result<()> {
    run(action, Path::new(""), || Ok(()))
}

/// Brings a file's data and metadata to disk.
///
/// # Errors
/// The disk's.
pub fn fsync(file: &File, path: &Path) -> Result<()> {
    run("sync", path, || file.sync_all())
}

/// Brings a file's data to disk, with what is needed to read it back.
///
/// # Errors
/// The disk's.
pub fn fdatasync(file: &File, path: &Path) -> Result<()> {
    run("sync", path, || file.sync_data())
}

/// Brings the data of the file at `path` to disk. Meant for the catalog's WAL, which must not be
/// held open by others and carries no locks that a close would drop.
///
/// # Errors
/// The disk's, also when the file is missing.
pub fn sync_file(path: &Path) -> Result<()> {
    run("sync", path, || File::open(path)?.sync_data())
}

/// Brings a directory's names to disk.
///
/// # Errors
/// The disk's.
pub fn sync_dir(path: &Path) -> Result<()> {
    run("sync directory", path, || File::open(path)?.sync_all())
}

/// Brings everything on the file system of `path` to disk.
///
/// # Errors
/// The disk's.
pub fn syncfs(path: &Path) -> Result<()> {
    run("sync the file system of", path, || Ok(rustix::fs::syncfs(File::open(path)?)?))
}

/// Gives the file `from` a second name.
///
/// # Errors
/// The disk's; `to` must not exist.
pub fn link(from: &Path, to: &Path) -> Result<()> {
    run("link", to, || fs::hard_link(from, to))
}

/// Gives an open file without a name its first one.
///
/// # Errors
/// The disk's; `to` must not exist.
pub fn link_open(file: &File, to: &Path) -> Result<()> {
    run("link", to, || sys::link_open(file, to))
}

/// Renames `from` to `to`, replacing what is there.
///
/// # Errors
/// The disk's.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    run("rename", from, || fs::rename(from, to))
}

/// Removes a name of a file.
///
/// # Errors
/// The disk's, also when there is no such name.
pub fn unlink(path: &Path) -> Result<()> {
    run("unlink", path, || fs::remove_file(path))
}

/// Makes an empty file with permission bits `mode` (less the umask), open for reading and writing.
///
/// # Errors
/// The disk's, also when it exists.
pub fn create(path: &Path, mode: u32) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    run("create", path, || options.open(path))
}

/// Makes a directory with permission bits `mode` (less the umask).
///
/// # Errors
/// The disk's, also when it exists.
pub fn mkdir(path: &Path, mode: u32) -> Result<()> {
    run("make directory", path, || DirBuilder::new().mode(mode).create(path))
}

/// Removes an empty directory.
///
/// # Errors
/// The disk's.
pub fn rmdir(path: &Path) -> Result<()> {
    run("remove directory", path, || fs::remove_dir(path))
}

/// Makes `target` (empty before) a copy of `source`.
///
/// # Errors
/// The disk's.
pub fn copy(source: &File, target: &File, path: &Path) -> Result<()> {
    run("copy to", path, || sys::copy_range(source, target, source.metadata()?.len()))
}

/// Makes `data` the content of the file at `path`: the old or the new, whatever happens. It is on
/// disk when this returns.
///
/// # Errors
/// The disk's.
pub fn replace(path: &Path, data: &[u8]) -> Result<()> {
    let draft = path.with_extension("new");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&draft)
        .map_err(StoreError::io("create", &draft))?;
    write_all(&file, &draft, data, 0)?;
    fsync(&file, &draft)?;
    rename(&draft, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes all of `data` at `offset`.
///
/// # Errors
/// The disk's; some of the data may have been written then.
pub fn write_all(file: &File, path: &Path, data: &[u8], offset: u64) -> Result<()> {
    run("write", path, || file.write_all_at(data, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_do_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        mkdir(&at("d"), 0o700).unwrap();
        let file = create(&at("a"), 0o600).unwrap();
        assert!(create(&at("a"), 0o600).is_err());
        write_all(&file, &at("a"), b"llo", 2).unwrap();
        write_all(&file, &at("a"), b"he", 0).unwrap();
        fsync(&file, &at("a")).unwrap();
        fdatasync(&file, &at("a")).unwrap();
        link(&at("a"), &at("b")).unwrap();
        rename(&at("b"), &at("d/c")).unwrap();
        sync_file(&at("d/c")).unwrap();
        sync_dir(&at("d")).unwrap();
        syncfs(dir.path()).unwrap();
        assert_eq!(fs::read(at("d/c")).unwrap(), b"hello");
        copy(&File::open(at("a")).unwrap(), &File::create(at("e")).unwrap(), &at("e")).unwrap();
        assert_eq!(fs::read(at("e")).unwrap(), b"hello");
        replace(&at("e"), b"other").unwrap();
        assert_eq!(fs::read(at("e")).unwrap(), b"other");
        std::os::unix::fs::symlink(at("a"), at("e.new")).unwrap();
        replace(&at("e"), b"elsewhere").unwrap_err();
        assert_eq!(fs::read(at("a")).unwrap(), b"hello");
        unlink(&at("d/c")).unwrap();
        rmdir(&at("d")).unwrap();
        assert!(unlink(&at("d/c")).unwrap_err().is_not_found());
        assert!(sync_file(&at("none")).unwrap_err().is_not_found());
    }

    #[test]
    fn a_failing_step_has_no_effect() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"x").unwrap();
        let fault = testing::on_this_thread(testing::Fault::full(1));
        assert!(unlink(&path).unwrap_err().is_full());
        assert!(path.exists());
        unlink(&path).unwrap();
        assert_eq!(fault.steps(), 2);
    }
}
