//! A bucket whose logs were read, as far as one repository needs them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::TRIES;
use super::error::Failure;
use crate::bucket::collect::{CollectError, Condemned, KeyLists};
use crate::bucket::event::{BucketId, Payload};
use crate::bucket::fold::{BucketState, RepositoryState};
use crate::bucket::format;
use crate::bucket::head::{self, Head};
use crate::bucket::key::{LogName, Nonce};
use crate::bucket::log::{Cursor, Log, Position, Retry};
use crate::bucket::push::publish::{PublishError, intent};
use crate::bucket::signature::Signatures;
use crate::bucket::store::ObjectStore;
use crate::bucket::transfer::Watch;
use crate::model::id::VersionNumber;
use crate::model::name::{RepoName, TagName};
use crate::model::time::Timestamp;

/// Tags with what they name.
pub(super) type TagMap = BTreeMap<TagName, VersionNumber>;

/// Versions with whether they are released, and whether they are locked.
pub(super) type FlagMap = BTreeMap<VersionNumber, (bool, bool)>;

/// What is remembered of a bucket after a push or a pull, so that an older or another log is noticed (H48), and that who
/// changed a tag since can be told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Id of the bucket.
    bucket: String,
    /// How far the log of the repository went, as NUMBER:HASH.
    repository: Option<String>,
    /// The same of the bucket's own log.
    #[serde(default)]
    bucket_log: Option<String>,
    /// What both had in common then.
    pub(super) common: Option<Common>,
}

impl Seen {
    /// How far the log of the repository went.
    pub(super) fn position(&self) -> Position {
        let position = self.repository.as_deref().and_then(|text| text.parse().ok());
        position.unwrap_or(Position::START)
    }

    /// How far the bucket's own log went.
    pub(super) fn own_position(&self) -> Position {
        let position = self.bucket_log.as_deref().and_then(|text| text.parse().ok());
        position.unwrap_or(Position::START)
    }
}

/// What both sides had in common.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Common {
    pub(super) tags: BTreeMap<TagName, u64>,
    /// As pairs: a map of JSON has texts as its keys.
    pub(super) flags: Vec<(u64, (bool, bool))>,
}

impl Common {
    pub(super) fn new(tags: TagMap, flags: FlagMap) -> Self {
        Self {
            tags: tags.into_iter().map(|(tag, number)| (tag, number.0)).collect(),
            flags: flags.into_iter().map(|(number, flags)| (number.0, flags)).collect(),
        }
    }

    pub(super) fn tags(&self) -> TagMap {
        let tags = self.tags.iter();
        tags.map(|(tag, number)| (tag.clone(), VersionNumber(*number))).collect()
    }

    pub(super) fn flags(&self) -> FlagMap {
        self.flags.iter().map(|(number, flags)| (VersionNumber(*number), *flags)).collect()
    }
}

/// How a bucket is reached, and whom of those who write into it to believe.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    pub(super) store: &'a dyn ObjectStore,
    pub(super) watch: &'a Watch<'a>,
    pub(super) retry: &'a Retry,
    pub(super) signatures: &'a Signatures,
}

/// What an edge has read of a bucket, as far as one repository needs it.
pub(in crate::daemon::service) struct EdgeLog {
    pub(in crate::daemon::service) bucket: BucketId,
    pub(in crate::daemon::service) own: Cursor<BucketState>,
    pub(in crate::daemon::service) repository: Cursor<RepositoryState>,
}

/// A bucket whose logs were read.
pub(super) struct Session<'a> {
    pub(super) store: &'a dyn ObjectStore,
    pub(super) watch: &'a Watch<'a>,
    retry: &'a Retry,
    pub(super) signatures: &'a Signatures,
    pub(super) name: RepoName,
    id: BucketId,
    pub(super) bucket: Cursor<BucketState>,
    pub(super) repository: Cursor<RepositoryState>,
    lists: KeyLists,
    /// How far the logs were said to go when this began.
    head: Head,
    pub(super) seen: Seen,
    /// What is here comes from the bucket alone, so where both differ the bucket is right.
    pub(super) is_edge: bool,
}

impl<'a> Session<'a> {
    /// Reads the logs; `None` where there is no bucket, unless it is to be made.
    pub(super) fn open(
        Access { store, watch, retry, signatures }: Access<'a>,
        name: &RepoName,
        seen: Option<Seen>,
        make: bool,
    ) -> Result<Option<Self>, Failure> {
        let id = match format::read_id(store)? {
            Some(id) => id,
            None if make => {
                let id = Nonce::random().map_err(Failure::Random)?;
                format::make(store, id, retry)?
            }
            None => return Ok(None),
        };
        let mut seen = seen.unwrap_or_default();
        if !seen.bucket.is_empty() && seen.bucket != id.to_string() {
            return Err(Failure::OtherBucket);
        }
        seen.bucket = id.to_string();
        let mut session = Self {
            store,
            watch,
            retry,
            signatures,
            name: name.clone(),
            id,
            bucket: Cursor::default(),
            repository: Cursor::default(),
            lists: KeyLists::default(),
            head: head::read(store, id)?.unwrap_or_default(),
            seen,
            is_edge: false,
        };
        session.follow()?;
        Ok(Some(session))
    }

