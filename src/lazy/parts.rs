//! Large contents of a bucket of which only parts are here (L4).
//!
//! A content with the values of its groups ([`crate::bucket::groups`]) is fetched group by group into its partial file, and a
//! reader waits only for the groups that it reads. Nothing on the disk is believed: whether a group is here is known once
//! this process has verified it, when it came or when somebody first wanted it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::bucket::groups::GroupValues;
use crate::model::content_name::ContentName;

/// Bytes of one request at most.
const REQUEST_BYTES_MAX: u64 = 8 << 20;

/// A request that took longer than this is not followed by a larger one, so that nobody waits long for the first byte of it.
const REQUEST_TIME: Duration = Duration::from_secs(1);

/// Contents of which parts are remembered. Each has an open file and 34 bytes for each group, 2 MiB at most.
const CONTENTS_MAX: usize = 64;

/// What is known of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// Nobody has looked into the partial file so far, which an earlier run may have left.
    Unknown,
    Missing,
    Here,
}

/// What a sequential reader has asked for.
#[derive(Debug, Default)]
struct Window {
    /// Where the last request ended.
    end: u64,
    bytes: u64,
}

/// A content of which parts are here.
#[derive(Debug)]
pub(super) struct Parts {
    values: GroupValues,
    file: File,
    groups: Mutex<Vec<Group>>,
    window: Mutex<Window>,
}

impl Parts {
    /// With what the partial file has.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn new(values: GroupValues, file: File) -> io::Result<Self> {
        file.set_len(values.content_bytes())?;
        let groups = Mutex::new(vec![Group::Unknown; values.group_count()]);
        Ok(Self { values, file, groups, window: Mutex::default() })
    }

    /// Its file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether the file still has a name: somebody may have freed the space of what nobody fetched.
    fn has_name(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.nlink() > 0)
    }

    /// The groups that have the bytes of a range, as far as the content goes.
    fn groups_of(&self, range: &Range<u64>) -> Range<usize> {
        let end = range.end.min(self.values.content_bytes());
        match range.start < end {
            true => self.values.group_at(range.start)..self.values.group_at(end - 1) + 1,
            false => 0..0,
        }
    }

    /// Whether all bytes of a range are here, as far as the content goes.
    pub(super) fn has(&self, range: &Range<u64>) -> bool {
        self.groups.lock()[self.groups_of(range)].iter().all(|group| *group == Group::Here)
    }

    /// Fills the buffer from `offset` on if all of that is here.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let Some(end) = offset.checked_add(buffer.len() as u64) else { return false };
        end <= self.values.content_bytes()
            && self.has(&(offset..end))
            && self.file.read_exact_at(buffer, offset).is_ok()
    }

    /// Whether all of it is here.
    pub(super) fn is_whole(&self) -> bool {
        self.has(&(0..u64::MAX))
    }

    /// The groups to ask for next, so that a range comes, or all for `None`; `None` when that is here.
    pub(super) fn next(&self, wanted: Option<&Range<u64>>) -> Option<Range<usize>> {
        let all = self.groups_of(wanted.unwrap_or(&(0..u64::MAX)));
        let first = all.clone().find(|group| self.is_missing(*group))?;
        let start = self.values.span(first).start;
        let mut window = self.window.lock();
        let group_bytes = self.values.span(0).end;
        window.bytes = match wanted {
            Some(_) if window.end == start => window.bytes.max(group_bytes),
            Some(_) => group_bytes,
            None => REQUEST_BYTES_MAX,
        };
        let least = self.values.span(all.end - 1).end.saturating_sub(start);
        let most = window.bytes.max(least).min(REQUEST_BYTES_MAX.max(group_bytes));
        let mut end = first + 1;
        while end < self.values.group_count()
            && self.values.span(end).end <= start + most
            && self.is_missing(end)
        {
            end += 1;
        }
        window.end = self.values.span(end - 1).end;
        Some(first..end)
    }

    /// A request was answered after that time: the next one of a sequential reader is larger, if it was not long.
    pub(super) fn note_time(&self, took: Duration) {
        let mut window = self.window.lock();
        let bytes = if took < REQUEST_TIME { window.bytes * 2 } else { window.bytes / 2 };
        window.bytes = bytes.min(REQUEST_BYTES_MAX);
    }

    /// Where groups begin and end in the content.
    pub(super) fn span(&self, groups: &Range<usize>) -> Range<u64> {
        self.values.span(groups.start).start..self.values.span(groups.end - 1).end
    }

    /// Whether a group has to be fetched. Looks into the partial file if nobody has so far.
    fn is_missing(&self, group: usize) -> bool {
        let known = self.groups.lock()[group];
        if known != Group::Unknown {
            return known == Group::Missing;
        }
        let span = self.values.span(group);
        let mut bytes = vec![0; usize::try_from(span.end - span.start).unwrap_or(usize::MAX)];
        let is_here = self.file.read_exact_at(&mut bytes, span.start).is_ok()
            && self.values.is_right(group, &bytes);
        self.groups.lock()[group] = if is_here { Group::Here } else { Group::Missing };
        !is_here
    }

    /// Takes the bytes of groups as they came, and keeps those that are right. Says whether all are.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn put(&self, groups: &Range<usize>, bytes: &[u8]) -> io::Result<bool> {
        let first = self.span(groups).start;
        for group in groups.clone() {
            let span = self.values.span(group);
            let at = |offset: u64| usize::try_from(offset - first).unwrap_or(usize::MAX);
            let Some(part) = bytes.get(at(span.start)..at(span.end)) else { return Ok(false) };
            if !self.values.is_right(group, part) {
                return Ok(false);
            }
            self.file.write_all_at(part, span.start)?;
            self.groups.lock()[group] = Group::Here;
        }
        Ok(true)
    }
}

