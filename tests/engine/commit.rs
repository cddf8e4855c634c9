//! Commits: what they publish, and what keeps them from it.

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cairn::control::commit::CommitRequest;
use cairn::control::protocol::{ErrorDetail, ErrorKind, Request};
use cairn::engine::commit::{Asker, CommitOptions, WRITER_GRACE};
use cairn::engine::error::EngineError;
use cairn::engine::request::Request as EngineRequest;
use cairn::engine::stop_point::StopPoint;
use cairn::model::hash::BlobHash;
use cairn::model::id::VersionNumber;
use cairn::model::time::Timestamp;
use cairn::model::tree::Content;

use crate::world::{World, commit, commit_options, committed, long_text};
use support::{content, wait};

#[test]
fn a_version_holds_what_was_written() {
    let world = World::with_repository();
    let large = content::bytes(1, 3 << 20);
    let files: [(&str, &[u8]); 3] =
        [("empty", b""), ("small", b"hello"), ("below/a/directory/large", &large)];
    let reply = world.publish("work", &files);
    assert!(reply.changed);
    assert_eq!(reply.version.number, VersionNumber(1));
    assert_eq!(reply.tag.unwrap().to_string(), "work");
    for (path, bytes) in files {
        assert!(world.bytes("1", path) == bytes, "{path}");
    }
    let shown = world.show("latest").unwrap();
    assert_eq!((shown.files, shown.directories), (3, 3));
    assert_eq!(shown.size_bytes, 5 + large.len() as u64);
    assert_eq!(shown.name.unwrap().to_string(), "work");
}

#[test]
fn message_and_author_are_kept() {
    let world = World::with_repository();
    world.stage("work");
    let request = CommitRequest {
        message: Some("first".to_owned()),
        author: Some("ann".to_owned()),
        tag: Some("v1".parse().unwrap()),
        ..commit("work")
    };
    let made = committed(world.ask(Request::Commit(request))).version;
    assert_eq!((made.message.as_str(), made.author.as_str()), ("first", "ann"));
    assert_eq!(world.show("v1").unwrap().number, made.number);
}

#[test]
fn a_long_message_is_refused() {
    let world = World::with_repository();
    world.stage("work");
    let request = CommitRequest { message: Some(long_text()), ..commit("work") };
    assert_eq!(world.ask(Request::Commit(request)).unwrap_err().kind, ErrorKind::Usage);
    world.commit("work");
}

#[test]
fn no_change_makes_no_version() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"a")]);
    world.stage("two@latest");
    let reply = world.commit("two");
    assert!(!reply.changed);
    assert_eq!(reply.version.number, VersionNumber(1));
    assert_eq!(world.show("two").unwrap().number, VersionNumber(1), "the tag is set to it");

    world.stage("three@latest");
    let reply = committed(
        world.ask(Request::Commit(CommitRequest { allow_empty: true, ..commit("three") })),
    );
    assert!(reply.changed);
    assert_eq!(reply.version.number, VersionNumber(2));
    assert_eq!(reply.version.hash, world.show("1").unwrap().hash);
}

#[test]
fn a_taken_name_is_refused_and_the_area_stays() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"a")]);
    let area = world.stage("two");
    world.write(area, "b", b"b");
    let tag = Some("one".parse().unwrap());
    let error = world.ask(Request::Commit(CommitRequest { tag, ..commit("two") })).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.hint.is_some());
    world.write(area, "c", b"c");
    assert_eq!(world.commit("two").version.files, 2);
}

/// With `cairn commit`, too, an area's name is what its version is called, or the commit is refused: it is
/// not published without a name and without a word.
#[test]
fn an_areas_name_names_the_version_or_the_commit_is_refused() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"a")]);
    for (name, reason) in [
        ("one", "web/one is version 1 already"),
        ("latest", "no version can be named `latest`"),
        ("007", "no version can be named `007`"),
        ("1", "the next number is 2"),
        ("3", "the next number is 2"),
    ] {
        let area = world.stage(name);
        world.write(area, "b", name.as_bytes());
        let error = world.ask(Request::Commit(commit(name))).unwrap_err();
        assert!(error.message.contains(reason), "{name}: {}", error.message);
        let hint = error.hint.unwrap();
        assert!(hint.contains("--tag") && hint.contains("--untagged"), "{name}: {hint}");
        assert_eq!(world.numbers(), [1], "{name}");
    }
    let area = world.stage("2");
    world.write(area, "b", b"2");
    let made = committed(world.ask(Request::Commit(commit("2")))).version;
    assert_eq!((made.number.0, made.name), (2, None), "called by its number");

    let request = CommitRequest { tag: Some("two".parse().unwrap()), ..commit("one") };
    let made = committed(world.ask(Request::Commit(request))).version;
    assert_eq!(made.name.unwrap().to_string(), "two");
    let request = CommitRequest { untagged: true, ..commit("latest") };
    let made = committed(world.ask(Request::Commit(request)));
    assert_eq!((made.tag, made.version.name, made.version.number.0), (None, None, 4));
}

