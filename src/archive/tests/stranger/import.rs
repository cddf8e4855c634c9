//! What somebody else may do to a directory that is being imported.

use super::*;
use crate::archive::import::import_directory_with;
use crate::archive::path::ArchivePath;

#[test]
fn what_an_import_finds_may_be_another_file_by_then() {
    for kind in KINDS.iter().filter(|kind| **kind != "directory") {
        for trick in TRICKS {
            let scene = Scene::new(|_| {});
            let (secret, theirs) = (scene.path("secret"), scene.path("theirs"));
            fs::write(theirs.join("a"), b"read first, when the walk has seen the other").unwrap();
            make(&theirs.join("entry"), kind);
            let act = |path: &ArchivePath| {
                if path.as_bytes() == b"a" {
                    // Not removed: its number would be given to the next file.
                    rustix::fs::rename(theirs.join("entry"), scene.path("aside")).unwrap();
                    trick.play(&secret, &theirs.join("entry"));
                }
            };
            let mut store = MemoryStore::default();
            let options = DirectoryImport::default();
            let error = import_directory_with(&theirs, options, &mut store, &mut Unobserved, &act);
            if *kind == "file" && matches!(trick, Trick::HardLinkToFile | Trick::RootsFile) {
                // The kernel lets no stranger link what he cannot write; to root it is one more file.
                error.unwrap();
            } else {
                let error = error.unwrap_err();
                assert!(matches!(error, ArchiveError::Unreadable(_)), "{kind}, {trick:?}: {error}");
                assert!(!store.blobs.values().any(|bytes| bytes == b"secret"), "{kind}, {trick:?}");
            }
        }
    }
}

#[test]
fn a_group_whose_first_name_is_replaced_meanwhile_is_not_imported() {
    let scene = Scene::new(|_| {});
    let theirs = scene.path("theirs");
    fs::write(theirs.join("a"), b"read first").unwrap();
    fs::write(theirs.join("first"), b"content of both").unwrap();
    rustix::fs::link(theirs.join("first"), theirs.join("second")).unwrap();
    let act = |path: &ArchivePath| {
        if path.as_bytes() == b"a" {
            fs::write(theirs.join("new"), b"another file").unwrap();
            rustix::fs::rename(theirs.join("new"), theirs.join("first")).unwrap();
        }
    };
    let mut store = MemoryStore::default();
    let options = DirectoryImport::default();
    let error = import_directory_with(&theirs, options, &mut store, &mut Unobserved, &act);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("first: it was replaced by another file"), "{error}");
}

#[test]
fn a_directory_that_becomes_a_link_is_not_walked() {
    let scene = Scene::new(|_| {});
    let theirs = scene.path("theirs");
    fs::create_dir(theirs.join("d")).unwrap();
    let mut walker = Walker::new(&theirs, Vec::new()).unwrap();
    // The top was read, so its names are known.
    walker.next().unwrap().unwrap();
    fs::remove_dir(theirs.join("d")).unwrap();
    symlink(scene.path("secret"), theirs.join("d")).unwrap();
    let found = walker.next().unwrap().unwrap();
    assert!(matches!(found.handle, EntryHandle::Name { .. }), "the link itself");
    assert!(walker.next().is_none());
}
