//! Each kind of event: its bytes, what is read back, what is refused.

use super::*;
use crate::bucket::key::{ObjectKey, ObjectKind};
use crate::bucket::testing::{commit, key, nonce};
use crate::model::id::VersionNumber;

fn events() -> Vec<Event> {
    let number = VersionNumber(7);
    let tag = TagChange {
        tag: "stable".parse().unwrap(),
        target: Some(number),
        before: None,
        protects: true,
    };
    let full = Commit {
        name: Some("v1".parse().unwrap()),
        tagged: true,
        base: Some(VersionNumber(6)),
        author: "somebody".to_owned(),
        message: "a message\nof two lines".to_owned(),
        released: true,
        draft: Some(nonce(9)),
        ..commit(7, key(ObjectKind::Uses, 1))
    };
    let payloads = [
        Payload::Commit(Box::new(full)),
        Payload::Commit(Box::new(commit(1, key(ObjectKind::Uses, 2)))),
        Payload::Tag(tag.clone()),
        Payload::Tag(TagChange { target: None, before: Some(number), protects: false, ..tag }),
        Payload::Flags { number, released: Some(true), locked: None },
        Payload::Flags { number, released: None, locked: Some(false) },
        Payload::Delete { number, force: true },
        Payload::Remove,
        Payload::Draft { uses: key(ObjectKind::Uses, 3) },
        Payload::DraftEnd { draft: nonce(4) },
        Payload::Barrier { mark: nonce(5), candidates: key(ObjectKind::Keys, 6) },
        Payload::Repository { name: "gcc".parse().unwrap() },
        Payload::Mark { candidates: key(ObjectKind::Keys, 6) },
        Payload::Sentence { mark: nonce(5), condemned: key(ObjectKind::Keys, 7) },
        Payload::Abandon { mark: nonce(5) },
    ];
    let event = |(index, payload): (u8, Payload)| Event {
        bucket: BucketId(nonce(1)),
        log: if payload.code() < 64 {
            LogName::Repository("gcc".parse().unwrap())
        } else {
            LogName::Bucket
        },
        seq: Seq::NONE.next(),
        before: ObjectHash::of(b"before"),
        nonce: nonce(index),
        time: Timestamp { seconds: -1, nanoseconds: 5 },
        payload,
        signature: if index % 2 == 0 { Vec::new() } else { b"signed".to_vec() },
    };
    (0..).zip(payloads).map(event).collect()
}

#[test]
fn d4_events_come_back_as_they_were() {
    for event in events() {
        let bytes = event.encode().unwrap();
        assert_eq!(Event::decode(&bytes).unwrap(), event);
        assert!(bytes.starts_with(&event.signed_bytes()), "the signature comes last");
    }
}

/// The hash over all kinds: who changes a byte of the format gives it a new version.
#[test]
fn d4_the_format_is_what_it_was() {
    let mut all = Vec::new();
    for event in events() {
        all.extend(event.encode().unwrap());
    }
    let found = ObjectHash::of(&all).to_string();
    assert_eq!(found, GOLDEN_HASH, "{} bytes", all.len());
    let abandon = events().pop().unwrap().encode().unwrap();
    let hex: String = abandon.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN_ABANDON);
}

const GOLDEN_HASH: &str = "91afe5f4676bed77eddc6e82c65c9a32d7eccf02ab9175716bedceaa4b195317";
const GOLDEN_ABANDON: &str = "634556540100430001010101010101010101010101010101010000000000000018c52a7ed981fbffa12fbf611b593c451f6a5700af2206c612b5c3dd2888909b0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0effffffffffffffff050000000000100000000505050505050505050505050505050500000000";

#[test]
fn h54_no_cut_or_changed_event_panics_or_is_taken_for_another() {
    for event in events() {
        let bytes = event.encode().unwrap();
        for end in 0..bytes.len() {
            assert!(Event::decode(&bytes[..end]).is_err(), "{end} of {event:?}");
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(other) = Event::decode(&changed) {
                    assert_eq!(other.encode().unwrap(), changed, "one event has one form");
                }
            }
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Event::decode(&longer).is_err());
    }
}

#[test]
fn h54_names_kinds_and_lengths_are_checked() {
    let event = |payload| Event { payload, ..events().remove(0) };
    let refused = |event: &Event, from: &[u8], to: &[u8]| {
        let bytes = event.encode().unwrap();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        let mut changed = bytes;
        changed[at..at + from.len()].copy_from_slice(to);
        Event::decode(&changed).unwrap_err().to_string()
    };
    let tag = event(events().remove(2).payload);
    assert!(refused(&tag, b"stable", b"latest").contains("reserved"));
    assert!(refused(&tag, b"gcc", b"g/c").contains('/'));
    let wrong = event(Payload::Draft { uses: key(ObjectKind::Pack, 1) });
    assert!(Event::decode(&wrong.encode().unwrap()).is_err(), "a pack is no list of uses");
    let long = ObjectKey { ..key(ObjectKind::Uses, 1) };
    let long = Commit { message: "x".repeat(EVENT_BYTES_MAX), ..commit(1, long) };
    let error = event(Payload::Commit(Box::new(long))).encode().unwrap_err();
    assert!(error.to_string().contains("shorten"), "{error}");
    let signed = Event { signature: vec![0; SIGNATURE_BYTES_MAX + 1], ..events().remove(0) };
    assert!(signed.encode().is_err());
    assert!(Event::decode(&vec![0; EVENT_BYTES_MAX + 1]).is_err());
}
