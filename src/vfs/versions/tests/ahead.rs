//! What is done ahead for the files of a listing.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::super::fixture::*;
use super::super::*;

/// What is done with content before the kernel is told of it.
type Before = Box<dyn Fn(&[u8]) + Send + Sync>;

/// A kernel that remembers what it gets.
struct Kernel {
    takes: AtomicBool,
    /// What it gets; `None` for what it is to forget.
    told: Mutex<Sender<(Ino, Option<Vec<u8>>)>>,
    /// Runs before it is told.
    before: Before,
}

impl KernelPages for Kernel {
    fn takes_content(&self) -> bool {
        self.takes.load(Ordering::Relaxed)
    }

    fn hand_over(&self, ino: Ino, content: &[u8]) -> io::Result<bool> {
        (self.before)(content);
        self.told.lock().send((ino, Some(content.to_vec()))).map_err(io::Error::other)?;
        Ok(true)
    }

    fn forget(&self, ino: Ino) {
        self.told.lock().send((ino, None)).unwrap();
    }
}

type Told = Receiver<(Ino, Option<Vec<u8>>)>;

fn connected(
    fixture: &Fixture,
    before: impl Fn(&[u8]) + Send + Sync + 'static,
) -> (Arc<Kernel>, Told) {
    let (sender, told) = channel();
    let (takes, before): (_, Before) = (AtomicBool::new(true), Box::new(before));
    let kernel = Arc::new(Kernel { takes, told: Mutex::new(sender), before });
    fixture.fs.connect(Arc::clone(&kernel) as Arc<_>);
    (kernel, told)
}

/// Lists a directory as a reader does; the numbers of its files by name.
fn list(fixture: &Fixture, ino: Ino) -> BTreeMap<String, Ino> {
    let mut found = BTreeMap::new();
    let listed = fixture.fs.readdirplus(ino, 0, &mut |entry| {
        let name = String::from_utf8(entry.name.to_vec()).unwrap();
        found.insert(name, entry.attr.ino).is_some()
    });
    fixture.fs.listed(listed.unwrap());
    found
}

fn store_all(fixture: &Fixture, contents: &[String]) {
    for content in contents {
        fixture.store(content);
    }
}

fn many(count: usize) -> (Draft, Vec<String>) {
    let contents: Vec<String> = (0..count).map(|number| format!("content {number}")).collect();
    let files = contents.iter().enumerate();
    let draft = files.fold(Draft::default(), |draft, (number, content)| {
        draft.file(&format!("f{number:03}"), content)
    });
    (draft, contents)
}

#[test]
fn content_is_handed_over_once_it_was_listed_but_for_probes_and_declared_names() {
    let (draft, contents) = many(64);
    let fixture = Fixture::new(&[draft.with("declared", declared(b"declared"))]);
    store_all(&fixture, &contents);
    let (kernel, told) = connected(&fixture, |_| {});
    let version = fixture.ino("repo/1");
    let files = list(&fixture, version);
    let expected: BTreeMap<Ino, &String> = (0..)
        .zip(&contents)
        .map(|(number, content)| (files[&format!("f{number:03}")], content))
        .filter(|(ino, _)| !ino.0.is_multiple_of(16))
        .collect();
    for _ in 0..expected.len() {
        let (ino, content) = told.recv().unwrap();
        assert_eq!(content.unwrap(), expected[&ino].as_bytes());
    }
    // What the kernel knows already it does not get again.
    list(&fixture, version);
    let blobs = Arc::clone(&fixture.blobs);
    drop((fixture, kernel));
    assert_eq!(told.recv().ok(), None);
    // No READ will tell that it is used.
    assert_eq!(blobs.uses.load(Ordering::Relaxed), expected.len());
}

#[test]
fn h8_nothing_is_handed_over_while_no_guard_watches() {
    let (draft, contents) = many(64);
    let fixture = Fixture::new(&[draft]);
    store_all(&fixture, &contents);
    let (kernel, told) = connected(&fixture, |_| {});
    kernel.takes.store(false, Ordering::Relaxed);
    list(&fixture, fixture.ino("repo/1"));
    drop((fixture, kernel));
    assert_eq!(told.recv().ok(), None);
}

#[test]
fn h5_what_is_marked_while_it_is_handed_over_is_forgotten() {
    let (draft, contents) = many(8);
    let fixture = Fixture::new(&[draft]);
    store_all(&fixture, &contents);
    let blobs = Arc::clone(&fixture.blobs);
    // As a mark does, it keeps the blob from being opened.
    let mark =
        move |content: &[u8]| rustix::fs::unlink(blobs.path(&BlobHash::of(content))).unwrap();
    let (_kernel, told) = connected(&fixture, mark);
    let files = list(&fixture, fixture.ino("repo/1"));
    let is_file = |ino: &Ino| number::Class::of(*ino) == Some(number::Class::File);
    let handed = files.values().filter(|ino| is_file(ino) && !ino.0.is_multiple_of(16)).count();
    let mut forgotten = Vec::new();
    while forgotten.len() < handed {
        let (ino, content) = told.recv().unwrap();
        if content.is_none() {
            forgotten.push(ino);
        }
    }
    forgotten.sort_unstable();
    forgotten.dedup();
    assert_eq!(forgotten.len(), handed);
}

#[test]
fn whoever_only_lists_has_little_handed_over() {
    let (draft, contents) = many(900);
    let fixture = Fixture::new(&[draft]);
    store_all(&fixture, &contents);
    let (kernel, told) = connected(&fixture, |_| {});
    list(&fixture, fixture.ino("repo/1"));
    drop((fixture, kernel));
    assert!(told.iter().count() <= 256);
}
