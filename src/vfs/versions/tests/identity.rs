//! What keeps its inode from one version to the next (H22).

use super::super::fixture::*;
use super::super::*;
use crate::model::tree::LinkGroup;

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
        |e| e.link_group = Some(LinkGroup { id: 1, nlink: 2 }),
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
    let draft = Draft::default().link(5, &["a", "dir/b"], "text").link(6, &["c", "d"], "text");
    let fixture = Fixture::new(&[draft]);
    let a = fixture.walk("repo/1/a");
    assert_eq!(a.nlink, 2);
    assert_eq!(a, fixture.walk("repo/1/dir/b"));
    assert_ne!(a.ino, fixture.ino("repo/1/c"));
    // One inode, one pin.
    fixture.fs.forget(a.ino, 2);
    fixture.fs.forget(fixture.ino("repo/1/c"), 2);
    assert!(!fixture.pins.is_pinned(&BlobHash::of(b"text")));
}
