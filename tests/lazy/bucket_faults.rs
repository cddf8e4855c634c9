//! A bucket behind a line that fails, requests counted, and stores that are killed (L4, L5, L10, L12, L14, L15, H36, H39, H52)

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::cairn::binary;
use support::{Cairn, content, fsck, wait};

use crate::bucket::{Published, absent, stop_and_check};
use crate::gateway::{Gateway, Line};

/// A tree of small files.
fn small(count: u64) -> BTreeMap<String, Vec<u8>> {
    let file = |number: u64| {
        let size = usize::try_from(number * 131 % 1500 + 10).unwrap();
        (format!("d{:02}/f{number:04}", number / 50), content::bytes(number, size))
    };
    (0..count).map(file).collect()
}

/// A mounted store that has pulled these files lazily through a gateway.
pub(crate) fn pulled(gateway: &Gateway, published: &Published) -> Cairn {
    let arguments = gateway.arguments();
    let add = |cairn: &Cairn, more: &[&str]| {
        let mut all = vec!["remote", "add", "far"];
        all.extend(arguments.iter().map(String::as_str));
        all.extend(more);
        cairn.cli(&all);
    };
    add(&published.one, &[]);
    published.one.cli(&["push", "lib", "far"]);
    let two = Cairn::start();
    add(&two, &["--policy", "on_demand"]);
    two.cli(&["pull", "lib", "far"]);
    gateway.forget();
    two
}

#[test]
fn l12_small_files_of_a_pack_come_with_few_requests() {
    let published = Published::of(small(1500));
    let gateway = Gateway::start();
    let two = pulled(&gateway, &published);
    // One after the other, in the order of their paths.
    for (path, bytes) in published.files.iter().take(700) {
        assert!(fs::read(two.versions("lib/1").join(path)).unwrap() == *bytes, "{path}");
    }
    let read = gateway.asked().len();
    assert!(read <= 16, "{read} requests for 700 files");
    gateway.forget();
    two.cli(&["prefetch", "lib/1"]);
    assert_eq!(absent(&two), 0);
    let fetched = gateway.asked().len();
    assert!(fetched <= 24, "{fetched} requests for 800 files");
    published.read_all(&two);
    stop_and_check(two);
}

/// However many read one file, it is asked for once; so is the file beside it.
#[test]
fn l4_readers_of_one_content_and_of_its_neighbours_share_a_request() {
    let published = Published::of(small(12));
    let gateway = Gateway::start();
    let two = pulled(&gateway, &published);
    gateway.set(Line::Silent);
    thread::scope(|scope| {
        for path in published.files.keys().cycle().take(60) {
            let (two, published) = (&two, &published);
            scope.spawn(move || {
                let read = fs::read(two.versions("lib/1").join(path)).unwrap();
                assert!(read == published.files[path], "{path}");
            });
        }
        wait::until("all wait", || {
            // The kernel asks once for each page, however many wait for it.
            two.json(&["status"])["waiting_read_count"].as_u64().unwrap() >= 12
        });
        // What is here answers meanwhile (L14).
        let area = two.area("own", "a");
        fs::write(area.join("x"), "local").unwrap();
        assert_eq!(fs::read(area.join("x")).unwrap(), b"local");
        gateway.set(Line::Whole);
    });
    let asked = gateway.asked().len();
    assert!(asked <= published.files.len(), "{asked} requests");
    stop_and_check(two);
}

#[test]
fn l5_h36_a_line_that_cuts_or_spoils_gives_errors_and_no_wrong_byte() {
    let published = Published::of(small(60));
    let gateway = Gateway::start();
    let two = pulled(&gateway, &published);
    let largest = published.files.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    let spoiled = two.versions("lib/1").join(largest);
    gateway.set(Line::Spoiled);
    assert_eq!(fs::read(&spoiled).unwrap_err().raw_os_error(), Some(5));
    assert!(two.json(&["status"])["failed_content_count"].as_u64().unwrap() > 0);
    // It is not asked for again for a while, and the others are.
    let before = gateway.asked().len();
    assert!(fs::read(&spoiled).is_err());
    assert_eq!(gateway.asked().len(), before);
    gateway.set(Line::Whole);
    wait::until("it rests no more", || fs::read(&spoiled).is_ok());
    published.read_all(&two);
    stop_and_check(two);
}

