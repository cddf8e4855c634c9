//! The files of the package, as lines.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct Source {
    /// Path relative to the package.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// All Rust files below a directory of the package, sorted by path.
    pub(crate) fn below(directory: &str) -> Vec<Self> {
        let mut found = Vec::new();
        collect(&root().join(directory), &mut found);
        found.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(!found.is_empty(), "no sources below {directory}");
        found
    }

    /// The name of the layer under `src/`: its folder, or the file's own name.
    pub(crate) fn layer(&self) -> Option<&str> {
        let first = self.path.components().nth(1)?.as_os_str().to_str()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// Lines with their numbers, without line comments.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, without_comment(line)))
    }

    /// `path:line`, for a message.
    pub(crate) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// The package's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn without_comment(line: &str) -> &str {
    // `://` is an address in a string, not a comment.
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("a directory of the package") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let path = path.strip_prefix(root()).expect("below the package").to_owned();
            found.push(Source { path, text });
        }
    }
}