#[test]
fn files_open_for_writing_are_named() {
    let world = World::with_repository();
    let area = world.stage("work");
    let open = world.open_writer(area, "logs/today");
    let error = world.ask(Request::Commit(commit("work"))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    let Some(ErrorDetail::OpenFiles(files)) = error.detail.as_deref() else { panic!("{error:?}") };
    assert_eq!(files, &[b"logs/today"[..].into()]);
    world.close_writer(&open);
    world.commit("work");
}

#[test]
fn a_commit_may_wait_for_writers() {
    let world = World::with_repository();
    let area = world.stage("work");
    let open = world.open_writer(area, "log");
    let request = Request::Commit(CommitRequest { wait: true, ..commit("work") });
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| committed(world.ask(request)));
        // Longer than a commit that does not wait has patience: it would be refused by now.
        let early = support::wait::within(
            cairn::engine::commit::WRITER_GRACE + std::time::Duration::from_millis(500),
            || commit.is_finished(),
        );
        assert!(!early, "it did not wait");
        world.close_writer(&open);
        assert!(commit.join().unwrap().changed);
    });
}

#[test]
fn a_sealed_file_that_is_truncated_to_its_own_length_is_published() {
    let world = World::with_repository();
    for (name, size) in [("small", 5_u32), ("large", 3 << 20)] {
        let bytes = content::bytes(1, size as usize);
        let area = world.stage(name);
        world.write(area, "f", &bytes);
        world.wait_sealed(area, "f");
        let file = world.open_writer(area, "f");
        let now = Timestamp { seconds: 1_000_000_000, nanoseconds: 0 };
        file.truncate(u64::from(size), now).unwrap();
        world.engine.staging.content_modified(&file);
        world.close_writer(&file);
        assert_eq!(file.attr().mtime, now);
        assert!(file.blob().is_ok(), "nothing is to be sealed");
        let version = world.commit(name).version.number.to_string();
        assert!(world.bytes(&version, "f") == bytes);
        assert_eq!(world.entry(&version, "f").unwrap().attributes.mtime, now);
    }
}

#[test]
fn h7_a_rename_is_refused_rather_than_wait_long_for_seals() {
    let world = World::with_repository();
    let area = world.stage("work");
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    world.write(area, "f", b"content");
    hold.wait_reached();
    let options = CommitOptions {
        tag: Some("work".parse().unwrap()),
        caller: "somebody".to_owned(),
        in_rename: true,
        ..commit_options()
    };
    let refused = world.engine.call(|reply| EngineRequest::Commit { area, options, reply });
    assert!(matches!(refused, Err(EngineError::NotSealed { files: 1 })), "{refused:?}");
    drop(hold);
    world.commit("work");
    assert_eq!(world.bytes("1", "f"), b"content");
}

#[test]
fn equal_files_share_a_blob() {
    let world = World::with_repository();
    world.publish("work", &[("a", b"same"), ("b", b"same"), ("c", b"other")]);
    let blobs = world.engine.query(|reader| Ok(reader.totals()?.blobs)).unwrap();
    assert_eq!(blobs, 2);
}

#[test]
fn names_of_one_file_are_a_group() {
    let world = World::with_repository();
    let area = world.stage("work");
    world.write(area, "a", b"one");
    world.link(area, "a", "d/b");
    world.commit("work");
    assert_eq!(world.links("1"), [["a", "d/b"]]);
    let Content::File { blob, .. } = world.entry("1", "d/b").unwrap().content else { panic!() };
    assert_eq!(blob, Some(BlobHash::of(b"one").into()));
}

