//! Checking a bucket against its names (D7): the chain of each log, and that all is there and unaltered which versions and
//! marks need.
//!
//! The key of an object has the hash of its bytes, so what is checked needs no trust in anybody. Packs and large contents
//! are read only if that is asked for: they are most of a bucket.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::at_once::at_once;
use super::event::BucketId;
use super::fold::{BucketState, Decision, RepositoryState};
use super::groups::{FOOTER_BYTES, GroupValues, content_bytes};
use super::head::{self, Head};
use super::key::{Key, LogName, ObjectKey, ObjectKind};
use super::log::{Cursor, Fold, Log, LogError, Retry};
use super::signature::Signatures;
use super::store::{ObjectStore, StoreError};
use super::uses::Uses;
use crate::model::hash::{BlobHash, ObjectHash};
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;

/// Bytes that are read at a time.
const PIECE_BYTES: u64 = 8 << 20;

/// Objects that are asked for between two looks whether it is to stop.
const ASKED_AT_ONCE: usize = 256;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A log cannot be read to its end.
    Log {
        /// Which.
        log: LogName,
        /// Why.
        reason: String,
    },
    /// An object that is needed is not there.
    Missing {
        /// Which.
        key: ObjectKey,
        /// A version that needs it; `None` when a mark does.
        needed_by: Option<(RepoName, VersionNumber)>,
    },
    /// An object is not what its name says.
    Damaged {
        /// Which.
        key: ObjectKey,
        /// A version that needs it; `None` when a mark does.
        needed_by: Option<(RepoName, VersionNumber)>,
        /// What is wrong with it.
        reason: String,
    },
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Repositories whose logs were read.
    pub repositories: u64,
    /// Versions that are not deleted.
    pub versions: u64,
    /// Objects that these and marks need.
    pub objects: u64,
    /// Bytes that were read and hashed.
    pub read_bytes: u64,
}

type NeededBy = Option<(RepoName, VersionNumber)>;

/// Checks one bucket.
pub struct Check<'a> {
    store: &'a dyn ObjectStore,
    bucket: BucketId,
    retry: &'a Retry,
    signatures: &'a Signatures,
    with_content: bool,
    is_stopped: &'a dyn Fn() -> bool,
}

impl<'a> Check<'a> {
    /// Of that bucket; `with_content` reads packs and large contents as well. `is_stopped` ends it early.
    pub fn new(
        store: &'a dyn ObjectStore,
        bucket: BucketId,
        retry: &'a Retry,
        with_content: bool,
        is_stopped: &'a dyn Fn() -> bool,
    ) -> Self {
        Self { store, bucket, retry, signatures: Signatures::NONE, with_content, is_stopped }
    }

    /// Compares signatures as well.
    #[must_use]
    pub fn signatures(self, signatures: &'a Signatures) -> Self {
        Self { signatures, ..self }
    }

