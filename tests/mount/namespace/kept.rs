//! H14: what the kernel keeps of the names of repositories and areas, and what ends it

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use support::{Cairn, errno};

/// An area whose name and the names in it were just asked for, by paths from the root of the mount.
fn walked(cairn: &Cairn, repository: &str, name: &str) -> PathBuf {
    let area = cairn.area(repository, name);
    fs::create_dir(area.join("d")).unwrap();
    fs::write(area.join("d/f"), "content").unwrap();
    assert_eq!(
        fs::read_to_string(cairn.staging(repository).join(name).join("d/f")).unwrap(),
        "content"
    );
    area
}

#[test]
fn a_published_area_is_a_tag_at_once_whoever_looked_at_it_before() {
    let cairn = Cairn::start();
    for number in 1..=20 {
        let name = format!("a{number}");
        let area = walked(&cairn, "lib", &name);
        fs::rename(&area, cairn.tags("lib").join(&name)).unwrap();
        let target = fs::read_link(cairn.tags("lib").join(&name)).unwrap();
        assert_eq!(target, PathBuf::from(format!("../../versions/lib/{number}")));
        assert_eq!(errno(fs::symlink_metadata(&area)), Errno::NOENT);
        assert_eq!(errno(fs::read(area.join("d/f"))), Errno::NOENT);
        // A new one of that name is a new one.
        fs::create_dir(&area).unwrap();
        assert_eq!(fs::read_dir(&area).unwrap().count(), 0);
        fs::write(area.join("new"), "n").unwrap();
        fs::remove_file(area.join("new")).unwrap();
        fs::remove_dir(&area).unwrap();
    }
}

#[test]
fn a_rename_that_is_refused_leaves_the_area_and_the_next_one_publishes_it() {
    let cairn = Cairn::start();
    let area = walked(&cairn, "lib", "a");
    let writer = File::create(area.join("open")).unwrap();
    assert_eq!(errno(fs::rename(&area, cairn.tags("lib/a"))), Errno::BUSY);
    assert_eq!(fs::read_to_string(area.join("d/f")).unwrap(), "content");
    fs::write(area.join("d/more"), "m").unwrap();
    drop(writer);
    fs::rename(&area, cairn.tags("lib/a")).unwrap();
    assert_eq!(fs::read_to_string(cairn.tags("lib/a/d/more")).unwrap(), "m");
}

#[test]
fn an_area_is_gone_when_the_command_that_ends_it_is_done() {
    let cairn = Cairn::start();
    for (command, name) in [("commit", "a"), ("discard", "a"), ("commit", "b")] {
        let area = walked(&cairn, "lib", name);
        cairn.cli(&[command, &format!("lib/{name}")]);
        assert_eq!(errno(fs::symlink_metadata(&area)), Errno::NOENT, "{command}");
        assert_eq!(errno(fs::write(area.join("d/g"), "")), Errno::NOENT, "{command}");
        // Only the next commit has something to say.
        if command == "commit" {
            cairn.cli(&["delete", "--force", "lib/latest"]);
        }
    }
}

#[test]
fn who_works_in_an_area_goes_on_when_it_is_published() {
    let cairn = Cairn::start();
    let area = walked(&cairn, "lib", "a");
    let script = "exec 3<. ; mv \"$1\" \"$2\" && cat d/f && ls . && find . -type f && cat /proc/self/fd/3/d/f";
    let output = Command::new("bash")
        .args(["-euc", script, "bash"])
        .args([&area, &cairn.tags("lib/a")])
        .current_dir(&area)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text, "contentd\n./d/f\ncontent");
}

#[test]
fn a_repository_that_a_command_removed_is_gone_at_once() {
    let cairn = Cairn::start();
    for _ in 0..3 {
        walked(&cairn, "lib", "a");
        assert_eq!(fs::read_dir(cairn.tags("lib")).unwrap().count(), 0);
        let directory =
            rustix::fs::open(cairn.staging("lib"), OFlags::DIRECTORY, Mode::empty()).unwrap();
        cairn.cli(&["discard", "lib/a"]);
        cairn.cli(&["delete", "lib"]);
        for path in ["lib", "lib/a", "lib/a/d/f"] {
            assert_eq!(errno(fs::symlink_metadata(cairn.staging(path))), Errno::NOENT, "{path}");
            assert_eq!(errno(fs::symlink_metadata(cairn.tags(path))), Errno::NOENT, "{path}");
            assert_eq!(
                errno(File::create(cairn.staging(path).join("new"))),
                Errno::NOENT,
                "{path}"
            );
        }
        // Who stood in it is told so.
        let stood = rustix::fs::statat(&directory, "a", AtFlags::empty());
        assert!(matches!(stood, Err(Errno::NOENT | Errno::STALE)), "{stood:?}");
        fs::create_dir(cairn.staging("lib")).unwrap();
        fs::remove_dir(cairn.staging("lib")).unwrap();
    }
}

#[test]
fn a_change_of_a_repositorys_owner_is_seen_through_a_kept_name() {
    let cairn = Cairn::start_with(&["-o", "allow_other"]);
    walked(&cairn, "lib", "a");
    for mode in [0o700, 0o755] {
        support::area::set_mode(&cairn.staging("lib"), mode);
        let seen = Command::new("setpriv")
            .args(["--reuid=12345", "--regid=12345", "--clear-groups", "cat"])
            .arg(cairn.staging("lib/a/d/f"))
            .output()
            .unwrap();
        assert_eq!(
            seen.status.success(),
            mode == 0o755,
            "{}",
            String::from_utf8_lossy(&seen.stderr)
        );
    }
}
