//! A directory to run POSIX operations in: a staging area, or a plain directory.
//!
//! With `CAIRN_TEST_NATIVE=DIRECTORY` the POSIX tests run in that directory instead of a mount, which
//! proves that they ask of cairn what a local filesystem does.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::{Cairn, wait};

/// Names the plain directory that the POSIX tests use instead of a mount.
pub const NATIVE: &str = "CAIRN_TEST_NATIVE";

/// A user without any privilege.
pub const NOBODY: u32 = 65534;

/// A writable tree that should behave as POSIX says.
pub struct Area {
    root: PathBuf,
    kind: Kind,
}

enum Kind {
    #[allow(dead_code, reason = "dropping it removes the directory")]
    Native(TempDir),
    Staging(Cairn),
}

impl Area {
    /// An empty area.
    pub fn new() -> Self {
        Self::with_options(&[])
    }

    /// An empty area that other users may enter.
    pub fn shared() -> Self {
        Self::with_options(&["-o", "allow_other"])
    }

    fn with_options(options: &[&str]) -> Self {
        if let Ok(directory) = std::env::var(NATIVE) {
            let home = TempDir::new_in(directory).expect("a directory");
            fs::set_permissions(home.path(), Permissions::from_mode(0o755)).expect("chmod");
            let root = home.path().join("area");
            fs::create_dir(&root).expect("mkdir");
            return Self { root, kind: Kind::Native(home) };
        }
        let cairn = Cairn::start_with(options);
        let root = cairn.area("repo", "area");
        Self { root, kind: Kind::Staging(cairn) }
    }

    /// The area's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the area.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a whole file and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("write a file");
        path
    }

    /// Writes a whole file and waits until it is sealed.
    pub fn sealed(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name, content);
        self.settle(&path);
        path
    }

    /// Makes a directory and returns its path.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("make a directory");
        path
    }

    /// Waits until the content of `path` is a blob, so that a test covers that state too.
    pub fn settle(&self, path: &Path) {
        if self.cairn().is_some() {
            wait::until("the file is sealed", || hash_of(path).is_some());
        }
    }

    /// The daemon behind the area; none when it is a plain directory.
    pub fn cairn(&self) -> Option<&Cairn> {
        match &self.kind {
            Kind::Native(_) => None,
            Kind::Staging(cairn) => Some(cairn),
        }
    }
}

/// `user.cairn.hash` of a file, when it has one.
pub fn hash_of(path: &Path) -> Option<String> {
    let mut value = [0; 256];
    let length = rustix::fs::lgetxattr(path, "user.cairn.hash", &mut value[..]).ok()?;
    Some(String::from_utf8(value[..length].to_vec()).expect("a hash is text"))
}

/// Runs a shell line as a user without privileges, with `$1`, `$2`… set to `arguments`.
pub fn as_nobody(line: &str, arguments: &[&Path]) -> Output {
    use std::os::unix::process::CommandExt;
    assert!(rustix::process::geteuid().is_root(), "tests of other users' rights need root");
    let mut command = Command::new("sh");
    command.args(["-c", line, "sh"]).args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/");
    command.output().expect("sh")
}

/// Sets the permission bits of `path`.
#[track_caller]
pub fn set_mode(path: &Path, mode: u32) {
    try_set_mode(path, mode).expect("chmod");
}

/// Sets the permission bits of `path`, if that is allowed.
pub fn try_set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}
