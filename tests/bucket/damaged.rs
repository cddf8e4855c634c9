//! A bucket that somebody changed: nothing of it is published, and the text says what is wrong (H51, H54)

use std::fs;

use support::fsck;

use crate::shared::{Bucket, files, import, shown};

/// A bucket with one version, and what pulls of it say after `damage`.
fn refused_after(damage: impl Fn(&Bucket)) -> String {
    let bucket = Bucket::new();
    let (one, two) = (bucket.store(), bucket.store());
    let source = one.scratch().join("source");
    files(&source, 1, 50, 3000);
    fs::write(source.join("text"), "line\n".repeat(50_000)).unwrap();
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store"]);
    let copy = bucket.path().with_extension("whole");
    let copied = std::process::Command::new("cp").arg("-a").arg(bucket.path()).arg(&copy).status();
    assert!(copied.unwrap().success());
    damage(&bucket);
    let refused = two.cli_fails(&["pull", "lib", "store"]);
    assert!(two.json(&["list"]).as_array().unwrap().is_empty(), "no repository stays");
    fsck::check_store(&two.store());
    // Once the bucket is whole again a pull goes on with what it has fetched.
    fs::remove_dir_all(bucket.path()).unwrap();
    fs::rename(copy, bucket.path()).unwrap();
    two.cli(&["pull", "lib", "store"]);
    assert_eq!(shown(&one, "lib/1"), shown(&two, "lib/1"));
    fsck::check_clean_store(&two.store());
    refused
}

/// The largest pack: that of the contents.
fn contents(bucket: &Bucket) -> std::path::PathBuf {
    let packs = bucket.objects("packs");
    packs.into_iter().max_by_key(|(_, bytes)| *bytes).unwrap().0
}

fn rewrite(path: &std::path::Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn h51_a_changed_pack_is_refused() {
    let refused = refused_after(|bucket| rewrite(&contents(bucket), |bytes| bytes[5000] ^= 1));
    assert!(refused.contains("are not those of its name"), "{refused}");
}

#[test]
fn h51_a_truncated_pack_is_refused() {
    let refused = refused_after(|bucket| rewrite(&contents(bucket), |bytes| bytes.truncate(9000)));
    assert!(refused.contains("it is shorter"), "{refused}");
}

#[test]
fn h51_a_pack_that_is_gone_is_named() {
    let refused = refused_after(|bucket| fs::remove_file(contents(bucket)).unwrap());
    assert!(refused.contains("is not in the bucket"), "{refused}");
}

#[test]
fn h51_another_index_in_its_place_is_refused() {
    let refused = refused_after(|bucket| {
        let (index, _) = bucket.objects("index").remove(0);
        rewrite(&index, |bytes| {
            let last = bytes.len() - 33;
            bytes[last] ^= 1;
            let body = bytes.len() - 32;
            let checksum = blake3::hash(&bytes[..body]);
            bytes[body..].copy_from_slice(checksum.as_bytes());
        });
    });
    assert!(refused.contains("no index of the bucket says where"), "{refused}");
}

#[test]
fn h51_another_list_of_uses_in_its_place_is_refused() {
    let refused = refused_after(|bucket| {
        rewrite(&bucket.objects("uses")[0].0, |bytes| bytes[20] ^= 1);
    });
    assert!(refused.contains("its bytes are not those of its key"), "{refused}");
}
