//! Imports: the set of entries that a client declares becomes a version.

use std::sync::Barrier;

use cairn::control::import::ImportRequest;
use cairn::control::protocol::{ErrorKind, Request};
use cairn::control::service::{Attachment, ConnectionId, Service};
use cairn::model::hash::BlobHash;
use cairn::model::id::VersionNumber;
use cairn::model::import::{FileSource, ImportContent, ImportOptions};
use cairn::model::tree::Content;

use crate::world::{Import, World, attributes, begin, committed, entry, file, inline};
use support::content;

fn directory(path: &str) -> cairn::model::import::ImportEntry {
    entry(path, ImportContent::Directory)
}

#[test]
fn every_kind_of_entry_is_kept() {
    let world = World::with_repository();
    let import = Import::mirror(&world);
    let target = b"../a"[..].to_vec().into();
    let entries = vec![
        directory(""),
        directory("d"),
        inline("d/file", 1, 3),
        file("d/empty", 0, FileSource::Empty),
        entry("d/symlink", ImportContent::Symlink { target }),
        entry("d/link", ImportContent::Hardlink { to: b"d/file"[..].into() }),
        entry("d/fifo", ImportContent::Fifo),
        entry("d/socket", ImportContent::Socket),
        entry("d/null", ImportContent::CharDevice { rdev: 0x103 }),
        entry("d/disk", ImportContent::BlockDevice { rdev: 0x800 }),
    ];
    import.put_with(entries, Attachment::of_payload(b"xabcx".to_vec())).unwrap();
    let version = committed(import.finish()).version;
    assert_eq!((version.files, version.directories), (8, 1));
    assert_eq!(world.bytes("1", "d/file"), b"abc");
    assert_eq!(world.bytes("1", "d/empty"), b"");
    let made = world.entry("1", "d/file").unwrap();
    assert_eq!(made.link_group.unwrap().nlink, 2);
    let wanted = attributes(0o644);
    let found = made.attributes;
    assert_eq!((found.mode, found.uid, found.gid, found.mtime), (0o644, 1, 2, wanted.mtime));
    let content = |path: &str| world.entry("1", path).unwrap().content;
    assert_eq!(content("d/symlink"), Content::Symlink { target: b"../a"[..].into() });
    assert_eq!(content("d/fifo"), Content::Fifo);
    assert_eq!(content("d/socket"), Content::Socket);
    assert_eq!(content("d/null"), Content::CharDevice { rdev: 0x103 });
    assert_eq!(content("d/disk"), Content::BlockDevice { rdev: 0x800 });
}

#[test]
fn an_open_file_is_copied() {
    use std::io::Write;
    let world = World::with_repository();
    let mut source = tempfile::NamedTempFile::new().unwrap();
    let bytes = content::bytes(5, (3 << 20) + 7);
    source.write_all(&bytes).unwrap();
    let import = Import::mirror(&world);
    let entries = vec![file("large", bytes.len() as u64, FileSource::Attached { index: 0 })];
    let handed = source.reopen().unwrap();
    import.put_with(entries, Attachment::of_files(vec![handed])).unwrap();
    source.as_file().set_len(0).unwrap();
    import.finish().unwrap();
    assert!(world.bytes("1", "large") == bytes);
}

#[test]
fn an_addition_keeps_what_is_there_and_a_mirror_does_not() {
    let world = World::with_repository();
    world.publish("one", &[("d/old", b"old"), ("changed", b"1")]);
    let import = Import::additive(&world);
    import.put_file("changed", b"2");
    import.put_file("d/new", b"new");
    committed(import.finish());
    assert_eq!(world.bytes("2", "d/old"), b"old");
    assert_eq!(world.bytes("2", "changed"), b"2");
    assert_eq!(world.show("2").unwrap().base, Some(VersionNumber(1)));

    let import = Import::mirror(&world);
    import.put_file("d/new", b"new");
    let version = committed(import.finish()).version;
    assert_eq!((version.number, version.files), (VersionNumber(3), 1));
}

#[test]
fn the_same_again_changes_nothing() {
    let world = World::with_repository();
    let entries = || {
        let to = b"d/a"[..].into();
        let link = entry("d/b", ImportContent::Hardlink { to });
        vec![directory(""), directory("d"), inline("d/a", 0, 1), link, inline("c", 0, 1)]
    };
    let put = |import: &Import<'_>| {
        import.put_with(entries(), Attachment::of_payload(b"x".to_vec())).unwrap();
        committed(import.finish())
    };
    assert!(put(&Import::mirror(&world)).changed);
    assert!(!put(&Import::mirror(&world)).changed);
    assert!(!put(&Import::additive(&world)).changed);
    assert!(world.show("2").is_err());
}