#[test]
fn an_area_is_found_by_a_label_that_is_the_only_one() {
    let world = World::with_repository();
    world.publish("base", &[("a", b"a")]);
    world.stage("work@1");
    world.stage("work");
    let error = world.ask(Request::Commit(commit("other"))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    // The whole name goes before the label.
    world
        .ask(Request::Discard { repository: "web".parse().unwrap(), area: "work".parse().unwrap() })
        .unwrap();
    world.stage("work@latest");
    let error = world.ask(Request::Commit(commit("work"))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    assert!(error.hint.unwrap().contains("cairn areas"));
    world.commit("work@1");
}

#[test]
fn damaged_content_is_not_published_until_it_was_written_again() {
    let world = World::with_repository();
    world.publish("v1", &[("old", b"old")]);
    let area = world.stage("work@1");
    world.write(area, "lost", b"lost");
    world.write(area, "kept", b"kept");
    world.wait_sealed(area, "lost");
    let hash = BlobHash::of(b"lost");
    world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
    std::fs::remove_file(world.engine.layout.blob(&hash)).unwrap();
    world.engine.report_damage(hash);
    let refused = world.ask(Request::Commit(commit("work"))).unwrap_err();
    assert!(refused.message.contains("lost"), "{refused:?}");
    // What was lost before, in another version, is nobody's fault now.
    let old = BlobHash::of(b"old");
    std::fs::remove_file(world.engine.layout.blob(&old)).unwrap();
    world.engine.report_damage(old);
    world.write(area, "lost", b"lost");
    world.commit("work");
    assert_eq!(world.bytes("2", "lost"), b"lost");
    assert_eq!(world.bytes("2", "kept"), b"kept");
}

#[test]
fn a_file_that_lost_its_end_refuses_the_commit() {
    let world = World::with_repository();
    let area = world.stage("work");
    let content = world.open_writer(area, "f");
    content.write(0, &vec![7; 2 << 20], Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&content);
    let files = fs::read_dir(world.engine.layout.area(area)).unwrap();
    for file in files.map(|file| file.unwrap().path()) {
        File::options().write(true).open(file).unwrap().set_len(1).unwrap();
    }
    world.close_writer(&content);
    let refused = world.ask(Request::Commit(commit("work"))).unwrap_err();
    assert!(refused.message.contains("sealed"), "{refused:?}");
    // Written again, it is published.
    world.write(area, "f", b"short");
    world.commit("work");
    assert_eq!(world.bytes("1", "f"), b"short");
}

/// Nobody could close anything while the process was held: the grace does not count that time (H11).
#[test]
fn the_grace_of_writers_stands_still_while_the_engine_is_held() {
    let world = World::with_repository();
    let area = world.stage("work");
    let content = world.open_writer(area, "f");
    content.write(0, b"written", Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&content);
    let options = commit_options();
    let (sender, outcome) = crossbeam_channel::bounded(1);
    let reply = Box::new(move |result| drop(sender.send(result)));
    world.engine.submit(EngineRequest::Commit { area, options, reply }).unwrap();
    // An answer is given on the thread that does everything, which comes to this one next.
    let (release, held) = crossbeam_channel::bounded::<()>(0);
    let reply = Box::new(move |_| held.recv().unwrap_or_default());
    world.engine.submit(EngineRequest::HoldBlobs { reply }).unwrap();
    let began = Instant::now();
    wait::until("the grace would be over", || began.elapsed() > WRITER_GRACE * 2);
    drop(release);
    // It looks at the commit between two requests.
    for _ in 0..3 {
        drop(world.engine.call(|reply| EngineRequest::HoldBlobs { reply }).unwrap());
    }
    world.close_writer(&content);
    assert_eq!(outcome.recv().unwrap().unwrap().version.number, VersionNumber(1));
    assert_eq!(world.bytes("1", "f"), b"written");
}

/// The last writer had gone, and another comes before the area stands still.
#[test]
fn a_writer_that_comes_just_before_the_freeze_is_waited_for() {
    let world = World::with_repository();
    let area = world.stage("work");
    world.write(area, "f", b"before");
    world.wait_sealed(area, "f");
    std::thread::scope(|scope| {
        let hold = world.engine.stop_points.hold(StopPoint::Freezing);
        let waiting = scope.spawn(|| world.commit("work").version.number.0);
        hold.wait_reached();
        let content = world.open_writer(area, "f");
        content.write(0, b"behind", Timestamp::now()).unwrap();
        world.engine.staging.content_modified(&content);
        drop(hold);
        // Held until the commit was looked at again.
        world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
        world.close_writer(&content);
        assert_eq!(waiting.join().unwrap(), 1);
    });
    assert_eq!(world.bytes("1", "f"), b"behind");
}

/// The writer closes right after the command was ended: nothing is published behind its back.
#[test]
fn a_commit_whose_asker_has_gone_publishes_nothing_and_leaves_the_area() {
    let world = World::with_repository();
    let area = world.stage("work");
    let content = world.open_writer(area, "f");
    let gone = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&gone);
    let options = CommitOptions {
        wait: true,
        asker: Asker::new(move || told.load(Ordering::SeqCst)),
        ..commit_options()
    };
    let (sender, outcome) = crossbeam_channel::bounded(1);
    let reply = Box::new(move |result| drop(sender.send(result)));
    world.engine.submit(EngineRequest::Commit { area, options, reply }).unwrap();
    gone.store(true, Ordering::SeqCst);
    world.close_writer(&content);
    let outcome = outcome.recv_timeout(wait::PATIENCE).unwrap();
    assert!(matches!(outcome, Err(EngineError::Abandoned)), "{outcome:?}");
    assert_eq!(world.numbers(), [0_u64; 0]);
    world.commit("work");
    assert_eq!(world.numbers(), [1]);
}