/// L5: a bucket that says nothing is passed over where another one has the content.
#[test]
fn l5_a_silent_bucket_is_passed_over_where_there_is_another() {
    let published = Published::of(small(20));
    let gateway = Gateway::start();
    let mut two = pulled(&gateway, &published);
    two.cli(&["remote", "add", "second", "bucket", &published.url(), "--policy", "on_demand"]);
    two.cli(&["pull", "lib", "second"]);
    gateway.set(Line::Silent);
    let begun = Instant::now();
    published.read_all(&two);
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    assert!(!gateway.asked().is_empty(), "it was asked first");
    assert_eq!(absent(&two), 0);
    gateway.set(Line::Whole);
    two.stop();
}

/// L14: a stop of the daemon waits for no bucket.
#[test]
fn l14_a_daemon_stops_beside_a_silent_bucket() {
    let published = Published::of(small(5));
    let gateway = Gateway::start();
    let mut two = pulled(&gateway, &published);
    gateway.set(Line::Silent);
    let path = two.versions("lib/1").join(published.files.keys().next().unwrap());
    let reader = thread::spawn(move || fs::read(path));
    wait::until("it is asked", || !gateway.asked().is_empty());
    let begun = Instant::now();
    two.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    reader.join().unwrap().unwrap_err();
    gateway.set(Line::Whole);
}

/// A daemon that is killed while content comes leaves nothing that is wrong, and the next one goes on.
#[test]
fn l10_a_kill_during_a_fetch_and_a_restart_while_content_is_absent() {
    let mut files = small(30);
    files.insert("large".to_owned(), content::bytes(9, 20 << 20));
    let published = Published::of(files);
    let gateway = Gateway::start();
    let mut two = pulled(&gateway, &published);
    let limited = ["remote", "set", "far", "--limit-rate", "8M"];
    two.cli(&limited);
    let path = two.versions("lib/1/large");
    let reader = thread::spawn(move || fs::read(path).map(drop));
    let partial = two.store().join("partial");
    let came = || -> u64 {
        let entries = fs::read_dir(&partial).into_iter().flatten();
        entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
    };
    wait::until("some of it came", || came() >= 8 << 20);
    two.kill9_and_unmount();
    assert!(reader.join().unwrap().is_err());
    fsck::check_store(&two.store());
    two.mount();
    assert_eq!(absent(&two), published.files.len() as u64);
    gateway.forget();
    two.cli(&["remote", "set", "far", "--limit-rate", "0"]);
    published.read_all(&two);
    let begins = |line: &String| -> u64 {
        let (_, range) = line.split_once("bytes=").unwrap();
        range.split('-').next().unwrap().parse().unwrap()
    };
    let asked = gateway.asked();
    let asked: Vec<u64> =
        asked.iter().filter(|line| line.contains("/blobs/")).map(begins).collect();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|at| *at >= 8 << 20), "what came is not asked for again: {asked:?}");
    stop_and_check(two);
}

/// A pull without a daemon, with a fault.
fn pull(cairn: &Cairn, fault: &str) {
    let mut command = Command::new(binary());
    command.args(["pull", "lib", "store"]).env("CAIRN_STORE", cairn.store());
    command.env("CAIRN_FAULT", fault).stdin(Stdio::null());
    drop(command.output().unwrap());
}

#[test]
fn d1_a_lazy_pull_killed_at_each_step_shows_a_whole_version_or_none() {
    let published = Published::new();
    let known = || {
        let two = Cairn::unmounted();
        two.cli(&["remote", "add", "store", "bucket", &published.url(), "--policy", "on_demand"]);
        two
    };
    let counted = known();
    let record = counted.scratch().join("steps");
    pull(&counted, &format!("count:{}", record.display()));
    let total = fs::read_to_string(record).unwrap().lines().count();
    assert!(total > 5, "{total} steps are too few to be true");
    let every = total.div_ceil(12).max(1);
    for step in (1..=total).step_by(every) {
        let mut two = known();
        pull(&two, &format!("kill:{step}"));
        fsck::check_store(&two.store());
        two.cli(&["pull", "lib", "store"]);
        assert_eq!(two.json(&["show", "lib/1"]), published.one.json(&["show", "lib/1"]), "{step}");
        assert!(two.pool().is_empty(), "{step}");
        two.mount();
        for path in ["text", "d3/f07"] {
            let read = fs::read(two.versions("lib/1").join(path)).unwrap();
            assert!(read == published.files[path], "{step}: {path}");
        }
        stop_and_check(two);
    }
}

