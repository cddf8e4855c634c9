//! Large content of a bucket of which parts come, each verified by itself (L4, L10, L12, L15, H51)

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;

use support::{Cairn, content, wait};

use crate::bucket::{Published, absent, stop_and_check};
use crate::bucket_faults::pulled;
use crate::gateway::Gateway;

const GROUP: usize = 256 << 10;

fn files(count: u64, bytes: usize) -> BTreeMap<String, Vec<u8>> {
    (0..count).map(|number| (format!("image{number}"), content::bytes(number, bytes))).collect()
}

fn image(cairn: &Cairn) -> PathBuf {
    cairn.versions("lib/1/image0")
}

/// Reads as many bytes from there, around what the kernel would read ahead.
fn read_at(cairn: &Cairn, at: usize, length: usize) -> io::Result<Vec<u8>> {
    let file = File::open(image(cairn))?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at as u64).map(|()| bytes)
}

fn partial_bytes(cairn: &Cairn) -> u64 {
    cairn.json(&["status"])["partial_bytes"].as_u64().unwrap()
}

/// The object of the only large content.
fn object(published: &Published) -> PathBuf {
    let mut objects = published.objects("blobs");
    assert_eq!(objects.len(), 1);
    objects.remove(0)
}

fn flip(path: &PathBuf, at: usize) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
}

#[test]
fn l4_the_last_page_of_a_large_file_comes_with_one_part() {
    let published = Published::of(files(1, 64 << 20));
    let body = &published.files["image0"];
    let gateway = Gateway::start();
    let two = pulled(&gateway, &published);
    let last = body.len() - 4096;
    assert!(read_at(&two, last, 4096).unwrap() == body[last..]);
    assert_eq!(
        gateway.asked().len(),
        2,
        "what verifies parts, and one part: {:?}",
        gateway.asked()
    );
    assert_eq!(absent(&two), 1, "the content is not stored");
    assert!(partial_bytes(&two) <= 2 * GROUP as u64, "{}", partial_bytes(&two));
    // Read from its beginning to its end: a request for what is next, larger each time.
    gateway.forget();
    assert!(fs::read(image(&two)).unwrap() == *body);
    let asked = gateway.asked().len();
    assert!(asked <= 20, "{asked} requests for 64 MiB");
    wait::until("it is stored once all of it is here", || absent(&two) == 0);
    assert_eq!(partial_bytes(&two), 0);
    gateway.forget();
    assert!(fs::read(image(&two)).unwrap() == *body);
    assert_eq!(gateway.asked().len(), 0);
    stop_and_check(two);
}

#[test]
fn l10_parts_outlive_a_killed_daemon_and_are_verified_again() {
    let published = Published::of(files(1, 16 << 20));
    let body = &published.files["image0"];
    let gateway = Gateway::start();
    let mut two = pulled(&gateway, &published);
    for at in [0, 5 << 20, 12 << 20] {
        assert!(read_at(&two, at, 4096).unwrap() == body[at..at + 4096], "at {at}");
    }
    two.kill9();
    // Half of what the last run left is not what came.
    let parts = two.store().join("partial");
    let part = fs::read_dir(parts).unwrap().next().unwrap().unwrap().path();
    flip(&part, (5 << 20) + 9);
    two.mount();
    gateway.forget();
    for at in [0, 12 << 20] {
        assert!(read_at(&two, at, 4096).unwrap() == body[at..at + 4096], "at {at}");
    }
    assert_eq!(gateway.asked().len(), 1, "only what verifies them: {:?}", gateway.asked());
    assert!(read_at(&two, 5 << 20, 4096).unwrap() == body[5 << 20..][..4096]);
    two.cli(&["prefetch", "lib/1"]);
    assert_eq!(absent(&two), 0);
    assert!(fs::read(image(&two)).unwrap() == *body);
    stop_and_check(two);
}

#[test]
fn h51_a_wrong_part_reaches_nobody_and_the_others_are_read() {
    let published = Published::of(files(1, 16 << 20));
    let body = &published.files["image0"];
    let two = published.pulled("on_demand");
    assert!(read_at(&two, 0, 4096).unwrap() == body[..4096]);
    flip(&object(&published), (8 << 20) + 70_000);
    let error = read_at(&two, 8 << 20, 4096).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert!(read_at(&two, GROUP - 4096, 4096).unwrap() == body[GROUP - 4096..GROUP], "it is here");
    flip(&object(&published), (8 << 20) + 70_000);
    wait::until("the bucket is asked again", || read_at(&two, 8 << 20, 4096).is_ok());
    assert!(fs::read(image(&two)).unwrap() == *body);
    stop_and_check(two);
}

