//! Imports by a client that lies: refused with a clear error, and without a trace (R6).

use cairn::control::import::ImportRequest;
use cairn::control::protocol::{ControlError, ErrorKind};
use cairn::control::reply::Reply;
use cairn::control::service::Attachment;
use cairn::model::hash::BlobHash;
use cairn::model::import::{FileSource, ImportContent, ImportEntry, ImportOptions};

use crate::world::{Import, World, entry, file, inline, long_text};
use support::wait;

#[track_caller]
fn refused(answer: Result<Reply, ControlError>, named: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage, "{error}");
    assert!(error.message.contains(named), "{error}");
}

fn payload(bytes: &[u8]) -> Attachment {
    Attachment::of_payload(bytes.to_vec())
}

#[test]
fn content_that_was_not_asked_for_is_not_known() {
    let world = World::with_repository();
    world.publish("one", &[("secret", b"secret")]);
    let import = Import::additive(&world);
    for hash in [BlobHash::of(b"nowhere"), BlobHash::of(b"secret")] {
        refused(import.put(vec![file("claimed", 6, FileSource::Known(hash))]), "claimed");
    }
    import.known(&[BlobHash::of(b"nowhere")]);
    let source = FileSource::Known(BlobHash::of(b"nowhere"));
    refused(import.put(vec![file("claimed", 7, source)]), "claimed");
}

#[test]
fn a_length_must_be_the_content_s() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"five!")]);
    let hash = BlobHash::of(b"five!");
    let import = Import::additive(&world);
    assert_eq!(import.known(&[hash]), [true]);
    for size in [0, 4, 6, u64::MAX] {
        refused(import.put(vec![file("known", size, FileSource::Known(hash))]), "known");
        let source = FileSource::Inline { offset: 0, len: 5 };
        refused(import.put_with(vec![file("inline", size, source)], payload(b"five!")), "inline");
    }
    refused(import.put(vec![file("empty", 1, FileSource::Empty)]), "empty");
    // An open file may have a hole of any length, which nobody shall hash.
    let hole = tempfile::tempfile().unwrap();
    let source = FileSource::Attached { index: 0 };
    let entries = vec![file("hole", (16 << 40) + 1, source)];
    refused(import.put_with(entries, Attachment::of_files(vec![hole])), "hole");
    import.put(vec![file("known", 5, FileSource::Known(hash))]).unwrap();
}

#[test]
fn content_must_be_attached() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    refused(import.put_with(vec![inline("inline", 3, 3)], payload(b"short")), "inline");
    refused(import.put(vec![file("attached", 3, FileSource::Attached { index: 0 })]), "attached");
}

#[test]
fn a_path_stays_inside() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    for path in ["..", "a/../../b", "/etc/passwd", "a//b", "a/.", ".", "a\0b"] {
        let answer = import.put(vec![entry(path, ImportContent::Directory)]);
        assert_eq!(answer.unwrap_err().kind, ErrorKind::Usage, "{path:?}");
        let to = path.as_bytes().into();
        let answer = import.put(vec![entry("link", ImportContent::Hardlink { to })]);
        assert_eq!(answer.unwrap_err().kind, ErrorKind::Usage, "{path:?}");
    }
    // A symlink on the way is a file like any other.
    let target = b"/etc"[..].to_vec().into();
    import.put(vec![entry("symlink", ImportContent::Symlink { target })]).unwrap();
    refused(import.put(vec![file("symlink/passwd", 0, FileSource::Empty)]), "symlink/passwd");
}

#[test]
fn links_name_a_file_put_before() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    let link = |to: &[u8]| entry("link", ImportContent::Hardlink { to: to.into() });
    refused(import.put(vec![link(b"missing")]), "link");
    import.put(vec![entry("d", ImportContent::Directory)]).unwrap();
    refused(import.put(vec![link(b"d")]), "link");
    refused(import.put(vec![link(b"")]), "link");
    import.put_file("d/file", b"1");
    let inside = entry("d", ImportContent::Hardlink { to: b"d/file"[..].into() });
    refused(import.put(vec![inside]), "d: ");
    import.finish().unwrap();
    assert_eq!(world.bytes("1", "d/file"), b"1");
}

