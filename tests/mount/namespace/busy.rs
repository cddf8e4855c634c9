//! N16, H11: a commit waits for what is closed and refuses what is open for writing

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use support::{Cairn, errno, mapping::Mapping, scale};

/// The grace before EBUSY is about one second; the rest is a loaded machine.
const ANSWER_MAX: Duration = Duration::from_secs(60);

#[test]
fn an_open_writer_is_ebusy_and_its_close_ends_that() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    let mut file = File::create(area.join("f")).unwrap();
    file.write_all(b"half").unwrap();
    let began = Instant::now();
    assert_eq!(errno(cairn.publish("lib", "a")), Errno::BUSY);
    assert!(began.elapsed() < ANSWER_MAX, "{:?}", began.elapsed());
    file.write_all(b" and half").unwrap();
    drop(file);
    cairn.publish("lib", "a").unwrap();
    assert_eq!(fs::read(cairn.versions("lib/1/f")).unwrap(), b"half and half");
}

#[test]
fn the_area_stays_usable_after_ebusy() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    let file = File::create(area.join("f")).unwrap();
    assert_eq!(errno(cairn.publish("lib", "a")), Errno::BUSY);
    fs::create_dir(area.join("d")).unwrap();
    fs::write(area.join("d/g"), "more").unwrap();
    drop(file);
    cairn.publish("lib", "a").unwrap();
    assert_eq!(fs::read(cairn.versions("lib/1/d/g")).unwrap(), b"more");
}

#[test]
fn readers_do_not_matter() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    fs::write(area.join("f"), "x").unwrap();
    let _file = File::open(area.join("f")).unwrap();
    let _directory = File::open(&area).unwrap();
    let _mapping = Mapping::shared(&File::open(area.join("f")).unwrap(), 1, false).unwrap();
    cairn.publish("lib", "a").unwrap();
}

#[test]
fn a_writable_mapping_is_a_writer() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    fs::write(area.join("f"), [0; 4096]).unwrap();
    let file = File::options().read(true).write(true).open(area.join("f")).unwrap();
    let mapping = Mapping::shared(&file, 4096, true).unwrap();
    drop(file);
    mapping.write(0, b"mapped");
    assert_eq!(errno(cairn.publish("lib", "a")), Errno::BUSY);
    drop(mapping);
    cairn.publish("lib", "a").unwrap();
    assert_eq!(fs::read(cairn.versions("lib/1/f")).unwrap()[..6], *b"mapped");
}

#[test]
fn a_writer_in_another_area_does_not_matter() {
    let cairn = Cairn::start();
    cairn.area("lib", "a");
    let _writer = File::create(cairn.area("lib", "b").join("f")).unwrap();
    cairn.publish("lib", "a").unwrap();
}

#[test]
fn an_unlinked_file_still_open_does_not_matter_once_closed() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    let file = File::create(area.join("f")).unwrap();
    fs::remove_file(area.join("f")).unwrap();
    drop(file);
    cairn.publish("lib", "a").unwrap();
    assert_eq!(fs::read_dir(cairn.versions("lib/1")).unwrap().count(), 0);
}

/// `CAIRN_TEST_COMMITS` times: write 200 files, then `mv`. 50 by default, 1000 for H11.
#[test]
fn files_already_closed_are_never_busy() {
    let cairn = Cairn::start();
    let rounds = scale("CAIRN_TEST_COMMITS", 50);
    for round in 0..rounds {
        let area = cairn.area("lib", "a");
        for index in 0..200 {
            fs::write(area.join(format!("f{index}")), format!("{round} {index}")).unwrap();
        }
        let moved = fs::rename(&area, cairn.tags(format!("lib/{}", round + 1)));
        assert!(moved.is_ok(), "round {round}: {moved:?}");
    }
    assert_eq!(fs::read_dir(cairn.versions("lib")).unwrap().count(), rounds as usize);
}

#[test]
fn cp_then_mv_in_a_shell_is_never_busy() {
    let cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    let script = "set -e; cd \"$1\"; for i in $(seq 20); do \
         mkdir staging/lib/r$i; cp /bin/true staging/lib/r$i/program; echo $i > staging/lib/r$i/n; \
         mv staging/lib/r$i tags/lib/; done";
    let output = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(cairn.mnt())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(cairn.versions("lib/20/n")).unwrap(), "20\n");
}
