//! N12: `rm -rf staging/REPO/NAME`, `cairn discard`

use std::fs;
use std::process::Command;

use rustix::io::Errno;

use support::{Cairn, content, errno};

fn filled(cairn: &Cairn, name: &str) {
    let area = cairn.area("lib", name);
    fs::create_dir(area.join("d")).unwrap();
    for index in 0..50 {
        fs::write(area.join(format!("d/f{index}")), content::bytes(index, 1000)).unwrap();
    }
}

#[test]
fn rm_rf_discards_an_area() {
    let cairn = Cairn::start();
    filled(&cairn, "a");
    let status = Command::new("rm").arg("-rf").arg(cairn.staging("lib/a")).status().unwrap();
    assert!(status.success());
    assert_eq!(errno(fs::metadata(cairn.staging("lib/a"))), Errno::NOENT);
    assert_eq!(fs::read_dir(cairn.staging("lib")).unwrap().count(), 0);
    filled(&cairn, "a");
}

#[test]
fn the_command_discards_a_full_area_at_once() {
    let cairn = Cairn::start();
    filled(&cairn, "a");
    cairn.cli(&["discard", "lib/a"]);
    assert_eq!(errno(fs::metadata(cairn.staging("lib/a"))), Errno::NOENT);
    fs::create_dir(cairn.staging("lib/a")).unwrap();
    assert_eq!(fs::read_dir(cairn.staging("lib/a")).unwrap().count(), 0);
}

#[test]
fn rmdir_refuses_an_area_with_files() {
    let cairn = Cairn::start();
    filled(&cairn, "a");
    assert_eq!(errno(fs::remove_dir(cairn.staging("lib/a"))), Errno::NOTEMPTY);
    cairn.area("lib", "empty");
    fs::remove_dir(cairn.staging("lib/empty")).unwrap();
}

#[test]
fn rm_rf_of_an_area_with_a_base_leaves_the_base() {
    let cairn = Cairn::start();
    filled(&cairn, "a");
    cairn.publish("lib", "a").unwrap();
    cairn.area("lib", "b@1");
    let status = Command::new("rm").arg("-rf").arg(cairn.staging("lib/b@1")).status().unwrap();
    assert!(status.success());
    assert_eq!(fs::read_dir(cairn.versions("lib/1/d")).unwrap().count(), 50);
}

#[test]
fn a_discarded_area_stays_discarded() {
    let mut cairn = Cairn::start();
    filled(&cairn, "a");
    cairn.cli(&["discard", "lib/a"]);
    cairn.restart();
    assert_eq!(errno(fs::metadata(cairn.staging("lib/a"))), Errno::NOENT);
}

#[test]
fn unknown_areas_are_named() {
    let cairn = Cairn::start();
    filled(&cairn, "a");
    let message = cairn.cli_fails(&["discard", "lib/nothing"]);
    assert!(message.contains("nothing"), "{message}");
}