    /// Looks at everything, and tells what is wrong as it is found.
    ///
    /// # Errors
    /// The store's.
    pub fn run(&self, tell: &mut dyn FnMut(Finding)) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        let mut needs: BTreeMap<ObjectKey, NeededBy> = BTreeMap::new();
        let head = head::read(self.store, self.bucket)?.unwrap_or_default();
        let own = self.follow::<BucketState>(LogName::Bucket, &head, tell)?;
        for mark in own.state().marks() {
            match mark.decision {
                None => needs.insert(mark.candidates, None),
                Some(Decision::Sentence { condemned, .. }) => needs.insert(condemned, None),
                Some(Decision::Abandoned) => None,
            };
        }
        for name in own.state().repositories() {
            checked.repositories += 1;
            let name_of_log = LogName::Repository(name.clone());
            let log = self.follow::<RepositoryState>(name_of_log, &head, tell)?;
            for (number, version) in log.state().versions() {
                checked.versions += 1;
                let of = Some((name.clone(), *number));
                self.add_uses(version.commit.uses, &of, &mut needs, tell)?;
            }
        }
        checked.objects = needs.len() as u64;
        let sizes = self.sizes(&needs)?;
        for (key, needed_by) in needs {
            if (self.is_stopped)() {
                break;
            }
            match sizes.get(&key) {
                None => tell(Finding::Missing { key, needed_by }),
                Some(size) if self.is_read(key.kind) => {
                    self.check_bytes(key, *size, needed_by, &mut checked, tell)?;
                }
                Some(_) => {}
            }
        }
        Ok(checked)
    }

    fn is_read(&self, kind: ObjectKind) -> bool {
        match kind {
            ObjectKind::Index | ObjectKind::Keys | ObjectKind::Uses => true,
            ObjectKind::Blob | ObjectKind::Pack => self.with_content,
        }
    }

    /// Follows a log as far as it can be read.
    fn follow<F: Fold + Default>(
        &self,
        name: LogName,
        head: &Head,
        tell: &mut dyn FnMut(Finding),
    ) -> Result<Cursor<F>, StoreError> {
        let mut cursor = Cursor::default();
        let log = Log::new(self.store, self.bucket, name.clone(), self.retry);
        let log = log.promised(head.of(&name));
        match log.signatures(self.signatures).follow(&mut cursor) {
            Ok(()) => {}
            Err(LogError::Store { error, .. }) => return Err(error),
            Err(error) => tell(Finding::Log { log: name, reason: error.to_string() }),
        }
        Ok(cursor)
    }

    fn add_uses(
        &self,
        uses: ObjectKey,
        needed_by: &NeededBy,
        needs: &mut BTreeMap<ObjectKey, NeededBy>,
        tell: &mut dyn FnMut(Finding),
    ) -> Result<(), StoreError> {
        enum Wrong {
            Store(StoreError),
            Missing,
            Damaged(ObjectKey, String),
        }
        let read = Uses::read(
            uses,
            |key| match self.store.get(&key.to_string()) {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => {
                    needs.entry(*key).or_insert_with(|| needed_by.clone());
                    Err(Wrong::Missing)
                }
                Err(error) => Err(Wrong::Store(error)),
            },
            |key, error| Wrong::Damaged(*key, error.to_string()),
        );
        match read {
            Ok(uses) => {
                for key in uses.needs() {
                    needs.entry(*key).or_insert_with(|| needed_by.clone());
                }
                Ok(())
            }
            Err(Wrong::Store(error)) => Err(error),
            // It is among the needs, and found missing there.
            Err(Wrong::Missing) => Ok(()),
            Err(Wrong::Damaged(key, reason)) => {
                tell(Finding::Damaged { key, needed_by: needed_by.clone(), reason });
                Ok(())
            }
        }
    }

    /// Sizes of what is needed, as far as it is there. What a list lacks is asked for one by one, as lists may lag, and a
    /// plain HTTP server has none.
    fn sizes(
        &self,
        needs: &BTreeMap<ObjectKey, NeededBy>,
    ) -> Result<BTreeMap<ObjectKey, u64>, StoreError> {
        let mut sizes = BTreeMap::new();
        if self.store.has_lists() {
            self.store.list("", &mut |listed| {
                if let Ok(Key::Object(key)) = listed.key.parse()
                    && needs.contains_key(&key)
                {
                    sizes.insert(key, listed.size);
                }
                ControlFlow::Continue(())
            })?;
        }
        let unlisted: Vec<ObjectKey> =
            needs.keys().filter(|key| !sizes.contains_key(key)).copied().collect();
        let is_stopped = self.is_stopped;
        for some in unlisted.chunks(ASKED_AT_ONCE) {
            if is_stopped() {
                break;
            }
            let found = at_once(self.store.requests_at_once(), some.len(), |place| {
                self.store.head(&some[place].to_string())
            });
            for (key, found) in some.iter().zip(found) {
                sizes.extend(found?.map(|found| (*key, found.size)));
            }
        }
        Ok(sizes)
    }

    fn check_bytes(
        &self,
        key: ObjectKey,
        size: u64,
        needed_by: NeededBy,
        checked: &mut Checked,
        tell: &mut dyn FnMut(Finding),
    ) -> Result<(), StoreError> {
        let text = key.to_string();
        let footer = size.saturating_sub(FOOTER_BYTES as u64)..size;
        let content_bytes = match key.kind {
            ObjectKind::Blob if size > 0 => match self.store.get_range(&text, footer)? {
                Some(footer) => content_bytes(&footer, size),
                None => None,
            },
            _ => None,
        };
        let mut object = ObjectHasher::new(content_bytes);
        let mut at = 0;
        while at < size && !(self.is_stopped)() {
            let end = size.min(at + PIECE_BYTES);
            let Some(bytes) = self.store.get_range(&text, at..end)? else {
                tell(Finding::Missing { key, needed_by });
                return Ok(());
            };
            object.update(&bytes);
            checked.read_bytes += bytes.len() as u64;
            at = end;
        }
        if at == size && !object.is_content_of(&key) {
            let reason = "its bytes do not have the hash that its name says".to_owned();
            tell(Finding::Damaged { key, needed_by, reason });
        }
        Ok(())
    }
}

