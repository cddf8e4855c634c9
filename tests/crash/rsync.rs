//! kill -9 in the middle of an rsync into staging

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Cairn, content, tree, wait};

const FILES: u64 = 600;

fn source() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for index in 0..FILES {
        let parent = directory.path().join(format!("d{}", index % 10));
        fs::create_dir_all(&parent).unwrap();
        let size = if index % 100 == 0 { 2_000_000 } else { 3_000 };
        fs::write(parent.join(format!("f{index}")), content::bytes(index, size)).unwrap();
    }
    // rsync leaves a directory's time alone when its second is right already.
    let script = "find \"$1\" -depth -exec touch -d '2020-02-02 02:02:02.123456789' {} +";
    let status = Command::new("sh").args(["-c", script, "sh"]).arg(directory.path()).status();
    assert!(status.unwrap().success());
    directory
}

fn rsync(from: &Path, to: &Path) -> Command {
    let mut command = Command::new("rsync");
    command.arg("-aHAX").arg(format!("{}/", from.display())).arg(format!("{}/", to.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn leaves_whole_files_and_an_area_to_go_on_with() {
    let source = source();
    let mut cairn = Cairn::start();
    for round in 0..3 {
        let name = format!("r{round}");
        let area = cairn.area("lib", &name);
        let mut copying = rsync(source.path(), &area).spawn().unwrap();
        let began = area.join(format!("d{}", 3 + round * 2));
        wait::until("rsync is in the middle", || {
            fs::read_dir(&began).is_ok_and(|entries| entries.count() > 20)
                || copying.try_wait().unwrap().is_some()
        });
        cairn.kill9();
        copying.wait().unwrap();
        cairn.mount();
        assert_whole(source.path(), &area);
        // What rsync had not renamed yet is left under its temporary name.
        assert!(rsync(source.path(), &area).arg("--delete").status().unwrap().success());
        tree::assert_same_below(source.path(), &area);
        cairn.publish("lib", &name).unwrap();
        tree::assert_same_below(source.path(), &cairn.tags("lib").join(&name));
    }
}

/// Files under their final name are whole: rsync renames only what it has written.
fn assert_whole(source: &Path, area: &Path) {
    for directory in 0..10 {
        let name = format!("d{directory}");
        let Ok(entries) = fs::read_dir(area.join(&name)) else {
            continue;
        };
        for entry in entries {
            let file = entry.unwrap().file_name();
            if file.to_str().unwrap().starts_with('.') {
                continue;
            }
            let found = fs::read(area.join(&name).join(&file)).unwrap();
            let expected = fs::read(source.join(&name).join(&file)).unwrap();
            assert!(found == expected, "{file:?} has {} bytes", found.len());
        }
    }
}
