//! What another user may do: the kernel decides by owner and mode

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::chown;

use support::Area;
use support::area::{NOBODY, as_nobody, set_mode};

#[track_caller]
fn allowed(line: &str, path: &std::path::Path) {
    let output = as_nobody(line, &[path]);
    assert!(output.status.success(), "{line} on {}: {output:?}", path.display());
}

#[track_caller]
fn denied(line: &str, path: &std::path::Path) {
    let output = as_nobody(line, &[path]);
    assert!(!output.status.success(), "{line} on {} was allowed", path.display());
}

#[test]
fn reading_and_writing_follow_the_mode() {
    let area = Area::shared();
    let path = area.file("f", "text");
    set_mode(&path, 0o600);
    denied("cat \"$1\"", &path);
    set_mode(&path, 0o604);
    allowed("cat \"$1\"", &path);
    denied("echo x >> \"$1\"", &path);
    set_mode(&path, 0o606);
    allowed("echo x >> \"$1\"", &path);
    denied("chmod 777 \"$1\"", &path);
    denied("touch -d 2001-01-01 \"$1\"", &path);
    allowed("touch \"$1\"", &path);
}

#[test]
fn making_and_removing_needs_the_directory() {
    let area = Area::shared();
    let directory = area.directory("d");
    area.file("d/f", "x");
    denied("rm -f \"$1\"/f", &directory);
    denied("touch \"$1\"/g", &directory);
    set_mode(&directory, 0o777);
    allowed("touch \"$1\"/g && rm -f \"$1\"/f", &directory);
    let meta = fs::metadata(directory.join("g")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY));
}

#[test]
fn a_sticky_directory_protects_the_files_of_others() {
    let area = Area::shared();
    let directory = area.directory("d");
    set_mode(&directory, 0o1777);
    area.file("d/f", "x");
    denied("rm -f \"$1\"/f", &directory);
    denied("mv \"$1\"/f \"$1\"/g", &directory);
    chown(directory.join("f"), Some(NOBODY), None).unwrap();
    allowed("rm -f \"$1\"/f", &directory);
}

#[test]
fn search_permission_guards_what_is_below() {
    let area = Area::shared();
    let directory = area.directory("d");
    let path = area.file("d/f", "x");
    set_mode(&directory, 0o700);
    denied("cat \"$1\"", &path);
    set_mode(&directory, 0o711);
    allowed("cat \"$1\"", &path);
    denied("ls \"$1\"", &directory);
    set_mode(&directory, 0o744);
    denied("cat \"$1\"", &path);
}

#[test]
fn the_owner_of_a_file_changes_its_mode() {
    let area = Area::shared();
    let path = area.file("f", "x");
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    allowed("chmod 640 \"$1\" && touch -d 2001-01-01 \"$1\"", &path);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn execution_needs_the_bit() {
    let area = Area::shared();
    let path = area.file("script", "#!/bin/sh\nexit 0\n");
    denied("\"$1\"", &path);
    set_mode(&path, 0o755);
    allowed("\"$1\"", &path);
}
