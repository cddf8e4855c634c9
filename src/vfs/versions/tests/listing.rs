//! `readdir` and `readdirplus`.

use crate::vfs::versions::directory::{Listed, ListedPlus};
use std::collections::BTreeMap;

use super::super::fixture::*;
use super::super::*;
use crate::vfs::error::FsError;

/// A reply with room for some entries.
struct Reply {
    room: usize,
    entries: Vec<(String, Ino)>,
    next: u64,
}

impl Reply {
    fn add(&mut self, name: &[u8], ino: Ino, next: u64) -> bool {
        if self.entries.len() == self.room {
            return true;
        }
        let name = String::from_utf8(name.to_vec()).unwrap();
        self.entries.push((name, ino));
        self.next = next;
        false
    }
}

fn once(fixture: &Fixture, ino: Ino, offset: u64, room: usize, plus: bool) -> Reply {
    let mut reply = Reply { room, entries: Vec::new(), next: offset };
    if plus {
        let add = &mut |e: ListedPlus<'_>| reply.add(e.name, e.attr.ino, e.next);
        fixture.fs.readdirplus(ino, offset, add).unwrap();
    } else {
        let add = &mut |e: Listed<'_>| reply.add(e.name, e.ino, e.next);
        fixture.fs.readdir(ino, offset, add).unwrap();
    }
    reply
}

/// All entries, in replies of `room` entries.
fn all(fixture: &Fixture, ino: Ino, room: usize, plus: bool) -> Vec<(String, Ino)> {
    let (mut entries, mut offset) = (Vec::new(), 0);
    loop {
        let reply = once(fixture, ino, offset, room, plus);
        if reply.entries.is_empty() {
            return entries;
        }
        entries.extend(reply.entries);
        offset = reply.next;
    }
}

fn names(entries: &[(String, Ino)]) -> Vec<&str> {
    entries.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn versions_are_listed_by_number_oldest_first() {
    let drafts: Vec<Draft> = (0..12).map(|i| Draft::default().file("f", &i.to_string())).collect();
    let fixture = Fixture::new(&drafts);
    for room in [1, 3, 100] {
        for plus in [false, true] {
            let entries = all(&fixture, repository_directory(), room, plus);
            let expected =
                [".", "..", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
            assert_eq!(names(&entries), expected);
            assert_eq!(entries[0].1, repository_directory());
            assert_eq!(entries[1].1, ROOT);
            assert_eq!(entries[4].1, fixture.ino("repo/3"));
        }
    }
}

#[test]
fn a_listing_goes_on_where_it_was_when_a_version_disappears() {
    let fixture = Fixture::new(&[Draft::default(), Draft::default(), Draft::default()]);
    let reply = once(&fixture, repository_directory(), 0, 4, false);
    assert_eq!(names(&reply.entries), [".", "..", "1", "2"]);
    fixture.remove(1);
    let rest = once(&fixture, repository_directory(), reply.next, 9, false);
    assert_eq!(names(&rest.entries), ["3"]);
}

#[test]
fn the_root_lists_repositories_in_order_of_creation() {
    let fixture = Fixture::new(&[]);
    fixture.registry.put(repository(RepoId(9), "a", BTreeMap::new()));
    fixture.registry.put(repository(RepoId(1), "z", BTreeMap::new()));
    for plus in [false, true] {
        let entries = all(&fixture, ROOT, 2, plus);
        assert_eq!(names(&entries), [".", "..", "z", "repo", "a"]);
        assert_eq!(entries[3].1, repository_directory());
    }
}

#[test]
fn many_repositories_are_each_listed_once() {
    let fixture = Fixture::new(&[]);
    let ids: Vec<u64> = (1..200).map(|number| 1000 + number * number).collect();
    for id in &ids {
        fixture.registry.put(repository(RepoId(*id), &format!("r{id}"), BTreeMap::new()));
    }
    let mut expected: Vec<String> = [".", "..", "repo"].map(str::to_owned).into();
    expected.extend(ids.iter().map(|id| format!("r{id}")));
    for room in [1, 50, 1000] {
        let entries = all(&fixture, ROOT, room, true);
        assert_eq!(names(&entries), expected);
    }
}

#[test]
fn directories_list_the_numbers_that_lookups_find() {
    let mut draft = Draft::default().file("dir/sub/x", "x");
    for i in 0..3000 {
        draft = draft.file(&format!("dir/{i:05}"), &i.to_string());
    }
    let fixture = Fixture::new(&[draft]);
    let dir = fixture.ino("repo/1/dir");
    for (room, plus) in [(1000, false), (1000, true), (7, true)] {
        let entries = all(&fixture, dir, room, plus);
        assert_eq!(entries.len(), 3003);
        assert_eq!(entries[0], (".".to_owned(), dir));
        assert_eq!(entries[1], ("..".to_owned(), fixture.ino("repo/1")));
        assert!(entries[2..].is_sorted());
        assert_eq!(entries[1002].1, fixture.ino("repo/1/dir/01000"));
        assert_eq!(entries[3002].1, fixture.ino("repo/1/dir/sub"));
    }
    let file = fixture.ino("repo/1/dir/00000");
    let listed = fixture.fs.readdir(file, 0, &mut |_| false);
    assert_eq!(listed, Err(FsError::NotDirectory));
}

#[test]
fn a_listing_with_attributes_counts_what_the_reply_took_and_nothing_else() {
    let draft = Draft::default().file("a", "a").file("b", "b").file("d/c", "c");
    let fixture = Fixture::new(&[draft]);
    let version = fixture.ino("repo/1");
    assert_eq!(fixture.fs.inode_count(), 1);
    once(&fixture, version, 0, 3, false);
    assert_eq!(fixture.fs.inode_count(), 1);
    let reply = once(&fixture, version, 0, 4, true);
    assert_eq!(names(&reply.entries), [".", "..", "a", "b"]);
    assert_eq!(fixture.fs.inode_count(), 3);
    for (_, ino) in &reply.entries[2..] {
        fixture.fs.forget(*ino, 1);
    }
    assert_eq!(fixture.fs.inode_count(), 1);
    assert!(!fixture.pins.is_pinned(&BlobHash::of(b"a").into()));
}