/// Hashes an object of which parts come one after the other.
struct ObjectHasher {
    whole: blake3::Hasher,
    done: u64,
    /// Length of the content that the object begins with, if more follows it, and its hash once all of it came.
    content_bytes: Option<u64>,
    content: Option<BlobHash>,
    trailer: Vec<u8>,
}

impl ObjectHasher {
    fn new(content_bytes: Option<u64>) -> Self {
        let whole = blake3::Hasher::new();
        Self { whole, done: 0, content_bytes, content: None, trailer: Vec::new() }
    }

    fn update(&mut self, bytes: &[u8]) {
        let left = self.content_bytes.map_or(u64::MAX, |length| length.saturating_sub(self.done));
        let split = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let (content, trailer) = bytes.split_at(split);
        self.whole.update(content);
        self.done += bytes.len() as u64;
        if !trailer.is_empty() {
            self.content.get_or_insert_with(|| self.whole.finalize().into());
            self.whole.update(trailer);
            self.trailer.extend_from_slice(trailer);
        }
    }

    /// Whether the object is what its key says: its bytes have that hash, or it begins with a content that has it, and the values of
    /// that content's groups follow.
    fn is_content_of(&self, key: &ObjectKey) -> bool {
        if ObjectHash::from(self.whole.finalize()) == key.hash {
            return true;
        }
        let name = BlobHash::from_bytes(*key.hash.as_bytes());
        self.content == Some(name)
            && self
                .content_bytes
                .is_some_and(|length| GroupValues::parse(&self.trailer, &name, length).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::event::Payload;
    use crate::bucket::groups::GroupHasher;
    use crate::bucket::key::Nonce;
    use crate::bucket::memory::Memory;
    use crate::bucket::testing::{commit, intent, nonce};
    use crate::bucket::uses::encode;

    fn put(store: &Memory, kind: ObjectKind, bytes: &[u8], number: u8) -> ObjectKey {
        let nonce = Nonce::from_bytes([number; Nonce::BYTES]);
        let key = ObjectKey { kind, hash: ObjectHash::of(bytes), nonce };
        store.put(&key.to_string(), bytes).unwrap();
        key
    }

    fn append<F: Fold + Default>(store: &Memory, log: LogName, payload: &Payload, number: u8) {
        let log = Log::new(store, BucketId(nonce(1)), log, &|_| false);
        let decide = &mut |_: &Cursor<F>| Ok::<_, LogError>(Some(payload.clone()));
        log.append(&mut Cursor::default(), intent(number), decide).unwrap().unwrap();
    }

    /// A bucket with one version, and the keys of its pack and its index.
    fn bucket() -> (Memory, ObjectKey, ObjectKey) {
        let store = Memory::default();
        let name: RepoName = "gcc".parse().unwrap();
        append::<BucketState>(
            &store,
            LogName::Bucket,
            &Payload::Repository { name: name.clone() },
            2,
        );
        let pack = put(&store, ObjectKind::Pack, b"pack", 3);
        let index = put(&store, ObjectKind::Index, b"index", 4);
        let uses = put(&store, ObjectKind::Uses, &encode(&[pack, index].into(), None).0, 5);
        let payload = Payload::Commit(Box::new(commit(1, uses)));
        append::<RepositoryState>(&store, LogName::Repository(name), &payload, 6);
        (store, pack, index)
    }

    fn check(store: &Memory, with_content: bool) -> (Checked, Vec<Finding>) {
        let mut findings = Vec::new();
        let check = Check::new(store, BucketId(nonce(1)), &|_| false, with_content, &|| false);
        let checked = check.run(&mut |finding| findings.push(finding)).unwrap();
        (checked, findings)
    }

    #[test]
    fn d7_what_is_whole_has_no_finding() {
        let (store, ..) = bucket();
        for with_content in [false, true] {
            let (checked, findings) = check(&store, with_content);
            assert_eq!(findings, []);
            assert_eq!((checked.repositories, checked.versions, checked.objects), (1, 1, 3));
        }
    }

    #[test]
    fn d7_what_is_missing_or_altered_is_found_with_a_version_that_needs_it() {
        let (store, pack, index) = bucket();
        let needed_by = Some(("gcc".parse().unwrap(), VersionNumber(1)));
        store.put(&pack.to_string(), b"pick").unwrap();
        assert_eq!(check(&store, false).1, [], "packs are read only when that is asked for");
        let damaged = check(&store, true).1;
        assert!(matches!(&damaged[..], [Finding::Damaged { key, .. }] if *key == pack));
        store.delete(&[pack.to_string(), index.to_string()]).unwrap();
        let missing =
            [index, pack].map(|key| Finding::Missing { key, needed_by: needed_by.clone() });
        assert_eq!(check(&store, true).1, missing);
        let uses = store.keys().into_iter().find(|key| key.starts_with("uses/")).unwrap();
        store.put(&uses, b"x").unwrap();
        assert!(matches!(&check(&store, false).1[..], [Finding::Damaged { .. }]));
        store.delete(&[uses]).unwrap();
        assert!(matches!(&check(&store, false).1[..], [Finding::Missing { .. }]));
    }

    #[test]
    fn d7_a_content_with_the_values_of_its_groups_is_checked_with_them() {
        let content: Vec<u8> = (0_u8..=250).cycle().take(700_000).collect();
        let mut values = GroupHasher::new(content.len() as u64);
        values.update(&content);
        let trailer = values.finish().unwrap().to_trailer();
        let object = [&content[..], &trailer].concat();
        let hash = ObjectHash::of(&content);
        let key = ObjectKey { kind: ObjectKind::Blob, hash, nonce: Nonce::from_bytes([1; 16]) };
        let is_of = |object: &[u8]| {
            let footer = &object[object.len() - FOOTER_BYTES..];
            let mut hasher = ObjectHasher::new(content_bytes(footer, object.len() as u64));
            object.chunks(300_000).for_each(|piece| hasher.update(piece));
            hasher.is_content_of(&key)
        };
        assert!(is_of(&object) && is_of(&content));
        for at in
            [0, content.len() - 1, content.len(), object.len() - FOOTER_BYTES, object.len() - 8]
        {
            let mut altered = object.clone();
            altered[at] ^= 1;
            assert!(!is_of(&altered), "byte {at}");
        }
        assert!(!is_of(&object[..object.len() - 1]));
    }

    #[test]
    fn d7_a_log_that_was_altered_is_found() {
        let (store, ..) = bucket();
        let key = store.keys().into_iter().find(|key| key.starts_with("log/gcc/")).unwrap();
        let mut bytes = store.get(&key).unwrap().unwrap();
        bytes[24] = 9;
        store.put(&key, &bytes).unwrap();
        let (checked, findings) = check(&store, false);
        assert_eq!(checked.versions, 0);
        assert!(matches!(&findings[..], [Finding::Log { .. }]), "{findings:?}");
    }
}
