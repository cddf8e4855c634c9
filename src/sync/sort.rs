//! What is declared, in order of its paths, whatever its size: runs that fit into memory are sorted and written to a
//! temporary file, then merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use crate::model::digest::Sha256;
use crate::model::manifest::{DeclaredFile, DeclaredPath};

/// Bytes of entries that are sorted at a time.
const RUN_BYTES: usize = 16 << 20;

/// What an entry takes in memory besides its path.
const ENTRY_BYTES: usize = size_of::<Line>();

/// An entry and the line that it is on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) file: DeclaredFile,
    pub(super) number: u64,
}

impl Line {
    fn key(&self) -> (&DeclaredPath, u64) {
        (&self.file.path, self.number)
    }
}

impl PartialOrd for Line {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Line {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Takes entries in any order.
pub(super) struct Sorter<'a> {
    temporary: &'a dyn Fn() -> io::Result<File>,
    run_bytes: usize,
    run: Vec<Line>,
    bytes: usize,
    runs: Vec<File>,
}

impl<'a> Sorter<'a> {
    /// `temporary` makes files without a name.
    pub(super) fn new(temporary: &'a dyn Fn() -> io::Result<File>) -> Self {
        Self { temporary, run_bytes: RUN_BYTES, run: Vec::new(), bytes: 0, runs: Vec::new() }
    }

    pub(super) fn push(&mut self, line: Line) -> io::Result<()> {
        self.bytes += ENTRY_BYTES + line.file.path.as_bytes().len();
        self.run.push(line);
        if self.bytes >= self.run_bytes { self.end_run() } else { Ok(()) }
    }

    fn end_run(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        self.runs.push(write(&mut (self.temporary)()?, self.run.drain(..).map(Ok))?);
        self.bytes = 0;
        Ok(())
    }

    /// All entries in order, in one file; `check` is asked about each two neighbours before anything is handed on, and says
    /// whether the second is an entry of its own.
    pub(super) fn finish<E: From<io::Error>>(
        mut self,
        check: impl Fn(&Line, &Line) -> Result<bool, E>,
    ) -> Result<Sorted, E> {
        self.end_run()?;
        let mut count = 0;
        let mut before: Option<Line> = None;
        let mut failed = None;
        let lines = merge(self.runs)?.map_while(|line| {
            let checked = match (&line, &before) {
                (Ok(line), Some(before)) => check(before, line),
                (Ok(_), None) | (Err(_), _) => Ok(true),
            };
            match checked {
                Err(error) => {
                    failed = Some(error);
                    None
                }
                Ok(false) => Some(None),
                Ok(true) => {
                    before = line.as_ref().ok().cloned();
                    count += 1;
                    Some(Some(line))
                }
            }
        });
        let file = write(&mut (self.temporary)()?, lines.flatten())?;
        failed.map_or(Ok(Sorted { file, count }), Err)
    }
}

/// Entries in order of their paths. They can be read again and again.
#[derive(Debug)]
pub(super) struct Sorted {
    file: File,
    pub(super) count: u64,
}

impl Sorted {
    /// From the first on. Two readers at a time would be in each other's way.
    pub(super) fn read(&mut self) -> io::Result<impl Iterator<Item = io::Result<Line>> + '_> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(&self.file);
        Ok(std::iter::from_fn(move || read(&mut reader).transpose()))
    }
}

/// Merges sorted runs.
fn merge(runs: Vec<File>) -> io::Result<impl Iterator<Item = io::Result<Line>>> {
    let mut readers = Vec::with_capacity(runs.len());
    let mut heads = BinaryHeap::new();
    for (index, run) in runs.into_iter().enumerate() {
        let mut reader = BufReader::new(run);
        heads.extend(read(&mut reader)?.map(|line| Reverse((line, index))));
        readers.push(reader);
    }
    Ok(std::iter::from_fn(move || {
        let mut head = heads.peek_mut()?;
        let index = head.0.1;
        match read(&mut readers[index]) {
            Err(error) => Some(Err(error)),
            Ok(Some(next)) => Some(Ok(std::mem::replace(&mut head.0.0, next))),
            Ok(None) => Some(Ok(PeekMut::pop(head).0.0)),
        }
    }))
}

