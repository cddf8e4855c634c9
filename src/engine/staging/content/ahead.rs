//! Hashing a large file while it is written, so that little is left to do at its close.
//!
//! Only the prefix of the file counts that was written once and in order. Each write at its end makes it
//! longer. A change inside of it gives it up, until the file is emptied. The hash follows behind, on the
//! thread that wrote, after the writer has its answer; bytes that are not at hand any more are read from
//! the file. Each prefix has a number, so that the hash of one that was given up is never used for another.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::private_file::PrivateFile;
use super::{BUFFER_BYTES_MAX, Data, FileContent, FileState};
use crate::engine::blob_hasher::BlobHasher;
use crate::model::hash::BlobHash;

/// Bytes hashed after one write: a worker of the mount must not be kept for long.
const BYTES_PER_WRITE_MAX: u64 = 8 << 20;

/// Bytes read at a time where the hash fell back.
const CHUNK_BYTES: usize = 1 << 20;

/// The prefix of a file that was written in order and not changed since.
#[derive(Debug)]
pub(super) struct Prefix {
    number: u64,
    /// Its length in bytes; `None` once it was given up.
    end: Option<u64>,
}

impl Default for Prefix {
    fn default() -> Self {
        Self { number: 0, end: Some(0) }
    }
}

impl Prefix {
    /// The file has been emptied.
    pub(super) fn restart(&mut self) {
        self.number += 1;
        self.end = Some(0);
    }

    /// All `size` bytes of the file are one, however they were written.
    fn is_all(&mut self, size: u64) {
        self.number += 1;
        self.end = Some(size);
    }

    /// Bytes from `offset` on are about to change.
    pub(super) fn will_change(&mut self, offset: u64) {
        if self.end.is_some_and(|end| offset < end) {
            self.number += 1;
            self.end = None;
        }
    }

    /// `length` bytes at `offset` were written. Says which prefix they are the end of, if any.
    pub(super) fn wrote(&mut self, offset: u64, length: u64) -> Option<PrefixNumber> {
        if self.end != Some(offset) {
            return None;
        }
        self.end = Some(offset + length);
        Some(PrefixNumber(self.number))
    }
}

/// Number of the prefix that a write has prolonged: until it is given up, what was written there
/// is what the file has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixNumber(u64);

/// What is hashed of a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Hashing {
    number: u64,
    hasher: BlobHasher,
}

impl Hashing {
    /// Nothing is hashed yet.
    pub(crate) fn new() -> Self {
        Self { number: 0, hasher: BlobHasher::new() }
    }

    /// How many bytes are hashed.
    pub(crate) fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Goes on with the bytes that follow.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Goes on with that many zeros.
    pub(crate) fn zeros(&mut self, length: u64) {
        self.hasher.zeros(length);
    }

    /// The hash of what was hashed.
    pub(crate) fn hash(&self) -> BlobHash {
        self.hasher.hash()
    }
}

impl FileContent {
    /// Hashes what was written in order and is not hashed yet, a bounded amount. The write that
    /// prolonged the prefix put `bytes` at `offset`. Its writer need not wait for this.
    pub fn hash_ahead(&self, written: PrefixNumber, offset: u64, bytes: &[u8]) {
        if offset.saturating_add(bytes.len() as u64) <= BUFFER_BYTES_MAX {
            return;
        }
        let mut hashing = self.hashing.lock();
        let Some((number, end, file)) = self.state.lock().to_hash() else { return };
        if written != PrefixNumber(number) {
            // The prefix was given up meanwhile: these bytes may not be in the file any more.
            return;
        }
        let hashing = hashing.get_or_insert_with(|| Box::new(Hashing::new()));
        if hashing.number != number {
            **hashing = Hashing { number, ..Hashing::new() };
        }
        let end = end.min(hashing.length() + BYTES_PER_WRITE_MAX);
        let mut chunk = Vec::new();
        while hashing.length() < end {
            let left = end - hashing.length();
            if hashing.length() == offset && bytes.len() as u64 <= left {
                hashing.update(bytes);
                continue;
            }
            chunk.resize(CHUNK_BYTES, 0);
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            // Up to the bytes at hand, if they come next.
            let gap = offset.checked_sub(hashing.length()).filter(|gap| *gap > 0);
            let want =
                gap.and_then(|gap| usize::try_from(gap).ok()).map_or(want, |gap| want.min(gap));
            match file.read_at(&mut chunk[..want], hashing.length()) {
                Ok(read) if read > 0 => hashing.update(&chunk[..read]),
                // Whoever hashes the rest will see it, too.
                Ok(_) => return,
                Err(error) => {
                    log::debug!("{} is hashed when it is closed: {error}", self.node);
                    return;
                }
            }
        }
    }