/// The contents of which parts are here, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct KnownParts(VecDeque<(ContentName, Arc<Parts>)>);

impl KnownParts {
    /// The parts of a content, if something is known of them.
    pub(super) fn get(&mut self, name: &ContentName) -> Option<Arc<Parts>> {
        let known = self.0.iter().position(|(known, _)| known == name)?;
        let found = self.0.remove(known)?;
        let parts = Arc::clone(&found.1);
        self.0.push_back(found);
        Some(parts)
    }

    /// As [`KnownParts::get`], for whoever has the turn to fetch the content: parts whose file was removed are forgotten.
    pub(super) fn get_named(&mut self, name: &ContentName) -> Option<Arc<Parts>> {
        let parts = self.get(name)?;
        if parts.has_name() {
            return Some(parts);
        }
        self.forget(name);
        None
    }

    /// Remembers the parts of a content, and forgets some that nobody uses if there are too many.
    pub(super) fn put(&mut self, name: ContentName, parts: Arc<Parts>) {
        self.0.push_back((name, parts));
        if self.0.len() > CONTENTS_MAX {
            let unused = self.0.iter().position(|(_, parts)| Arc::strong_count(parts) == 1);
            if let Some(unused) = unused {
                self.0.remove(unused);
            }
        }
    }

    /// Forgets the parts of a content. Says whether something was known.
    pub(super) fn forget(&mut self, name: &ContentName) -> bool {
        let before = self.0.len();
        self.0.retain(|(known, _)| known != name);
        self.0.len() < before
    }

    /// Forgets the parts whose files were removed, so that their space becomes free. Who reads one just now reads on.
    pub(super) fn forget_removed(&mut self) {
        self.0.retain(|(_, parts)| parts.has_name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::groups::GroupHasher;
    use crate::model::hash::BlobHash;

    const GROUP: u64 = 256 << 10;

    fn content() -> Vec<u8> {
        let mut content = vec![0; 70 * usize::try_from(GROUP).unwrap() + 99];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        content
    }

    fn values(content: &[u8]) -> GroupValues {
        let mut hasher = GroupHasher::new(content.len() as u64);
        hasher.update(content);
        hasher.finish().unwrap()
    }

    fn parts(content: &[u8]) -> Parts {
        Parts::new(values(content), tempfile::tempfile().unwrap()).unwrap()
    }

    fn bytes<'a>(parts: &Parts, content: &'a [u8], groups: &Range<usize>) -> &'a [u8] {
        let span = parts.span(groups);
        &content[usize::try_from(span.start).unwrap()..usize::try_from(span.end).unwrap()]
    }

