//! What a bucket holds: events, lists of keys, what versions use, and keys themselves. The first byte says which.

use std::collections::BTreeSet;

use cairn::bucket::event::{BucketId, Commit, Event, Payload, TagChange};
use cairn::bucket::key::{Key, LogName, Nonce, ObjectKey, ObjectKind, Seq};
use cairn::bucket::key_list::KeyList;
use cairn::bucket::uses::{Changes, encode};
use cairn::model::hash::ObjectHash;
use cairn::model::id::VersionNumber;
use cairn::model::time::Timestamp;
use cairn::model::tree_format::decode_root;

use super::{Target, root};

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => {
            let Ok(event) = Event::decode(data) else { return };
            assert_eq!(event.encode().unwrap(), data, "one event has one form");
        }
        1 => {
            let Ok(list) = KeyList::decode(data) else { return };
            assert_eq!(list.encode(), data);
        }
        2 => drop(Changes::parse(data)),
        _ => {
            let Ok(text) = std::str::from_utf8(data) else { return };
            let Ok(key) = text.parse::<Key>() else { return };
            assert_eq!(key.to_string(), text, "one key has one spelling");
        }
    }
}

fn key(kind: ObjectKind, number: u8) -> ObjectKey {
    let hash = ObjectHash::of(&[number]);
    ObjectKey { kind, hash, nonce: Nonce::from_bytes([number; Nonce::BYTES]) }
}

fn event(log: LogName, payload: Payload) -> Vec<u8> {
    let event = Event {
        bucket: BucketId(Nonce::from_bytes([1; Nonce::BYTES])),
        log,
        seq: Seq::NONE.next(),
        before: ObjectHash::of(b"before"),
        nonce: Nonce::from_bytes([2; Nonce::BYTES]),
        time: Timestamp::default(),
        payload,
        signature: b"signature".to_vec(),
    };
    event.encode().unwrap()
}

fn seeds() -> Vec<Vec<u8>> {
    let repository = || LogName::Repository("gcc".parse().unwrap());
    let number = VersionNumber(7);
    let commit = |bytes: Vec<u8>| {
        Payload::Commit(Box::new(Commit {
            number,
            root: decode_root(&bytes).unwrap(),
            uses: key(ObjectKind::Uses, 1),
            base: Some(VersionNumber(6)),
            created: Timestamp::default(),
            name: Some("v1".parse().unwrap()),
            tagged: true,
            author: "somebody".to_owned(),
            message: "a message".to_owned(),
            released: true,
            locked: false,
            draft: Some(Nonce::from_bytes([3; Nonce::BYTES])),
        }))
    };
    let mut events: Vec<Vec<u8>> = (root::TARGET.seeds)()
        .into_iter()
        .map(|bytes| event(repository(), commit(bytes)))
        .collect();
    let tag = "stable".parse().unwrap();
    let change = TagChange { tag, target: Some(number), before: None, protects: true };
    events.push(event(repository(), Payload::Tag(change)));
    let flags = Payload::Flags { number, released: Some(true), locked: None };
    events.push(event(repository(), flags));
    let candidates = key(ObjectKind::Keys, 4);
    events.push(event(LogName::Bucket, Payload::Mark { candidates }));
    let keys: BTreeSet<ObjectKey> = (0..20).map(|number| key(ObjectKind::Pack, number)).collect();
    let texts = [
        Key::Format.to_string(),
        key(ObjectKind::Index, 1).to_string(),
        repository().key(Seq::NONE.next()),
        LogName::Bucket.key(Seq::MAX),
    ];
    let with = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
    let mut seeds: Vec<Vec<u8>> = events.into_iter().map(|bytes| with(0, bytes)).collect();
    seeds.push(with(1, KeyList::of(keys.iter().copied()).encode()));
    seeds.push(with(2, encode(&keys, None).0));
    seeds.extend(texts.map(|text| with(3, text.into_bytes())));
    seeds
}
