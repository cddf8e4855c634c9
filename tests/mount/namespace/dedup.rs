//! One content, one blob

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use support::area::hash_of;
use support::{Cairn, content, wait};

#[test]
fn equal_files_share_one_blob() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for size in [100, 50_000, 3_000_000] {
        for copy in 0..5 {
            fs::write(area.join(format!("f{size}-{copy}")), content::bytes(1, size)).unwrap();
        }
    }
    cairn.publish("lib", "a").unwrap();
    let mut sizes: Vec<_> = cairn.pool().into_iter().map(|(_, size)| size).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [100, 50_000, 3_000_000]);
}

#[test]
fn a_blob_is_named_by_its_hash() {
    let cairn = Cairn::start();
    fs::write(cairn.area("lib", "a").join("f"), "named").unwrap();
    cairn.publish("lib", "a").unwrap();
    let pool = cairn.pool();
    assert_eq!(pool.len(), 1);
    let relative = pool[0].0.strip_prefix(cairn.store().join("pool")).unwrap();
    let name = relative.to_str().unwrap().replace('/', "");
    assert_eq!(name, blake3::hash(b"named").to_hex().as_str());
}

#[test]
fn across_areas_repositories_and_versions() {
    let cairn = Cairn::start();
    for (repository, area) in [("one", "a"), ("one", "b"), ("two", "a")] {
        let area_path = cairn.area(repository, area);
        fs::write(area_path.join("same"), content::bytes(1, 20_000)).unwrap();
        fs::write(area_path.join(format!("{repository}-{area}")), "").unwrap();
        cairn.publish(repository, area).unwrap();
    }
    assert_eq!(cairn.pool().len(), 1);
}

#[test]
fn the_pool_grows_by_new_content_only() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    for index in 0..100 {
        fs::write(area.join(format!("f{index}")), content::bytes(index, 2_000)).unwrap();
    }
    cairn.publish("lib", "v1").unwrap();
    assert_eq!(cairn.pool().len(), 100);
    let area = cairn.area("lib", "v2@latest");
    for index in 0..3 {
        fs::write(area.join(format!("f{index}")), content::bytes(1000 + index, 2_000)).unwrap();
    }
    fs::copy(cairn.versions("lib/1/f50"), area.join("copied-out-and-in")).unwrap();
    cairn.publish("lib", "v2@latest").unwrap();
    assert_eq!(cairn.pool().len(), 103);
}

#[test]
fn empty_files_need_none() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for index in 0..1000 {
        fs::write(area.join(format!("f{index}")), "").unwrap();
    }
    cairn.publish("lib", "a").unwrap();
    assert!(cairn.pool().is_empty());
    assert_eq!(fs::read_dir(cairn.versions("lib/1")).unwrap().count(), 1000);
}

/// N14: `cp` of a sealed file moves no bytes.
#[test]
fn a_copy_inside_staging_shares_the_blob() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    let path = area.join("f");
    fs::write(&path, content::bytes(1, 5_000_000)).unwrap();
    wait::until("the file is sealed", || hash_of(&path).is_some());
    let other = cairn.area("lib", "b");
    for copy in [area.join("copy"), other.join("copy")] {
        assert!(Command::new("cp").args([&path, &copy]).status().unwrap().success());
        // Sharing makes the copy sealed at once; a copy of bytes would have to be hashed first.
        assert_eq!(hash_of(&copy), hash_of(&path));
        assert_eq!(fs::metadata(&copy).unwrap().nlink(), 1);
    }
    assert_eq!(cairn.pool().len(), 1);
}

#[test]
fn many_equal_files_never_fail() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    let count = support::scale("CAIRN_TEST_EQUAL_FILES", 2_000);
    for index in 0..count {
        let directory = area.join(format!("d{}", index / 500));
        if index % 500 == 0 {
            fs::create_dir(&directory).unwrap();
        }
        fs::write(directory.join(format!("f{index}")), "equal").unwrap();
    }
    cairn.publish("lib", "a").unwrap();
    assert_eq!(cairn.pool().len(), 1);
}
