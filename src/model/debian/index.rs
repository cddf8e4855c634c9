//! Indexes of a Debian archive: parses `Packages` and `Sources` line by line, so that one of any length needs little memory.
//!
//! Paragraphs of fields, as in [`super::release`], with an empty line between two. Each paragraph of `Packages` declares one
//! file, each of `Sources` several in one directory. Of a paragraph only the fields that say so are kept, so that memory is
//! bounded by what those may have.

use super::super::digest::Sha256;
use super::super::manifest::{
    DeclaredFile, DeclaredPath, LINE_BYTES_MAX, LineError, PathError, digest, size,
};
use super::release::split_field;

/// Files of one source package, at most.
const FILES_MAX: usize = 10_000;

/// What an index lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// Binary packages.
    Packages,
    /// Source packages.
    Sources,
}

impl IndexKind {
    /// The name of its document, without what says how it is compressed.
    pub fn document(self) -> &'static str {
        match self {
            Self::Packages => "Packages",
            Self::Sources => "Sources",
        }
    }
}

/// Why an index was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not a line of an index.
    #[error("expected `Field: value`")]
    Field,
    /// A field that may be there once.
    #[error("`{0}` is there twice")]
    Twice(&'static str),
    /// A field without which the file cannot be had.
    #[error("the paragraph that ends here has no `{0}`")]
    Missing(&'static str),
    /// A value.
    #[error("`{0}`: {1}")]
    Value(&'static str, LineError),
    /// More files than any source package has.
    #[error("a source package of more than {FILES_MAX} files")]
    TooMany,
}

/// Which field the lines that follow go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// None: nothing but a field may come.
    Begin,
    /// One that is left out.
    Other,
    Checksums,
}

/// Takes an index line by line.
#[derive(Debug)]
pub struct IndexParser {
    kind: IndexKind,
    field: Field,
    filename: Option<DeclaredPath>,
    size_bytes: Option<u64>,
    sha256: Option<Sha256>,
    /// Of a source package: empty for the archive's own directory.
    directory: Option<Vec<u8>>,
    /// Of a source package; `None` where the field was not there.
    files: Option<Vec<(Sha256, u64, Vec<u8>)>>,
}

impl IndexParser {
    /// At the start of an index.
    pub fn new(kind: IndexKind) -> Self {
        Self {
            kind,
            field: Field::Begin,
            filename: None,
            size_bytes: None,
            sha256: None,
            directory: None,
            files: None,
        }
    }

    /// Takes the next line, without the newline that ends it, and tells `take` of what a paragraph declares that it ends.
    /// Of a line that is longer than [`LINE_BYTES_MAX`] the first bytes, one more than that, will do.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn line(
        &mut self,
        line: &[u8],
        take: &mut dyn FnMut(DeclaredFile),
    ) -> Result<(), IndexError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return self.end(take);
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return match self.field {
                Field::Begin => Err(IndexError::Field),
                Field::Other => Ok(()),
                Field::Checksums => self.checksum(line),
            };
        }
        let (name, value) = split_field(line).ok_or(IndexError::Field)?;
        self.field = Field::Other;
        let (kind, value) = (self.kind, value.as_bytes());
        let is_long = line.len() > LINE_BYTES_MAX;
        let check = |field, is_new| match (is_new, is_long) {
            (false, _) => Err(IndexError::Twice(field)),
            (true, true) => Err(IndexError::Value(field, LineError::TooLong)),
            (true, false) => Ok(()),
        };
        let wrong = |field| move |error: LineError| IndexError::Value(field, error);
        match (kind, name.as_str()) {
            (IndexKind::Packages, "filename") => {
                check("Filename", self.filename.is_none())?;
                // As it was written: a value is text only for the sake of the other fields.
                let bytes = line[b"filename:".len()..].trim_ascii();
                let path = DeclaredPath::new(bytes).map_err(LineError::from);
                let path = path.map_err(wrong("Filename"))?;
                self.filename = Some(path);
            }
            (IndexKind::Packages, "size") => {
                check("Size", self.size_bytes.is_none())?;
                self.size_bytes = Some(size(value).map_err(wrong("Size"))?);
            }
            (IndexKind::Packages, "sha256") => {
                check("SHA256", self.sha256.is_none())?;
                let found = digest(value).map_err(LineError::from);
                self.sha256 = Some(found.map_err(wrong("SHA256"))?);
            }
            (IndexKind::Sources, "directory") => {
                check("Directory", self.directory.is_none())?;
                let bytes = line[b"directory:".len()..].trim_ascii();
                let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
                self.directory = Some(if bytes == b"." { Vec::new() } else { bytes.to_vec() });
            }
            (IndexKind::Sources, "checksums-sha256") => {
                check(CHECKSUMS, self.files.is_none())?;
                self.files = Some(Vec::new());
                self.field = Field::Checksums;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a line ` DIGEST SIZE NAME`.
    fn checksum(&mut self, line: &[u8]) -> Result<(), IndexError> {
        let wrong = |error| IndexError::Value(CHECKSUMS, error);
        if line.len() > LINE_BYTES_MAX {
            return Err(wrong(LineError::TooLong));
        }
        let parts: Vec<_> = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|part| !part.is_empty())
            .collect();
        let [sha256, length, name] = parts[..] else {
            return Err(wrong(LineError::Form("`DIGEST SIZE NAME`")));
        };
        let sha256 = digest(sha256).map_err(|error| wrong(error.into()))?;
        let length = size(length).map_err(wrong)?;
        let files = self.files.get_or_insert_default();
        if files.len() == FILES_MAX {
            return Err(IndexError::TooMany);
        }
        files.push((sha256, length, name.to_vec()));
        Ok(())
    }

    /// Takes the end of a paragraph, or of the index.
    ///
    /// # Errors
    /// What the paragraph lacks.
    pub fn end(&mut self, take: &mut dyn FnMut(DeclaredFile)) -> Result<(), IndexError> {
        if self.field == Field::Begin {
            return Ok(());
        }
        let ended = std::mem::replace(self, Self::new(self.kind));
        match self.kind {
            IndexKind::Packages => take(DeclaredFile {
                path: ended.filename.ok_or(IndexError::Missing("Filename"))?,
                sha256: ended.sha256.ok_or(IndexError::Missing("SHA256"))?,
                size_bytes: Some(ended.size_bytes.ok_or(IndexError::Missing("Size"))?),
            }),
            IndexKind::Sources => {
                let directory = ended.directory.ok_or(IndexError::Missing("Directory"))?;
                for (sha256, length, name) in ended.files.ok_or(IndexError::Missing(CHECKSUMS))? {
                    let wrong = |error: PathError| IndexError::Value(CHECKSUMS, error.into());
                    let path = match &directory[..] {
                        [] => DeclaredPath::new(&name),
                        directory => DeclaredPath::new(&[directory, b"/", &name].concat()),
                    };
                    take(DeclaredFile {
                        path: path.map_err(wrong)?,
                        sha256,
                        size_bytes: Some(length),
                    });
                }
            }
        }
        Ok(())
    }
}