#[test]
fn known_content_is_not_sent() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"known")]);
    let (known, unknown) = (BlobHash::of(b"known"), BlobHash::of(b"unknown"));
    let import = Import::mirror(&world);
    assert_eq!(import.known(&[unknown, known]), [false, true]);
    // Nothing keeps it but the import.
    world.delete(&["1"], true).unwrap();
    assert_eq!(world.collect().blobs, 0);
    import.put(vec![file("b", 5, FileSource::Known(known))]).unwrap();
    import.finish().unwrap();
    assert_eq!(world.bytes("2", "b"), b"known");
}

#[test]
fn another_kind_replaces_what_is_there() {
    let world = World::with_repository();
    world.publish("one", &[("a/b/c", b"1"), ("a/d", b"1"), ("e", b"1")]);
    let import = Import::additive(&world);
    import.put_file("a", b"file");
    import.put(vec![directory("e")]).unwrap();
    import.put_file("e/f", b"2");
    let version = committed(import.finish()).version;
    assert_eq!((version.files, version.directories), (2, 1));
    assert_eq!(world.bytes("2", "a"), b"file");
    assert_eq!(world.bytes("2", "e/f"), b"2");
}

#[test]
fn a_replaced_directory_takes_its_names_of_a_file_along() {
    for reload in [false, true] {
        let world = World::with_repository();
        let area = world.stage("one");
        world.write(area, "d/below/inside", b"1");
        world.link(area, "d/below/inside", "outside");
        world.commit("one");
        let world = if reload { world.reopen() } else { world };

        let import = Import::additive(&world);
        import.put_file("d", b"file");
        let version = committed(import.finish()).version;
        assert_eq!((version.files, version.directories), (2, 0));
        let outside = world.entry("2", "outside").unwrap();
        assert_eq!(outside.link_group, None, "the other name is gone");
    }
}

#[test]
fn a_directory_put_in_the_same_import_is_replaced_whole() {
    let world = World::with_repository();
    let import = Import::mirror(&world);
    import.put_file("d/below/a", b"1");
    import.put(vec![entry("b", ImportContent::Hardlink { to: b"d/below/a"[..].into() })]).unwrap();
    let before = world.engine.staging.read().node_count();
    import.put_file("d", b"2");
    // The directory below went, too; the file stays under its other name.
    assert_eq!(world.engine.staging.read().node_count(), before - 1);
    import.finish().unwrap();
    assert_eq!(world.entry("1", "b").unwrap().link_group, None);
}

#[test]
fn an_import_may_make_its_repository_and_name_its_version() {
    let world = World::new();
    let begin = ImportRequest::Begin(ImportOptions {
        repository: "web".parse().unwrap(),
        create: true,
        mirror: false,
        message: "from a tape".to_owned(),
        author: Some("ann".to_owned()),
        tag: Some("v1".parse().unwrap()),
    });
    let import = Import::begin(&world, 1, begin.clone()).unwrap();
    import.put_file("a", b"1");
    let made = committed(import.finish()).version;
    assert_eq!((made.message.as_str(), made.author.as_str()), ("from a tape", "ann"));
    assert_eq!(made.name.unwrap().to_string(), "v1");
    let error = Import::begin(&world, 1, begin).map(|import| import.id).unwrap_err();
    assert!(error.message.contains("`v1`"), "refused before anything is sent: {error}");
}

#[test]
fn both_of_two_additions_are_published() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    let (first, second) = (Import::additive(&world), Import::additive(&world));
    first.put_file("b", b"first");
    second.put_file("c", b"second");
    committed(first.finish());
    committed(second.finish());
    assert_eq!(world.show("3").unwrap().files, 3);
}

#[test]
fn an_area_called_like_an_import_is_no_obstacle() {
    let world = World::with_repository();
    world.stage("import-1");
    world.stage("import-2@latest");
    Import::mirror(&world).finish().unwrap();
    Import::additive(&world).put_file("a", b"1");
}