    /// What an edge has read of a log.
    pub(super) fn of_edge(
        Access { store, watch, retry, signatures }: Access<'a>,
        name: &RepoName,
        log: EdgeLog,
        seen: Option<Seen>,
    ) -> Self {
        let seen = seen.unwrap_or_default();
        Self {
            store,
            watch,
            retry,
            signatures,
            name: name.clone(),
            id: log.bucket,
            bucket: log.own,
            repository: log.repository,
            lists: KeyLists::default(),
            head: Head::default(),
            seen: Seen { bucket: log.bucket.to_string(), ..seen },
            is_edge: true,
        }
    }

    fn bucket_log(&self) -> Log<'a> {
        self.log_of(LogName::Bucket, self.seen.bucket_log.as_deref())
    }

    fn log_of(&self, name: LogName, seen: Option<&str>) -> Log<'a> {
        let seen = seen.and_then(|text| text.parse().ok()).unwrap_or(Position::START);
        let promised = self.head.of(&name);
        let log = Log::new(self.store, self.id, name, self.retry);
        log.signatures(self.signatures).seen(seen).promised(promised)
    }

    pub(super) fn log(&self) -> Log<'a> {
        self.log_of(LogName::Repository(self.name.clone()), self.seen.repository.as_deref())
    }

    /// Reads what came since.
    pub(super) fn follow(&mut self) -> Result<(), Failure> {
        self.watch.check()?;
        // In this order: a mark that the bucket's log has later is in no barrier that was read.
        self.log().follow(&mut self.repository)?;
        self.bucket_log().follow(&mut self.bucket)?;
        Ok(())
    }

    pub(super) fn state(&self) -> &RepositoryState {
        self.repository.state()
    }

    /// Whether the repository is in the bucket.
    pub(super) fn has_repository(&self) -> bool {
        self.bucket.state().has(&self.name)
    }

    /// Has the bucket's head say how far the two logs are, for edges. Without that they find out later.
    pub(super) fn update_head(&mut self) {
        let (store, id) = (self.store, self.id);
        let updated = head::update(store, id, &mut |head| {
            let ends = |session: &Self| {
                [
                    (LogName::Repository(session.name.clone()), session.repository.position().seq),
                    (LogName::Bucket, session.bucket.position().seq),
                ]
            };
            let promised = |log: &LogName| head.and_then(|head| head.of(log));
            // Somebody else has published since, or the head is wrong.
            if ends(self).iter().any(|(log, seq)| promised(log).is_some_and(|told| told > *seq)) {
                self.follow()?;
            }
            Ok::<_, Failure>(ends(self).to_vec())
        });
        if let Err(error) = updated {
            log::warn!("edges learn late what is new in {}: {error}", self.name);
        }
    }

    /// Makes the repository in the bucket, if it is not there.
    pub(super) fn make_repository(&mut self, now: Timestamp) -> Result<(), Failure> {
        let (log, name) = (self.bucket_log(), self.name.clone());
        log.append(&mut self.bucket, intent(now)?, &mut |cursor| {
            let payload = Payload::Repository { name: name.clone() };
            Ok::<_, Failure>((!cursor.state().has(&name)).then_some(payload))
        })?;
        Ok(())
    }

    /// The marks that are honoured by who has read this far: what they name is not used.
    pub(super) fn barriers(&self) -> BTreeSet<Nonce> {
        self.state().barriers().keys().copied().collect()
    }

    /// The keys that may not be named.
    pub(super) fn condemned(&mut self) -> Result<Condemned, Failure> {
        for _ in 0..TRIES {
            let (repository, bucket) = (self.repository.state(), self.bucket.state());
            let name = &self.name;
            match Condemned::for_publisher(self.store, &mut self.lists, name, repository, bucket) {
                // It was of a mark that is decided by now.
                Err(CollectError::Missing(_)) => self.follow()?,
                condemned => return Ok(condemned?),
            }
        }
        Err(PublishError::Barrier.into())
    }

    /// The tags of the bucket.
    pub(super) fn tags(&self) -> TagMap {
        tags_of(self.state())
    }

    /// The flags of the bucket's versions.
    pub(super) fn flags(&self) -> FlagMap {
        flags_of(self.state())
    }

    /// What is to be remembered.
    pub(super) fn to_remember(&self, common: Common) -> Seen {
        Seen {
            repository: Some(self.repository.position().to_string()),
            bucket_log: Some(self.bucket.position().to_string()),
            common: Some(common),
            ..self.seen.clone()
        }
    }
}

/// The tags of a log.
pub(super) fn tags_of(log: &RepositoryState) -> TagMap {
    log.tags().iter().map(|(tag, found)| (tag.clone(), found.number)).collect()
}

/// The flags of a log's versions.
pub(super) fn flags_of(log: &RepositoryState) -> FlagMap {
    let versions = log.versions().iter();
    versions.map(|(number, found)| (*number, (found.released, found.locked))).collect()
}
