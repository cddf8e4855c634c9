//! Signatures of events, and the file that says whose count: whoever may write into a bucket may write any signature (D4).

use cairn::bucket::event::{BucketId, Event, Payload};
use cairn::bucket::key::{LogName, Nonce, Seq};
use cairn::bucket::signature::{AllowedSigners, SignatureError, Signatures};
use cairn::model::hash::ObjectHash;
use cairn::model::time::Timestamp;

use super::Target;

pub(crate) const TARGET: Target = Target { run, seeds };

/// A key, and what `ssh-keygen` made of the event of [`event`] with it.
const KEY: &str = include_str!("signature.pub");
const SIGNATURE: &str = include_str!("signature.sig");

pub(crate) fn run(data: &[u8]) {
    drop(AllowedSigners::parse(data));
    let allowed = AllowedSigners::parse(format!("alice {KEY}").as_bytes()).unwrap();
    let signatures = Signatures { allowed: Some(allowed), required: true, signer: None };
    // One event was signed, with this nonce, and no other one ever is.
    let other = Event { signature: data.to_vec(), nonce: Nonce::from_bytes([3; 16]), ..event() };
    assert!(signatures.check(&other).is_err(), "nobody signs without the key");
    let signed = Event { signature: data.to_vec(), ..event() };
    let found = signatures.check(&signed);
    if data == SIGNATURE.as_bytes() {
        assert_eq!(found, Ok::<(), SignatureError>(()));
    }
}

fn event() -> Event {
    Event {
        bucket: BucketId(Nonce::from_bytes([1; 16])),
        log: LogName::Bucket,
        seq: Seq::new(1).unwrap(),
        before: ObjectHash::from_bytes([0; 32]),
        nonce: Nonce::from_bytes([2; 16]),
        time: Timestamp::default(),
        payload: Payload::Repository { name: "gcc".parse().unwrap() },
        signature: Vec::new(),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let list = format!(
        "# who may sign\nalice {KEY}bob namespaces=\"cairn,git\",valid-after=\"20260101Z\" {KEY}"
    );
    vec![SIGNATURE.as_bytes().to_vec(), list.into_bytes()]
}