const CHECKSUMS: &str = "Checksums-Sha256";

#[cfg(test)]
mod tests {
    use super::*;

    /// What an index declares, or the line that is wrong and why.
    fn parse(kind: IndexKind, text: &str) -> Result<Vec<String>, String> {
        let mut parser = IndexParser::new(kind);
        let mut found = Vec::new();
        let mut take = |file: DeclaredFile| {
            let size = file.size_bytes.unwrap();
            found.push(format!("{} {size} {}", file.path, &file.sha256.to_string()[..4]));
        };
        for (number, line) in (1..).zip(text.split('\n')) {
            let taken = parser.line(line.as_bytes(), &mut take);
            taken.map_err(|error| format!("line {number}: {error}"))?;
        }
        parser.end(&mut take).map_err(|error| format!("end: {error}"))?;
        Ok(found)
    }

    fn package(filename: &str, size: &str, rest: &str) -> String {
        format!(
            "Package: a\nFilename: {filename}\nSize: {size}\nSHA256: {}\n{rest}",
            Sha256::of(b"x")
        )
    }

    #[test]
    fn packages_declare_a_file_each() {
        let first = package("pool/a.deb", "1", "Description: x\n a: b\n .\n");
        let second = package("./b%2f~+.deb", "20", "\n\n\n");
        let found = parse(IndexKind::Packages, &format!("{first}\n{second}"));
        assert_eq!(found.unwrap(), ["pool/a.deb 1 2d71", "b%2f~+.deb 20 2d71"]);
        assert_eq!(parse(IndexKind::Packages, "").unwrap(), Vec::<String>::new());
        let long = package("a", "1", &format!("Depends: {}\n", "x".repeat(LINE_BYTES_MAX * 2)));
        assert_eq!(
            parse(IndexKind::Packages, &long).unwrap().len(),
            1,
            "nobody asked what it needs"
        );
    }

