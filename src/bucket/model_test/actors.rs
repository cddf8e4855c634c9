//! Who acts: publishers, collectors, readers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use super::PublisherRule;
use super::checker::needs_of;
use super::seat::Seat;
use crate::bucket::collect::{CollectError, Collector, Condemned, KeyLists, Patience};
use crate::bucket::event::{Commit, Payload};
use crate::bucket::fold::{BucketState, RepositoryState};
use crate::bucket::key::{Key, LogName, ObjectKey, ObjectKind};
use crate::bucket::log::{Cursor, Intent, Log, LogError};
use crate::bucket::store::ObjectStore;
use crate::bucket::testing::commit;
use crate::bucket::uses::{Uses, encode};
use crate::model::hash::ObjectHash;
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;
use crate::model::time::Timestamp;

/// Contents that there are.
const CONTENTS: usize = 6;

/// How long readers may read what is deleted.
const GRACE: Duration = Duration::from_secs(8);

type RepositoryLog = Cursor<RepositoryState>;

impl Seat<'_> {
    fn below(&self, end: usize) -> usize {
        self.shared.random.lock().below(end)
    }

    fn chance(&self, of_hundred: usize) -> bool {
        self.shared.random.lock().percent(of_hundred)
    }

    fn log(&self, name: LogName) -> Log<'_> {
        Log::new(self, self.shared.bucket, name, &|_| true)
    }

    fn intent(&self) -> Intent {
        Intent { nonce: self.shared.nonce(), time: Timestamp::default() }
    }

    /// Writes an object under a key of its own.
    fn upload(&self, kind: ObjectKind, bytes: &[u8]) -> ObjectKey {
        let key = ObjectKey { kind, hash: ObjectHash::of(bytes), nonce: self.shared.nonce() };
        while self.put(&key.to_string(), bytes).is_err() {}
        self.shared.note(|| format!("  uploads {key} {bytes:?}"));
        key
    }
}

/// A pack of several contents, and the index that says so.
#[derive(Debug, Clone)]
struct Packed {
    index: ObjectKey,
    contents: Vec<u8>,
}

/// One publisher, with what it knows of packs.
struct Publisher<'a> {
    seat: &'a Seat<'a>,
    name: RepoName,
    bucket: Cursor<BucketState>,
    lists: KeyLists,
    packs: BTreeMap<ObjectKey, Packed>,
    own: BTreeSet<ObjectKey>,
    /// What the version takes over, where that is looked at once, as it must not be.
    kept_base: Option<Uses>,
}

/// Pushes a few versions, and deletes some.
pub(super) fn publish(seat: &Seat<'_>) {
    let name = ["a", "a", "b", "b", "c", "d"][seat.below(6)].parse().expect("a name");
    let mut publisher = Publisher {
        seat,
        name,
        bucket: Cursor::default(),
        lists: KeyLists::default(),
        packs: BTreeMap::new(),
        own: BTreeSet::new(),
        kept_base: None,
    };
    for _ in 0..=seat.below(3) {
        let done = match seat.below(100) {
            0..35 => publisher.delete(),
            35..38 => publisher.remove(),
            _ => publisher.push(),
        };
        match done {
            // What it needs went while it was looked at, as for a publisher that was too slow; it gives up.
            Err(CollectError::Missing(_)) => return,
            Err(error) => return seat.shared.violated(format!("a publisher failed: {error}")),
            Ok(()) => {}
        }
    }
}

