//! Set-user-ID and set-group-ID bits, which a change by somebody else takes away
//!
//! Asked for is the mode alone: a kernel that remembers it answers that without asking anybody.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, StatxFlags, statx};

use support::Area;
use support::area::{as_nobody, set_mode};

fn mode_alone(path: &Path) -> u32 {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MODE).unwrap();
    u32::from(found.stx_mode) & 0o7777
}

/// What changes the file `$1`; `$2` is another one in its directory.
const CHANGES: [&str; 9] = [
    "printf x >> \"$1\"",
    "printf x 1<> \"$1\"",
    ": > \"$1\"",
    "dd if=/dev/zero of=\"$1\" bs=4096 count=1 oflag=direct conv=notrunc status=none",
    "truncate -s 1 \"$1\"",
    "truncate -s 1M \"$1\"",
    "fallocate -l 9000 \"$1\"",
    "fallocate -p -o 0 -l 10 \"$1\"",
    // `cat` asks the kernel to copy where it can.
    "cat \"$2\" 1<> \"$1\"",
];

#[test]
fn a_change_by_another_user_is_seen_in_the_mode_at_once() {
    let area = Area::shared();
    let other = area.file("other", vec![b'o'; 20_000]);
    for (number, change) in CHANGES.iter().enumerate() {
        for sealed in [false, true] {
            let name = format!("{number}{sealed}");
            let path = if sealed { area.sealed(&name, "text") } else { area.file(&name, "text") };
            set_mode(&path, 0o6777);
            assert_eq!(mode_alone(&path), 0o6777);
            let output = as_nobody(change, &[&path, &other]);
            assert!(output.status.success(), "{change}: {output:?}");
            assert_eq!(mode_alone(&path), 0o777, "after {change}, sealed: {sealed}");
        }
    }
}

#[test]
fn so_it_is_with_a_mode_that_came_with_a_name() {
    let area = Area::shared();
    let directory = area.directory("d");
    set_mode(&directory, 0o777);
    let umask = rustix::process::umask(Mode::empty());
    let made = File::options().write(true).create_new(true).mode(0o6777).open(area.path("d/made"));
    rustix::process::umask(umask);
    drop(made.unwrap());
    area.file("d/linked", "text");
    set_mode(&area.path("d/linked"), 0o6777);
    fs::hard_link(area.path("d/linked"), area.path("d/name")).unwrap();
    for name in ["made", "name"] {
        let path = directory.join(name);
        let listed = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().metadata());
        assert_eq!(listed.filter(|meta| meta.is_ok()).count(), 3);
        assert_eq!(mode_alone(&path), 0o6777, "{name}");
        let output = as_nobody("printf x >> \"$1\"", &[&path]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(mode_alone(&path), 0o777, "{name}");
    }
}

#[test]
fn a_new_owner_takes_them_away() {
    let area = Area::shared();
    let path = area.file("f", "text");
    set_mode(&path, 0o6755);
    std::os::unix::fs::chown(&path, Some(1), None).unwrap();
    assert_eq!(mode_alone(&path), 0o755);
}

#[test]
fn the_superuser_may_write_and_keep_them() {
    let area = Area::shared();
    let path = area.file("f", "text");
    set_mode(&path, 0o6755);
    let mut file = File::options().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"more").unwrap();
    assert_eq!(mode_alone(&path), 0o6755);
}
