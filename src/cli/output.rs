//! Where results go: the only writer to stdout.
//!
//! Writes are buffered; a closed pipe comes back as an error and ends the command quietly.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Serialize, Serializer};
use unicode_width::UnicodeWidthStr;

use super::text::printable;
use crate::model::raw::RawPath;

/// Writes results as lines, tables or JSON.
pub struct Output {
    writer: Box<dyn Write>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

/// How a column of a table is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

impl Output {
    /// Writes to stdout.
    pub fn stdout() -> Self {
        Self::new(Box::new(io::stdout()))
    }

    /// Writes to `writer`.
    pub fn new(writer: Box<dyn Write>) -> Self {
        Self { writer: Box::new(BufWriter::new(writer)) }
    }

    /// Writes one line. The text is written as it is: escape what others named.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn line(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.writer, "{text}")
    }

    /// Writes a value as one line of JSON.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn json(&mut self, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
        serde_json::to_writer(&mut self.writer, value)?;
        self.writer.write_all(b"\n")
    }

    /// Writes columns under a header, aligned as a terminal shows them: wide characters take two
    /// columns, combining ones none. Writes nothing when there are no rows. Control characters are escaped.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn table<const N: usize>(
        &mut self,
        columns: [(&str, Align); N],
        rows: &[[String; N]],
    ) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows: Vec<[String; N]> =
            rows.iter().map(|row| std::array::from_fn(|i| printable(&row[i]))).collect();
        let header = columns.map(|(title, _)| title.to_owned());
        let widths: [usize; N] = std::array::from_fn(|i| {
            let cells = std::iter::once(&header).chain(&rows);
            cells.map(|row| row[i].width()).max().unwrap_or(0)
        });
        for row in std::iter::once(&header).chain(&rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(widths).zip(columns) {
                // The formatter would count characters; a wide one takes two columns.
                let fill = " ".repeat(width - cell.width());
                match align {
                    Align::Left => line.extend([cell, &fill, "  "]),
                    Align::Right => line.extend([&fill, cell, "  "]),
                }
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Gives raw access: binary output, streams.
    pub fn writer(&mut self) -> &mut dyn Write {
        &mut self.writer
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Writes a path of this machine as JSON has all paths: see [`RawPath`].
pub(super) fn json_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    RawPath::from(path.as_os_str().as_bytes()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written where a test can look at it.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn wide_and_combining_characters_line_up() {
        let shared = Shared::default();
        let mut output = Output::new(Box::new(shared.clone()));
        let rows = ["web", "\u{6f22}\u{5b57}", "e\u{301}te\u{301}", "\u{1f4e6}"];
        let rows = rows.map(|name| [name.to_owned(), name.to_owned(), "7".to_owned()]);
        let columns = [("NAME", Align::Left), ("NAME", Align::Right), ("N", Align::Left)];
        output.table(columns, &rows).unwrap();
        output.flush().unwrap();
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "NAME  NAME  N\n\
             web    web  7\n\
             \u{6f22}\u{5b57}  \u{6f22}\u{5b57}  7\n\
             e\u{301}te\u{301}    e\u{301}te\u{301}  7\n\
             \u{1f4e6}      \u{1f4e6}  7\n"
        );
    }
}