#[test]
fn an_import_ends_with_its_connection() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    import.put_file("a", b"1");
    world.service.disconnected(ConnectionId(2));
    import.put_file("b", b"2");
    world.service.disconnected(ConnectionId(1));
    assert_eq!(import.finish().unwrap_err().kind, ErrorKind::NotFound);
    support::wait::until("the area is gone", || world.engine.staging.read().areas.is_empty());
}

#[test]
fn nobody_else_may_continue_an_import() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    for request in [
        ImportRequest::Abort { import: import.id },
        ImportRequest::Finish { import: import.id, allow_empty: true },
    ] {
        let answer = world.ask_as(2, Request::Import(request), Attachment::none());
        assert_eq!(answer.unwrap_err().kind, ErrorKind::NotFound);
    }
    import.put_file("a", b"1");
    import.finish().unwrap();
    assert_eq!(import.finish().unwrap_err().kind, ErrorKind::NotFound, "it is over");
}

#[test]
fn directories_that_only_paths_tell_of_are_the_same_each_time() {
    let world = World::with_repository();
    let put = || {
        let import = Import::mirror(&world);
        import.put_file("d/below/a", b"1");
        committed(import.finish())
    };
    assert!(put().changed);
    assert!(!put().changed);
}

#[test]
fn a_batch_that_fails_behind_the_client_s_back_is_told_and_never_left_out() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    let lie = vec![inline("bad", 0, 9)];
    let good = |name: &str| (vec![inline(name, 0, 4)], Attachment::of_payload(b"good".to_vec()));
    let mut failures = Vec::new();
    let mut taken = Vec::new();
    failures.extend(import.send(lie, Attachment::of_payload(b"short".to_vec())).err());
    for number in 0..20 {
        let name = format!("good{number}");
        let (entries, attachment) = good(&name);
        match import.send(entries, attachment) {
            Ok(_) => taken.push(name),
            Err(error) => failures.push(error),
        }
    }
    let first = import.finish();
    let finished = if first.is_ok() {
        first
    } else {
        failures.extend(first.err());
        import.finish()
    };
    for error in &failures {
        assert_eq!(error.kind, ErrorKind::Usage, "{error}");
        assert!(error.message.starts_with("bad: "), "{error}");
    }
    assert!(!failures.is_empty(), "the lie was told");
    // Either everything that was taken is there, or there is no version.
    match finished {
        Ok(_) => {
            for name in &taken {
                assert_eq!(world.bytes("1", name), b"good");
            }
        }
        Err(_) => assert!(world.repository().versions.is_empty()),
    }
}

#[test]
fn batches_are_stored_in_order_while_others_arrive() {
    let world = World::with_repository();
    let import = Import::mirror(&world);
    for number in 0..50_u32 {
        let bytes = format!("content {}", number / 2).into_bytes();
        let entries = vec![
            directory(&format!("d{number}")),
            inline(&format!("d{number}/file"), 0, bytes.len()),
            inline("last", 0, bytes.len()),
        ];
        import.send(entries, Attachment::of_payload(bytes)).unwrap();
    }
    let version = committed(import.finish()).version;
    assert_eq!((version.files, version.directories), (51, 50));
    for number in 0..50 {
        let expected = format!("content {}", number / 2);
        assert_eq!(world.bytes("1", &format!("d{number}/file")), expected.as_bytes());
    }
    assert_eq!(world.bytes("1", "last"), b"content 24");
}

#[test]
fn no_more_imports_begin_than_may_run_however_many_begin_at_once() {
    const ASKED: u64 = 96;
    const MAY_RUN: usize = 32;
    let world = World::with_repository();
    let at_once = Barrier::new(usize::try_from(ASKED).unwrap());
    let (begun, refused) = std::thread::scope(|scope| {
        let ask = |connection| {
            at_once.wait();
            Import::begin(&world, connection, begin(false)).map(|_| ())
        };
        let threads: Vec<_> =
            (0..ASKED).map(|connection| scope.spawn(move || ask(connection))).collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap());
        answers.partition::<Vec<_>, _>(Result::is_ok)
    });
    assert_eq!(begun.len(), MAY_RUN);
    for answer in refused {
        assert_eq!(answer.unwrap_err().kind, ErrorKind::Busy);
    }
    // All places come back.
    (0..ASKED).for_each(|connection| world.service.disconnected(ConnectionId(connection)));
    for connection in 0..MAY_RUN as u64 {
        Import::begin(&world, connection, begin(false)).unwrap();
    }
}