    #[test]
    fn l4_one_group_comes_for_a_read_somewhere() {
        let content = content();
        let parts = parts(&content);
        let length = content.len() as u64;
        let last = length - 50..length + 4000;
        let groups = parts.next(Some(&last)).unwrap();
        assert_eq!(groups, 70..71);
        let mut buffer = [0; 50];
        assert!(!parts.read(length - 50, &mut buffer));
        assert!(parts.put(&groups, bytes(&parts, &content, &groups)).unwrap());
        assert!(parts.read(length - 50, &mut buffer) && parts.has(&last));
        assert_eq!(buffer, content[content.len() - 50..]);
        assert_eq!(parts.next(Some(&last)), None);
        assert!(!parts.read(length - 49, &mut buffer), "it reaches past the end");
        assert!(!parts.is_whole());
    }

    #[test]
    fn requests_of_a_sequential_reader_grow_and_stop_at_what_is_here() {
        let content = content();
        let parts = parts(&content);
        let there = 40..41;
        assert!(parts.put(&there, bytes(&parts, &content, &there)).unwrap());
        let (mut at, mut asked) = (0, Vec::new());
        while let Some(groups) = parts.next(Some(&(at..at + 1))) {
            assert!(parts.put(&groups, bytes(&parts, &content, &groups)).unwrap());
            parts.note_time(Duration::ZERO);
            at = parts.span(&groups).end;
            asked.push(groups);
            if at == 40 * GROUP {
                at = 41 * GROUP;
            }
        }
        assert_eq!(
            asked,
            [0..1, 1..3, 3..7, 7..15, 15..31, 31..40, 41..42, 42..44, 44..48, 48..56, 56..71]
        );
        assert!(parts.is_whole());
    }

    #[test]
    fn a_slow_bucket_is_asked_for_less() {
        let content = content();
        let parts = parts(&content);
        assert_eq!(parts.next(Some(&(0..4 * GROUP))), Some(0..4), "all that is wanted");
        parts.note_time(REQUEST_TIME);
        assert_eq!(parts.next(None), Some(0..32));
        parts.note_time(REQUEST_TIME);
        assert_eq!(parts.window.lock().bytes, REQUEST_BYTES_MAX / 2);
    }

    #[test]
    fn what_an_earlier_run_left_is_verified_before_it_is_believed() {
        let content = content();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&content[..3 * usize::try_from(GROUP).unwrap()], 0).unwrap();
        file.write_all_at(b"x", GROUP + 5).unwrap();
        let parts = Parts::new(values(&content), file).unwrap();
        assert!(!parts.has(&(0..1)), "nobody has looked");
        assert_eq!(parts.next(Some(&(0..3 * GROUP))), Some(1..2));
        assert!(parts.has(&(0..GROUP)) && !parts.has(&(GROUP..GROUP + 1)));
        let mut wrong = bytes(&parts, &content, &(1..3)).to_vec();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(!parts.put(&(1..3), &wrong).unwrap());
        assert!(parts.has(&(0..2 * GROUP)), "what was right is kept");
        assert!(!parts.put(&(3..4), b"short").unwrap());
    }

    #[test]
    fn parts_that_nobody_uses_are_forgotten() {
        let content = content();
        let name = |number: usize| ContentName::from(BlobHash::of(&number.to_le_bytes()));
        let mut known = KnownParts::default();
        let used = Arc::new(parts(&content));
        known.put(name(0), Arc::clone(&used));
        for number in 1..=CONTENTS_MAX {
            known.put(name(number), Arc::new(parts(&content)));
        }
        assert_eq!(known.0.len(), CONTENTS_MAX);
        assert!(known.get(&name(0)).is_some() && known.get(&name(1)).is_none());
        assert!(known.get_named(&name(0)).is_none(), "its file has no name");
        assert!(!known.forget(&name(0)));
        known.forget_removed();
        assert_eq!(known.0.len(), 0);
    }
}