#[test]
fn h51_without_right_values_the_content_comes_as_a_whole() {
    let published = Published::of(files(1, 9 << 20));
    let body = &published.files["image0"];
    flip(&object(&published), (9 << 20) + 3);
    let two = published.pulled("on_demand");
    assert!(read_at(&two, 0, 4096).unwrap() == body[..4096]);
    assert_eq!(absent(&two), 0);
    assert!(fs::read(image(&two)).unwrap() == *body);
    stop_and_check(two);
    let found = published.one.run(&["remote", "fsck", "store", "--content"]);
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(!found.status.success() && said.contains("blobs/"), "{found:?}");
    flip(&object(&published), (9 << 20) + 3);
    published.one.cli(&["remote", "fsck", "store", "--content"]);
}

/// Readers of everywhere, one who wants all, and a restart in between: each gets the bytes of its place.
#[test]
fn l4_many_readers_of_parts_get_their_bytes() {
    let published = Published::of(files(1, 40 << 20));
    let body = &published.files["image0"];
    let mut two = published.pulled("on_demand");
    let places = |reader: u64| {
        let random = content::bytes(reader, 60 * 8);
        let numbers: Vec<usize> = random
            .as_chunks()
            .0
            .iter()
            .map(|bytes| usize::try_from(u64::from_le_bytes(*bytes) % (40 << 20)).unwrap())
            .collect();
        numbers
    };
    for round in 0..2 {
        thread::scope(|scope| {
            for reader in 0..6 {
                let two = &two;
                scope.spawn(move || {
                    for at in places(round * 10 + reader) {
                        let length = (at % 300_000 + 1).min(body.len() - at);
                        let read = read_at(two, at, length).unwrap();
                        assert!(read == body[at..at + length], "{length} bytes at {at}");
                    }
                });
            }
            if round == 1 {
                two.cli(&["prefetch", "lib/1"]);
            }
        });
        if round == 0 {
            two.restart();
        }
    }
    assert_eq!(absent(&two), 0);
    stop_and_check(two);
}

#[test]
fn l15_parts_are_a_part_of_the_cache() {
    let published = Published::of(files(4, 24 << 20));
    let two = Cairn::start_with(&["--cache-size", "12M"]);
    let two = published.pull_into(two, "streamed");
    for (path, body) in &published.files {
        let mut half = vec![0; 8 << 20];
        let file = File::open(two.versions("lib/1").join(path)).unwrap();
        file.read_exact_at(&mut half, 0).unwrap();
        assert!(half == body[..8 << 20], "{path}");
    }
    wait::until("the cache has its size", || partial_bytes(&two) <= 12 << 20);
    assert!(partial_bytes(&two) > 0);
    assert_eq!(two.json(&["status"])["cached_bytes"], partial_bytes(&two));
    published.read_all(&two);
    stop_and_check(two);
}

/// What others change in a part of a file needs all of it, and so does what leaves the store.
#[test]
fn l13_a_change_in_an_area_and_an_export_fetch_all_of_it() {
    let published = Published::of(files(2, 9 << 20));
    let two = published.pulled("on_demand");
    assert!(read_at(&two, 0, 4096).unwrap() == published.files["image0"][..4096]);
    let area = two.area("lib", "work@latest");
    let file = File::options().write(true).open(area.join("image0")).unwrap();
    file.write_all_at(b"changed", 5 << 20).unwrap();
    drop(file);
    let mut changed = published.files["image0"].clone();
    changed[5 << 20..][..7].copy_from_slice(b"changed");
    assert!(fs::read(area.join("image0")).unwrap() == changed);
    let target = two.scratch().join("copy");
    two.cli(&["export", "lib/1", target.to_str().unwrap()]);
    for (path, body) in &published.files {
        assert!(fs::read(target.join(path)).unwrap() == *body, "{path}");
    }
    assert_eq!(absent(&two), 0);
    stop_and_check(two);
}