    /// What is hashed so far, of whichever prefix; to be taken before the state is looked at.
    pub(super) fn hashing(&self) -> Option<Box<Hashing>> {
        self.hashing.lock().clone()
    }

    /// The content is a blob, and `hashed` is what its hash came from, if it is large: kept, so that
    /// only what is appended later is hashed. Whoever is hashing at the moment, for the next content,
    /// is not waited for.
    pub(super) fn keep_hashing(
        hashing: Option<MutexGuard<'_, Option<Box<Hashing>>>>,
        state: &mut FileState,
        hashed: Option<Box<Hashing>>,
    ) {
        let Some(mut hashing) = hashing else { return };
        let hashed = hashed.filter(|hashed| hashed.length() == state.size);
        if hashed.is_some() {
            state.prefix.is_all(state.size);
        }
        let number = state.prefix.number;
        *hashing = hashed.map(|hashed| Box::new(Hashing { number, ..*hashed }));
    }
}

impl FileState {
    /// `hashing`, if it is of the prefix that the content still has.
    pub(super) fn valid(&self, hashing: Option<Box<Hashing>>) -> Hashing {
        let end = self.prefix.end.unwrap_or(0);
        let valid = hashing.filter(|hashing| {
            hashing.number == self.prefix.number && hashing.length() <= end.min(self.size)
        });
        valid.map_or_else(Hashing::new, |hashing| *hashing)
    }

    /// Number, length and file of the prefix that can be hashed.
    fn to_hash(&self) -> Option<(u64, u64, Arc<PrivateFile>)> {
        let Data::Private { file, .. } = &self.data else { return None };
        let end = self.prefix.end?;
        Some((self.prefix.number, end, Arc::clone(file)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{NOW, area, contents};
    use super::*;
    use crate::engine::seal::hash_on;
    use crate::model::id::NodeId;
    use crate::store::testing::TestStore;

    /// Above what a buffer holds.
    const LARGE: usize = 1 << 20;

    fn file(store: &TestStore) -> Arc<FileContent> {
        Arc::new(FileContent::new(&contents(store), &area(), NodeId(1), NOW))
    }

    fn write(file: &Arc<FileContent>, offset: usize, bytes: &[u8]) -> Option<PrefixNumber> {
        file.write(offset as u64, bytes, NOW).unwrap()
    }

    /// What a sealer starts with, and the hash that it comes to.
    fn seal(file: &FileContent) -> (u64, BlobHash) {
        let input = file.seal_input().unwrap();
        let Data::Private { file, .. } = input.data else { panic!("not in a private file") };
        let ahead = input.hashing.length();
        let mut hashing = input.hashing;
        assert!(hash_on(&mut hashing, &file, input.size, || true).unwrap());
        (ahead, hashing.hash())
    }

    /// Seals it, as the metadata thread does.
    fn sealed(store: &TestStore, file: &Arc<FileContent>) {
        let input = file.seal_input().unwrap();
        let Data::Private { id, file: private } = input.data else { return };
        let mut hashed = input.hashing;
        assert!(hash_on(&mut hashed, &private, input.size, || true).unwrap());
        let (hash, path) = (hashed.hash(), file.private_path(id));
        let link = || store.pool.link(&store.lock, &path, &hash);
        file.seal(input.generation, hash, Some(Box::new(hashed)), link).unwrap();
    }

    fn content(file: &FileContent) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.attr().size).unwrap()];
        file.read(0, &mut bytes).unwrap();
        bytes
    }

    fn check(file: &FileContent) -> u64 {
        let (ahead, hash) = seal(file);
        assert_eq!(hash, BlobHash::of(&content(file)));
        ahead
    }

    #[test]
    fn a_file_written_in_order_is_hashed_when_it_is_closed() {
        let store = TestStore::new();
        let file = file(&store);
        for number in 0..5_u8 {
            let bytes = vec![number; LARGE];
            let offset = usize::from(number) * LARGE;
            let written = write(&file, offset, &bytes).unwrap();
            file.hash_ahead(written, offset as u64, &bytes);
        }
        assert_eq!(check(&file), 5 * LARGE as u64);
    }

