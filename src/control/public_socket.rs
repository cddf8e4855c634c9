//! The socket by which users reach a store that is not theirs.
//!
//! The store's directory is closed to them (0700), and its own socket with it. So a daemon whose
//! mount is open to others listens at a second place: a directory of root's, in which everybody may
//! connect to sockets and nobody else can make any. The socket is named by device and inode of the
//! store's directory, which `stat` shows to everybody who can reach it; so the name tells nothing
//! new. A client believes the daemon only if it runs as the owner of the store.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Says where such sockets are, instead of [`DIRECTORY`]; for daemons and commands alike.
pub(crate) const VARIABLE: &str = "CAIRN_RUNTIME_DIR";

/// Where such sockets are.
const DIRECTORY: &str = "/run/cairn";

/// The socket of the store whose directory is `store`.
pub(super) fn path(store: &Metadata) -> PathBuf {
    directory().join(format!("{:x}-{:x}.sock", store.dev(), store.ino()))
}

fn directory() -> PathBuf {
    match std::env::var_os(VARIABLE) {
        Some(named) if !named.is_empty() => PathBuf::from(named),
        Some(_) | None => PathBuf::from(DIRECTORY),
    }
}

/// Where a daemon of the store at `store` listens for other users. The directory is made where it is
/// missing.
///
/// # Errors
/// The directory cannot be made, or somebody else can put sockets into it.
pub(crate) fn prepare(store: &Path) -> io::Result<PathBuf> {
    let directory = directory();
    match DirBuilder::new().mode(0o755).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = std::fs::symlink_metadata(&directory)?;
    let own = rustix::process::geteuid().as_raw();
    let is_safe = found.is_dir() && [0, own].contains(&found.uid()) && found.mode() & 0o022 == 0;
    if !is_safe {
        let message = format!("{} is not a directory that only we can change", directory.display());
        return Err(io::Error::other(message));
    }
    Ok(path(&std::fs::metadata(store)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_name_is_that_of_the_directory_whatever_path_leads_to_it() {
        let home = tempfile::tempdir().unwrap();
        let [store, other, link] = ["store", "other", "link"].map(|name| home.path().join(name));
        DirBuilder::new().create(&store).unwrap();
        DirBuilder::new().create(&other).unwrap();
        std::os::unix::fs::symlink(&store, &link).unwrap();
        let name = |path: &Path| super::path(&std::fs::metadata(path).unwrap());
        assert_eq!(name(&store), name(&link));
        assert_ne!(name(&store), name(&other));
        assert!(std::fs::metadata(&store).unwrap().permissions().mode() & 0o700 == 0o700);
    }
}