    #[test]
    fn sources_declare_several_in_their_directory() {
        let sha256 = Sha256::of(b"x");
        let files = format!(
            "Files:\n d41d 1 x\nChecksums-Sha256:\n {sha256} 1 a.dsc\n {sha256}  22 a.tar.xz\n"
        );
        let text =
            format!("Package: a\nDirectory: pool/a\n{files}\nPackage: b\nDirectory: .\n{files}");
        let found = parse(IndexKind::Sources, &text).unwrap();
        assert_eq!(
            found,
            ["pool/a/a.dsc 1 2d71", "pool/a/a.tar.xz 22 2d71", "a.dsc 1 2d71", "a.tar.xz 22 2d71"]
        );
    }

    #[test]
    fn h26_other_lines_are_refused() {
        let sha256 = Sha256::of(b"x").to_string();
        let long = "x/".repeat(LINE_BYTES_MAX);
        for (bad, what) in [
            (package("../a", "1", ""), "line 2: `Filename`"),
            (package("/etc/passwd", "1", ""), "absolute"),
            (package("a\u{1b}[2J", "1", ""), "control"),
            (package("a/../b", "1", ""), "line 2"),
            (package(&long, "1", ""), "line 2"),
            (package("", "1", ""), "line 2"),
            (package("a", "x", ""), "line 3: `Size`"),
            (package("a", "99999999999999999999", ""), "line 3: `Size`"),
            (package("a", "1", "Filename: b\n"), "line 5: `Filename` is there twice"),
            (package("a", "1", "SHA256: abc\n"), "twice"),
            (package("a", "1", "").replace(&sha256, "abc"), "line 4: `SHA256`"),
            (
                "Package: a\nSize: 1\n\n".to_owned(),
                "line 3: the paragraph that ends here has no `Filename`",
            ),
            ("Package: a\nFilename: a\nSize: 1\nMD5sum: x".to_owned(), "no `SHA256`"),
            (" a\n".to_owned(), "line 1"),
            ("<html>\n".to_owned(), "line 1"),
        ] {
            let error = parse(IndexKind::Packages, &bad).unwrap_err();
            assert!(error.contains(what), "{bad}: {error}");
        }
        for (directory, name) in [("..", "a"), ("/etc", "a"), ("pool", "../a"), ("pool", "a\u{1b}")]
        {
            let text = format!("Directory: {directory}\nChecksums-Sha256:\n {sha256} 1 {name}\n");
            assert!(parse(IndexKind::Sources, &text).is_err(), "{text}");
        }
        let error = parse(IndexKind::Sources, "Package: a\nDirectory: a\n").unwrap_err();
        assert!(error.contains("Checksums-Sha256"), "{error}");
    }
}
