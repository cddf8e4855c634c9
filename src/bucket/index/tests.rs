//! Indexes: their format, what is refused, and that what goes in is found.

use proptest::prelude::*;

use super::*;
use crate::bucket::key::Nonce;
use crate::bucket::pack::{PackKind, PackWriter};
use crate::model::hash::ObjectHash;

fn blob(number: u32) -> BlobHash {
    BlobHash::of(&number.to_le_bytes())
}

fn key(kind: ObjectKind, number: u32) -> ObjectKey {
    let hash = ObjectHash::of(&number.to_le_bytes());
    ObjectKey { kind, hash, nonce: Nonce::from_bytes([7; 16]) }
}

fn one(builder: IndexBuilder) -> Index {
    let mut parts = builder.finish();
    assert_eq!(parts.len(), 1);
    Index::parse(&parts.remove(0)).unwrap()
}

/// With its checksum made to fit again.
fn changed(bytes: &[u8], at: usize, to: u8) -> Vec<u8> {
    let mut body = bytes[..bytes.len() - HASH_BYTES].to_vec();
    body[at] = to;
    let checksum = blake3::hash(&body);
    body.extend_from_slice(checksum.as_bytes());
    body
}

#[test]
fn the_format_does_not_change() {
    let mut builder = IndexBuilder::default();
    builder.add_own(key(ObjectKind::Blob, 1), blob(1), 7, 7);
    builder.add_digest(Sha256::of(b"x"), blob(1));
    let bytes = builder.finish().remove(0);
    let head = b"cIDX\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01";
    assert_eq!(&bytes[..head.len()], head);
    assert_eq!(bytes[20..69], key(ObjectKind::Blob, 1).to_bytes());
    assert_eq!(bytes[69..77], 7_u64.to_le_bytes());
    assert_eq!(bytes[77..109], *blob(1).as_bytes());
    assert_eq!(bytes[109..125], [0; 16]);
    assert_eq!(bytes[125..189], [*Sha256::of(b"x").as_bytes(), *blob(1).as_bytes()].concat());
    assert_eq!(bytes.len(), 189 + 32);
}

#[test]
fn l4_an_object_with_more_than_its_content_needs_format_2() {
    let mut builder = IndexBuilder::default();
    let bytes = (5 << 32) + 9;
    builder.add_own(key(ObjectKind::Blob, 1), blob(1), bytes + 80, bytes);
    builder.add_own(key(ObjectKind::Blob, 2), blob(2), 7, 7);
    let encoded = builder.finish().remove(0);
    assert_eq!(encoded[4], 2);
    let index = Index::parse(&encoded).unwrap();
    let found = |number| index.find(&blob(number)).unwrap();
    assert_eq!((found(1).object_bytes, found(1).content_bytes()), (bytes + 80, bytes));
    assert_eq!((found(2).object_bytes, found(2).content_bytes()), (7, 7));
    // A content that is longer than its object, and one with a third field.
    let entries = 20 + 2 * OBJECT_BYTES;
    for at in [entries + 43, entries + 44] {
        let error = Index::parse(&changed(&encoded, at, 1)).unwrap_err().to_string();
        assert!(error.contains("a part of an object of one content"), "byte {at}: {error}");
    }
}

#[test]
fn h51_an_index_that_contradicts_itself_is_refused() {
    let mut writer = PackWriter::new(PackKind::Content);
    writer.add(BlobHash::of(b"abc"), b"abc");
    let pack = writer.finish();
    let mut builder = IndexBuilder::default();
    builder.add_pack(key(ObjectKind::Pack, 1), pack.bytes.len() as u64, &pack.entries);
    let bytes = builder.finish().remove(0);
    assert!(Index::parse(&bytes).is_ok());
    let entry = 20 + OBJECT_BYTES;
    for (at, to, why) in [
        (0, 0, "it begins with other bytes"),
        (4, 3, "its format 3 is unknown"),
        (5, 1, "must be zero"),
        (20, ObjectKind::Index.code(), "an object that holds no content"),
        (20, 99, "an object that holds no content"),
        (20, ObjectKind::Blob.code(), "a part of an object of one content"),
        (20 + 56, 1, "longer than a file can be"),
        (entry + 32, 1, "an object that it does not name"),
        (entry + 37, 1, "past the end of its pack"),
        (entry + 47, 1, "at most 8388607 are read"),
        (entry + 40, 0, "stored as 0"),
        (12, 2, "a field reaches past the end"),
        (16, 1, "a field reaches past the end"),
        (12, 0, "bytes after the last field"),
    ] {
        let error = Index::parse(&changed(&bytes, at, to)).unwrap_err().to_string();
        assert!(error.contains(why), "byte {at}: {error}");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        let error = Index::parse(&flipped).unwrap_err().to_string();
        assert_eq!(error, "not a valid index: it does not match its checksum");
        assert!(Index::parse(&bytes[..at]).is_err());
    }
}

