//! `head`: how far the logs of a bucket are, in one object that edges poll (D2).
//!
//! ```text
//! {"format":1,"id":"32 hexadecimal digits","logs":{"=bucket":7,"gcc":12}}
//! ```
//!
//! The keys of `logs` are the directories of the logs. The object is overwritten without a condition, so two writers may
//! undo each other, and a cache may show an old one. So it is a hint at which log to look, and never more: whoever
//! follows a log reads events, looks at all logs now and then whatever the head says, and never goes back (H48).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::BucketId;
use super::key::{Key, LogName, Seq};
use super::store::{ObjectStore, StoreError, StoreErrorKind};

const FORMAT: u32 = 1;

/// Bytes of a head that are read. A larger one says nothing.
const BYTES_MAX: u64 = 4 << 20;

/// How often a writer writes the head again after another writer has overwritten it with an older one.
const TRIES: u32 = 3;

/// How far logs are said to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    logs: BTreeMap<LogName, Seq>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    format: u32,
    id: String,
    logs: BTreeMap<String, u64>,
}

impl Head {
    /// The number that a log is said to have reached; `None` where nothing is said.
    pub fn of(&self, log: &LogName) -> Option<Seq> {
        self.logs.get(log).copied()
    }

    /// Reads one. `None` if it is no head of that bucket; a name or number that cannot be is left out.
    fn decode(bytes: &[u8], bucket: BucketId) -> Option<Self> {
        let content: Content = serde_json::from_slice(bytes).ok()?;
        if content.format != FORMAT || content.id != bucket.to_string() {
            return None;
        }
        let logs = content.logs.into_iter();
        let logs = logs.filter_map(|(name, number)| {
            Some((LogName::of_directory(&name)?, Seq::new(number).filter(|seq| *seq > Seq::NONE)?))
        });
        Some(Self { logs: logs.collect() })
    }

    fn encode(&self, bucket: BucketId) -> Vec<u8> {
        let logs = self.logs.iter().map(|(log, seq)| (log.directory(), seq.get()));
        let content = Content { format: FORMAT, id: bucket.to_string(), logs: logs.collect() };
        serde_json::to_vec(&content).expect("texts and numbers have a form in JSON")
    }
}

/// What the bucket's head says; `None` where there is none, or none that can be understood.
///
/// # Errors
/// The store's.
pub fn read(store: &dyn ObjectStore, bucket: BucketId) -> Result<Option<Head>, StoreError> {
    match store.get_range(&Key::Head.to_string(), 0..BYTES_MAX) {
        Ok(bytes) => Ok(bytes.and_then(|bytes| Head::decode(&bytes, bucket))),
        // It is empty, for example; or it is not there, and who may not list is not told (403). If nothing can be read,
        // the logs say so.
        Err(error)
            if matches!(error.kind(), StoreErrorKind::Protocol | StoreErrorKind::Refused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Says where logs end, in view of what the head says.
pub type Ends<'a, E> = dyn FnMut(Option<&Head>) -> Result<Vec<(LogName, Seq)>, E> + 'a;

/// Has the head say how far some logs are. `ends` follows these logs to their ends and returns their numbers. It is
/// asked after the head was read, so what the head says beyond them is untrue and goes. Says whether anything was
/// written.
///
/// # Errors
/// The store's, and those of `ends`.
pub fn update<E: From<StoreError>>(
    store: &dyn ObjectStore,
    bucket: BucketId,
    ends: &mut Ends<'_, E>,
) -> Result<bool, E> {
    for tries in 0..TRIES {
        let found = read(store, bucket)?;
        let ends = ends(found.as_ref())?;
        let mut head = found.clone().unwrap_or_default();
        head.logs.extend(ends.into_iter().filter(|(_, seq)| *seq > Seq::NONE));
        if found.as_ref() == Some(&head) {
            return Ok(tries > 0);
        }
        store.put(&Key::Head.to_string(), &head.encode(bucket))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::key::Nonce;
    use crate::bucket::memory::{Fault, Memory, Operation};

    const BUCKET: BucketId = BucketId(Nonce::from_bytes([0xb; 16]));

    fn log(name: &str) -> LogName {
        LogName::Repository(name.parse().unwrap())
    }

    fn seq(number: u64) -> Seq {
        Seq::new(number).unwrap()
    }

    fn set(store: &dyn ObjectStore, name: LogName, number: u64) -> bool {
        let mut ends = |_: Option<&Head>| Ok::<_, StoreError>(vec![(name.clone(), seq(number))]);
        update(store, BUCKET, &mut ends).unwrap()
    }

    #[test]
    fn h48_a_head_has_one_form_and_comes_back_as_it_was() {
        let store = Memory::default();
        assert_eq!(read(&store, BUCKET).unwrap(), None);
        assert!(set(&store, log("a b"), 7));
        assert!(set(&store, LogName::Bucket, 2));
        assert!(!set(&store, LogName::Bucket, 2), "nothing is new");
        let text = String::from_utf8(store.get("head").unwrap().unwrap()).unwrap();
        let id = "0b".repeat(16);
        assert_eq!(text, format!(r#"{{"format":1,"id":"{id}","logs":{{"=bucket":2,"a%20b":7}}}}"#));
        let head = read(&store, BUCKET).unwrap().unwrap();
        assert_eq!((head.of(&log("a b")), head.of(&log("b"))), (Some(seq(7)), None));
    }

    #[test]
    fn h48_what_is_no_head_says_nothing_and_is_replaced() {
        let id = "0b".repeat(16);
        let other = "0c".repeat(16);
        for text in [
            String::new(),
            "{".to_owned(),
            "[]".to_owned(),
            format!(r#"{{"format":2,"id":"{id}","logs":{{"a":1}}}}"#),
            format!(r#"{{"format":1,"id":"{other}","logs":{{"a":1}}}}"#),
            format!(r#"{{"format":1,"id":"{id}","logs":{{"a":-1}}}}"#),
        ] {
            let store = Memory::default();
            store.put("head", text.as_bytes()).unwrap();
            assert_eq!(read(&store, BUCKET).unwrap(), None, "{text}");
            assert!(set(&store, log("b"), 1));
            assert_eq!(read(&store, BUCKET).unwrap().unwrap().of(&log("b")), Some(seq(1)));
        }
        let strange = format!(
            r#"{{"format":1,"id":"{id}","logs":{{"..":1,"a/b":2,"c":0,"d":99999999999999999,"e":5}}}}"#
        );
        let head = Head::decode(strange.as_bytes(), BUCKET).unwrap();
        assert_eq!(head.logs, BTreeMap::from([(log("e"), seq(5))]));
    }

    #[test]
    fn h48_a_writer_whose_head_was_overwritten_writes_again_and_lies_go() {
        let store = Memory::default();
        set(&store, log("a"), 900);
        let other = store.clone();
        let mut gets = 0;
        // Right after this write another publisher overwrites the head with what it had read before.
        let racing = store.with_faults(Box::new(move |operation| {
            gets += u32::from(matches!(operation, Operation::Get(_)));
            if gets == 2 {
                gets += 1;
                let id = "0b".repeat(16);
                let stale = format!(r#"{{"format":1,"id":"{id}","logs":{{"a":900,"b":3}}}}"#);
                other.put("head", stale.as_bytes()).unwrap();
            }
            Fault::None
        }));
        assert!(set(&racing, log("a"), 4));
        let head = read(&store, BUCKET).unwrap().unwrap();
        assert_eq!((head.of(&log("a")), head.of(&log("b"))), (Some(seq(4)), Some(seq(3))));
    }
}
