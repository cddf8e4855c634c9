//! What keeps its inode from one version to the next (H22).

use std::collections::BTreeSet;

use super::super::fixture::*;
use super::super::*;
use crate::model::tree::{LinkGroup, LinkScope};

#[test]
fn an_unchanged_file_keeps_its_inode_and_a_directory_does_not() {
    let first = Draft::default().file("dir/same", "text").file("dir/changed", "old");
    let second = first.clone().file("dir/changed", "new");
    let fixture = Fixture::new(&[first, second]);
    let ino = |path| fixture.ino(path);
    assert_eq!(ino("repo/1/dir/same"), ino("repo/2/dir/same"));
    assert_ne!(ino("repo/1/dir/changed"), ino("repo/2/dir/changed"));
    assert_ne!(ino("repo/1/dir"), ino("repo/2/dir"));
    assert_ne!(ino("repo/1"), ino("repo/2"));
}

#[test]
fn numbers_are_the_same_after_a_restart() {
    let draft = Draft::default().file("dir/file", "text");
    let (first, second) = (Fixture::new(std::slice::from_ref(&draft)), Fixture::new(&[draft]));
    for path in ["repo", "repo/1", "repo/1/dir", "repo/1/dir/file"] {
        assert_eq!(first.ino(path), second.ino(path), "{path}");
    }
}

#[test]
fn whatever_stat_or_getxattr_shows_is_part_of_the_identity() {
    let base = Draft::default().file("f", "text").file("g", "text");
    let changes: [fn(&mut Entry); 7] = [
        |e| e.attributes.mode = 0o600,
        |e| e.attributes.uid = 1,
        |e| e.attributes.gid = 1,
        |e| e.attributes.mtime.nanoseconds += 1,
        |e| drop(e.attributes.xattrs.insert((*b"user.a").into(), (*b"b").into())),
        |e| e.content = text("TEXT"),
        |e| e.link_group = Some(LinkGroup { id: 1, nlink: 2, scope: LinkScope::Above(0) }),
    ];
    let mut drafts = vec![base.clone()];
    drafts.extend(changes.map(|change| base.clone().change("f", change)));
    let fixture = Fixture::new(&drafts);
    let mut numbers: Vec<Ino> =
        (1..=drafts.len()).map(|number| fixture.ino(&format!("repo/{number}/f"))).collect();
    // Another path with the same content and attributes is another file.
    numbers.push(fixture.ino("repo/1/g"));
    let distinct: std::collections::BTreeSet<Ino> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len());
}

#[test]
fn names_of_a_hardlink_group_are_one_inode() {
    let draft = Draft::default().link(&["a", "dir/b"], "text").link(&["c", "d"], "text");
    let fixture = Fixture::new(&[draft]);
    let a = fixture.walk("repo/1/a");
    assert_eq!(a.nlink, 2);
    assert_eq!(a, fixture.walk("repo/1/dir/b"));
    assert_ne!(a.ino, fixture.ino("repo/1/c"));
    // One inode, one pin.
    fixture.fs.forget(a.ino, 2);
    fixture.fs.forget(fixture.ino("repo/1/c"), 2);
    assert!(!fixture.pins.is_pinned(&BlobHash::of(b"text").into()));
}

/// Two groups never share a number, although the tree that holds them is one (H22).
#[test]
fn a_tree_that_is_used_twice_has_two_groups() {
    let draft = Draft::default()
        .link(&["one/a", "one/sub/b"], "text")
        .link(&["two/a", "two/sub/b"], "text");
    let fixture = Fixture::new(&[draft]);
    let (one, two) = (fixture.walk("repo/1/one/a"), fixture.walk("repo/1/two/a"));
    assert_eq!((one.nlink, two.nlink), (2, 2));
    assert_ne!(one.ino, two.ino);
    assert_eq!(one.ino, fixture.ino("repo/1/one/sub/b"));
    assert_eq!(two.ino, fixture.ino("repo/1/two/sub/b"));
}

/// What an earlier release recorded under one id is one file only where it can be.
#[test]
fn groups_of_earlier_releases_that_share_an_id_are_kept_apart() {
    let draft = Draft::default()
        .link_of_version(7, &["x/a", "y/b"], "one")
        .link_of_version(7, &["x/c", "y/d"], "two")
        .link_of_version(8, &["x/e", "y/f"], "same")
        .link_of_version(8, &["x/g", "y/h"], "same");
    let fixture = Fixture::new(&[draft]);
    let ino = |path| fixture.ino(&format!("repo/1/{path}"));
    assert_eq!(ino("x/a"), ino("y/b"));
    assert_eq!(ino("x/c"), ino("y/d"));
    assert_ne!(ino("x/a"), ino("x/c"));
    // Nobody can tell which of these belong together.
    let alike = ["x/e", "y/f", "x/g", "y/h"].map(|path| fixture.walk(&format!("repo/1/{path}")));
    assert!(alike.iter().all(|attr| attr.nlink == 1));
    let distinct: BTreeSet<Ino> = alike.iter().map(|attr| attr.ino).collect();
    assert_eq!(distinct.len(), 4);
}

#[test]
fn counted_numbers_tell_apart_what_hashed_ones_do() {
    let first = Draft::default().file("dir/same", "text").file("dir/changed", "old");
    let second = first.clone().file("dir/changed", "new");
    let fixture = Fixture::numbered(&[first, second], Numbering::Counted);
    let paths = ["repo/1", "repo/1/dir", "repo/1/dir/changed", "repo/2/dir", "repo/2/dir/changed"];
    let numbers: BTreeSet<Ino> = paths.iter().map(|path| fixture.ino(path)).collect();
    assert_eq!(numbers.len(), paths.len());
    assert!(numbers.iter().all(|ino| u32::try_from(ino.0).is_ok()), "{numbers:?}");
    assert_eq!(fixture.ino("repo/1/dir/same"), fixture.ino("repo/2/dir/same"));
    assert!(paths.iter().all(|path| numbers.contains(&fixture.ino(path))), "the same each time");
}