/// Writes entries, each as: number, path's length (4 bytes), path, digest (32), size plus one or 0 for none; numbers of
/// 8 bytes. The file is the process's own and never read by another release.
fn write(file: &mut File, lines: impl Iterator<Item = io::Result<Line>>) -> io::Result<File> {
    let mut writer = BufWriter::new(&*file);
    for line in lines {
        let Line { file, number } = line?;
        let path = file.path.as_bytes();
        let length = u32::try_from(path.len()).map_err(io::Error::other)?;
        writer.write_all(&number.to_le_bytes())?;
        writer.write_all(&length.to_le_bytes())?;
        writer.write_all(path)?;
        writer.write_all(file.sha256.as_bytes())?;
        writer.write_all(&file.size_bytes.map_or(0, |size| size + 1).to_le_bytes())?;
    }
    writer.flush()?;
    drop(writer);
    file.seek(SeekFrom::Start(0))?;
    file.try_clone()
}

fn read(reader: &mut impl Read) -> io::Result<Option<Line>> {
    let mut number = [0; 8];
    match reader.read_exact(&mut number) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let mut path = vec![0; usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?];
    reader.read_exact(&mut path)?;
    let (mut sha256, mut size) = ([0; 32], [0; 8]);
    reader.read_exact(&mut sha256)?;
    reader.read_exact(&mut size)?;
    let damaged = || io::Error::other("a temporary file was changed");
    Ok(Some(Line {
        file: DeclaredFile {
            path: DeclaredPath::new(&path).map_err(io::Error::other)?,
            sha256: Sha256::from_slice(&sha256).ok_or_else(damaged)?,
            size_bytes: u64::from_le_bytes(size).checked_sub(1),
        },
        number: u64::from_le_bytes(number),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str, number: u64) -> Line {
        let file = DeclaredFile {
            path: DeclaredPath::new(path.as_bytes()).unwrap(),
            sha256: Sha256::of(path.as_bytes()),
            size_bytes: number.is_multiple_of(2).then_some(number),
        };
        Line { file, number }
    }

    #[test]
    fn entries_come_in_order_whatever_fits_into_memory() {
        let temporary = || tempfile::tempfile();
        for run_bytes in [1, 10 * ENTRY_BYTES, RUN_BYTES] {
            let mut sorter = Sorter::new(&temporary);
            sorter.run_bytes = run_bytes;
            // 7 is prime to 1000: each number once.
            let expected: Vec<_> =
                (0..1000).map(|number| line(&format!("{number:04}"), number)).collect();
            for step in 0..1000_usize {
                sorter.push(expected[step * 7 % 1000].clone()).unwrap();
            }
            let mut sorted = sorter.finish(|_, _| io::Result::Ok(true)).unwrap();
            assert_eq!(sorted.count, 1000);
            for _ in 0..2 {
                let found: Vec<_> = sorted.read().unwrap().map(Result::unwrap).collect();
                assert!(found == expected, "runs of {run_bytes} bytes");
            }
        }
    }

    #[test]
    fn neighbours_are_checked_before_anything_is_handed_on() {
        let temporary = || tempfile::tempfile();
        let mut sorter = Sorter::new(&temporary);
        for (number, path) in ["b", "a", "c", "a"].into_iter().enumerate() {
            sorter.push(line(path, number as u64)).unwrap();
        }
        let same = |one: &Line, other: &Line| match one.file.path == other.file.path {
            true => Err(io::Error::other(format!("{} and {}", one.number, other.number))),
            false => Ok(true),
        };
        assert_eq!(sorter.finish(same).unwrap_err().to_string(), "1 and 3");
    }

    #[test]
    fn what_is_declared_twice_is_one_entry_where_that_is_allowed() {
        let temporary = || tempfile::tempfile();
        let mut sorter = Sorter::new(&temporary);
        for (number, path) in ["b", "a", "b", "a", "a"].into_iter().enumerate() {
            sorter.push(line(path, number as u64)).unwrap();
        }
        let is_other = |one: &Line, other: &Line| io::Result::Ok(one.file.path != other.file.path);
        let mut sorted = sorter.finish(is_other).unwrap();
        assert_eq!(sorted.count, 2);
        let found: Vec<_> = sorted.read().unwrap().map(|line| line.unwrap().number).collect();
        assert_eq!(found, [1, 0], "the first of each");
    }
}