/// A collector may have removed a pack: the next pull learns where its contents are now.
#[test]
fn l8_a_pull_learns_where_content_is_that_moved() {
    let mut published = Published::new();
    let two = published.pulled("on_demand");
    let gone: Vec<_> = published.content_packs();
    gone.iter().for_each(|pack| fs::remove_file(pack).unwrap());
    let path = two.versions("lib/1/text");
    assert_eq!(fs::read(&path).unwrap_err().raw_os_error(), Some(5));
    let error = two.cli_fails(&["cat", "lib/1/text"]);
    assert!(error.contains("is not in the bucket") && error.contains("cairn pull"), "{error}");
    published.add("new", b"makes another version");
    published.publish();
    two.cli(&["pull", "lib", "store"]);
    wait::until("it is found", || fs::read(&path).is_ok());
    published.files.remove("new");
    published.read_all(&two);
    stop_and_check(two);
}

#[test]
fn l12_l15_what_a_bucket_has_is_reclaimed_and_a_streamed_one_is_a_cache() {
    let published = Published::of(small(200));
    let two = published.pulled("on_demand");
    published.read_all(&two);
    let done = two.json(&["reclaim"]);
    assert_eq!(done["reclaimed_content_count"], 200, "{done}");
    assert_eq!(absent(&two), 200);
    assert!(two.pool().is_empty());
    published.read_all(&two);
    // What somebody stores here himself is no cache of the bucket.
    let source = published.source().join("d00");
    two.cli(&["import", source.to_str().unwrap(), "own"]);
    let done = two.json(&["reclaim"]);
    assert_eq!(done["reclaimed_content_count"], 150, "{done}");
    stop_and_check(two);
    let three = published.pull_into(Cairn::start_with(&["--cache-size", "40000"]), "streamed");
    for _ in 0..2 {
        published.read_all(&three);
        wait::until("the cache has its size", || {
            three.pool().iter().map(|(_, size)| size).sum::<u64>() <= 40_000
        });
    }
    stop_and_check(three);
}

/// H52: what is absent here goes to another bucket, and to the same one by its name alone.
#[test]
fn h52_a_lazy_version_is_pushed() {
    let published = Published::of(small(80));
    let two = published.pulled("on_demand");
    let area = two.area("lib", "next@latest");
    fs::write(area.join("new"), "new").unwrap();
    two.publish("lib", "next@latest").unwrap();
    two.cli(&["push", "lib", "store"]);
    assert_eq!(absent(&two), 80, "the bucket has them");
    published.one.cli(&["pull", "lib", "store"]);
    assert_eq!(two.json(&["show", "lib/2"]), published.one.json(&["show", "lib/2"]));
    let other = format!("file://{}", two.scratch().join("other").display());
    two.cli(&["remote", "add", "other", "bucket", &other]);
    two.cli(&["push", "lib", "other"]);
    assert_eq!(absent(&two), 0, "they were fetched");
    stop_and_check(two);
}

/// A file that is in the way of an absent blob, of a crash for instance, is read by nobody.
#[test]
fn h1_a_leftover_with_the_name_of_an_absent_blob_is_never_read() {
    let published = Published::of(small(20));
    let mut two = published.pulled("on_demand");
    two.stop();
    for bytes in published.files.values() {
        let hash = cairn::model::hash::BlobHash::of(bytes).to_string();
        let path = two.store().join("pool").join(&hash[..2]);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(&hash[2..]), &bytes[..bytes.len() / 2]).unwrap();
    }
    two.mount();
    let (swept, read) = published.files.iter().next().unwrap();
    assert!(fs::read(two.versions("lib/1").join(swept)).unwrap() == *read);
    published.read_all(&two);
    stop_and_check(two);
}

#[test]
fn l4_export_and_web_have_absent_content_fetched() {
    let published = Published::of(small(40));
    let two = published.pulled("on_demand");
    let target = two.scratch().join("taken");
    let error = two.cli_fails(&["export", "lib/1", target.to_str().unwrap(), "--no-fetch"]);
    assert!(error.contains("was not fetched yet"), "{error}");
    fs::remove_dir_all(&target).unwrap_or_default();
    two.cli(&["export", "lib/1", target.to_str().unwrap()]);
    for (path, bytes) in &published.files {
        assert!(fs::read(target.join(path)).unwrap() == *bytes, "{path}");
    }
    stop_and_check(two);
}