impl Publisher<'_> {
    fn append(
        &self,
        decide: &mut dyn FnMut(&RepositoryLog) -> Result<Option<Payload>, CollectError>,
    ) -> Result<(), CollectError> {
        let log = self.seat.log(LogName::Repository(self.name.clone()));
        log.append(&mut RepositoryLog::default(), self.seat.intent(), decide).map(drop)
    }

    fn delete(&self) -> Result<(), CollectError> {
        self.append(&mut |log| {
            let live: Vec<_> = log.state().versions().keys().copied().collect();
            let number = (!live.is_empty()).then(|| live[self.seat.below(live.len())]);
            Ok(number.map(|number| Payload::Delete { number, force: true }))
        })
    }

    fn remove(&self) -> Result<(), CollectError> {
        self.append(&mut |_| Ok(Some(Payload::Remove)))
    }

    /// Has the repository made, if it was not.
    fn register(&mut self) -> Result<(), LogError> {
        let name = self.name.clone();
        let make = |log: &Cursor<BucketState>| -> Result<Option<Payload>, LogError> {
            let is_made = log.state().has(&name);
            Ok((!is_made).then(|| Payload::Repository { name: name.clone() }))
        };
        let log = self.seat.log(LogName::Bucket);
        log.append(&mut self.bucket, self.seat.intent(), &mut { make }).map(drop)
    }

    /// Looks which packs there are, in a list that may be old.
    fn look(&mut self) -> Result<(), CollectError> {
        let mut indexes = Vec::new();
        self.seat.list("index/", &mut |listed| {
            if let Ok(Key::Object(key)) = listed.key.parse() {
                indexes.push(key);
            }
            ControlFlow::Continue(())
        })?;
        for index in indexes {
            let Some(bytes) = self.seat.get(&index.to_string())? else { continue };
            self.read_index(index, &bytes);
        }
        Ok(())
    }

    /// An index says of one pack which contents it has.
    fn read_index(&mut self, index: ObjectKey, bytes: &[u8]) {
        let (pack, contents) = bytes.split_at(ObjectKey::BYTES);
        let pack = ObjectKey::from_bytes(pack.try_into().expect("a key")).expect("a key");
        self.packs.insert(pack, Packed { index, contents: contents.to_vec() });
    }

    fn push(&mut self) -> Result<(), CollectError> {
        self.kept_base = None;
        self.register()?;
        self.look()?;
        let intent = self.seat.intent();
        let message = format!("push {}", intent.nonce);
        let wanted: BTreeSet<u8> = (0..=self.seat.below(3))
            .map(|_| u8::try_from(self.seat.below(CONTENTS)).expect("few"))
            .collect();
        let grows = self.seat.chance(50);
        let draft = if self.seat.chance(20) { self.draft(&wanted)? } else { None };
        let log = self.seat.log(LogName::Repository(self.name.clone()));
        let mut cursor = RepositoryLog::default();
        let at = log.append(&mut cursor, intent, &mut |log: &RepositoryLog| {
            let uses = self.uses(log, &wanted, grows)?;
            let number = log.state().highest().0 + 1;
            let message = message.clone();
            Ok::<_, CollectError>(Some(Payload::Commit(Box::new(Commit {
                message,
                draft,
                ..commit(number, uses)
            }))))
        })?;
        if let Some(at) = at {
            self.seat.shared.note(|| format!("  {} is event {} of {}", message, at.seq, self.name));
            self.seat.shared.acknowledged.lock().push((self.name.clone(), message));
        }
        Ok(())
    }

    /// Protects what is uploaded early.
    fn draft(
        &mut self,
        wanted: &BTreeSet<u8>,
    ) -> Result<Option<crate::bucket::key::Nonce>, CollectError> {
        let intent = self.seat.intent();
        let log = self.seat.log(LogName::Repository(self.name.clone()));
        log.append(&mut RepositoryLog::default(), intent, &mut |log: &RepositoryLog| {
            let uses = self.uses(log, wanted, false)?;
            Ok::<_, CollectError>(Some(Payload::Draft { uses }))
        })?;
        Ok(Some(intent.nonce))
    }

    fn leaves_out(&self, rule: PublisherRule) -> bool {
        self.seat.shared.left_out == Some(rule)
    }

    /// Uploads what is missing of a version, and the list of what it needs. Returns the key of the list. No key in it is
    /// condemned, as far as this publisher can know.
    fn uses(
        &mut self,
        log: &RepositoryLog,
        wanted: &BTreeSet<u8>,
        grows: bool,
    ) -> Result<ObjectKey, CollectError> {
        let condemned = self.condemned(log)?;
        let trusts_base = self.leaves_out(PublisherRule::Inherited);
        let base = match log.state().latest().filter(|_| grows) {
            _ if self.kept_base.is_some() => self.kept_base.clone(),
            Some(latest) => self.read_uses(latest.commit.uses)?,
            None => None,
        };
        if trusts_base {
            self.kept_base.clone_from(&base);
        }
        let trusts_own = self.leaves_out(PublisherRule::OwnUploads);
        let inherited: BTreeSet<ObjectKey> =
            base.iter().flat_map(|base| base.needs()).copied().collect();
        let own = self.own.clone();
        let is_fine = |key: &ObjectKey| {
            !condemned.names(key)
                || (trusts_base && inherited.contains(key))
                || (trusts_own && own.contains(key))
        };
        let mut wanted = wanted.clone();
        let mut keys = BTreeSet::new();
        for key in base.iter().flat_map(|base| &base.keys) {
            if key.kind == ObjectKind::Pack {
                wanted.extend(self.contents(key)?);
            }
        }
        if trusts_base {
            keys.extend(base.iter().flat_map(|base| base.keys.iter().copied()));
        }
        let known: Vec<(ObjectKey, Packed)> =
            self.packs.iter().map(|(key, packed)| (*key, packed.clone())).collect();
        let mut missing = Vec::new();
        for content in wanted {
            let has = |(pack, packed): &&(ObjectKey, Packed)| {
                packed.contents.contains(&content) && is_fine(pack) && is_fine(&packed.index)
            };
            match known.iter().find(has) {
                Some((pack, packed)) => keys.extend([*pack, packed.index]),
                None => missing.push(content),
            }
        }
        for contents in missing.chunks(2) {
            let (pack, index) = self.upload(contents);
            keys.extend([pack, index]);
        }
        // A list whose objects are condemned cannot be built on.
        let base = base.filter(|base| base.lists.iter().all(is_fine));
        let (bytes, _) = encode(&keys, base.as_ref());
        let uses = self.seat.upload(ObjectKind::Uses, &bytes);
        Ok(uses)
    }

    fn upload(&mut self, contents: &[u8]) -> (ObjectKey, ObjectKey) {
        let pack = self.seat.upload(ObjectKind::Pack, contents);
        let bytes = [&pack.to_bytes()[..], contents].concat();
        let index = self.seat.upload(ObjectKind::Index, &bytes);
        self.own.extend([pack, index]);
        self.read_index(index, &bytes);
        (pack, index)
    }

    /// What must not be used, as the end of the bucket's own log has it.
    fn condemned(&mut self, log: &RepositoryLog) -> Result<Condemned, CollectError> {
        let own = self.seat.log(LogName::Bucket);
        loop {
            own.follow(&mut self.bucket)?;
            let before = self.bucket.position();
            let (name, lists) = (&self.name, &mut self.lists);
            let (repository, bucket) = (log.state(), self.bucket.state());
            match Condemned::for_publisher(self.seat, lists, name, repository, bucket) {
                Err(CollectError::Missing(key)) => {
                    own.follow(&mut self.bucket)?;
                    if self.bucket.position() == before {
                        return Err(CollectError::Missing(key));
                    }
                }
                found => return found,
            }
        }
    }

    /// What a version needs; `None` when it was deleted meanwhile, with its lists.
    fn read_uses(&self, uses: ObjectKey) -> Result<Option<Uses>, CollectError> {
        let get =
            |key: &ObjectKey| self.seat.get(&key.to_string())?.ok_or(CollectError::Missing(*key));
        let damaged = |key: &ObjectKey, error| CollectError::Damaged { key: *key, error };
        match Uses::read(uses, get, damaged) {
            Ok(uses) => Ok(Some(uses)),
            Err(CollectError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The contents of a pack, which are its bytes.
    fn contents(&self, pack: &ObjectKey) -> Result<Vec<u8>, CollectError> {
        Ok(self.seat.get(&pack.to_string())?.unwrap_or_default())
    }
}

fn patience(seat: &Seat<'_>) -> Patience {
    let young = Duration::ZERO;
    let draft = if seat.chance(50) { Duration::ZERO } else { Duration::MAX };
    Patience { young, grace: GRACE, draft }
}

/// Collects once.
pub(super) fn collect(seat: &Seat<'_>) {
    let nonce = || Ok(seat.shared.nonce());
    let (bucket, now) = (seat.shared.bucket, Timestamp::default());
    let collector = Collector::new(seat, bucket, &|_| true, &nonce, now).patience(patience(seat));
    seat.shared.note(|| "  collects".to_owned());
    match collector.run() {
        Ok(collected) => seat.shared.note(|| format!("  collected {collected:?}")),
        // It was overtaken: what a version or a mark needed went with it. Or a deletion was not answered.
        Err(CollectError::Missing(_) | CollectError::Store(_) | CollectError::NoClock) => {}
        Err(error) => seat.shared.violated(format!("a collector failed: {error}")),
    }
}

/// Gives a mark up.
pub(super) fn abandon(seat: &Seat<'_>) {
    let mut log = Cursor::<BucketState>::default();
    if seat.log(LogName::Bucket).follow(&mut log).is_err() {
        return;
    }
    let marks: Vec<_> = log.state().marks().iter().map(|mark| mark.id).collect();
    if marks.is_empty() {
        return;
    }
    let mark = marks[seat.below(marks.len())];
    let nonce = || Ok(seat.shared.nonce());
    let (bucket, now) = (seat.shared.bucket, Timestamp::default());
    let collector = Collector::new(seat, bucket, &|_| true, &nonce, now);
    if let Err(error) = collector.abandon(mark) {
        seat.shared.violated(format!("a mark could not be given up: {error}"));
    }
}

/// Reads the newest version slowly, by a log that is as old as the grace allows.
pub(super) fn read(seat: &Seat<'_>) {
    let name: RepoName = ["a", "b", "c"][seat.below(3)].parse().expect("a name");
    let begun = seat.shared.memory.now();
    let mut log = RepositoryLog::default();
    if seat.log(LogName::Repository(name.clone())).follow(&mut log).is_err() {
        return;
    }
    let Some(latest) = log.state().latest() else { return };
    let VersionNumber(number) = latest.commit.number;
    let memory = seat.shared.memory.clone();
    let is_late = || memory.now().duration_since(begun).is_ok_and(|age| age >= GRACE);
    for _ in 0..10 {
        if is_late() {
            return;
        }
        if let Err(error) = needs_of(&memory, latest.commit.uses).and_then(|needs| {
            match needs.iter().find(|key| !memory.has(&key.to_string())) {
                Some(key) => Err(format!("{key} is missing")),
                None => Ok(()),
            }
        }) {
            let text =
                format!("a reader within its grace misses version {number} of {name}: {error}");
            return seat.shared.violated(text);
        }
        seat.pause();
    }
}
