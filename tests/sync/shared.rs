//! What the tests of syncs share.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::Cairn;
use support::http::{Server, Site};

/// A daemon with a remote, and the server behind it.
pub(crate) struct Synced {
    pub(crate) cairn: Cairn,
    pub(crate) site: Site,
    pub(crate) server: Server,
}

impl Synced {
    /// With a site of these files, which nobody has synced yet.
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let site = Site::of(files);
        let server = site.serve();
        Self::with(site, server)
    }

    /// With a server that stands before the site.
    pub(crate) fn with(site: Site, server: Server) -> Self {
        let cairn = Cairn::start();
        cairn.cli(&["remote", "add", "origin", "sums", &server.url("/")]);
        Self { cairn, site, server }
    }

    /// Syncs the repository `lib`; returns what the command says.
    #[track_caller]
    pub(crate) fn sync(&self, options: &[&str]) -> serde_json::Value {
        result(&self.cairn.cli(&[&["sync", "lib", "origin", "--json"], options].concat()))
    }

    /// Syncs what must be refused; returns the exit status and the message.
    #[track_caller]
    pub(crate) fn sync_fails(&self, options: &[&str]) -> (i32, String) {
        let output = self.cairn.run(&[&["sync", "lib", "origin"], options].concat());
        assert!(!output.status.success(), "{output:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// The files of a version of `lib`.
    pub(crate) fn version(&self, number: u64) -> BTreeMap<String, Vec<u8>> {
        files(&self.cairn.versions(format!("lib/{number}")))
    }

    /// How many requests came for a path.
    pub(crate) fn asked_for(&self, path: &str) -> usize {
        let line = format!("GET {path} HTTP/1.1");
        self.server.asked().iter().filter(|asked| asked.line == line).count()
    }
}

/// The result in what a sync printed: the last line, after those of progress.
#[track_caller]
pub(crate) fn result(printed: &str) -> serde_json::Value {
    let result: serde_json::Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(result["type"], "result", "{printed}");
    result
}

/// All files below a directory by their paths.
pub(crate) fn files(top: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// A map of files, to compare with.
pub(crate) fn map(files: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect()
}

/// Makes a file an hour old, so that a server's word for when it changed is believed.
pub(crate) fn age(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    file.set_modified(before).unwrap();
}