    #[test]
    fn what_fell_back_is_read_again() {
        let store = TestStore::new();
        let file = file(&store);
        let (one, two) = (vec![1; 2 * LARGE], vec![2; LARGE]);
        write(&file, 0, &one).unwrap();
        let written = write(&file, one.len(), &two).unwrap();
        file.hash_ahead(written, one.len() as u64, &two);
        assert_eq!(check(&file), 3 * LARGE as u64);
    }

    #[test]
    fn bytes_that_the_file_has_no_more_are_not_hashed() {
        let store = TestStore::new();
        let file = file(&store);
        let (old, new) = (vec![1; 2 * LARGE], vec![2; 2 * LARGE]);
        // Emptied and written again before the first write is hashed.
        let stale = write(&file, 0, &old).unwrap();
        file.truncate(0, NOW).unwrap();
        let written = write(&file, 0, &new).unwrap();
        file.hash_ahead(stale, 0, &old);
        file.hash_ahead(written, 0, &new);
        assert_eq!(check(&file), new.len() as u64);
        // Beyond the end, so no part of the prefix, and then overwritten by what is.
        let far = 4 * LARGE;
        assert_eq!(write(&file, far, &old), None);
        assert!(write(&file, new.len(), &new).is_some());
        assert!(write(&file, far, &new).is_some());
        assert_eq!(check(&file), new.len() as u64);
        // Changed inside.
        assert_eq!(write(&file, 7, b"changed"), None);
        assert_eq!(check(&file), 0);
    }

    #[test]
    fn h21_of_a_sealed_file_only_what_is_appended_is_hashed() {
        let store = TestStore::new();
        let file = file(&store);
        // However it was written.
        write(&file, LARGE, &vec![2; LARGE]);
        write(&file, 0, &vec![1; LARGE]);
        for _ in 0..2 {
            let size = usize::try_from(file.attr().size).unwrap();
            sealed(&store, &file);
            assert!(write(&file, size, b"more").is_some());
            assert_eq!(check(&file), size as u64, "hashed when it was sealed");
        }
        sealed(&store, &file);
        write(&file, 0, b"changed");
        assert_eq!(check(&file), 0);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append(usize),
        Write(usize, usize),
        Truncate(usize),
        Punch(usize, usize),
        /// Hashes after a write that came so many writes before.
        Hash(usize),
        Seal,
    }

    fn step() -> impl Strategy<Value = Step> {
        let place = 0..4 * LARGE;
        let length = prop_oneof![1..100_usize, LARGE..2 * LARGE];
        prop_oneof![
            4 => length.clone().prop_map(Step::Append),
            1 => (place.clone(), length.clone()).prop_map(|(at, len)| Step::Write(at, len)),
            1 => prop_oneof![Just(0), place.clone()].prop_map(Step::Truncate),
            1 => (place, length).prop_map(|(at, len)| Step::Punch(at, len)),
            4 => (0..3_usize).prop_map(Step::Hash),
            2 => Just(Step::Seal),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn whatever_happens_the_hash_is_the_content_s(
            steps in proptest::collection::vec(step(), 1..24)
        ) {
            let store = TestStore::new();
            let file = file(&store);
            let start = vec![9; 2 * LARGE];
            let mut writes = vec![(write(&file, 0, &start).unwrap(), 0, start)];
            for (number, step) in (0_u8..).zip(steps) {
                let size = usize::try_from(file.attr().size).unwrap();
                let mut put = |at: usize, length: usize| {
                    let bytes = vec![number; length];
                    if let Some(written) = write(&file, at, &bytes) {
                        writes.push((written, at, bytes));
                    }
                };
                match step {
                    Step::Append(length) => put(size, length),
                    Step::Write(at, length) => put(at, length),
                    Step::Truncate(to) => file.truncate(to as u64, NOW).unwrap(),
                    Step::Punch(at, length) => {
                        file.fallocate(3, at as u64, length as u64, NOW).unwrap();
                    }
                    Step::Seal => {
                        if file.blob().is_err() {
                            sealed(&store, &file);
                        }
                    }
                    Step::Hash(back) => {
                        let (written, at, bytes) = &writes[writes.len().saturating_sub(1 + back)];
                        file.hash_ahead(*written, *at as u64, bytes);
                    }
                }
            }
            match file.seal_input().map(|input| input.data) {
                Some(Data::Private { .. }) => drop(check(&file)),
                _ => if let Ok(Some(hash)) = file.blob() {
                    assert_eq!(hash, BlobHash::of(&content(&file)).into());
                }
            }
        }
    }
}
