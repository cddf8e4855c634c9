//! Imports of which only a part is in memory at a time (V4): what comes out is the same.

use std::sync::atomic::{AtomicBool, Ordering};

use cairn::control::service::Attachment;
use cairn::engine::request::Request;
use cairn::model::hash::BlobHash;
use cairn::model::import::{FileSource, ImportContent, ImportEntry};
use cairn::model::quota::Quota;
use support::fsck;

use crate::world::{Import, World, committed, entry, file};

fn directory(path: &str) -> ImportEntry {
    entry(path, ImportContent::Directory)
}

fn link(path: &str, to: &str) -> ImportEntry {
    entry(path, ImportContent::Hardlink { to: to.as_bytes().into() })
}

fn world(entries: usize) -> World {
    let world = World::with_repository();
    world.engine.intake_entries_max.store(entries, Ordering::Relaxed);
    world
}

/// Entries of each kind, in an order in which no sender would send them: a directory gets its attributes after what is in
/// it, names of a file come far apart, and what was put is replaced.
fn steps(import: &Import<'_>) {
    import.put(vec![directory(""), directory("a"), directory("a/b")]).unwrap();
    import.put_file("a/b/one", b"first");
    import.put_file("a/two", b"second");
    import.put(vec![link("z/link", "a/two")]).unwrap();
    import.put(vec![directory("m")]).unwrap();
    import.put_file("m/deep/er/three", b"third");
    let symlink = ImportContent::Symlink { target: b"a/two".as_slice().into() };
    import.put(vec![entry("s", symlink)]).unwrap();
    // Another name for a file of which two are below others already, and one more for one that had one.
    import.put(vec![link("a/b/link", "z/link"), link("y", "m/deep/er/three")]).unwrap();
    let mut late = directory("a/b");
    late.attributes.mode = 0o700;
    import.put(vec![late]).unwrap();
    // The same content again, without its bytes.
    let known = file("a/b/again", 5, FileSource::Known(BlobHash::of(b"first")));
    assert_eq!(import.known(&[BlobHash::of(b"first")]), [true]);
    import.put(vec![known]).unwrap();
    import.put(vec![file("a/b/third", 5, FileSource::Known(BlobHash::of(b"first")))]).unwrap();
    // A file in the place of a directory, and the other way round.
    import.put_file("m", b"was a directory");
    import.put(vec![directory("s")]).unwrap();
    import.put_file("s/below", b"was a link");
    import.put_file("a/b/one", b"changed");
}

#[test]
fn v4_what_is_in_memory_at_a_time_changes_no_version() {
    let expected = {
        let world = world(usize::MAX);
        let import = Import::mirror(&world);
        steps(&import);
        committed(import.finish());
        world.tree("1")
    };
    for entries in [1, 2, 3, 5, 8] {
        let world = world(entries);
        let import = Import::mirror(&world);
        steps(&import);
        // Nothing of it is garbage while it is needed.
        world.collect();
        committed(import.finish());
        assert_eq!(world.tree("1"), expected, "{entries} at a time");
        world.collect();
        assert_eq!(world.bytes("1", "a/b/third"), b"first");
        assert_eq!(world.links("1"), [["a/b/link", "a/two", "z/link"].map(str::to_owned)]);
        let closed = world.close();
        fsck::check_clean_store(&closed.path());
    }
}

#[test]
fn v4_additions_and_the_same_again_are_what_they_were() {
    for entries in [1, 2, usize::MAX] {
        let world = world(entries);
        for round in 0..3 {
            let import = Import::additive(&world);
            steps(&import);
            import.put_file("more", format!("{}", round / 2).as_bytes());
            assert_eq!(
                committed(import.finish()).changed,
                round != 1,
                "{entries} at a time, {round}"
            );
            world.collect();
        }
        assert_eq!(world.numbers(), [1, 2]);
        let closed = world.close();
        fsck::check_clean_store(&closed.path());
    }
}

/// A collection between two entries takes nothing that the later one may name.
#[test]
fn v4_what_was_found_stays_until_it_is_named() {
    let world = world(1);
    world.publish("work", &[("old", b"from before")]);
    let import = Import::mirror(&world);
    let (old, new) = (BlobHash::of(b"from before"), BlobHash::of(b"new"));
    assert_eq!(import.known(&[old]), [true]);
    import.put_file("new", b"new");
    world.delete(&["1"], true).unwrap();
    world.collect();
    let known = |path, size, blob| vec![file(path, size, FileSource::Known(blob))];
    import.put(known("old", 11, old)).unwrap();
    world.collect();
    // It was named and taken out of memory; and one that nobody has is refused still.
    import.put(known("new too", 3, new)).unwrap();
    import.put_with(known("none", 4, BlobHash::of(b"none")), Attachment::none()).unwrap_err();
    let number = committed(import.finish()).version.number.to_string();
    assert_eq!(world.bytes(&number, "old"), b"from before");
    assert_eq!(world.bytes(&number, "new too"), b"new");
    let closed = world.close();
    fsck::check_clean_store(&closed.path());
}

/// What a part counts for is counted once, and given back with the import.
#[test]
fn v4_quotas_hold_over_all_parts() {
    let world = world(1);
    let quota = Quota { bytes: None, files: Some(3) };
    world.engine_call(|repo, reply| Request::SetQuota { repo, quota, reply }).unwrap();
    let empty = |number: u32| file(&number.to_string(), 0, FileSource::Empty);
    let import = Import::mirror(&world);
    for number in 0..3 {
        import.put(vec![empty(number)]).unwrap();
    }
    import.put(vec![empty(3)]).unwrap_err();
    import.abort().unwrap();
    let import = Import::mirror(&world);
    for number in 0..3 {
        import.put(vec![empty(number)]).unwrap();
    }
    import.finish().unwrap();
}

/// H7: the collector runs at every moment of a checkpoint, and takes nothing of it.
#[test]
fn v4_a_collector_that_never_rests_takes_nothing_of_an_import() {
    let expected = {
        let world = world(usize::MAX);
        let import = Import::mirror(&world);
        steps(&import);
        committed(import.finish());
        world.tree("1")
    };
    let world = world(1);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                world.run(false, 0);
            }
        });
        for round in 0..5 {
            let import = Import::mirror(&world);
            steps(&import);
            import.put_file("round", &[round]);
            committed(import.finish());
        }
        let import = Import::mirror(&world);
        steps(&import);
        committed(import.finish());
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(world.tree("6"), expected);
    assert_eq!(world.bytes("6", "a/b/third"), b"first");
    let closed = world.close();
    fsck::check_clean_store(&closed.path());
}

/// V7: what checkpoints wrote of an import that does not end is garbage, after a restart, too.
#[test]
fn v7_an_import_that_does_not_end_leaves_garbage_only() {
    for restart in [false, true] {
        let mut world = world(1);
        let import = Import::mirror(&world);
        steps(&import);
        if restart {
            world = world.reopen();
        } else {
            import.abort().unwrap();
        }
        world.run(true, 0);
        assert!(world.numbers().is_empty());
        assert!(world.blob(&BlobHash::of(b"first")).is_none());
        let closed = world.close();
        fsck::check_clean_store(&closed.path());
    }
}
