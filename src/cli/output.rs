//! Where results go: the only writer to stdout.
//!
//! Writes are buffered; a closed pipe comes back as an error and ends the command quietly.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::text::printable;
use crate::control::transfer::RawPath;

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

    /// Writes aligned columns under a header; nothing when there are no rows. Control characters
    /// are escaped.
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
            cells.map(|row| row[i].chars().count()).max().unwrap_or(0)
        });
        for row in std::iter::once(&header).chain(&rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(widths).zip(columns) {
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
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