#[test]
fn h51_an_object_of_one_content_is_named_like_that() {
    let mut builder = IndexBuilder::default();
    builder.add_own(key(ObjectKind::Blob, 1), blob(2), 1, 1);
    let error = Index::parse(&builder.finish()[0]).unwrap_err().to_string();
    assert!(error.ends_with("has another name than its content"), "{error}");
}

#[test]
fn names_out_of_order_are_refused() {
    let mut builder = IndexBuilder::default();
    builder.add_own(key(ObjectKind::Blob, 1), blob(1), 1, 1);
    builder.add_own(key(ObjectKind::Blob, 2), blob(2), 1, 1);
    let bytes = builder.finish().remove(0);
    let error = Index::parse(&changed(&bytes, 20 + 2 * OBJECT_BYTES, 0xff));
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "not a valid index: its entries are not in order");
    let error = Index::parse(&changed(&bytes, 20, ObjectKind::Pack.code()));
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "not a valid index: its objects are not in order");
}

#[test]
fn many_entries_become_several_indexes() {
    let mut builder = IndexBuilder::default();
    let count = u32::try_from(ENTRIES_MAX + 5).unwrap();
    let entry = |number| PackEntry { name: blob(number), offset: 8, stored_bytes: 4, bytes: 4 };
    let entries: Vec<PackEntry> = (0..count).map(entry).collect();
    builder.add_pack(key(ObjectKind::Pack, 0), 100, &entries);
    let mut all = Indexes::default();
    for (number, part) in (0..).zip(builder.finish()) {
        assert!(part.len() < 9 << 20);
        all.add(key(ObjectKind::Index, number), Index::parse(&part).unwrap());
    }
    assert_eq!(all.len(), 2);
    for number in [0, 1, count / 2, count - 1] {
        let found: Vec<_> = all.find(&blob(number)).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.content_bytes(), 4);
    }
    assert_eq!(all.find(&blob(count)).count(), 0);
}

#[test]
fn the_index_that_came_first_is_asked_first() {
    let mut all = Indexes::default();
    for number in [1, 2] {
        let mut builder = IndexBuilder::default();
        let entry = PackEntry { name: blob(1), offset: 8, stored_bytes: 4, bytes: 4 };
        builder.add_pack(key(ObjectKind::Pack, number), 100, &[entry]);
        builder.add_digest(Sha256::of(&number.to_le_bytes()), blob(2));
        all.add(key(ObjectKind::Index, number), one(builder));
    }
    let found: Vec<_> = all.find(&blob(1)).map(|(index, at)| (index, at.key)).collect();
    let of = |number| (key(ObjectKind::Index, number), key(ObjectKind::Pack, number));
    assert_eq!(found, [of(1), of(2)]);
    let digest = Sha256::of(&2_u32.to_le_bytes());
    assert_eq!(all.blobs_of(&digest).collect::<Vec<_>>(), [blob(2)]);
}

proptest! {
    #[test]
    fn what_goes_in_is_found(
        own in proptest::collection::btree_map(0_u32..500, 1_u64..1 << 44, 0..50),
        packed in proptest::collection::btree_set(500_u32..1000, 0..50),
        digests in proptest::collection::btree_map(0_u32..500, 0_u32..500, 0..50),
    ) {
        let mut writer = PackWriter::new(PackKind::Content);
        packed.iter().for_each(|number| writer.add(blob(*number), &number.to_le_bytes()));
        let pack = writer.finish();
        let mut builder = IndexBuilder::default();
        builder.add_pack(key(ObjectKind::Pack, 0), pack.bytes.len() as u64, &pack.entries);
        for (number, bytes) in &own {
            let object_bytes = bytes + u64::from(number % 3);
            builder.add_own(key(ObjectKind::Blob, *number), blob(*number), object_bytes, *bytes);
        }
        for (digest, number) in &digests {
            builder.add_digest(Sha256::of(&digest.to_le_bytes()), blob(*number));
        }
        if builder.is_empty() {
            return Ok(());
        }
        let index = one(builder);
        prop_assert_eq!(index.len(), own.len() + packed.len());
        prop_assert_eq!(index.entries().count(), index.len());
        for number in 0..1000 {
            let found = index.find(&blob(number));
            if let Some(bytes) = own.get(&number) {
                let key = key(ObjectKind::Blob, number);
                let object_bytes = bytes + u64::from(number % 3);
                let expected = Location { key, object_bytes, place: Place::Own { bytes: *bytes } };
                prop_assert_eq!(found, Some(expected));
            } else {
                prop_assert_eq!(found.is_some(), packed.contains(&number));
            }
            let digest = Sha256::of(&number.to_le_bytes());
            prop_assert_eq!(index.blob_of(&digest), digests.get(&number).map(|to| blob(*to)));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_taken(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut framed = [&MAGIC[..], &[FORMAT_VERSION], &bytes].concat();
        let checksum = blake3::hash(&framed);
        framed.extend_from_slice(checksum.as_bytes());
        if let Ok(index) = Index::parse(&framed) {
            index.entries().for_each(|(name, _)| assert!(index.find(&name).is_some()));
        }
    }
}