#[test]
fn bad_attributes_are_refused() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    let with = |change: &dyn Fn(&mut ImportEntry)| {
        let mut entry = entry("entry", ImportContent::Directory);
        change(&mut entry);
        import.put(vec![entry])
    };
    refused(with(&|entry| entry.attributes.mode = 0o100_644), "entry");
    refused(with(&|entry| entry.attributes.mtime.nanoseconds = 1_000_000_000), "entry");
    refused(
        with(&|entry| entry.path = b""[..].into())
            .and_then(|_| import.put(vec![file("", 0, FileSource::Empty)])),
        "root",
    );
}

#[test]
fn long_texts_are_refused_at_the_start() {
    let world = World::with_repository();
    let begin = ImportRequest::Begin(ImportOptions {
        repository: "web".parse().unwrap(),
        create: false,
        mirror: false,
        message: long_text(),
        author: None,
        tag: None,
    });
    let error = Import::begin(&world, 1, begin).map(|import| import.id).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
}

/// Files that are on their way into the pool.
fn on_the_way(world: &World) -> usize {
    std::fs::read_dir(world.engine.layout.incoming()).unwrap().count()
}

/// An open file, to be attached.
fn opened(bytes: &[u8]) -> std::fs::File {
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
    file
}

#[test]
fn a_refused_batch_leaves_no_file_on_the_way() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    let entries = vec![inline("first", 0, 5), inline("second", 3, 9)];
    refused(import.put_with(entries, payload(b"first")), "second");
    assert_eq!(on_the_way(&world), 0);
    import.put_file("third", b"3");
    import.finish().unwrap();
    world.collect();
    assert!(world.blob(&BlobHash::of(b"first")).is_none());
}

#[test]
fn a_file_that_became_shorter_leaves_nothing_on_the_way() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    let attached = |index| FileSource::Attached { index };
    let entries = vec![file("whole", 5, attached(0)), file("short", 10, attached(1))];
    let files = vec![opened(b"12345"), opened(b"54321")];
    let error = import.put_with(entries, Attachment::of_files(files)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.message.contains("short"), "{error}");
    assert_eq!(on_the_way(&world), 0);
}

#[test]
fn what_a_refused_batch_stored_by_its_name_goes_again() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    let hash = BlobHash::of(b"first");
    // New content gets its name at once.
    assert_eq!(import.known(&[hash]), [false]);
    let attached = FileSource::Attached { index: 0 };
    let entries = vec![inline("first", 0, 5), file("short", 10, attached)];
    let attachment = Attachment { payload: b"first".to_vec(), files: vec![opened(b"54321")] };
    assert!(import.put_with(entries, attachment).is_err());
    wait::until("it is removed", || world.blob(&hash).is_none());
    import.put_file("first", b"first");
    import.finish().unwrap();
    assert_eq!(world.bytes("1", "first"), b"first");
}

#[test]
fn what_a_batch_behind_a_refused_one_stored_by_its_name_goes_again() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    import.put_file("file", b"1");
    let hash = BlobHash::of(b"12345");
    assert_eq!(import.known(&[hash]), [false]);
    import.send(vec![inline("file/below", 0, 1)], payload(b"2")).unwrap();
    let answer = import.send(vec![inline("next", 0, 5)], payload(b"12345"));
    refused(answer.and_then(|_| import.put(Vec::new())), "below a file");
    wait::until("it is removed", || world.blob(&hash).is_none());
    assert_eq!(on_the_way(&world), 0);
}

#[test]
fn a_batch_behind_one_that_is_refused_leaves_no_file_on_the_way() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    import.put_file("file", b"1");
    // That nothing can be below a file shows only when the next batch is written already.
    import.send(vec![inline("file/below", 0, 1)], payload(b"2")).unwrap();
    let next = vec![file("next", 5, FileSource::Attached { index: 0 })];
    let answer = import.send(next, Attachment::of_files(vec![opened(b"12345")]));
    refused(answer, "below a file");
    assert_eq!(on_the_way(&world), 0);
}
