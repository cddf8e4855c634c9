//! A bucket in a directory, and stores that know it as the remote `store`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::cairn::{binary, scratch};
use support::{Cairn, content};
use tempfile::TempDir;

/// Length of `HASH.NONCE`.
const KEY_BYTES: usize = 64 + 1 + 32;

/// A directory that is a bucket once something was pushed.
pub(crate) struct Bucket {
    home: TempDir,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        Self { home: TempDir::new_in(scratch()).unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("bucket")
    }

    /// A store without a daemon that knows the bucket.
    pub(crate) fn store(&self) -> Cairn {
        self.known_to(Cairn::unmounted())
    }

    /// A store with a daemon that knows the bucket.
    pub(crate) fn mounted(&self) -> Cairn {
        self.known_to(Cairn::start())
    }

    fn known_to(&self, cairn: Cairn) -> Cairn {
        fs::create_dir_all(self.path()).unwrap();
        let url = format!("file://{}", self.path().display());
        cairn.cli(&["remote", "add", "store", "bucket", &url]);
        cairn
    }

    /// The objects of a kind, with their lengths.
    pub(crate) fn objects(&self, kind: &str) -> Vec<(PathBuf, u64)> {
        let Ok(entries) = fs::read_dir(self.path().join(kind)) else { return Vec::new() };
        let mut objects: Vec<_> = entries
            .map(|entry| entry.unwrap())
            // One that is being written has another name.
            .filter(|entry| entry.file_name().len() == KEY_BYTES)
            .map(|entry| (entry.path(), entry.metadata().unwrap().len()))
            .collect();
        objects.sort();
        objects
    }

    /// Bytes of all contents and trees.
    pub(crate) fn content_bytes(&self) -> u64 {
        let kinds = ["packs", "blobs"].into_iter();
        kinds.flat_map(|kind| self.objects(kind)).map(|(_, bytes)| bytes).sum()
    }

    /// The events of a repository's log.
    pub(crate) fn events(&self, repository: &str) -> usize {
        fs::read_dir(self.path().join("log").join(repository)).map_or(0, Iterator::count)
    }
}

/// The result of a push or a pull, its last line.
pub(crate) fn result(cairn: &Cairn, arguments: &[&str]) -> Value {
    let printed = cairn.cli(&[arguments, &["--json"]].concat());
    let last = printed.lines().last().unwrap();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in: {printed}"))
}

/// Runs a command without a daemon, with a fault.
pub(crate) fn faulty(cairn: &Cairn, arguments: &[&str], fault: &str) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("CAIRN_STORE", cairn.store()).env("CAIRN_FAULT", fault);
    command.stdin(Stdio::null()).output().unwrap()
}

/// Files with contents that cannot be compressed, so that bytes can be counted.
pub(crate) fn files(directory: &Path, seed: u64, count: u64, bytes: usize) {
    fs::create_dir_all(directory).unwrap();
    for number in 0..count {
        let path = directory.join(format!("file-{number:04}"));
        fs::write(path, content::bytes(seed * 100_000 + number, bytes)).unwrap();
    }
}

/// Imports a directory as the next version, exactly as it is.
pub(crate) fn import(cairn: &Cairn, directory: &Path, repository: &str) {
    cairn.cli(&["import", directory.to_str().unwrap(), repository, "--mirror", "-m", "as it was"]);
}

/// What `cairn show` says of a version: a copy in another store must show the same.
pub(crate) fn shown(cairn: &Cairn, version: &str) -> Value {
    cairn.json(&["show", version])
}

/// A file that may be run as its owner.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
