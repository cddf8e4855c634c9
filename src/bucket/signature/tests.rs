//! Events that are signed, by whom, and who believes them.

use std::sync::atomic::{AtomicU8, Ordering};

use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

use super::*;
use crate::bucket::event::{BucketId, Payload};
use crate::bucket::fold::RepositoryState;
use crate::bucket::key::{LogName, ObjectKind, Seq};
use crate::bucket::log::{Cursor, Log, LogError};
use crate::bucket::memory::Memory;
use crate::bucket::store::ObjectStore;
use crate::bucket::testing::{commit, intent, key, nonce};
use crate::model::hash::ObjectHash;
use crate::model::time::Timestamp;

/// 2026-11-30T00:00:00Z.
const NOW: i64 = 1_795_996_800;

fn private(number: u8) -> PrivateKey {
    let pair = Ed25519Keypair::from_seed(&[number; 32]);
    PrivateKey::new(KeypairData::Ed25519(pair), "test").unwrap()
}

fn public(number: u8) -> String {
    private(number).public_key().to_openssh().unwrap()
}

/// Signs with a key in memory, and counts.
struct InMemory {
    key: PrivateKey,
    namespace: &'static str,
    signed: AtomicU8,
}

impl InMemory {
    fn new(number: u8) -> Self {
        Self { key: private(number), namespace: NAMESPACE, signed: AtomicU8::new(0) }
    }
}

impl Signer for InMemory {
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, SignError> {
        self.signed.fetch_add(1, Ordering::Relaxed);
        let signed = self.key.sign(self.namespace, HashAlg::Sha512, bytes);
        let signed = signed.and_then(|signature| signature.to_pem(LineEnding::LF));
        signed.map(String::into_bytes).map_err(|error| SignError(error.to_string()))
    }
}

fn name() -> LogName {
    LogName::Repository("gcc".parse().unwrap())
}

fn event(number: u8) -> Event {
    Event {
        bucket: BucketId(nonce(0xb)),
        log: name(),
        seq: Seq::new(u64::from(number)).unwrap(),
        before: ObjectHash::of(&[number]),
        nonce: nonce(number),
        time: Timestamp::new(NOW, 0).unwrap(),
        payload: Payload::Commit(Box::new(commit(number.into(), key(ObjectKind::Uses, number)))),
        signature: Vec::new(),
    }
}

fn signed(number: u8, signer: &InMemory) -> Event {
    let mut event = event(number);
    event.signature = signer.sign(&event.signed_bytes()).unwrap();
    event
}

fn believing(lines: &str) -> Signatures {
    let allowed = Some(AllowedSigners::parse(lines.as_bytes()).unwrap());
    Signatures { allowed, required: true, signer: None }
}

#[test]
fn d4_an_event_counts_if_somebody_on_the_list_signed_it_for_that() {
    let event = signed(1, &InMemory::new(1));
    let ok = |lines: &str| believing(lines).check(&event);
    let key = public(1);
    let other = public(2);
    for lines in [
        format!("alice {key}"),
        format!("# both\n\nbob {other}\nalice {key}"),
        format!("alice namespaces=\"git,cairn\" {key}"),
        format!("alice valid-after=\"20261130Z\",valid-before=\"202611300001Z\" {key}"),
        format!("alice valid-before=20200101Z {key}\nalice {key}"),
    ] {
        assert_eq!(ok(&lines), Ok(()), "{lines}");
    }
    for (lines, words) in [
        (format!("bob {other}"), "not in the file"),
        (format!("alice namespaces=\"git\" {key}"), "other purposes"),
        (format!("alice valid-after=\"20261130000001Z\" {key}"), "not valid yet"),
        (format!("alice valid-before=\"20261130Z\" {key}"), "not valid any more"),
    ] {
        let error = ok(&lines).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("SHA256:"), "{error}");
    }
}

#[test]
fn d4_a_signature_says_nothing_of_another_event() {
    let signer = InMemory::new(1);
    let all = believing(&format!("alice {}", public(1)));
    let good = signed(1, &signer);
    assert_eq!(all.check(&good), Ok(()));
    type Change = fn(&mut Event);
    let changes: [Change; 6] = [
        |event| event.seq = event.seq.next(),
        |event| event.bucket = BucketId(nonce(7)),
        |event| event.log = LogName::Repository("llvm".parse().unwrap()),
        |event| event.before = ObjectHash::of(b"another history"),
        |event| event.time.seconds += 1,
        |event| {
            let other = commit(1, key(ObjectKind::Uses, 9));
            event.payload = Payload::Commit(Box::new(other));
        },
    ];
    for change in changes {
        let mut event = good.clone();
        change(&mut event);
        assert_eq!(all.check(&event), Err(SignatureError::Wrong));
    }
    let elsewhere = InMemory { namespace: "git", ..InMemory::new(1) };
    assert_eq!(all.check(&signed(1, &elsewhere)), Err(SignatureError::Wrong));
    let unreadable = Event { signature: b"signed".to_vec(), ..event(1) };
    assert!(matches!(all.check(&unreadable), Err(SignatureError::Malformed(_))));
}

#[test]
fn d4_without_a_signature_an_event_counts_unless_one_is_required() {
    let mut all = believing(&format!("alice {}", public(1)));
    assert_eq!(all.check(&event(1)), Err(SignatureError::Missing));
    all.required = false;
    assert_eq!(all.check(&event(1)), Ok(()));
    let stranger = signed(1, &InMemory::new(2));
    assert!(all.check(&stranger).is_err(), "what is signed is signed by somebody on the list");
    assert_eq!(Signatures::NONE.check(&stranger), Ok(()));
}

