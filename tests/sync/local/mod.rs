//! Remotes on this machine: directories and archives, which the daemon reads itself (V13)

mod archive;
mod directory;
mod failure;
mod rights;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::Cairn;

use crate::shared::{files, result};

/// A daemon, and a directory or an archive that is its remote `origin`.
pub(crate) struct Local {
    pub(crate) cairn: Cairn,
    pub(crate) source: PathBuf,
}

impl Local {
    /// A directory of these files.
    pub(crate) fn directory(files: &[(&str, &[u8])]) -> Self {
        Self::directory_on(Cairn::start(), files)
    }

    /// A directory of these files, read by this daemon.
    pub(crate) fn directory_on(cairn: Cairn, files: &[(&str, &[u8])]) -> Self {
        let source = cairn.scratch().join("tree");
        fs::create_dir(&source).unwrap();
        write(&source, files);
        Self::of(cairn, source, "directory")
    }

    /// Whatever is at `source`.
    pub(crate) fn of(cairn: Cairn, source: PathBuf, kind: &str) -> Self {
        cairn.cli(&["remote", "add", "origin", kind, source.to_str().unwrap()]);
        Self { cairn, source }
    }

    /// Syncs the repository `lib` from `origin`, or from what is below it.
    #[track_caller]
    pub(crate) fn sync_from(&self, remote: &str, options: &[&str]) -> Value {
        result(&self.cairn.cli(&[&["sync", "lib", remote, "--json"], options].concat()))
    }

    /// Syncs the repository `lib`.
    #[track_caller]
    pub(crate) fn sync(&self, options: &[&str]) -> Value {
        self.sync_from("origin", options)
    }

    /// Syncs what must be refused; returns the exit status and the message.
    #[track_caller]
    pub(crate) fn sync_fails(&self, remote: &str, options: &[&str]) -> (i32, String) {
        let output = self.cairn.run(&[&["sync", "lib", remote], options].concat());
        assert!(!output.status.success(), "{output:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// The files of a version of `lib`.
    pub(crate) fn version(&self, number: u64) -> std::collections::BTreeMap<String, Vec<u8>> {
        files(&self.cairn.versions(format!("lib/{number}")))
    }

    /// The path of the remote, as an argument.
    pub(crate) fn path(&self) -> &str {
        self.source.to_str().unwrap()
    }
}

/// Writes files below a directory.
pub(crate) fn write(top: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// What a sync told of paths, in words.
pub(crate) fn events(done: &Value) -> Vec<String> {
    let events = done["events"].as_array().unwrap().iter();
    events
        .map(|event| {
            format!("{} {}", event["change"].as_str().unwrap(), event["path"].as_str().unwrap())
        })
        .collect()
}

/// Several counts of a sync.
pub(crate) fn counts<const N: usize>(done: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| done[format!("{name}_file_count")].as_u64().unwrap())
}
