//! Packs, indexes, lists of uses and group values of a bucket: whoever may write there may write anything (H51, H54).

use std::collections::BTreeSet;

use cairn::bucket::groups::{GroupHasher, GroupValues, content_bytes};
use cairn::bucket::index::{Index, IndexBuilder};
use cairn::bucket::key::{Nonce, ObjectKey, ObjectKind};
use cairn::bucket::pack::{PackKind, PackWriter, list, unpack};
use cairn::bucket::uses::{Changes, encode};
use cairn::model::digest::Sha256;
use cairn::model::hash::{BlobHash, ObjectHash};

use super::Target;

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    if let Ok(entries) = list(data, data.len() as u64) {
        let mut end = 8;
        for entry in entries {
            assert_eq!(entry.offset, end, "entries are back to back");
            end += entry.stored_bytes;
            let stored = data.get(to_usize(entry.offset)..to_usize(end)).unwrap();
            if let Ok(content) = unpack(&entry.name, entry.bytes, stored) {
                assert_eq!(BlobHash::of(&content), entry.name);
            }
        }
    }
    let length = u64::from(data.first().copied().unwrap_or(0)) << 16 | 5;
    for length in [CONTENT.len() as u64, length] {
        if let Ok(values) = GroupValues::parse(data, &BlobHash::of(CONTENT), length) {
            assert_eq!(values.name(), BlobHash::of(CONTENT));
            assert_eq!(values.to_trailer(), data);
        }
    }
    if let Some(length) = content_bytes(data, data.len() as u64) {
        assert!(length < data.len() as u64);
    }
    // With the checksum that fits, so that mutations come further than that.
    for bytes in [data.to_vec(), checked(data)] {
        if let Ok(index) = Index::parse(&bytes) {
            for (name, location) in index.entries() {
                assert_eq!(index.find(&name), Some(location));
            }
            index
                .digests()
                .for_each(|(digest, blob)| assert_eq!(index.blob_of(&digest), Some(blob)));
        }
        drop(Changes::parse(&bytes));
    }
}

/// A content of two groups.
const CONTENT: &[u8] = &[7; 300_000];

fn to_usize(position: u32) -> usize {
    usize::try_from(position).unwrap()
}

fn checked(data: &[u8]) -> Vec<u8> {
    let body = &data[..data.len().saturating_sub(32)];
    [body, blake3::hash(body).as_bytes()].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let key = |kind, number: u8| ObjectKey {
        kind,
        hash: ObjectHash::of(&[number]),
        nonce: Nonce::from_bytes([number; 16]),
    };
    let mut writer = PackWriter::new(PackKind::Content);
    for content in [&b"one"[..], &[0; 5000], b"three"] {
        writer.add(BlobHash::of(content), content);
    }
    let pack = writer.finish();
    let mut builder = IndexBuilder::default();
    builder.add_pack(key(ObjectKind::Pack, 1), pack.bytes.len() as u64, &pack.entries);
    builder.add_own(key(ObjectKind::Blob, 2), BlobHash::of(&[2]), (9 << 20) + 80, 9 << 20);
    builder.add_digest(Sha256::of(b"one"), BlobHash::of(b"one"));
    let keys: BTreeSet<ObjectKey> = (0..5).map(|number| key(ObjectKind::Pack, number)).collect();
    let mut seeds = builder.finish();
    let mut values = GroupHasher::new(CONTENT.len() as u64);
    values.update(CONTENT);
    seeds.extend(values.finish().map(|values| values.to_trailer()));
    seeds.extend([pack.bytes, encode(&keys, None).0]);
    seeds
}
