//! The file of a profile: which files of a version a command opened.
//!
//! ```text
//! {"cairn_profile":1,"repository":"tools","version":7}
//! {"path":"bin/cc"}
//! {"path":"lib/libc.so"}        the others, each once, in the order in which they were opened first
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::control::protocol::{ControlError, ErrorKind};
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;
use crate::model::raw::RawPath;

/// The format that this release writes and reads.
const FORMAT: u32 = 1;

/// Of a longer file only so much is read: a profile of a million files is shorter.
const BYTES_MAX: u64 = 256 << 20;

/// Which files of a version a command opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Profile {
    /// The repository.
    pub(in crate::cli) repository: RepoName,
    /// The version.
    #[serde(rename = "number")]
    pub(in crate::cli) version: VersionNumber,
    /// The files, each once, in the order in which they were opened first.
    pub(in crate::cli) paths: Vec<RawPath>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    cairn_profile: u32,
    repository: RepoName,
    version: VersionNumber,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: RawPath,
}

impl Profile {
    /// Writes it under a name, at once or not at all.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(beside.unwrap_or(Path::new(".")))?;
        let mut out = BufWriter::new(file.as_file_mut());
        let head = Head {
            cairn_profile: FORMAT,
            repository: self.repository.clone(),
            version: self.version,
        };
        serde_json::to_writer(&mut out, &head)?;
        for path in &self.paths {
            out.write_all(b"\n")?;
            serde_json::to_writer(&mut out, &Line { path: path.clone() })?;
        }
        out.write_all(b"\n")?;
        out.flush()?;
        drop(out);
        file.persist(path)?;
        Ok(())
    }

    /// Reads one.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub(in crate::cli) fn read(path: &Path) -> Result<Self, ControlError> {
        let shown = path.display();
        let io = |error: &io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Permission,
                _ => ErrorKind::Failed,
            };
            ControlError::new(kind, format!("{shown}: {error}"))
        };
        let wrong = |line: usize, what: &str| {
            ControlError::new(ErrorKind::Usage, format!("{shown}, line {line}: {what}"))
                .with_hint("`cairn profile record` makes a profile")
        };
        let file = File::open(path).map_err(|error| io(&error))?;
        let mut lines = BufReader::new(file.take(BYTES_MAX)).lines();
        let first = lines.next().transpose().map_err(|error| io(&error))?.unwrap_or_default();
        let head: Head =
            serde_json::from_str(&first).map_err(|_| wrong(1, "this is no profile of cairn"))?;
        if head.cairn_profile != FORMAT {
            return Err(wrong(1, "a profile of a newer cairn"));
        }
        let mut paths = Vec::new();
        for (index, line) in lines.enumerate() {
            let line = line.map_err(|error| io(&error))?;
            let line: Line = serde_json::from_str(&line)
                .map_err(|error| wrong(index + 2, &error.to_string()))?;
            line.path.components().map_err(|error| wrong(index + 2, &error.to_string()))?;
            paths.push(line.path);
        }
        Ok(Self { repository: head.repository, version: head.version, paths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_none_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("p");
        let paths = [&b"bin/cc"[..], b"odd \xff\n name", b"z"].map(RawPath::from).to_vec();
        let profile =
            Profile { repository: "tools".parse().unwrap(), version: VersionNumber(7), paths };
        profile.write(&at).unwrap();
        assert_eq!(Profile::read(&at).unwrap(), profile);
        let text = std::fs::read_to_string(&at).unwrap();
        let head = r#"{"cairn_profile":1,"repository":"tools","version":7}"#;
        assert!(text.starts_with(&format!("{head}\n{{\"path\":\"bin/cc\"}}\n")), "{text}");
        for (text, expected) in [
            ("", "line 1: this is no profile"),
            ("{}\n", "line 1: this is no profile"),
            (&head.replace(":1,", ":2,"), "line 1: a profile of a newer cairn"),
            (&format!("{head}\n{{\"path\":\"../a\"}}\n"), "line 2: "),
            (&format!("{head}\n{{\"path\":\"a\"}}\n\n"), "line 3: "),
        ] {
            std::fs::write(&at, text).unwrap();
            let error = Profile::read(&at).unwrap_err();
            assert!(error.message.contains(expected), "{text}: {}", error.message);
        }
        let error = Profile::read(&home.path().join("none")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
}