#[test]
fn a_line_that_is_not_understood_is_an_error() {
    let key = public(1);
    for (text, words) in [
        ("", "names no key"),
        ("# nobody\n", "names no key"),
        ("alice", "a line is"),
        ("alice ssh-ed25519", "no key"),
        ("alice ssh-ed25519 AAAA", "cannot be read"),
        (&format!("alice cert-authority {key}"), "certificates"),
        (&format!("alice no-such {key}"), "no-such"),
        (&format!("alice valid-after=20260101 {key}"), "ends in Z"),
        (&format!("alice valid-after=20261301Z {key}"), "no time"),
        (&format!("alice {key}\nbob valid-before=2026Z {key}"), "line 2"),
    ] {
        let error = AllowedSigners::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    assert_eq!(AllowedSigners::parse(b"\xff").unwrap_err(), AllowedSignersError::NoText);
}

fn log<'a>(store: &'a dyn ObjectStore, signatures: &'a Signatures) -> Log<'a> {
    Log::new(store, BucketId(nonce(0xb)), name(), &|tries| tries < 20).signatures(signatures)
}

fn publish(store: &dyn ObjectStore, signatures: &Signatures, number: u8) -> Result<(), LogError> {
    let mut cursor = Cursor::<RepositoryState>::default();
    let published = log(store, signatures).append(&mut cursor, intent(number), &mut |cursor| {
        let next = cursor.state().highest().0 + 1;
        Ok::<_, LogError>(Some(Payload::Commit(Box::new(commit(
            next,
            key(ObjectKind::Uses, number),
        )))))
    });
    published.map(drop)
}

fn read(log: &Log<'_>) -> (u64, Result<(), LogError>) {
    let mut cursor = Cursor::<RepositoryState>::default();
    let read = log.follow(&mut cursor);
    (cursor.position().seq.get(), read)
}

#[test]
fn d4_a_log_is_read_up_to_the_first_event_that_is_not_believed() {
    let store = Memory::default();
    let lines = format!("alice {}", public(1));
    let alice = Signatures { signer: Some(Box::new(InMemory::new(1))), ..believing(&lines) };
    publish(&store, &alice, 1).unwrap();
    publish(&store, &alice, 2).unwrap();
    let stranger = Signatures { signer: Some(Box::new(InMemory::new(2))), ..Signatures::default() };
    publish(&store, &stranger, 3).unwrap();
    publish(&store, Signatures::NONE, 4).unwrap();

    let believing = believing(&lines);
    let (end, error) = read(&log(&store, &believing));
    assert_eq!(end, 2);
    assert!(error.unwrap_err().to_string().contains("event 3 is not believed"));
    // Nothing can be published after it either.
    let before = store.keys();
    assert!(matches!(publish(&store, &alice, 5), Err(LogError::Signature { .. })));
    assert_eq!(store.keys(), before);
    assert_eq!(read(&log(&store, Signatures::NONE)).0, 4, "who asks for no signatures sees none");

    // What was seen before somebody asked for signatures is held by its hash.
    let mut cursor = Cursor::<RepositoryState>::default();
    log(&store, Signatures::NONE).follow(&mut cursor).unwrap();
    let seen = log(&store, &believing).seen(cursor.position());
    assert!(matches!(read(&seen), (4, Ok(()))));
    publish(&store, Signatures::NONE, 5).unwrap();
    assert!(matches!(read(&seen), (4, Err(LogError::Signature { .. }))));
}

#[test]
fn d4_nothing_is_published_that_others_would_not_believe() {
    let store = Memory::default();
    let lines = format!("alice {}", public(1));
    let nobody = believing(&lines);
    assert!(matches!(publish(&store, &nobody, 1), Err(LogError::NoSigner { .. })));
    let stranger = Signatures { signer: Some(Box::new(InMemory::new(2))), ..believing(&lines) };
    assert!(matches!(publish(&store, &stranger, 1), Err(LogError::OwnSignature { .. })));
    struct Broken;
    impl Signer for Broken {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
            Err(SignError("the agent is gone".to_owned()))
        }
    }
    let broken = Signatures { signer: Some(Box::new(Broken)), ..Signatures::default() };
    let error = publish(&store, &broken, 1).unwrap_err().to_string();
    assert!(error.contains("the agent is gone") && error.contains("Nothing was published"));
    assert!(store.keys().is_empty());
}

/// Whoever comes second signs anew: the number and the event before are others.
#[test]
fn d3_a_publisher_that_comes_second_signs_what_it_publishes_then() {
    let store = Memory::default();
    let lines = format!("alice {}", public(1));
    let alice = || Signatures { signer: Some(Box::new(InMemory::new(1))), ..believing(&lines) };
    let (first, second) = (alice(), alice());
    let mut cursor = Cursor::<RepositoryState>::default();
    let mut looks = 0;
    let at = log(&store, &second).append(&mut cursor, intent(2), &mut |cursor| {
        looks += 1;
        if looks == 1 {
            publish(&store, &first, 1)?;
        }
        let next = cursor.state().highest().0 + 1;
        let commit = commit(next, key(ObjectKind::Uses, 2));
        Ok::<_, LogError>(Some(Payload::Commit(Box::new(commit))))
    });
    assert_eq!(at.unwrap().unwrap().seq.get(), 2);
    assert_eq!(looks, 2);
    assert!(matches!(read(&log(&store, &believing(&lines))), (2, Ok(()))));
}
